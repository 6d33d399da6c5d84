//! OpenAI's moderations, answered by the guard itself: clients that ask for them work unchanged, and no text leaves.

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    Proxy,
    answer::{Failure, json as answer},
    body::Body,
};
use crate::{
    guard::Unavailable,
    scan::{self, Ask},
    segment::{Content, Direction, Score, Segment, Target},
    wire::json::{Malformed, Node},
};

/// Fields of the request.
const KNOWN: &[&str] = &["input", "model"];
/// OpenAI's categories, which its SDK expects. The guard knows one kind of harm, so these stay false.
const CATEGORIES: &[&str] = &[
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];
/// Most texts of one request.
const INPUTS: usize = 1_024;
/// The guard's own category.
const UNSAFE: &str = "unsafe";

impl Proxy {
    /// Scores each text that the request holds, as a prompt.
    pub(super) async fn moderate(&self, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let (head, body) = request.into_parts();
        let document = self.read(&head.headers, body).await?;
        let mut texts = Vec::new();
        for (key, value) in document.root().known("body", KNOWN).map_err(Failure::Request)? {
            if key == "input" {
                texts = inputs(&value)?;
            }
        }
        if texts.is_empty() {
            return Err(Failure::Request(Malformed::new("`input` must be a string, or an array of strings or of text parts")));
        }
        if texts.len() > INPUTS {
            return Err(Failure::Request(Malformed::new(format!("`input` holds more than {INPUTS} texts"))));
        }
        let mut results = Vec::with_capacity(texts.len());
        for text in texts {
            results.push(result(self.score(text).await.map_err(Failure::Unjudged)?));
        }
        let body = json!({
            "id": format!("modr-{}", Uuid::now_v7().simple()),
            "created": Timestamp::now().as_second(),
            "model": self.scanner.guard().identity(),
            "results": results,
        });
        Ok(answer(StatusCode::OK, body.to_string()))
    }

    async fn score(&self, text: String) -> Result<Score, Unavailable> {
        let segments = vec![Segment { target: Target::Prompt, passage: 0, text, place: None }];
        let (ask, content) = (Ask::only(scan::DEFAULT), Content { segments, ..Content::default() });
        let evidence = self.scanner.evidence(&ask, content, Direction::Request, None).await;
        // One text is one passage; text of no characters is none, and safe.
        let score = evidence.passages.first().map(|passage| passage.score(scan::DEFAULT));
        score.unwrap_or(Ok(Score { value: 0.0, threshold: 1.0 }))
    }
}

/// The texts to judge: one for a string, one for each string of an array, one for all text parts together.
fn inputs(value: &Node<'_>) -> Result<Vec<String>, Failure> {
    if let Some(text) = value.string() {
        return Ok(vec![text.into_owned()]);
    }
    let items = value.array().unwrap_or_default();
    let strings: Vec<String> = items.iter().filter_map(|item| item.string().map(Into::into)).collect();
    if strings.len() == items.len() {
        return Ok(strings);
    }
    let mut parts = Vec::new();
    for item in &items {
        let members = item.known("input part", &["type", "text", "image_url"]).map_err(Failure::Request)?;
        let member = |name: &str| members.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.string());
        match (member("type").as_deref(), member("text")) {
            (Some("text"), Some(text)) => parts.push(text.into_owned()),
            (Some(kind), _) => return Err(Failure::Unscorable(kind.to_owned())),
            (None, _) => return Err(Failure::Request(Malformed::new("an input part has no `type`"))),
        }
    }
    Ok(vec![parts.join("\n")])
}

fn result(score: Score) -> Value {
    let flagged = score.value >= score.threshold;
    let mut categories: Map<String, Value> = CATEGORIES.iter().map(|name| ((*name).to_owned(), json!(false))).collect();
    let mut scores: Map<String, Value> = CATEGORIES.iter().map(|name| ((*name).to_owned(), json!(0.0))).collect();
    categories.insert(UNSAFE.to_owned(), json!(flagged));
    scores.insert(UNSAFE.to_owned(), json!(score.value));
    let types: Map<String, Value> = [(UNSAFE.to_owned(), json!(["text"]))].into_iter().collect();
    json!({"flagged": flagged, "categories": categories, "category_scores": scores, "category_applied_input_types": types})
}
