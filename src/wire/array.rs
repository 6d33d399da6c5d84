//! A JSON array whose elements, all objects, are sent one by one: bytes in any pieces to elements and back.

use bytes::BytesMut;

use super::{
    frame::{Decode, Event, Framing, Message},
    json::Malformed,
};

/// Cuts an array's bytes into its elements; what stands before an element (bracket, comma, space) belongs to it, and the
/// closing bracket with all after it is an event of its own.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// Bytes of the buffer already searched.
    searched: usize,
    /// Greatest size of one element.
    limit: usize,
    /// Braces and brackets open within the element.
    depth: usize,
    quoted: bool,
    escaped: bool,
    /// Where the element begins in the buffer.
    start: Option<usize>,
    before: Before,
}

/// What stands before the next byte outside of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Bracket,
    Element,
    Comma,
    Closed,
}

impl Decoder {
    /// A decoder that refuses elements of more than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            limit,
            depth: 0,
            quoted: false,
            escaped: false,
            start: None,
            before: Before::Nothing,
        }
    }

    /// Reads one byte; `true` when it ends an element.
    fn step(&mut self, byte: u8) -> Result<bool, Malformed> {
        if self.start.is_none() {
            self.before = match (self.before, byte) {
                (_, b' ' | b'\t' | b'\r' | b'\n') => self.before,
                (Before::Nothing, b'[') => Before::Bracket,
                (Before::Element, b',') => Before::Comma,
                (Before::Bracket | Before::Element, b']') => Before::Closed,
                (Before::Bracket | Before::Comma, b'{') => {
                    (self.start, self.depth) = (Some(self.searched), 1);
                    Before::Element
                }
                _ => return Err(Malformed::new("the stream is not an array of objects")),
            };
            return Ok(false);
        }
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.quoted => self.escaped = true,
            b'"' => self.quoted = !self.quoted,
            b'{' | b'[' if !self.quoted => self.depth += 1,
            b'}' | b']' if !self.quoted => self.depth -= 1,
            _ => {}
        }
        Ok(self.depth == 0)
    }

    fn take(&mut self, length: usize) -> Result<Event, Malformed> {
        let raw = self.buffer.split_to(length).freeze();
        let start = self.start.take();
        (self.searched, self.depth, self.quoted, self.escaped) = (0, 0, false, false);
        let text = std::str::from_utf8(&raw).map_err(|_| Malformed::new("an element of the stream is not UTF-8"))?;
        let data = start.and_then(|start| text.get(start..)).map(str::to_owned);
        Ok(Event { raw, name: None, data, framing: Framing::Array })
    }
}

impl Decode for Decoder {
    fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn event(&mut self) -> Result<Option<Event>, Malformed> {
        while let Some(&byte) = self.buffer.get(self.searched) {
            let ended = self.step(byte)?;
            self.searched += 1;
            if ended {
                return self.take(self.searched).map(Some);
            }
        }
        if self.buffer.len() > self.limit {
            return Err(Malformed::new(format!("an element of the stream is larger than {} bytes", self.limit)));
        }
        Ok(None)
    }

    fn rest(&mut self) -> Result<Option<Event>, Malformed> {
        if self.buffer.is_empty() { Ok(None) } else { self.take(self.buffer.len()).map(Some) }
    }
}

/// The bytes that end an array with these elements.
pub(super) fn ending(messages: &[Message], begun: bool) -> String {
    let mut out = String::new();
    for (index, message) in messages.iter().enumerate() {
        out.push_str(if begun || index > 0 { ",\r\n" } else { "[" });
        out.push_str(&message.data);
    }
    if !begun && messages.is_empty() {
        out.push('[');
    }
    out + "]"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::frame::tests::{decode, events, events_however_cut};

    #[test]
    fn elements_and_brackets() {
        let text = br#"[{"a":"}]\"{"} ,
 {"b":[{}]}]
"#;
        let events = events(Framing::Array, text);
        let data: Vec<_> = events.iter().map(|event| event.data.as_deref()).collect();
        assert_eq!(data, [Some(r#"{"a":"}]\"{"}"#), Some(r#"{"b":[{}]}"#), None]);
        assert_eq!(events[1].with_data("{}").unwrap(), " ,\n {}");
        assert!(decode(Framing::Array, [&b"{\"a\":1}"[..]]).is_err());
        assert!(decode(Framing::Array, [&b"[{},]"[..]]).is_err());
        assert!(decode(Framing::Array, [&b"[{}] {}"[..]]).is_err());
        assert!(decode(Framing::Array, [&b"[[]]"[..]]).is_err());
        let mut small = Decoder::new(10);
        small.feed(b"[{\"a\": 12345678");
        assert!(small.event().is_err());
    }

    #[test]
    fn an_ending_closes_the_array() {
        let messages = [Message::plain("{}"), Message::plain("{\"a\":1}")];
        assert_eq!(ending(&messages, false), "[{},\r\n{\"a\":1}]");
        assert_eq!(ending(&messages, true), ",\r\n{},\r\n{\"a\":1}]");
        assert_eq!(ending(&[], false), "[]");
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_elements(
            values in prop::collection::vec(("\\PC{0,6}", any::<i8>()), 0..6),
            cuts in prop::collection::vec(0usize..300, 0..12),
        ) {
            let values: Vec<_> = values.iter().map(|(text, n)| serde_json::json!({"t": text, "n": [n, {"x": text}]})).collect();
            let bytes = serde_json::to_string_pretty(&values).unwrap().into_bytes();
            let whole = events_however_cut(Framing::Array, &bytes, &cuts)?;
            let read: Vec<serde_json::Value> =
                whole.iter().filter_map(|event| event.data.as_deref()).map(|data| serde_json::from_str(data).unwrap()).collect();
            prop_assert_eq!(read, values);
        }
    }
}
