//! What the dialects' tests share: bodies of any shape, and all that is said in them or in a stream.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::StreamDialect;
use crate::{segment::Part, wire::frame::Event};

/// The text of each channel, by its choice and part, that events bring, and what of them cannot be judged.
pub(super) fn told(stream: &mut dyn StreamDialect, events: &[Event]) -> (BTreeMap<(u64, Part), String>, Vec<String>) {
    let (mut texts, mut unscorable) = (BTreeMap::<_, String>::new(), Vec::new());
    for event in events {
        let brought = stream.read(event).unwrap();
        unscorable.extend(brought.unscorable);
        for delta in brought.deltas {
            texts.entry((delta.channel.choice, delta.channel.part)).or_default().push_str(&delta.text);
        }
    }
    (texts, unscorable)
}

/// Fails unless every string in `values`, keys included, is among the texts read.
pub(super) fn all_read<'v>(values: impl IntoIterator<Item = &'v Value>, read: &[impl AsRef<str>]) -> Result<(), TestCaseError> {
    let mut all = Vec::new();
    values.into_iter().for_each(|value| strings(value, &mut all));
    for text in all.iter().filter(|text| !text.is_empty()) {
        prop_assert!(read.iter().any(|read| read.as_ref() == text), "{} is not read", text);
    }
    Ok(())
}

fn strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            found.push(key.clone());
            strings(value, found);
        }),
        _ => {}
    }
}

/// Any JSON, of keys and strings that stand nowhere else.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z ก\"]{0,8}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let object = prop::collection::vec(("k_?[a-z]{0,4}", inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
