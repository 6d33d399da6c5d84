//! Server-sent events (WHATWG HTML §9.2): bytes in any pieces to events and back, each event with the bytes it came as.

use bytes::{Buf, Bytes, BytesMut};

use super::{
    frame::{Decode, Event, Framing, Message},
    json::Malformed,
};

/// Cuts a byte stream into events: everything up to and including the blank line that ends one.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// Bytes of the buffer already searched for the end of an event.
    searched: usize,
    /// Where the line being searched begins.
    line: usize,
    /// Greatest size of one event.
    limit: usize,
    started: bool,
}

impl Decoder {
    /// A decoder that refuses events of more than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, line: 0, limit, started: false }
    }

    fn take(&mut self) -> Result<Event, Malformed> {
        let raw = self.buffer.split_to(self.searched).freeze();
        (self.searched, self.line) = (0, 0);
        let mut text = raw.clone();
        if !std::mem::replace(&mut self.started, true) && text.starts_with(b"\xef\xbb\xbf") {
            text.advance(3);
        }
        let text = std::str::from_utf8(&text).map_err(|_| Malformed::new("an event of the stream is not UTF-8"))?;
        let (mut data, mut name) = (None::<String>, None);
        for line in lines(text) {
            if let Some(value) = field(line, "event") {
                name = Some(value.to_owned());
            }
            if let Some(value) = field(line, "data") {
                match &mut data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => data = Some(value.to_owned()),
                }
            }
        }
        Ok(Event { raw, name, data, framing: Framing::Sse })
    }
}

impl Decode for Decoder {
    fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn event(&mut self) -> Result<Option<Event>, Malformed> {
        while let Some(&byte) = self.buffer.get(self.searched) {
            let ending = match byte {
                b'\n' => 1,
                b'\r' => match self.buffer.get(self.searched + 1) {
                    Some(b'\n') => 2,
                    Some(_) => 1,
                    None => break, // the next byte tells whether this is CR or CRLF
                },
                _ => {
                    self.searched += 1;
                    continue;
                }
            };
            let blank = self.searched == self.line;
            self.searched += ending;
            self.line = self.searched;
            if blank {
                return self.take().map(Some);
            }
        }
        if self.buffer.len() > self.limit {
            return Err(Malformed::new(format!("an event of the stream is larger than {} bytes", self.limit)));
        }
        Ok(None)
    }

    // The standard drops an event without its blank line, but not every client does.
    fn rest(&mut self) -> Result<Option<Event>, Malformed> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        self.searched = self.buffer.len();
        self.take().map(Some)
    }
}

/// An event's bytes with other data; its other lines stay.
pub(super) fn with_data(raw: &Bytes, data: &str) -> Bytes {
    let text = String::from_utf8_lossy(raw);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut out = String::with_capacity(text.len());
    for line in lines(text).filter(|line| !line.is_empty() && field(line, "data").is_none()) {
        out.push_str(line);
        out.push('\n');
    }
    out.push_str(&encode(&Message::plain(data)));
    out.into()
}

/// An event of ours.
pub(super) fn encode(message: &Message) -> String {
    let mut out = String::with_capacity(message.data.len() + 32);
    if let Some(name) = &message.name {
        out.push_str("event: ");
        out.push_str(name);
        out.push('\n');
    }
    for line in lines(&message.data) {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
    out
}

/// The lines of a text, which end in CRLF, LF or CR.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some((line, after)) = text.split_once(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let crlf = text.as_bytes().get(line.len()) == Some(&b'\r');
        rest = Some(after.strip_prefix('\n').filter(|_| crlf).unwrap_or(after));
        Some(line)
    })
}

/// The value of a line, if it is of this field.
fn field<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let value = line.strip_prefix(name)?;
    if value.is_empty() {
        return Some(value);
    }
    let value = value.strip_prefix(':')?;
    Some(value.strip_prefix(' ').unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::frame::tests::{events, events_however_cut};

    #[test]
    fn every_line_ending_and_field() {
        let text = b": ping\n\ndata: a\r\ndata:b\r\n\r\nevent: x\rid: 1\rdata\rdata:  c\r\rdata: [DONE]";
        let data: Vec<_> = events(Framing::Sse, text).into_iter().map(|event| event.data).collect();
        assert_eq!(data, [None, Some("a\nb".into()), Some("\n c".into()), Some("[DONE]".into())]);
        assert_eq!(events(Framing::Sse, text).remove(2).name.as_deref(), Some("x"));
    }

    #[test]
    fn new_data_keeps_the_other_lines() {
        let event = events(Framing::Sse, b"event: x\ndata: a\nid: 7\n\n").remove(0);
        assert_eq!(event.with_data("{}\n2").unwrap(), "event: x\nid: 7\ndata: {}\ndata: 2\n\n");
    }

    #[test]
    fn bounds() {
        let mut decoder = Decoder::new(10);
        decoder.feed(b"data: 12345678");
        assert!(decoder.event().is_err());
        let mut decoder = Decoder::new(10);
        decoder.feed(b"data: \xff\n\n");
        assert!(decoder.event().is_err());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            parts in prop::collection::vec(prop::sample::select(vec![
                "data: ", "data:", "data", ":", " ", "\n", "\r", "\r\n", "\n\n", "\r\n\r\n", "event: e", "{\"a\":\"ก\"}", "\u{feff}", "id",
            ]), 0..40),
            cuts in prop::collection::vec(0usize..400, 0..12),
        ) {
            let bytes = parts.concat().into_bytes();
            events_however_cut(Framing::Sse, &bytes, &cuts)?;
        }
    }
}
