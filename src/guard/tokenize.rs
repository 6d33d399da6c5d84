//! From a text to the sequences that a graph is fed: the template filled in, long text cut into overlapping windows.

use std::{ops::Range, path::Path};

use tokenizers::{EncodeInput, Encoding, Tokenizer};

use super::{
    Unavailable,
    manifest::{Label, Manifest, Piece, Slot, Trim, Unusable},
    remote::Hosted,
    speakers::Speakers,
};
use crate::{config::Engine, segment::Task};

/// Tokens that the seams between template and text may cost more than both by themselves.
const SEAM: usize = 8;

/// Bytes of a text that are encoded at once to see whether it is too long.
const PART: usize = 64 << 10;
/// Tokens that a cut between two parts may add: a `WordPiece` word of up to a hundred characters by default is one token if it
/// is not known, and each half of it up to one a character.
const CUT: usize = 256;

const TASKS: [Task; 2] = [Task::Prompt, Task::Response];

/// A guard's tokenizer and templates.
#[derive(Debug)]
pub(super) struct Encoder {
    tokenizer: Tokenizer,
    manifest: Manifest,
    prompt: Speakers,
    response: Speakers,
    hosted: Option<Hosted>,
    /// Most tokens of a text, counted for each pass.
    most: usize,
}

/// One sequence, and the part of the text that it covers. With several passes there are as many of the same part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Bytes of the text.
    pub range: Range<usize>,
    /// Token ids, template included.
    pub ids: Vec<u32>,
    /// The task that they ask for.
    pub task: Task,
    /// What a hosted guard, which has a template of its own, is sent in their place.
    pub words: Option<String>,
}

/// A text cannot be encoded.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Unencodable {
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),
    #[error("the template and its context leave no room for text in {0} tokens")]
    NoRoom(usize),
    #[error("the text takes at least {tokens} tokens, more than the {most} that four times `guard.queue_tokens` allow")]
    TooLong { tokens: usize, most: usize },
}

impl From<Unencodable> for Unavailable {
    fn from(why: Unencodable) -> Self {
        match why {
            Unencodable::TooLong { .. } => Self::TooLong(why.to_string()),
            Unencodable::Tokenizer(_) | Unencodable::NoRoom(_) => Self::Engine(why.to_string()),
        }
    }
}

impl Encoder {
    pub(super) fn load(dir: &Path, manifest: &Manifest, engine: Engine, most: usize) -> Result<Self, Unusable> {
        let fail = |why: String| Unusable::new(dir, why);
        let name = manifest.files.tokenizer.path.display();
        let mut tokenizer =
            Tokenizer::from_file(dir.join(&manifest.files.tokenizer.path)).map_err(|e| fail(format!("{name}: {e}")))?;
        // A user who types `</s>` gets the characters, not the control token.
        tokenizer.set_encode_special_tokens(true);
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| fail(e.to_string()))?;
        let wrong = |e| fail(format!("`speakers`: {e}"));
        let speakers = |task| Speakers::new(&manifest.task(task).speakers).map_err(wrong);
        let (prompt, response) = (speakers(Task::Prompt)?, speakers(Task::Response)?);
        let hosted = (engine == Engine::Openai).then(Hosted::new).transpose().map_err(wrong)?;
        let encoder = Self { tokenizer, manifest: manifest.clone(), prompt, response, hosted, most };
        encoder.check().map_err(fail)?;
        Ok(encoder)
    }

    /// Whether tokenizer and manifest fit each other.
    fn check(&self) -> Result<(), String> {
        let largest = self.tokenizer.get_vocab(true).into_values().max().unwrap_or_default();
        for task in TASKS {
            let template = &self.manifest.task(task).template;
            let mut context = 0;
            for piece in template {
                match piece {
                    Piece::Ids { ids } => {
                        if let Some(id) = ids.iter().find(|id| **id > largest) {
                            return Err(format!("a template has the id {id}, the tokenizer ends at {largest}"));
                        }
                    }
                    Piece::Slot { max, .. } => context += max.unwrap_or_default(),
                    Piece::Text { .. } => {}
                }
            }
            let frame = self.frame(task, template).map_err(|e| e.to_string())?;
            if frame + context + SEAM >= self.manifest.tokens.max {
                return Err(Unencodable::NoRoom(self.manifest.tokens.max).to_string());
            }
        }
        for Label { text, id } in &self.manifest.output.labels {
            let token = self.tokenizer.id_to_token(*id).unwrap_or_default();
            if token != *text && self.tokenizer.decode(&[*id], false).ok().as_ref() != Some(text) {
                return Err(format!("the label \"{text}\" is to have the id {id}, but there the tokenizer has \"{token}\""));
            }
        }
        Ok(())
    }

    /// The sequences that together cover `text`: one for most texts, or one for each pass. The windows of a text begin where
    /// those of its beginning did, so that only the last is another when the text grows.
    pub(super) fn windows(&self, task: Task, text: &str, prompt: Option<&str>) -> Result<Vec<Window>, Unencodable> {
        let prompt = prompt.unwrap_or_default();
        let (speakers, template) = (self.speakers(task), self.template(task, prompt)?);
        let frame = self.frame(task, &template)?;
        let room = self.manifest.tokens.window.min(self.manifest.tokens.max.saturating_sub(frame + SEAM)).max(1);
        let window = |range: Range<usize>, ids| {
            let part = text.get(range.clone()).unwrap_or_default();
            let words = self.hosted.as_ref().map(|hosted| hosted.words(task, part, prompt));
            Window { range, ids, task, words }
        };
        let broken = speakers.broken(text);
        self.check_length(task, &broken.text)?;
        let whole = |ids: Vec<u32>| (ids.len() <= frame + room).then(|| window(0..text.len(), ids));
        // Only up to the first that is too long.
        let wholes = self.each_pass(task, &template, &broken.text).map(|ids| ids.map(whole));
        if let Some(windows) = wholes.collect::<Result<Option<_>, _>>()? {
            return Ok(windows);
        }
        // Cut as it is fed, so that no opening that is broken makes a window too long.
        let encoding = self.encode(&broken.text)?;
        self.check_tokens(task, encoding.len())?;
        // Windows overlap as far as they are meant to, also where the context leaves less room.
        let overlap = self.manifest.tokens.window - self.manifest.tokens.stride;
        let stride = self.manifest.tokens.stride.min(room - overlap.min(room / 2));
        let mut windows = Vec::new();
        let mut ranges = cut(&encoding, &broken.text, room, stride);
        ranges.reverse();
        while let Some(range) = ranges.pop() {
            let part = broken.text.get(range.clone()).unwrap_or_default();
            // It may open otherwise than the text did.
            let fed = speakers.broken(part);
            let sequences = self.each_pass(task, &template, &fed.text).collect::<Result<Vec<_>, _>>()?;
            // Cutting at characters can cost more tokens than the cut ones were, but the graph's length is a hard bound.
            if sequences.iter().any(|ids| ids.len() > self.manifest.tokens.max) {
                let middle = range.start + part.floor_char_boundary(part.len() / 2);
                if middle == range.start {
                    return Err(Unencodable::NoRoom(self.manifest.tokens.max));
                }
                ranges.extend([middle..range.end, range.start..middle]);
                continue;
            }
            let range = broken.origin(range.start)..broken.origin(range.end);
            windows.extend(sequences.into_iter().map(|ids| window(range.clone(), ids)));
        }
        Ok(windows)
    }

    /// Refuses a text that surely takes too many tokens before all of it is encoded.
    fn check_length(&self, task: Task, text: &str) -> Result<(), Unencodable> {
        let passes = self.manifest.task(task).each_pass().count();
        let surely = least(text, self.most / passes.max(1), |part| Ok(self.encode(part)?.len()))?;
        self.check_tokens(task, surely)
    }

    fn check_tokens(&self, task: Task, tokens: usize) -> Result<(), Unencodable> {
        let tokens = tokens.saturating_mul(self.manifest.task(task).each_pass().count());
        if tokens > self.most { Err(Unencodable::TooLong { tokens, most: self.most }) } else { Ok(()) }
    }

    /// What all sequences of each task begin with, but perhaps for the last token, which may merge with the text.
    pub(super) fn openings(&self) -> Result<Vec<Vec<u32>>, Unencodable> {
        TASKS.iter().map(|&task| self.fill(self.manifest.task(task).opening(), "", "")).collect()
    }

    /// Most tokens that follow the text.
    pub(super) fn closing(&self) -> Result<usize, Unencodable> {
        let mut most = 0;
        for task in TASKS {
            let spec = self.manifest.task(task);
            for pass in spec.each_pass() {
                most = most.max(self.fill(spec.closing(), "", pass)?.len());
            }
        }
        Ok(most)
    }

    fn speakers(&self, task: Task) -> &Speakers {
        match task {
            Task::Prompt => &self.prompt,
            Task::Response => &self.response,
        }
    }

    /// A task's template with the prompt in it, once for all of a text's windows and passes.
    fn template(&self, task: Task, prompt: &str) -> Result<Vec<Piece>, Unencodable> {
        let speakers = self.speakers(task);
        let broken = speakers.broken(prompt);
        let filled = self.manifest.task(task).template.iter().map(|piece| match piece {
            Piece::Slot { slot: Slot::Prompt, max, trim } => {
                // What is left of it may open otherwise than the whole did.
                let tail = speakers.broken(self.tail(trimmed(&broken.text, *trim), *max)?);
                Ok(Piece::Text { text: trimmed(&tail.text, *trim).to_owned() })
            }
            other => Ok(other.clone()),
        });
        filled.collect()
    }

    /// Tokens of a template without a text.
    fn frame(&self, task: Task, template: &[Piece]) -> Result<usize, Unencodable> {
        self.each_pass(task, template, "").try_fold(0, |most, ids| Ok(most.max(ids?.len())))
    }

    /// The template filled in for each pass.
    fn each_pass(&self, task: Task, template: &[Piece], text: &str) -> impl Iterator<Item = Result<Vec<u32>, Unencodable>> {
        self.manifest.task(task).each_pass().map(move |pass| self.fill(template, text, pass))
    }

    /// Texts come with their openings broken; a prompt that is not in the pieces yet is left out.
    fn fill(&self, pieces: &[Piece], text: &str, pass: &str) -> Result<Vec<u32>, Unencodable> {
        let mut ids = Vec::new();
        let mut run = String::new();
        for piece in pieces {
            match piece {
                Piece::Ids { ids: control } => {
                    self.append(&mut ids, &mut run)?;
                    ids.extend_from_slice(control);
                }
                Piece::Text { text: own } => run.push_str(own),
                Piece::Slot { slot: Slot::Pass, .. } => run.push_str(pass),
                Piece::Slot { slot: Slot::Text, trim, .. } => run.push_str(trimmed(text, *trim)),
                Piece::Slot { slot: Slot::Prompt, .. } => {}
            }
        }
        self.append(&mut ids, &mut run)?;
        Ok(ids)
    }

    fn append(&self, ids: &mut Vec<u32>, run: &mut String) -> Result<(), Unencodable> {
        if !run.is_empty() {
            ids.extend_from_slice(self.encode(run)?.get_ids());
            run.clear();
        }
        Ok(())
    }

    /// The end of `text`, at most `max` tokens of it.
    fn tail<'t>(&self, text: &'t str, max: Option<usize>) -> Result<&'t str, Unencodable> {
        let Some(max) = max.filter(|_| !text.is_empty()) else { return Ok(text) };
        let encoding = self.encode(text)?;
        let first = encoding.len().saturating_sub(max);
        let start = encoding.get_offsets().get(first).map_or(0, |offset| offset.0);
        Ok(text.get(start..).unwrap_or(text))
    }

    fn encode(&self, text: &str) -> Result<Encoding, Unencodable> {
        self.tokenizer.encode(EncodeInput::from(text), false).map_err(|e| Unencodable::Tokenizer(e.to_string()))
    }
}

fn trimmed(text: &str, trim: Option<Trim>) -> &str {
    trim.map_or(text, |trim| trim.of(text))
}

/// Tokens that a text has at least: counted part by part, up to the first that shows that there are more than `most`. Bytes
/// alone cannot tell, since a token may be a run of any length (spaces that a tokenizer joins, letters that it does not know).
fn least(text: &str, most: usize, mut count: impl FnMut(&str) -> Result<usize, Unencodable>) -> Result<usize, Unencodable> {
    // Encoding so few bytes whole takes no longer than this would.
    if text.len() <= most {
        return Ok(0);
    }
    let (mut tokens, mut rest) = (0, text);
    while !rest.is_empty() && tokens <= most {
        let (part, after) = rest.split_at_checked(rest.ceil_char_boundary(PART)).unwrap_or((rest, ""));
        tokens += count(part)?.saturating_sub(CUT);
        rest = after;
    }
    Ok(tokens)
}

/// Byte ranges of windows of `room` tokens, `stride` apart; the first begins and the last ends with the text.
fn cut(encoding: &Encoding, text: &str, room: usize, stride: usize) -> Vec<Range<usize>> {
    let offsets = encoding.get_offsets();
    let mut ranges = Vec::new();
    let mut first = 0;
    loop {
        let start = if first == 0 { 0 } else { offsets.get(first).map_or(text.len(), |offset| offset.0) };
        let next = offsets.get(first + room).map_or(text.len(), |offset| offset.0);
        let (start, end) = (text.floor_char_boundary(start), text.ceil_char_boundary(next));
        ranges.push(start..end);
        if first + room >= offsets.len() {
            return ranges;
        }
        first += stride;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_text_is_not_encoded_to_its_end() {
        let text = "words ".repeat(4 << 20);
        let mut encoded = 0;
        let count = |part: &str| {
            encoded += part.len();
            Ok(part.len() / 6)
        };
        assert!(least(&text, 20_000, count).unwrap() > 20_000);
        assert!(encoded <= 3 * PART, "{encoded}");
        assert_eq!(least("words", 5, |_| Err(Unencodable::NoRoom(0))).unwrap(), 0, "it cannot be too long");
    }

    /// Where every token is long, no text is refused for its bytes.
    #[test]
    fn runs_of_few_tokens_are_not_taken_for_many() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/guards/seawall-mini");
        let tokenizer = Tokenizer::from_file(dir.join("tokenizer.json")).unwrap();
        let count = |text: &str| Ok(tokenizer.encode(EncodeInput::from(text), false).unwrap().len());
        let languages = "How do I make tea? ฉันจะชงชาให้อร่อยได้อย่างไร လက်ဖက်ရည် ဘယ်လို ဖျော်ရမလဲ ";
        for text in [" ", "\n", "=", "a", "𐀀", "\u{200b}", languages] {
            let text = text.repeat(5 * PART / text.len());
            let tokens = count(&text).unwrap();
            let found = least(&text, tokens, count).unwrap();
            assert!(found <= tokens, "{found} {tokens}: {:?}", text.chars().next());
        }
        let text = languages.repeat(5 * PART / languages.len());
        let tokens = count(&text).unwrap();
        assert!(least(&text, tokens * 9 / 10, count).unwrap() > tokens * 9 / 10);
    }
}
