//! What the strict reader takes, a lenient one reads the same, value by value; and nothing edited is nothing changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::wire::json::{Document, Node};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = Document::read(bytes) {
        assert_same(document.root(), &serde_json::from_slice(bytes).unwrap());
        assert_eq!(document.splice(Vec::new()).unwrap().as_bytes(), bytes);
    }
});

fn assert_same(node: Node<'_>, value: &Value) {
    let (string, array, object) = (node.string(), node.array(), node.object());
    match value {
        Value::String(text) => assert_eq!(string.as_deref(), Some(text.as_str())),
        Value::Array(values) => {
            let nodes = array.unwrap();
            assert_eq!(nodes.len(), values.len());
            nodes.into_iter().zip(values).for_each(|(node, value)| assert_same(node, value));
        }
        Value::Object(values) => {
            let members = object.unwrap();
            assert_eq!(members.len(), values.len());
            members.into_iter().for_each(|(name, node)| assert_same(node, &values[name.as_ref()]));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            assert!(string.is_none() && array.is_none() && object.is_none());
            assert_eq!(&serde_json::from_str::<Value>(node.raw()).unwrap(), value);
        }
    }
}
