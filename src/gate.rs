//! The hold-back gate: no character of a stream leaves before a verdict covers it (`hold`), or all are covered (`buffer`);
//! or text leaves at once and verdicts come after it (`lag`).
//!
//! Events go in with the text they bring; checks that are due come out; verdicts go in; events that may leave come out, in
//! the order they came. Some of the text can give way to other text, whatever the verdict. Pure: it knows no clock, no guard, no dialect and no connection.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use crate::{
    config::{Stream, StreamMode},
    segment::{Channel, Check, Delta, Edit, Part, begins_json, fill},
};

/// Marks that end a sentence in the eight languages (Thai has none: there the step decides).
const SENTENCE_ENDS: [char; 9] = ['.', '!', '?', '\n', '။', '၊', '।', '…', ';'];

/// Bytes before the unjudged text that detectors read: more than the longest token that they know, with its context.
const LEAD: usize = 8 << 10;

/// Most bytes of a text that a guard of whole answers reads again with each check. A longer text is read from a place that
/// moves on by half of it at a time, so that what the guard has computed of it serves many checks.
const WHOLE: usize = 32 << 10;

/// Events of type `E`, held back until their text is covered.
#[derive(Debug)]
pub struct Gate<E> {
    settings: Stream,
    /// The guard reads all of a text with each check.
    whole: bool,
    texts: BTreeMap<Channel, Text>,
    held: VecDeque<Held<E>>,
    ended: bool,
    idle: bool,
}

/// One channel's text so far.
#[derive(Debug, Default)]
struct Text {
    text: String,
    /// Bytes that the last check asked for.
    asked: usize,
    /// A check is under way.
    pending: bool,
    /// The last check was made knowing that no text follows.
    closed: bool,
    /// Bytes that a verdict covers: final, edits included.
    covered: usize,
    /// The last check was made as if no text followed, whatever came since.
    ends: bool,
    /// Bytes that were covered with regard to what might follow.
    settled: usize,
    /// Bytes that have left.
    left: usize,
    /// No more text of it is expected.
    over: bool,
    /// From here on it may give way to other text, which what follows decides.
    waits: Option<usize>,
    /// In order and apart.
    edits: Vec<Edit>,
}

#[derive(Debug)]
struct Held<E> {
    event: E,
    pieces: Vec<(Channel, Range<usize>)>,
    deltas: Vec<Delta>,
    /// It ends a choice.
    ends: bool,
}

/// An event that may leave.
#[derive(Debug, PartialEq, Eq)]
pub struct Released<E> {
    /// The event.
    pub event: E,
    /// Its deltas as they came.
    pub deltas: Vec<Delta>,
    /// What the deltas are to say instead, if any was edited.
    pub edited: Option<Vec<String>>,
}

impl<E> Gate<E> {
    /// A gate that checks at the given distances. `whole` says that the guard reads all of a text with each check, not only
    /// what is new and a little before it.
    #[must_use]
    pub fn new(settings: Stream, whole: bool) -> Self {
        Self { settings, whole, texts: BTreeMap::new(), held: VecDeque::new(), ended: false, idle: false }
    }

    /// Takes an event and the text that it brings; `over` are choices whose text ends with it.
    ///
    /// When another part of a choice begins, such as the answer after the reasoning, the one before is over too: its last
    /// characters need not be held for what may follow. Should text follow after all, it is judged with what came before.
    pub fn push(&mut self, event: E, deltas: Vec<Delta>, over: &[u64]) {
        let mut pieces = Vec::with_capacity(deltas.len());
        for delta in &deltas {
            if !is_unknown(&delta.channel) {
                let before = |other: &Channel| other.choice == delta.channel.choice && other.part != delta.channel.part;
                let texts = self.texts.iter_mut().filter(|(other, _)| before(other) && !is_unknown(other));
                texts.for_each(|(_, text)| text.over = true);
            }
            let text = self.texts.entry(delta.channel).or_default();
            let start = text.text.len();
            text.text.push_str(&delta.text);
            (text.over, text.closed) = (false, false);
            pieces.push((delta.channel, start..text.text.len()));
        }
        // Fields that the dialect does not know often come whole, with one event: the next text without them ends them.
        let brings = |channel: &Channel| deltas.iter().any(|delta| delta.channel == *channel);
        let unknown = |channel: &Channel| is_unknown(channel) && !deltas.is_empty() && !brings(channel);
        let ended = self.texts.iter_mut().filter(|(channel, _)| over.contains(&channel.choice) || unknown(channel));
        ended.for_each(|(_, text)| text.over = true);
        self.held.push_back(Held { event, pieces, deltas, ends: !over.is_empty() });
    }

    /// Text of a channel gives way to other text, judged as it was: `edits` (in bytes of the channel) come after those of earlier
    /// calls. From byte `settled` on, text leaves once the next call has settled it, or nothing more of it is expected. What has
    /// begun to leave, and names of fields, which cannot be edited, stay as they are.
    pub fn swap(&mut self, channel: Channel, mut edits: Vec<Edit>, settled: usize) {
        edits.retain(|edit| !self.is_name(channel, &edit.range));
        let Some(text) = self.texts.get_mut(&channel) else { return };
        text.waits = Some(settled).filter(|settled| *settled < text.text.len());
        edits.retain(|edit| edit.range.start >= text.left);
        let Some(first) = edits.first() else { return };
        let mut rest = text.edits_from(first.range.start);
        fill(&mut rest, edits);
        text.edits.append(&mut rest);
    }

    /// Whether any of these bytes are a field's name.
    fn is_name(&self, channel: Channel, bytes: &Range<usize>) -> bool {
        let pieces = self.held.iter().rev().flat_map(|held| held.pieces.iter().zip(&held.deltas).rev());
        let mut pieces = pieces.filter(|((own, _), _)| *own == channel).take_while(|((_, piece), _)| piece.end > bytes.start);
        pieces.any(|((_, piece), delta)| piece.start < bytes.end && delta.place.is_none())
    }

    /// The upstream has ended: all that is held is due.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The upstream is silent: what is held is due once as it is.
    pub fn idle(&mut self) {
        self.idle = true;
    }

    /// The checks that are due now; each channel has at most one under way.
    pub fn due(&mut self) -> Vec<Check> {
        let idle = std::mem::take(&mut self.idle);
        let (settings, whole, ended) = (self.settings, self.whole, self.ended);
        let due = self.texts.iter_mut().filter(|(_, text)| !text.pending && text.due(&settings, ended, idle));
        due.map(|(channel, text)| text.check(*channel, settings.lookback_chars, whole, ended || text.over)).collect()
    }

    /// A check's verdict lets its text pass up to byte `settled` of the channel, with these edits (in bytes of the channel).
    /// `false` if text that was to be edited has left already: in `lag`, or where text that was over went on.
    #[must_use]
    pub fn cover(&mut self, channel: Channel, settled: usize, edits: Vec<Edit>) -> bool {
        let Some(text) = self.texts.get_mut(&channel) else { return true };
        text.pending = false;
        let settled = settled.min(text.asked);
        // What is to be edited leaves whole or not at all.
        let straddling = edits.iter().filter(|edit| edit.range.start < settled && edit.range.end > settled);
        let settled = straddling.map(|edit| edit.range.start).min().unwrap_or(settled);
        let reaching = |edit: &Edit| edit.range.end > text.covered && edit.range.end <= settled;
        let (mut fresh, late): (Vec<Edit>, Vec<Edit>) =
            edits.into_iter().filter(reaching).partition(|edit| edit.range.start >= text.covered.max(text.left));
        let swaps = text.edits_from(text.covered);
        fill(&mut fresh, swaps);
        text.edits.append(&mut fresh);
        text.covered = text.covered.max(settled);
        if !text.ends {
            text.settled = text.covered;
        }
        late.is_empty()
    }

    /// The events that may leave now.
    pub fn release(&mut self) -> Vec<Released<E>> {
        let mut out = Vec::new();
        while let Some(next) = self.held.front() {
            if !self.may_leave(&next.pieces, next.ends) {
                break;
            }
            let Some(Held { event, pieces, deltas, .. }) = self.held.pop_front() else { break };
            for (channel, range) in &pieces {
                if let Some(text) = self.texts.get_mut(channel) {
                    text.left = text.left.max(range.end);
                }
            }
            let texts: Vec<String> = pieces.iter().map(|(channel, range)| self.edited(*channel, range)).collect();
            let edited = deltas.iter().zip(&texts).any(|(delta, text)| delta.text != *text);
            out.push(Released { event, deltas, edited: edited.then_some(texts) });
        }
        out
    }

    fn may_leave(&self, pieces: &[(Channel, Range<usize>)], ends: bool) -> bool {
        let waits = |(channel, range): &(Channel, Range<usize>)| {
            let text = self.texts.get(channel).filter(|text| !text.over && !self.ended);
            text.and_then(|text| text.waits).is_some_and(|from| range.end > from)
        };
        if pieces.iter().any(waits) {
            return false;
        }
        let covered = |channel: &Channel| self.texts.get(channel).map_or(0, |text| text.covered);
        let is_covered = || pieces.iter().all(|(channel, range)| range.end <= covered(channel));
        match self.settings.mode {
            StreamMode::Hold => is_covered(),
            // What carries no text may be the answer's end, as what ends a choice is: nothing can be cut after it.
            StreamMode::Lag => (!pieces.is_empty() && !ends) || self.held_bytes() == 0,
            StreamMode::Buffer => self.ended && self.held_bytes() == 0,
        }
    }

    /// A channel's text so far.
    #[must_use]
    pub fn text(&self, channel: Channel) -> &str {
        self.texts.get(&channel).map_or("", |text| &text.text)
    }

    /// Whether everything has left.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ended && self.held.is_empty()
    }

    /// All text so far, channel by channel.
    pub fn texts(&self) -> impl Iterator<Item = (Channel, &str)> {
        self.texts.iter().map(|(channel, text)| (*channel, text.text.as_str()))
    }

    /// Texts so far, and events that wait.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        (self.texts.len(), self.held.len())
    }

    /// Bytes of text so far.
    #[must_use]
    pub fn size(&self) -> usize {
        self.texts.values().map(|text| text.text.len()).sum()
    }

    /// Bytes of text that wait for a verdict.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.texts.values().map(|text| text.text.len() - text.covered).sum()
    }

    /// A piece of a channel with its edits: a replacement stands where the replaced text began.
    fn edited(&self, channel: Channel, piece: &Range<usize>) -> String {
        let Some(text) = self.texts.get(&channel) else { return String::new() };
        let mut out = String::new();
        let mut at = piece.start;
        // Edits are in order and apart: a stream of many pieces and many edits is still read once.
        let first = text.edits.partition_point(|edit| edit.range.end <= piece.start);
        for edit in text.edits.iter().skip(first).take_while(|edit| edit.range.start < piece.end) {
            out.push_str(text.text.get(at..edit.range.start.max(at)).unwrap_or_default());
            if edit.range.start >= piece.start {
                out.push_str(&edit.with);
            }
            at = edit.range.end.min(piece.end);
        }
        out.push_str(text.text.get(at..piece.end).unwrap_or_default());
        out
    }
}

fn is_unknown(channel: &Channel) -> bool {
    matches!(channel.part, Part::Other(_))
}

impl Text {
    /// Takes out the edits that reach beyond a byte.
    fn edits_from(&mut self, at: usize) -> Vec<Edit> {
        self.edits.split_off(self.edits.partition_point(|edit| edit.range.end <= at))
    }

    fn due(&self, settings: &Stream, ended: bool, idle: bool) -> bool {
        let fresh = self.text.get(self.asked..).unwrap_or_default();
        if ended || (self.over && settings.mode != StreamMode::Buffer) {
            return !self.closed && self.covered < self.text.len();
        }
        if fresh.is_empty() || settings.mode == StreamMode::Buffer {
            return false;
        }
        let wanted = if self.asked == 0 { settings.first_chars } else { settings.step_chars };
        let length = fresh.chars().count();
        idle || length >= wanted || (length >= settings.sentence_chars && fresh.trim_end_matches(' ').ends_with(SENTENCE_ENDS))
    }

    fn check(&mut self, channel: Channel, lookback: usize, whole: bool, last: bool) -> Check {
        self.pending = true;
        (self.closed, self.ends) = (last, last);
        self.asked = self.text.len();
        let before = self.text.get(..self.covered).unwrap_or_default();
        let lately = before.char_indices().rev().nth(lookback.saturating_sub(1)).map_or(0, |(at, _)| at);
        let judged = if whole { self.text.floor_char_boundary(anchor(self.text.len())).min(lately) } else { lately };
        let from = before.floor_char_boundary(self.covered.saturating_sub(LEAD)).min(lately);
        let rest = |from| self.text.get(from..).unwrap_or_default().to_owned();
        let settled = self.settled.saturating_sub(from);
        let json = begins_json(&self.text);
        Check { channel, text: rest(from), from, settled, json, judged: rest(judged), last }
    }
}

/// Where a text of so many bytes is read from.
fn anchor(length: usize) -> usize {
    length.saturating_sub(WHOLE).div_ceil(WHOLE / 2) * (WHOLE / 2)
}

#[cfg(test)]
mod tests;
