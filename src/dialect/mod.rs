//! The APIs that clients speak: where each keeps its text, how it refuses and how it reports an error.
//!
//! One room an API, behind [`Dialect`]; a new one is a new file and a line in [`DIALECTS`]. A dialect knows bytes and places
//! (`wire`, `segment`) and nothing of guards, policies or connections.

mod anthropic;
mod bedrock;
mod code;
mod cohere;
mod delta;
mod gemini;
mod model;
mod ollama;
mod openai_chat;
mod openai_completions;
mod openai_responses;
mod outcome;
mod schema;
mod strict;
mod text;
mod tokens;
mod unread;
mod writing;

use http::{Method, StatusCode, Uri};

pub use self::{outcome::Outcome, text::Arguments};
use crate::{
    segment::{Content, Delta, Direction, Edit, Place, Segment},
    wire::{
        frame::{Event, Framing, Message},
        json::{Document, Malformed, Patch},
    },
};

/// Every API that is spoken here.
pub const DIALECTS: &[&dyn Dialect] = &[
    &openai_chat::OpenAiChat,
    &openai_completions::OpenAiCompletions,
    &openai_responses::OpenAiResponses,
    &ollama::Ollama::Chat,
    &ollama::Ollama::Generate,
    &cohere::Cohere,
    &bedrock::Bedrock,
    &anthropic::Anthropic,
    &gemini::Gemini,
];

/// What a dialect read in a request.
#[derive(Debug, Default)]
pub struct Request {
    /// The model asked for: the one that the path names, if it names one.
    pub model: String,
    /// Other models that it names, which may answer in its place.
    pub others: Vec<String>,
    /// How the answer is to be streamed, if it is.
    pub stream: Option<Framing>,
    /// Number of choices asked for.
    pub choices: u64,
    /// Whether a stream is to end with its token usage.
    pub usage: bool,
    /// Its text, in order.
    pub content: Content,
}

/// What stands in place of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the user reads.
    pub message: String,
    /// Whether the model is said to have been stopped by a filter (`false` where the message simply is the answer).
    pub filtered: bool,
    /// What was refused: some APIs tell a refused prompt from a refused answer.
    pub direction: Direction,
}

/// One API.
pub trait Dialect: Send + Sync {
    /// Its name in settings, logs and metrics.
    fn name(&self) -> &'static str;

    /// Whether this method and path is a chat call of this API, wherever a prefix puts it.
    fn matches(&self, method: &Method, path: &str) -> bool;

    /// Reads a request where it is known to hold text; some APIs name model and stream in the address.
    ///
    /// # Errors
    /// A body that is not this API's, or that holds what cannot be read unambiguously.
    fn read(&self, uri: &Uri, document: &Document) -> Result<Request, Malformed>;

    /// The places of a request whose strings are told to no model: names of models and accounts, addresses, credentials, bytes
    /// in base64. Each is the end of a path of names, or the whole of it after a `/`; `*` is any name. Indices are left out.
    fn silent(&self) -> &'static [&'static str];

    /// Reads all the text of a request: what [`Dialect::read`] finds, and every other string that does not stand in a silent
    /// place and says more than an id does; and all the models that it names.
    ///
    /// # Errors
    /// As [`Dialect::read`], or too many models.
    fn request(&self, uri: &Uri, document: &Document) -> Result<Request, Malformed> {
        let mut request = self.read(uri, document)?;
        model::add(&mut request, document)?;
        unread::add(&mut request, document, self.silent());
        Ok(request)
    }

    /// Reads the text of a whole answer, or of an error.
    ///
    /// # Errors
    /// As [`Dialect::request`].
    fn response(&self, document: &Document) -> Result<Content, Malformed>;

    /// The framings that its streams come in, the usual one first.
    fn framings(&self) -> &'static [Framing];

    /// A reader and writer for one streamed answer.
    fn stream(&self, request: &Request) -> Box<dyn StreamDialect>;

    /// A whole answer that refuses.
    fn refuse(&self, request: &Request, refusal: &Refusal) -> String;

    /// An error in this API's shape.
    fn error(&self, status: StatusCode, code: &str, message: &str) -> String;
}

/// What an event of a stream brings.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Its text.
    pub deltas: Vec<Delta>,
    /// How far it takes the answer.
    pub progress: Progress,
    /// Content that no text guard can judge, such as `image_url`.
    pub unscorable: Vec<String>,
    /// Choices (as its deltas' channels count them) whose text ends here, besides those that its progress ends.
    pub closed: Vec<u64>,
    /// Its lists of tokens tell more than its text does: it must leave without them, as [`StreamDialect::edit`] writes it.
    pub ahead: bool,
}

/// What an event begins and ends: a stream that is cut closes what the client saw begun and not ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Indices of choices (or blocks, where an API has these) that it begins or continues.
    pub begun: Vec<u64>,
    /// Indices of those that it ends.
    pub ended: Vec<u64>,
    /// What else a proper end must know of it, as the dialect likes.
    pub mark: Option<serde_json::Value>,
}

/// One streamed answer of an API.
pub trait StreamDialect: Send {
    /// What an event brings.
    ///
    /// # Errors
    /// An event that cannot be read.
    fn read(&mut self, event: &Event) -> Result<Brought, Malformed>;

    /// The event that brought this has left for the client.
    fn left(&mut self, progress: &Progress);

    /// The event's data with each delta's text replaced and without lists of tokens; `texts` runs alongside the deltas that [`StreamDialect::read`] gave.
    ///
    /// # Errors
    /// A text that was changed in a place that cannot be edited.
    fn edit(&self, event: &Event, deltas: &[Delta], texts: &[String]) -> Result<String, Malformed>;

    /// The events that end the answer with a refusal, as the API ends one properly.
    fn cut(&self, refusal: &Refusal) -> Vec<Message>;

    /// The events that report an error within a stream.
    fn fail(&self, code: &str, message: &str) -> Vec<Message>;
}

/// The patches that make `edits` in the segments of a body, each where its text stands, and that blank its `echoes`.
///
/// # Errors
/// An edit of a text that has no place to edit.
pub fn patches(segments: &[Segment], echoes: &[Place], edits: &[(usize, Vec<Edit>)]) -> Result<Vec<Patch>, Malformed> {
    let blanks = echoes.iter().map(|place| Ok(Patch { range: place.0.clone(), with: "null".to_owned() }));
    let blanked = |segment: &Segment| {
        let start = segment.place.as_ref().map(|place| place.0.start);
        start.is_some_and(|start| echoes.iter().any(|echo| echo.0.contains(&start)))
    };
    let edited = edits.iter().filter_map(|(index, edits)| segments.get(*index).map(|segment| (segment, edits)));
    let edited = edited.filter(|(segment, _)| !blanked(segment));
    let patches = edited.map(|(segment, edits)| {
        let place = segment.place.as_ref().ok_or_else(|| {
            Malformed::new(
                "a rule would rewrite the name of a field or a file's text, which cannot be done: the exchange is refused",
            )
        })?;
        Ok(text::patch(place, segment.target, &segment.text, edits))
    });
    patches.chain(blanks).collect()
}

/// An id for an answer of our own; it tells when it was made.
fn new_id(prefix: &str) -> String {
    format!("{prefix}{}", uuid::Uuid::now_v7().simple())
}

#[cfg(test)]
mod any;
#[cfg(test)]
mod conformance;
