//! A call of the API. What it takes and what it gives are its handler's own types, and the document is made of the same: they
//! cannot say different things.

use std::{collections::BTreeMap, fmt, sync::Arc};

use axum::{
    body::{Body, to_bytes},
    extract::{RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{MethodFilter, on},
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::document::Schemas;
use crate::{
    config::{Role, nearest},
    console::{Access, Failure, Reviewer, Rooms, Route, answer},
};

/// Largest body of a call.
const BODY: usize = 1 << 20;

/// A call as it came, from somebody who may make it.
#[derive(Debug)]
pub struct Asked<Q = Nothing, B = Nothing> {
    /// What the console stands on.
    pub rooms: Rooms,
    /// Who makes it.
    pub reviewer: Reviewer,
    /// The `{id}` of its path; empty where that has none.
    pub id: String,
    /// Its query.
    pub query: Q,
    /// Its body.
    pub body: B,
}

/// What calls take that take nothing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct Nothing {}

/// What a query or a body may be: an object.
pub trait Input: DeserializeOwned + JsonSchema + Send + 'static {}

impl<T: DeserializeOwned + JsonSchema + Send + 'static> Input for T {}

/// What a call may give.
pub trait Output {
    /// The status that says so.
    const STATUS: StatusCode = StatusCode::OK;

    /// What is sent.
    fn answer(self) -> Response;

    /// Its types and their schemas, as OpenAPI has them under `content`.
    fn content(schemas: &mut Schemas) -> Value;
}

/// Something to be told, in JSON.
#[derive(Debug)]
pub struct Tell<T>(pub T);

impl<T: Serialize + JsonSchema> Output for Tell<T> {
    fn answer(self) -> Response {
        answer(Self::STATUS, &self.0)
    }

    fn content(schemas: &mut Schemas) -> Value {
        json!({"application/json": {"schema": schemas.told::<T>()}})
    }
}

/// Something that was made, in JSON.
#[derive(Debug)]
pub(super) struct Made<T>(pub(super) T);

impl<T: Serialize + JsonSchema> Output for Made<T> {
    const STATUS: StatusCode = StatusCode::CREATED;

    fn answer(self) -> Response {
        answer(Self::STATUS, &self.0)
    }

    fn content(schemas: &mut Schemas) -> Value {
        Tell::<T>::content(schemas)
    }
}

/// Something was done.
impl Output for () {
    const STATUS: StatusCode = StatusCode::NO_CONTENT;

    fn answer(self) -> Response {
        Self::STATUS.into_response()
    }

    fn content(_: &mut Schemas) -> Value {
        json!({})
    }
}

/// What the document says of a call.
#[derive(Debug, Clone, Copy)]
pub(in crate::console) struct Operation {
    pub(super) summary: &'static str,
    pub(super) shape: fn(&mut Schemas) -> Shape,
}

/// What a call takes and gives.
pub(in crate::console) struct Shape {
    pub(super) query: Schema,
    pub(super) body: Schema,
    pub(super) status: StatusCode,
    pub(super) content: Value,
}

fn shape<Q: Input, B: Input, O: Output>(schemas: &mut Schemas) -> Shape {
    Shape { query: schemas.given::<Q>(), body: schemas.given::<B>(), status: O::STATUS, content: O::content(schemas) }
}

/// A call of the API.
pub fn call<Q, B, O, H, F>(method: Method, path: &'static str, least: Role, summary: &'static str, handler: H) -> Route
where
    Q: Input,
    B: Input,
    O: Output + 'static,
    H: Fn(Asked<Q, B>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<O, Failure>> + Send + 'static,
{
    let fields = Arc::new((Fields::of::<Q>(), Fields::of::<B>()));
    let takes = if method.is_safe() { 0 } else { BODY };
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
    let handler = on(filter, move |State(rooms): State<Rooms>, reviewer: Reviewer, path: Params, request: Request| {
        let (handler, fields) = (handler.clone(), Arc::clone(&fields));
        async move {
            let asked = async {
                let path = path.map_err(|e| Failure::unread(e.to_string()))?;
                let id = path.iter().next().map(|(_, id)| id.replace('\0', "")).unwrap_or_default();
                let (query, body) = &*fields;
                let query = query.read(request.uri().query().unwrap_or_default())?;
                let body = body.read_body(request.into_body(), takes).await?;
                handler(Asked { rooms, reviewer, id, query, body }).await
            };
            asked.await.map_or_else(Failure::into_response, Output::answer)
        }
    });
    let told = Some(Operation { summary, shape: shape::<Q, B, O> });
    Route { method, path, access: Access::Least(least), handler, told }
}

type Params = Result<RawPathParams, RawPathParamsRejection>;

/// The fields that an object may have, and which kinds of JSON each may be.
struct Fields(BTreeMap<String, Vec<String>>);

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Fields {
    fn of<T: Input>() -> Self {
        let schema = T::json_schema(&mut SchemaGenerator::default());
        let kinds = |schema: &Value| match schema.get("type") {
            Some(Value::String(kind)) => vec![kind.clone()],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        Self(properties.map(|(name, schema)| (name.clone(), kinds(schema))).collect())
    }

    /// Reads a query.
    fn read<T: Input>(&self, query: &str) -> Result<T, Failure> {
        let mut fields = Map::new();
        for (name, text) in form_urlencoded::parse(query.as_bytes()) {
            let kinds = self.kinds(&name)?;
            // No text of the record has it, and PostgreSQL takes none that does.
            if text.contains('\0') {
                return Err(Failure::unread(format!("`{name}` holds a character that no text has")));
            }
            // A field that a form leaves empty asks for nothing.
            if !text.is_empty() && fields.insert(name.to_string(), value(kinds, &text)).is_some() {
                return Err(Failure::unread(format!("`{name}` is there twice")));
            }
        }
        typed(&fields)
    }

    /// Reads a body of at most so many bytes.
    async fn read_body<T: Input>(&self, body: Body, most: usize) -> Result<T, Failure> {
        if most == 0 {
            return typed(&Map::new());
        }
        let too_large = |_| Failure::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {most} bytes"));
        let bytes = to_bytes(body, most).await.map_err(too_large)?;
        if bytes.trim_ascii().is_empty() {
            return typed(&Map::new());
        }
        let fields: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|e| Failure::unread(format!("the body is no JSON object: {e}")))?;
        fields.keys().try_for_each(|name| self.kinds(name).map(drop))?;
        typed(&fields)
    }

    fn kinds(&self, name: &str) -> Result<&[String], Failure> {
        self.0.get(name).map(Vec::as_slice).ok_or_else(|| {
            let hint = nearest(name, self.0.keys().map(String::as_str));
            let hint = hint.map_or_else(|| "it takes none".to_owned(), |near| format!("did you mean `{near}`?"));
            Failure::unread(format!("`{name}` is no field of this call; {hint}"))
        })
    }
}

/// A query's text as the JSON that it stands for.
fn value(kinds: &[String], text: &str) -> Value {
    let is = |kind: &str| kinds.iter().any(|own| own == kind);
    let read = serde_json::from_str(text).ok().filter(|value: &Value| {
        (value.is_number() && (is("number") || is("integer"))) || (value.is_boolean() && is("boolean"))
    });
    read.unwrap_or_else(|| text.into())
}

fn typed<T: Input>(fields: &Map<String, Value>) -> Result<T, Failure> {
    serde_json::from_value(Value::Object(fields.clone())).map_err(|error| {
        let error = error.to_string();
        // Of several fields, the one that is wrong by itself in the same way.
        let is_it = |name: &str, value: &Value| {
            let alone = Map::from_iter([(name.to_owned(), value.clone())]);
            serde_json::from_value::<T>(Value::Object(alone)).is_err_and(|alone| alone.to_string() == error)
        };
        let blamed = fields.iter().find(|(name, value)| !error.starts_with("missing") && is_it(name, value));
        Failure::unread(blamed.map_or_else(|| error.clone(), |(name, _)| format!("`{name}`: {error}")))
    })
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Takes {
        name: Option<String>,
        score: Option<f32>,
        #[serde(default)]
        deep: bool,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    struct Needs {
        verdict: String,
        #[expect(dead_code, reason = "only read")]
        note: Option<String>,
    }

    async fn message(failure: Failure) -> String {
        let body = to_bytes(failure.into_response().into_body(), BODY).await.unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()["error"]["message"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn queries_are_read_and_mistakes_told() {
        let fields = Fields::of::<Takes>();
        let read = |query: &str| fields.read::<Takes>(query);
        let takes = Takes { name: Some("1".into()), score: Some(0.5), deep: true };
        assert_eq!(read("name=1&score=0.5&deep=true").unwrap(), takes);
        assert_eq!(read("name=&score=").unwrap(), Takes { name: None, score: None, deep: false });
        for (query, told) in [
            ("nam=1", "`nam` is no field of this call; did you mean `name`?"),
            ("score=1&score=2", "`score` is there twice"),
            ("name=a&score=high", "`score`: invalid type: string \"high\", expected f32"),
        ] {
            assert_eq!(message(read(query).unwrap_err()).await, told, "{query}");
        }
        assert_eq!(
            message(Fields::of::<Nothing>().read::<Nothing>("a=1").unwrap_err()).await,
            "`a` is no field of this call; it takes none"
        );
    }

    #[tokio::test]
    async fn bodies_are_read_and_mistakes_told() {
        let fields = Fields::of::<Needs>();
        let long = " ".repeat(65);
        let read = async |body: &str| fields.read_body::<Needs>(Body::from(body.to_owned()), 64).await;
        assert_eq!(read("{\"verdict\": \"right\"}").await.unwrap().verdict, "right");
        for (body, told) in [
            ("", "missing field `verdict`"),
            ("[]", "the body is no JSON object: invalid type: sequence, expected a map at line 1 column 0"),
            ("{\"verdict\": \"a\", \"notes\": 1}", "`notes` is no field of this call; did you mean `note`?"),
            ("{\"note\": \"a\"}", "missing field `verdict`"),
            ("{\"verdict\": \"a\", \"note\": 1}", "`note`: invalid type: integer `1`, expected a string"),
            (long.as_str(), "a body has at most 64 bytes"),
        ] {
            assert_eq!(message(read(body).await.unwrap_err()).await, told, "{body}");
        }
    }
}
