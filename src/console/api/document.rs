//! The API's document, in OpenAPI 3.1, made of the table of routes.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::call::{Operation, Shape};
use crate::console::{Access, Route, failure::Failed};

/// The schemas that the document has so far.
pub struct Schemas {
    given: SchemaGenerator,
    told: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        let (given, told) = (settings().for_deserialize().into_generator(), settings().for_serialize().into_generator());
        Self { given, told }
    }

    /// The schema of what is taken: all of it, so that its fields can be told one by one.
    pub(super) fn given<T: JsonSchema>(&mut self) -> Schema {
        T::json_schema(&mut self.given)
    }

    /// The schema of what is told.
    pub(super) fn told<T: JsonSchema>(&mut self) -> Schema {
        self.told.subschema_for::<T>()
    }

    /// All that others lead to.
    fn named(mut self) -> Map<String, Value> {
        let mut all = self.given.take_definitions(true);
        all.append(&mut self.told.take_definitions(true));
        all
    }
}

/// The document of these routes.
pub(super) fn document(routes: &[Route]) -> Value {
    let mut schemas = Schemas::new();
    let mut paths: BTreeMap<&str, BTreeMap<String, Value>> = BTreeMap::new();
    let failed = json!({
        "description": "Why it was not done.",
        "content": {"application/json": {"schema": schemas.told::<Failed>()}},
    });
    for Route { method, path, access, told, .. } in routes {
        let (Some(Operation { summary, shape }), Access::Least(least)) = (told, access) else { continue };
        let Shape { query, body, status, content } = shape(&mut schemas);
        let answer = json!({"description": summary, "content": content});
        let named = path.split('{').skip(1).filter_map(|part| part.split('}').next());
        let named = named.map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
        let mut operation = Map::from_iter(
            [
                ("operationId", json!(id(method.as_str(), path))),
                ("summary", json!(summary)),
                ("description", json!(format!("Takes the role `{}`.", least.name()))),
                ("security", json!([{"token": [least.name()]}, {"session": [least.name()]}])),
                ("parameters", named.chain(parameters(&query)).collect()),
                ("responses", json!({status.as_str(): answer, "4XX": failed, "5XX": failed})),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        if body.get("properties").is_some() {
            let is_needed = body.get("required").is_some();
            let body = json!({"required": is_needed, "content": {"application/json": {"schema": body}}});
            operation.insert("requestBody".to_owned(), body);
        }
        paths.entry(path).or_default().insert(method.as_str().to_lowercase(), operation.into());
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Seawall",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the admin listener tells and does: flagged exchanges, what reviewers say of them, exceptions, and \
                policies. Calls that change something carry `content-type: application/json`, also without a body; from a \
                session, they carry its token in `seawall-csrf` too.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas.named(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token of `admin.tokens`."},
                "session": {"type": "apiKey", "in": "cookie", "name": "seawall_session", "description": "Somebody who signed in."},
            },
        },
    })
}

/// A query's fields, one by one.
fn parameters(query: &Schema) -> impl Iterator<Item = Value> {
    let needed = query.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let fields = query.get("properties").and_then(Value::as_object).into_iter().flatten();
    fields.map(move |(name, schema)| {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description")).unwrap_or_default();
        let is_needed = needed.iter().any(|own| own == name);
        json!({"name": name, "in": "query", "required": is_needed, "description": description, "schema": schema})
    })
}

/// A name for the call, such as `post_cases_id_decision`.
fn id(method: &str, path: &str) -> String {
    let path = path.trim_start_matches("/api/v1").replace(['{', '}'], "").replace(['/', '.', '-'], "_");
    format!("{}{path}", method.to_lowercase())
}
