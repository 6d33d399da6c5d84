//! Newline-delimited JSON: bytes in any pieces to lines, each with the bytes it came as.

use bytes::BytesMut;

use super::{
    frame::{Decode, Event, Framing},
    json::Malformed,
};

/// Cuts a byte stream into lines.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// Bytes of the buffer already searched for a line's end.
    searched: usize,
    /// Greatest size of one line.
    limit: usize,
}

impl Decoder {
    /// A decoder that refuses lines of more than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, limit }
    }

    fn take(&mut self, length: usize) -> Result<Event, Malformed> {
        let raw = self.buffer.split_to(length).freeze();
        self.searched = 0;
        let text = std::str::from_utf8(&raw).map_err(|_| Malformed::new("a line of the stream is not UTF-8"))?;
        let data = Some(text.trim_matches([' ', '\t', '\r', '\n'])).filter(|data| !data.is_empty()).map(str::to_owned);
        Ok(Event { raw, name: None, data, framing: Framing::Ndjson })
    }
}

impl Decode for Decoder {
    fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn event(&mut self) -> Result<Option<Event>, Malformed> {
        let fresh = self.buffer.get(self.searched..).unwrap_or_default();
        if let Some(at) = fresh.iter().position(|byte| *byte == b'\n') {
            return self.take(self.searched + at + 1).map(Some);
        }
        self.searched = self.buffer.len();
        if self.buffer.len() > self.limit {
            return Err(Malformed::new(format!("a line of the stream is larger than {} bytes", self.limit)));
        }
        Ok(None)
    }

    fn rest(&mut self) -> Result<Option<Event>, Malformed> {
        if self.buffer.is_empty() { Ok(None) } else { self.take(self.buffer.len()).map(Some) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::frame::tests::{events, events_however_cut};

    #[test]
    fn lines_blank_lines_and_an_unfinished_one() {
        let data: Vec<_> =
            events(Framing::Ndjson, b"{\"a\":1}\r\n\n {} \n{\"b\"").into_iter().map(|event| event.data).collect();
        assert_eq!(data, [Some("{\"a\":1}".into()), None, Some("{}".into()), Some("{\"b\"".into())]);
        let event = events(Framing::Ndjson, b" {\"a\":1}\r\n").remove(0);
        assert_eq!(event.with_data("{}").unwrap(), " {}\r\n");
    }

    #[test]
    fn bounds() {
        let mut decoder = Decoder::new(10);
        decoder.feed(b"{\"a\": 12345678");
        assert!(decoder.event().is_err());
        let mut decoder = Decoder::new(10);
        decoder.feed(b"\xff\n");
        assert!(decoder.event().is_err());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(
            parts in prop::collection::vec(prop::sample::select(vec!["{}", "\n", "\r\n", "{\"a\":\"ก\"}", " ", "\r"]), 0..40),
            cuts in prop::collection::vec(0usize..200, 0..12),
        ) {
            let bytes = parts.concat().into_bytes();
            events_however_cut(Framing::Ndjson, &bytes, &cuts)?;
        }
    }
}
