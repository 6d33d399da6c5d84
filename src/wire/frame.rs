//! How a streamed answer is cut into events: one shape for all framings, so that dialects need not know which it is.

use bytes::Bytes;

use super::{
    array, event_stream,
    json::{Malformed, one_line},
    ndjson, sse,
};

/// A way of putting events into a byte stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// One JSON value a line.
    Ndjson,
    /// One JSON array, its elements sent one by one.
    Array,
    /// AWS's binary event stream.
    EventStream,
}

/// One event, with the bytes it came as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The bytes as they came, what parts them from the next event included.
    pub raw: Bytes,
    /// The kind of event, where the framing itself tells it.
    pub name: Option<String>,
    /// What it carries; `None` for a comment, a blank line or a bracket.
    pub data: Option<String>,
    /// The framing it came in.
    pub framing: Framing,
}

/// An event of our own making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The kind of event, for framings that tell it.
    pub name: Option<String>,
    /// What it carries.
    pub data: String,
    /// Whether it reports an error, for framings that tell.
    pub error: bool,
}

impl Message {
    /// A message without a name.
    #[must_use]
    pub fn plain(data: impl Into<String>) -> Self {
        Self { name: None, data: data.into(), error: false }
    }

    /// A message of a kind.
    #[must_use]
    pub fn named(name: &str, data: impl Into<String>) -> Self {
        Self { name: Some(name.to_owned()), data: data.into(), error: false }
    }
}

/// Cuts a byte stream into events, however the bytes are split.
pub trait Decode: Send {
    /// Adds bytes of the stream.
    fn feed(&mut self, bytes: &[u8]);

    /// The next whole event, if its bytes are here.
    ///
    /// # Errors
    /// Bytes that are not of this framing, or an event over the limit.
    fn event(&mut self) -> Result<Option<Event>, Malformed>;

    /// What is left when the stream has ended: not every client drops an event that was not finished.
    ///
    /// # Errors
    /// As [`Decode::event`].
    fn rest(&mut self) -> Result<Option<Event>, Malformed>;
}

impl Framing {
    /// The framing that a media type names.
    #[must_use]
    pub fn of(content_type: &str) -> Option<Self> {
        let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media.as_str() {
            "text/event-stream" => Some(Self::Sse),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Self::Ndjson),
            "application/vnd.amazon.eventstream" => Some(Self::EventStream),
            _ => None,
        }
    }

    /// The media type of a stream of ours.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
            Self::Array => "application/json; charset=utf-8",
            Self::EventStream => "application/vnd.amazon.eventstream",
        }
    }

    /// A decoder that refuses events of more than `limit` bytes.
    #[must_use]
    pub fn decoder(self, limit: usize) -> Box<dyn Decode> {
        match self {
            Self::Sse => Box::new(sse::Decoder::new(limit)),
            Self::Ndjson => Box::new(ndjson::Decoder::new(limit)),
            Self::Array => Box::new(array::Decoder::new(limit)),
            Self::EventStream => Box::new(event_stream::Decoder::new(limit)),
        }
    }

    /// The bytes of messages that end a stream; `begun` says whether something of it was sent before.
    #[must_use]
    pub fn ending(self, messages: &[Message], begun: bool) -> Bytes {
        match self {
            Self::Sse => messages.iter().map(sse::encode).collect::<String>().into(),
            Self::Ndjson => messages.iter().map(|message| one_line(&message.data) + "\n").collect::<String>().into(),
            Self::Array => array::ending(messages, begun).into(),
            Self::EventStream => messages.iter().flat_map(event_stream::encode).collect::<Vec<u8>>().into(),
        }
    }
}

impl Event {
    /// The event's bytes with other data; all else of it stays.
    ///
    /// # Errors
    /// Bytes that are not of the event's framing.
    pub fn with_data(&self, data: &str) -> Result<Bytes, Malformed> {
        match self.framing {
            Framing::Sse => Ok(sse::with_data(&self.raw, data)),
            Framing::Ndjson | Framing::Array => {
                let old = self.data.as_deref().unwrap_or_default();
                let text = std::str::from_utf8(&self.raw).map_err(|_| Malformed::new("an event of the stream is not UTF-8"))?;
                Ok(text.replacen(old, data, 1).into())
            }
            Framing::EventStream => event_stream::with_data(&self.raw, data),
        }
    }
}

/// What tests of streams share.
#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The events of a stream whose bytes come in these pieces.
    pub(crate) fn decode<'p>(framing: Framing, pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<Vec<Event>, Malformed> {
        let mut decoder = framing.decoder(1 << 20);
        let mut events = Vec::new();
        for piece in pieces {
            decoder.feed(piece);
            while let Some(event) = decoder.event()? {
                events.push(event);
            }
        }
        events.extend(decoder.rest()?);
        Ok(events)
    }

    /// The events of a whole stream.
    pub(crate) fn events(framing: Framing, bytes: &[u8]) -> Vec<Event> {
        decode(framing, [bytes]).unwrap()
    }

    /// The events of a stream, which hold all its bytes and are the same if it comes cut in these places.
    pub(in crate::wire) fn events_however_cut(
        framing: Framing,
        bytes: &[u8],
        cuts: &[usize],
    ) -> Result<Vec<Event>, TestCaseError> {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| *cut.min(&bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let whole = events(framing, bytes);
        let split = decode(framing, cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]])).unwrap();
        prop_assert_eq!(&whole, &split);
        let joined: Vec<u8> = whole.iter().flat_map(|event| event.raw.to_vec()).collect();
        prop_assert_eq!(joined, bytes);
        Ok(whole)
    }
}
