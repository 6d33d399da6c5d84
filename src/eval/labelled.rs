//! Labelled text: JSON Lines that people or a review exported.

use std::{fs, path::Path};

use serde::Deserialize;

use crate::segment::Task;

/// A text and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// Judged as a prompt or as an answer.
    pub task: Task,
    /// The text judged.
    pub text: String,
    /// The prompt that an answer answers.
    pub prompt: Option<String>,
    /// Its language (ISO 639-1), if the file says.
    pub lang: Option<String>,
    /// Where it comes from: the line's `source`, else the file's name.
    pub source: String,
    /// The truth.
    pub is_unsafe: bool,
}

/// What is wrong with a file of labelled text.
#[derive(Debug, thiserror::Error)]
pub enum Unlabelled {
    /// The file cannot be read.
    #[error("{file}: cannot be read: {why}")]
    Unread {
        /// The file.
        file: String,
        /// What the system says.
        why: std::io::Error,
    },
    /// A line is not what it should be.
    #[error(
        "{file}:{line}: {why}; a line is {{\"text\": …, \"label\": \"safe\" or \"unsafe\"}}, with \"response\", \"lang\" and \"source\" if need be"
    )]
    Line {
        /// The file.
        file: String,
        /// The line's number.
        line: usize,
        /// The mistake.
        why: String,
    },
    /// No text at all.
    #[error("{0}: holds no labelled text")]
    Empty(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Label {
    Safe,
    Unsafe,
}

/// A line of a file. With a response, `label` is about the response, unless `response_label` is there too: then `label` is
/// about the text alone and the line is two labelled texts. Other keys are the file's own business.
#[derive(Debug, Deserialize)]
struct Line {
    text: String,
    response: Option<String>,
    label: Option<Label>,
    response_label: Option<Label>,
    lang: Option<String>,
    source: Option<String>,
}

/// Reads a file of labelled text.
///
/// # Errors
/// A file that cannot be read, a line that is not labelled text, or none at all.
pub fn read(path: &Path) -> Result<Vec<Labelled>, Unlabelled> {
    let file = path.display().to_string();
    let content = fs::read(path).map_err(|why| Unlabelled::Unread { file: file.clone(), why })?;
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&content);
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut texts = Vec::new();
    let lines = content.split(|byte| *byte == b'\n').enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.trim_ascii().is_empty()) {
        let wrong = |why: String| Unlabelled::Line { file: file.clone(), line: number + 1, why };
        let line = std::str::from_utf8(line).map_err(|e| wrong(e.to_string()))?;
        // A line is one line: serde's own count of lines would contradict ours.
        let line: Line =
            serde_json::from_str(line).map_err(|e| wrong(e.to_string().replace(" at line 1 column", " at column")))?;
        let found = line.texts(&name);
        if found.is_empty() {
            return Err(wrong("no label".to_owned()));
        }
        texts.extend(found);
    }
    if texts.is_empty() { Err(Unlabelled::Empty(file)) } else { Ok(texts) }
}

impl Line {
    fn texts(self, file: &str) -> Vec<Labelled> {
        let Self { text, response, label, response_label, lang, source } = self;
        // Both are printed to terminals.
        let visible = |text: String| text.replace(char::is_control, "\u{fffd}");
        let (source, lang) = (visible(source.unwrap_or_else(|| file.to_owned())), lang.map(visible));
        let labelled = |task, text: String, prompt, label| Labelled {
            task,
            text,
            prompt,
            lang: lang.clone(),
            source: source.clone(),
            is_unsafe: label == Label::Unsafe,
        };
        let Some(response) = response else {
            return label.map(|label| labelled(Task::Prompt, text, None, label)).into_iter().collect();
        };
        let own = response_label.and(label).map(|label| labelled(Task::Prompt, text.clone(), None, label));
        let answer = response_label.or(label).map(|label| labelled(Task::Response, response, Some(text), label));
        own.into_iter().chain(answer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(content: &str) -> Result<Vec<Labelled>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.jsonl");
        fs::write(&path, content).unwrap();
        read(&path).map_err(|e| e.to_string().replace(&path.display().to_string(), "mine.jsonl"))
    }

    #[test]
    fn lines_are_one_or_two_texts() {
        let lines = r#"{"text": "a", "label": "unsafe", "lang": "th", "id": 7}

{"text": "a", "response": "b", "label": "safe", "source": "s"}
{"text": "a", "response": "b", "label": "safe", "response_label": "unsafe"}
{"text": "a", "response": "b", "response_label": "unsafe"}"#;
        let texts = read_text(lines).unwrap();
        let brief: Vec<_> =
            texts.iter().map(|t| (t.task, t.text.as_str(), t.prompt.as_deref(), t.source.as_str(), t.is_unsafe)).collect();
        let expected = [
            (Task::Prompt, "a", None, "mine", true),
            (Task::Response, "b", Some("a"), "s", false),
            (Task::Prompt, "a", None, "mine", false),
            (Task::Response, "b", Some("a"), "mine", true),
            (Task::Response, "b", Some("a"), "mine", true),
        ];
        assert_eq!(brief, expected);
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        assert!(read_text("{\"text\": \"a\"}").unwrap_err().starts_with("mine.jsonl:1: no label; a line is {\"text\""));
        assert!(
            read_text("\n{\"text\": \"a\", \"label\": \"bad\"}")
                .unwrap_err()
                .starts_with("mine.jsonl:2: unknown variant `bad`")
        );
        assert!(read_text("{\"text\": 1}").unwrap_err().contains("expected a string at column 10; a line is"));
        assert_eq!(
            read_text("\u{feff}{\"text\": \"a\", \"label\": \"safe\", \"lang\": \"\\u001b[1m\"}\r\n").unwrap()[0]
                .lang
                .as_deref(),
            Some("\u{fffd}[1m")
        );
        assert_eq!(read_text("\n").unwrap_err(), "mine.jsonl: holds no labelled text");
    }
}
