//! Log lines as JSON: one object an event, with its time, its level, its fields as they come, and the place that tells it.
//!
//! `tracing-subscriber` writes the same lines, in four times the instructions: each call of a client's is one.

use std::{
    fmt::{self, Debug},
    str,
};

use jiff::Timestamp;
use serde::Serialize;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Writes events as JSON.
pub(super) struct Json;

/// An object that is being written, without its last brace.
struct Object(Vec<u8>);

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // What a library tells by way of the `log` crate stands there.
        let normalized = event.normalized_metadata();
        let told = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let mut object = Object(Vec::with_capacity(512));
        object.add("timestamp", &format_args!("{:.6}", Timestamp::now()));
        object.add("level", told.level().as_str());
        event.record(&mut object);
        object.add("target", told.target());
        object.0.extend_from_slice(b"}\n");
        out.write_str(str::from_utf8(&object.0).map_err(|_| fmt::Error)?)
    }
}

impl Object {
    fn add(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        let Self(text) = self;
        text.push(if text.is_empty() { b'{' } else { b',' });
        // Memory takes whatever is written, and names, words and numbers can all be written.
        drop(serde_json::to_writer(&mut *text, name));
        text.push(b':');
        drop(serde_json::to_writer(text, value));
    }

    fn field(&mut self, field: &Field, value: &(impl Serialize + ?Sized)) {
        // Where a line by way of the `log` crate comes from: its target says it.
        if !field.name().starts_with("log.") {
            self.add(field.name(), value);
        }
    }
}

impl Visit for Object {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, &format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use serde_json::{Value, json};
    use tracing_subscriber::{fmt, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_an_object_on_a_line() {
        let written = Written::default();
        let out = written.clone();
        let layer = fmt::layer().with_writer(move || out.clone()).event_format(Json);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let (none, some) = (None::<&str>, Some("a \"b\"\n\u{1b}"));
            tracing::warn!(none, some, n = 7_u64, m = -1, is = true, half = 0.5, what = ?Some(1), shown = %"x y", "it is {}", 1);
            tracing::info!("alone");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [first, second] = lines.as_slice() else { panic!("{text}") };
        let time = first["timestamp"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.len() == "2026-11-26T17:05:19.123456Z".len(), "{time}");
        time.parse::<Timestamp>().unwrap();
        let mut told = first.clone();
        told.as_object_mut().unwrap().remove("timestamp");
        let fields =
            json!({"some": "a \"b\"\n\u{1b}", "n": 7, "m": -1, "is": true, "half": 0.5, "what": "Some(1)", "shown": "x y"});
        let mut expected = json!({"level": "WARN", "message": "it is 1", "target": module_path!()});
        expected.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        assert_eq!(told, expected);
        assert_eq!(second["message"], "alone");
    }
}
