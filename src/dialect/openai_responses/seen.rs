//! What the client has seen of a stream: all that its end must close and tell once more.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::response;
use crate::{
    dialect::{Refusal, new_id},
    wire::frame::Message,
};

/// A text that grows by deltas, and where it stands in its item.
#[derive(Debug)]
struct Growing {
    /// Its events are `response.NAME.delta` and `response.NAME.done`.
    name: &'static str,
    /// The item's list that the part with the text stands in; none where the text is the item's own.
    list: &'static str,
    /// The part's type.
    part: &'static str,
    /// The field of the part or item, and of the event that tells the whole.
    field: &'static str,
}

const GROWING: &[Growing] = &[
    Growing { name: "output_text", list: CONTENT, part: "output_text", field: "text" },
    Growing { name: "refusal", list: CONTENT, part: "refusal", field: "refusal" },
    Growing { name: "reasoning_text", list: CONTENT, part: "reasoning_text", field: "text" },
    Growing { name: "reasoning_summary_text", list: SUMMARY, part: "summary_text", field: "text" },
    Growing { name: "function_call_arguments", list: OWN, part: "", field: "arguments" },
    Growing { name: "mcp_call_arguments", list: OWN, part: "", field: "arguments" },
    Growing { name: "custom_tool_call_input", list: OWN, part: "", field: "input" },
    Growing { name: "code_interpreter_call_code", list: OWN, part: "", field: "code" },
];
const CONTENT: &str = "content";
const SUMMARY: &str = "summary";
const OWN: &str = "";

/// What the client has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    model: String,
    /// The answer, as the last event told it that held it.
    answer: Option<Value>,
    items: BTreeMap<u64, Item>,
    /// Number of the last event.
    last: Option<u64>,
    ended: bool,
}

/// An item of the output, as its events so far have made it.
#[derive(Debug)]
struct Item {
    value: Value,
    ended: bool,
    /// Texts and parts that are begun and not ended, by list and index.
    open: BTreeMap<(&'static str, u64), Open>,
}

#[derive(Debug, Default)]
struct Open {
    text: Option<&'static Growing>,
    part: bool,
}

/// The events that end a stream.
#[derive(Debug)]
struct Ending {
    next: u64,
    messages: Vec<Message>,
}

impl Seen {
    pub(super) fn new(model: &str) -> Self {
        Self { model: model.to_owned(), ..Self::default() }
    }

    /// The client has seen this event.
    pub(super) fn event(&mut self, event: &Value) {
        self.last = Some(number(event, "sequence_number").unwrap_or_else(|| self.next()));
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        let index = number(event, "output_index").unwrap_or(0);
        match kind {
            "response.created" | "response.queued" | "response.in_progress" => {
                self.answer = object(event, "response").cloned().or(self.answer.take());
            }
            "response.completed" | "response.incomplete" | "response.failed" | "error" => self.ended = true,
            "response.output_item.added" | "response.output_item.done" => {
                if let Some(item) = object(event, "item") {
                    let ended = kind.ends_with(".done");
                    self.items.insert(index, Item { value: item.clone(), ended, open: BTreeMap::new() });
                }
            }
            _ => {
                let step = kind.strip_prefix("response.").and_then(|kind| kind.rsplit_once('.'));
                if let (Some(item), Some((name, step))) = (self.items.get_mut(&index), step) {
                    item.event(name, step == "done", event);
                }
            }
        }
    }

    /// The number of the next event.
    pub(super) fn next(&self) -> u64 {
        self.last.map_or(0, |last| last.saturating_add(1))
    }

    /// Closes what is open and ends the answer with a refusal, in a message of its own.
    pub(super) fn cut(&self, refusal: &Refusal) -> Vec<Message> {
        let mut ending = Ending { next: self.next(), messages: Vec::new() };
        if self.ended {
            return ending.messages;
        }
        let answer = self.answer.clone().unwrap_or_else(|| {
            let answer = response::begun(&self.model);
            ending.tell("response.created", json!({"response": answer}));
            ending.tell("response.in_progress", json!({"response": answer}));
            answer
        });
        let mut output: Vec<Value> = self.items.iter().map(|(index, item)| item.close(*index, &mut ending)).collect();
        let index = self.items.keys().last().map_or(0, |last| last.saturating_add(1));
        output.push(ending.refuse(index, refusal));
        let kind = if refusal.filtered { "response.incomplete" } else { "response.completed" };
        ending.tell(kind, json!({"response": response::ended(answer, output, refusal)}));
        ending.messages
    }
}

impl Item {
    fn event(&mut self, name: &str, done: bool, event: &Value) {
        match name {
            _ if self.ended => {}
            "content_part" => self.part(CONTENT, done, event),
            "reasoning_summary_part" => self.part(SUMMARY, done, event),
            "output_text.annotation" => {
                let index = number(event, index_of(CONTENT)).and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
                let part = self.value.get_mut(CONTENT).and_then(|parts| parts.get_mut(index));
                let annotations = part.and_then(|part| part.get_mut("annotations")).and_then(Value::as_array_mut);
                if let (Some(annotations), Some(annotation)) = (annotations, event.get("annotation")) {
                    annotations.push(annotation.clone());
                }
            }
            _ => {
                if let Some(growing) = GROWING.iter().find(|growing| growing.name == name) {
                    self.text(growing, done, event);
                }
            }
        }
    }

    fn part(&mut self, list: &'static str, done: bool, event: &Value) {
        let index = number(event, index_of(list)).unwrap_or(0);
        let part = object(event, "part");
        if let Some(part) = part
            && let Some(place) = element(&mut self.value, list, index, || Value::Null)
        {
            *place = part.clone();
        }
        if done {
            self.open.remove(&(list, index));
        } else {
            let kind = part.and_then(|part| part.get("type")).and_then(Value::as_str);
            let text = GROWING.iter().find(|growing| growing.list == list && Some(growing.part) == kind);
            self.open.insert((list, index), Open { text, part: true });
        }
    }

    fn text(&mut self, growing: &'static Growing, done: bool, event: &Value) {
        let index = number(event, index_of(growing.list)).unwrap_or(0);
        self.open.entry((growing.list, index)).or_default().text = Some(growing).filter(|_| !done);
        let Some(said) = event.get(if done { growing.field } else { "delta" }).and_then(Value::as_str) else { return };
        let holder = if growing.list == OWN {
            Some(&mut self.value)
        } else {
            element(&mut self.value, growing.list, index, || json!({"type": growing.part, growing.field: ""}))
        };
        let Some(holder) = holder.and_then(Value::as_object_mut) else { return };
        match holder.entry(growing.field).or_insert(Value::Null) {
            Value::String(text) if !done => text.push_str(said),
            text => *text = said.into(),
        }
    }

    /// The item as it is in the end; what is open of it is closed.
    fn close(&self, output: u64, ending: &mut Ending) -> Value {
        if self.ended {
            return self.value.clone();
        }
        let id = self.value.get("id").cloned().unwrap_or_default();
        for ((list, index), open) in &self.open {
            let at = json!({"item_id": id, "output_index": output});
            let holder = if *list == OWN { Some(&self.value) } else { get(&self.value, list, *index) };
            let mut tell = |kind: String, key: &str, value: Value| {
                let mut fields = at.clone();
                insert(&mut fields, key, value);
                if *list != OWN {
                    insert(&mut fields, index_of(list), (*index).into());
                }
                if kind == "response.output_text.done" {
                    insert(&mut fields, "logprobs", json!([]));
                }
                ending.tell(&kind, fields);
            };
            if let Some(growing) = open.text {
                let text = holder.and_then(|holder| holder.get(growing.field)).and_then(Value::as_str).unwrap_or_default();
                tell(format!("response.{}.done", growing.name), growing.field, text.into());
            }
            if open.part {
                let name = if *list == SUMMARY { "reasoning_summary_part" } else { "content_part" };
                tell(format!("response.{name}.done"), "part", holder.cloned().unwrap_or_default());
            }
        }
        let mut item = self.value.clone();
        if item.get("status").is_some() {
            insert(&mut item, "status", "incomplete".into());
        }
        ending.tell("response.output_item.done", json!({"output_index": output, "item": item}));
        item
    }
}

impl Ending {
    fn tell(&mut self, kind: &str, mut fields: Value) {
        insert(&mut fields, "type", kind.into());
        insert(&mut fields, "sequence_number", self.next.into());
        self.next = self.next.saturating_add(1);
        self.messages.push(Message::named(kind, fields.to_string()));
    }

    /// Tells a refusal as a message from beginning to end.
    fn refuse(&mut self, output: u64, refusal: &Refusal) -> Value {
        let id = new_id("msg_");
        let part = response::part(refusal, &refusal.message);
        let item = response::message(&id, "completed", std::slice::from_ref(&part));
        let name = if refusal.filtered { "refusal" } else { "output_text" };
        let field = if refusal.filtered { "refusal" } else { "text" };
        let begun = response::message(&id, "in_progress", &[]);
        self.tell("response.output_item.added", json!({"output_index": output, "item": begun}));
        let mut tell = |kind: &str, key: &str, value: Value| {
            let mut fields = json!({"item_id": id, "output_index": output, "content_index": 0});
            insert(&mut fields, key, value);
            if kind.starts_with("response.output_text") {
                insert(&mut fields, "logprobs", json!([]));
            }
            self.tell(kind, fields);
        };
        tell("response.content_part.added", "part", response::part(refusal, ""));
        tell(&format!("response.{name}.delta"), "delta", refusal.message.clone().into());
        tell(&format!("response.{name}.done"), field, refusal.message.clone().into());
        tell("response.content_part.done", "part", part);
        self.tell("response.output_item.done", json!({"output_index": output, "item": item}));
        item
    }
}

/// The field of an event that tells the place in a list.
fn index_of(list: &str) -> &'static str {
    if list == SUMMARY { "summary_index" } else { "content_index" }
}

fn number(value: &Value, key: &str) -> Option<u64> {
    value.get(key).and_then(Value::as_u64)
}

fn object<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    value.get(key).filter(|value| value.is_object())
}

fn insert(fields: &mut Value, key: &str, value: Value) {
    if let Some(fields) = fields.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

fn get<'v>(item: &'v Value, list: &str, index: u64) -> Option<&'v Value> {
    item.get(list)?.get(usize::try_from(index).ok()?)
}

/// A place in an item's list, made if it is the next one.
fn element<'v>(item: &'v mut Value, list: &str, index: u64, empty: impl FnOnce() -> Value) -> Option<&'v mut Value> {
    let index = usize::try_from(index).ok()?;
    let list = item.as_object_mut()?.entry(list).or_insert(Value::Null);
    if list.is_null() {
        *list = json!([]);
    }
    let list = list.as_array_mut()?;
    if index == list.len() {
        list.push(empty());
    }
    list.get_mut(index)
}
