//! What of a stream gives way to the asker's own values.

use std::collections::BTreeMap;

use crate::{
    dialect::Arguments,
    policy::Placeholders,
    segment::{Channel, Edit, Target},
};

/// The request's placeholders, looked for in each text of a stream as it grows.
pub(super) struct Returned {
    placeholders: Placeholders,
    read: BTreeMap<Channel, Read>,
}

/// How far a text was read.
#[derive(Default)]
struct Read {
    settled: usize,
    arguments: Arguments,
}

impl Returned {
    pub(super) fn new(placeholders: Placeholders) -> Self {
        Self { placeholders, read: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.placeholders.is_empty()
    }

    /// The edits that put values back into what is new of a channel's text, and the byte from which on what follows decides.
    pub(super) fn edits(&mut self, channel: Channel, text: &str) -> (Vec<Edit>, usize) {
        let read = self.read.entry(channel).or_default();
        let (mut edits, settled) = self.placeholders.put_back(text, read.settled);
        if channel.part.target() == Target::ToolCall && !edits.is_empty() {
            edits = read.arguments.edits(text, read.settled, &edits);
        }
        read.settled = settled;
        (edits, settled)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::{Stream, StreamMode},
        gate::{Gate, Released},
        segment::{Delta, Part, Place, apply},
    };

    const SNIPPETS: [&str; 10] =
        ["[EMAIL_1]", "[EMAIL_2]", "[EMAIL_9]", "[EMAIL_", "[", "]", "[[EM", "สวัสดี", " and so on. ", "EMAIL_1]"];

    /// A text of one channel, on its way through the gate.
    struct Way {
        channel: Channel,
        returned: Returned,
        gate: Gate<()>,
        pending: Vec<crate::segment::Check>,
        said: String,
    }

    impl Way {
        fn new(part: Part, mode: StreamMode, values: &[(&str, &str)]) -> Self {
            let steps = Stream { mode, first_chars: 1, step_chars: 2, sentence_chars: 1, idle_ms: 0, lookback_chars: 6 };
            let returned = Returned::new(Placeholders::of(values));
            let channel = Channel { choice: 0, part };
            Self { channel, returned, gate: Gate::new(steps, false), pending: Vec::new(), said: String::new() }
        }

        fn push(&mut self, text: &str, last: bool) {
            let delta = Delta { channel: self.channel, text: text.to_owned(), place: Some(Place(0..0)) };
            self.gate.push((), vec![delta], &[]);
            let (edits, settled) = self.returned.edits(self.channel, self.gate.text(self.channel));
            self.gate.swap(self.channel, edits, settled);
            if last {
                self.gate.end();
            }
            self.pending.extend(self.gate.due());
        }

        /// Lets a check pass but for its last bytes.
        fn judge(&mut self, back: usize) -> bool {
            let Some(check) = self.pending.pop() else { return false };
            let back = if check.last { 0 } else { back };
            let settled = check.text.floor_char_boundary(check.text.len().saturating_sub(back));
            assert!(self.gate.cover(self.channel, check.from + settled, vec![]));
            true
        }

        fn release(&mut self) {
            for Released { deltas, edited, .. } in self.gate.release() {
                self.said += &edited.unwrap_or_else(|| deltas.into_iter().map(|delta| delta.text).collect()).concat();
            }
        }

        fn finish(mut self) -> String {
            self.pending.extend(self.gate.due());
            while self.judge(0) {
                self.pending.extend(self.gate.due());
            }
            self.release();
            assert!(self.gate.is_done());
            self.said
        }
    }

    proptest! {
        /// However a text is cut and judged, the client has the values, and never part of a name that became one.
        #[test]
        fn values_come_back_whole(
            snippets in prop::collection::vec(prop::sample::select(&SNIPPETS[..]), 1..20),
            cuts in prop::collection::vec((1usize..12, any::<bool>(), 0usize..12), 1..60),
            mode in prop::sample::select(&[StreamMode::Hold, StreamMode::Lag, StreamMode::Buffer][..]),
        ) {
            let values = [("[EMAIL_1]", "an@example.com"), ("[EMAIL_2]", "[EMAIL_1]")];
            let text = snippets.concat();
            let expected = apply(&text, &Placeholders::of(&values).put_back(&text, 0).0);
            let mut way = Way::new(Part::Content, mode, &values);
            let (mut rest, mut cuts) = (text.as_str(), cuts.iter().cycle());
            while let Some((size, judged, back)) = cuts.next().filter(|_| !rest.is_empty()) {
                let (piece, after) = rest.split_at(rest.ceil_char_boundary(*size));
                rest = after;
                way.push(piece, rest.is_empty());
                if *judged {
                    way.judge(*back);
                }
                way.release();
                prop_assert!(expected.starts_with(&way.said), "{} of {expected}", way.said);
            }
            prop_assert_eq!(way.finish(), expected);
        }
    }

    #[test]
    fn arguments_stay_json() {
        let text = "run\n{\"to\":\"x [A_1]\",\"card\":[A_1],\"n\":12}";
        for at in 1..text.len() {
            let mut way = Way::new(Part::ToolCall(0), StreamMode::Hold, &[("[A_1]", "\"a\\b\"")]);
            way.push(&text[..at], false);
            way.judge(0);
            way.release();
            way.push(&text[at..], true);
            let said = way.finish();
            assert_eq!(
                said,
                r#"run
{"to":"x \"a\\b\"","card":"\"a\\b\"","n":12}"#,
                "cut at {at}"
            );
        }
    }
}
