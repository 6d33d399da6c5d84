//! AWS's event stream (`application/vnd.amazon.eventstream`): bytes in any pieces to messages and back. A message tells its
//! own length in its first four bytes; both of its checksums are checked.

use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::event_stream::{Header, HeaderValue, Message as Frame};
use bytes::{Bytes, BytesMut};

use super::{
    frame::{Decode, Event, Framing, Message},
    json::Malformed,
};

/// Cuts a byte stream into messages.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// Greatest size of one message.
    limit: usize,
}

impl Decoder {
    /// A decoder that refuses messages of more than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit }
    }
}

impl Decode for Decoder {
    fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn event(&mut self) -> Result<Option<Event>, Malformed> {
        let Some(length) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(Malformed::new(format!("an event of the stream is larger than {} bytes", self.limit)));
        }
        if self.buffer.len() < length {
            return Ok(None);
        }
        let raw = self.buffer.split_to(length).freeze();
        let frame = read(&raw)?;
        // Such a message is all headers: an error that no dialect knows, with a text that no guard would see.
        if header(&frame, ":message-type").as_deref() == Some("error") {
            return Err(Malformed::new("the upstream ended the stream with an error of its own"));
        }
        let payload =
            std::str::from_utf8(frame.payload()).map_err(|_| Malformed::new("an event of the stream is not UTF-8"))?;
        let data = Some(payload).filter(|payload| !payload.is_empty()).map(str::to_owned);
        let name = [":event-type", ":exception-type"].into_iter().find_map(|name| header(&frame, name));
        Ok(Some(Event { raw, name, data, framing: Framing::EventStream }))
    }

    fn rest(&mut self) -> Result<Option<Event>, Malformed> {
        // A client cannot check half a message, so it cannot read it.
        if self.buffer.is_empty() { Ok(None) } else { Err(Malformed::new("the stream ends within an event")) }
    }
}

fn read(raw: &Bytes) -> Result<Frame, Malformed> {
    read_message_from(raw.clone()).map_err(|e| Malformed::new(format!("an event of the stream cannot be read: {e}")))
}

fn header(frame: &Frame, name: &str) -> Option<String> {
    let header = frame.headers().iter().find(|header| header.name().as_str() == name)?;
    header.value().as_string().ok().map(|value| value.as_str().to_owned())
}

fn write(frame: &Frame) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::new();
    write_message_to(frame, &mut out).map_err(|e| Malformed::new(format!("an event cannot be written: {e}")))?;
    Ok(out)
}

/// A message's bytes with another payload.
///
/// # Errors
/// Bytes that are no message.
pub(super) fn with_data(raw: &Bytes, data: &str) -> Result<Bytes, Malformed> {
    let frame = read(raw)?;
    write(&Frame::new_from_parts(frame.headers().to_vec(), Bytes::from(data.to_owned()))).map(Bytes::from)
}

/// The bytes of a message of ours.
pub(super) fn encode(message: &Message) -> Vec<u8> {
    let text = |name: &'static str, value: &str| Header::new(name, HeaderValue::String(value.to_owned().into()));
    let name = message.name.as_deref().unwrap_or_default();
    let (kind, key) = if message.error { ("exception", ":exception-type") } else { ("event", ":event-type") };
    let headers = vec![text(key, name), text(":content-type", "application/json"), text(":message-type", kind)];
    // Writing into memory fails only for headers that are too long, and these are ours.
    write(&Frame::new_from_parts(headers, Bytes::from(message.data.clone()))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::frame::tests::{decode, events, events_however_cut};

    #[test]
    fn messages_edits_and_exceptions() {
        let mut bytes = encode(&Message::named("contentBlockDelta", "{\"a\":1}"));
        bytes.extend(encode(&Message { error: true, ..Message::named("throttlingException", "{}") }));
        let read = events(Framing::EventStream, &bytes);
        assert_eq!((read[0].name.as_deref(), read[0].data.as_deref()), (Some("contentBlockDelta"), Some("{\"a\":1}")));
        assert_eq!(read[1].name.as_deref(), Some("throttlingException"));
        let edited = read[0].with_data("{\"b\":2}").unwrap();
        let read = events(Framing::EventStream, &edited);
        assert_eq!((read[0].name.as_deref(), read[0].data.as_deref()), (Some("contentBlockDelta"), Some("{\"b\":2}")));
    }

    #[test]
    fn altered_cut_and_oversized_messages_are_refused() {
        let mut bytes = encode(&Message::named("x", "{\"a\":1}"));
        assert!(decode(Framing::EventStream, [&bytes[..bytes.len() - 1]]).is_err());
        let mut small = Decoder::new(20);
        small.feed(&bytes);
        assert!(small.event().is_err());
        if let Some(byte) = bytes.iter_mut().nth_back(6) {
            *byte ^= 1;
        }
        assert!(decode(Framing::EventStream, [&bytes[..]]).is_err());
        assert!(decode(Framing::EventStream, [&[0, 0, 0, 3, 1, 2][..]]).is_err());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_messages(
            texts in prop::collection::vec("\\PC{0,12}", 0..6),
            cuts in prop::collection::vec(0usize..600, 0..12),
        ) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| encode(&Message::named("e", text.as_str()))).collect();
            events_however_cut(Framing::EventStream, &bytes, &cuts)?;
        }
    }
}
