//! Every place of a JSON body where a string can be put, and the ways of putting one there.

use serde_json::{Value, json};

/// A way through a body: keys and indices.
pub(super) type Path = Vec<Step>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// How a string is put at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// In the place of the value.
    Instead,
    /// In a list in the place of the value.
    Listed,
    /// Deep in an object in the place of the value.
    Nested,
    /// As one more member, or element, of the value.
    Added,
    /// The same, within a value of its own.
    AddedDeep,
    /// As the name of one more member.
    Named,
}

pub(super) const WAYS: [How; 6] = [How::Instead, How::Listed, How::Nested, How::Added, How::AddedDeep, How::Named];

/// Every place in a value, itself included.
pub(super) fn places(value: &Value) -> Vec<Path> {
    fn walk(value: &Value, path: &Path, found: &mut Vec<Path>) {
        found.push(path.clone());
        let mut below = |step: Step, value: &Value| walk(value, &[path.as_slice(), &[step]].concat(), found);
        match value {
            Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| below(Step::Index(index), item)),
            Value::Object(members) => members.iter().for_each(|(key, item)| below(Step::Key(key.clone()), item)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(value, &Path::new(), &mut found);
    found
}

/// A body with a text put in, and the names of the fields that it stands in.
#[derive(Debug, Clone)]
pub(super) struct Marked {
    pub(super) body: Value,
    pub(super) names: Vec<String>,
}

/// A body with a text at a place; `None` where it cannot stand there in this way.
pub(super) fn put(body: &Value, path: &Path, how: How, text: &str) -> Option<Marked> {
    let mut body = body.clone();
    let at = go(&mut body, path)?;
    let below: &[&str] = match (how, &mut *at) {
        (How::Instead, Value::Object(_) | Value::Array(_)) => return None,
        (How::Instead, _) => {
            *at = json!(text);
            &[]
        }
        (How::Listed, _) => {
            *at = json!([text]);
            &[]
        }
        (How::Nested, _) => {
            *at = json!({"vendor": [{"more": text}]});
            &["vendor", "more"]
        }
        (How::Added, Value::Object(members)) => {
            members.insert("vendor".to_owned(), json!(text));
            &["vendor"]
        }
        (How::Added, Value::Array(items)) => {
            items.push(json!(text));
            &[]
        }
        (How::AddedDeep, Value::Object(members)) => {
            members.insert("vendor".to_owned(), json!({"more": [text]}));
            &["vendor", "more"]
        }
        (How::AddedDeep, Value::Array(items)) => {
            items.push(json!({"type": "text", "text": text}));
            &["text"]
        }
        (How::Named, Value::Object(members)) => {
            members.insert(text.to_owned(), json!(1));
            &[text]
        }
        (How::Added | How::AddedDeep | How::Named, _) => return None,
    };
    let names = names(path).into_iter().chain(below.iter().copied().map(str::to_owned)).collect();
    Some(Marked { body, names })
}

/// The names of the fields on a way.
pub(super) fn names(path: &Path) -> Vec<String> {
    let name = |step: &Step| match step {
        Step::Key(key) => Some(key.clone()),
        Step::Index(_) => None,
    };
    path.iter().filter_map(name).collect()
}

fn go<'v>(body: &'v mut Value, path: &[Step]) -> Option<&'v mut Value> {
    path.iter().try_fold(body, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    })
}

/// The pattern of a dialect's that says of the place in these fields that no model is told what stands there.
pub(super) fn silent<'p>(patterns: &[&'p str], names: &[String]) -> Option<&'p str> {
    let fits = |pattern: &str| {
        let steps: Vec<&str> = pattern.trim_start_matches('/').split('/').collect();
        let start = names.len().checked_sub(steps.len());
        let agree = |start: usize| names[start..].iter().zip(&steps).all(|(name, step)| *step == "*" || name == step);
        start.is_some_and(|start| agree(start) && (start == 0 || !pattern.starts_with('/')))
    };
    patterns.iter().copied().find(|pattern| fits(pattern))
}

/// A body without what stands at a place; `None` for the whole of it.
pub(super) fn without(body: &Value, path: &Path) -> Option<Value> {
    let (last, above) = path.split_last()?;
    let mut body = body.clone();
    match (last, go(&mut body, above)?) {
        (Step::Key(key), Value::Object(members)) => drop(members.remove(key)),
        (Step::Index(index), Value::Array(items)) => drop(items.remove(*index)),
        _ => return None,
    }
    Some(body)
}
