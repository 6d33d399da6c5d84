//! From a text to the sequences that a graph is fed: the template filled in, long text cut into overlapping windows.

use std::{ops::Range, path::Path};

use tokenizers::{EncodeInput, Encoding, Tokenizer};

use super::manifest::{Manifest, Piece, Slot, TaskSpec, Unusable};
use crate::segment::Task;

/// A guard's tokenizer and templates.
#[derive(Debug)]
pub(super) struct Encoder {
    tokenizer: Tokenizer,
    manifest: Manifest,
}

/// One sequence, and the part of the text that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Bytes of the text.
    pub range: Range<usize>,
    /// Token ids, template included.
    pub ids: Vec<u32>,
    /// The task that they ask for.
    pub task: Task,
    /// What a hosted guard is sent instead, which has a template of its own.
    pub words: Option<String>,
}

/// The tokenizer could not encode a text.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the tokenizer failed: {0}")]
pub(super) struct Unencodable(String);

impl Encoder {
    pub(super) fn load(dir: &Path, manifest: &Manifest) -> Result<Self, Unusable> {
        let path = dir.join(&manifest.files.tokenizer.path);
        let mut tokenizer = Tokenizer::from_file(&path)
            .map_err(|e| Unusable::new(dir, format!("{}: {e}", manifest.files.tokenizer.path.display())))?;
        // A user who types `</s>` gets the characters, not the control token.
        tokenizer.set_encode_special_tokens(true);
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| Unusable::new(dir, e.to_string()))?;
        let encoder = Self { tokenizer, manifest: manifest.clone() };
        let largest = encoder.tokenizer.get_vocab(true).into_values().max().unwrap_or_default();
        for task in [Task::Prompt, Task::Response] {
            for piece in &manifest.task(task).template {
                if let Piece::Ids { ids } = piece
                    && let Some(id) = ids.iter().find(|id| **id > largest)
                {
                    return Err(Unusable::new(dir, format!("a template has the id {id}, the tokenizer ends at {largest}")));
                }
            }
        }
        Ok(encoder)
    }

    /// The sequences that together cover `text`; one for most texts.
    pub(super) fn windows(&self, task: Task, text: &str, prompt: Option<&str>) -> Result<Vec<Window>, Unencodable> {
        let spec = self.manifest.task(task);
        let whole = self.fill(spec, text, prompt)?;
        let template = self.fill(spec, "", prompt)?.len();
        let room = self.manifest.tokens.window.min(self.manifest.tokens.max.saturating_sub(template + 1)).max(1);
        if whole.len() <= template + room {
            return Ok(vec![Window { range: 0..text.len(), ids: whole, task, words: None }]);
        }
        let mut windows = Vec::new();
        for range in cut(&self.encode(text)?, text, room, self.manifest.tokens.stride.min(room)) {
            let mut ids = self.fill(spec, text.get(range.clone()).unwrap_or_default(), prompt)?;
            // Cutting at characters can cost a token or two more than the cut tokens were; the graph's length is a hard bound.
            ids.truncate(self.manifest.tokens.max);
            windows.push(Window { range, ids, task, words: None });
        }
        Ok(windows)
    }

    fn fill(&self, spec: &TaskSpec, text: &str, prompt: Option<&str>) -> Result<Vec<u32>, Unencodable> {
        let mut ids = Vec::new();
        let mut run = String::new();
        for piece in &spec.template {
            match piece {
                Piece::Ids { ids: control } => {
                    self.append(&mut ids, &mut run)?;
                    ids.extend_from_slice(control);
                }
                Piece::Text { text } => run.push_str(text),
                Piece::Slot { slot: Slot::Text, .. } => run.push_str(text),
                Piece::Slot { slot: Slot::Prompt, max } => {
                    run.push_str(self.tail(prompt.unwrap_or_default(), *max)?);
                }
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
        self.tokenizer.encode(EncodeInput::from(text), false).map_err(|e| Unencodable(e.to_string()))
    }
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
