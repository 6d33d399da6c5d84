//! Streamed answers: chunks to deltas, and deltas back into their chunk.

use std::{borrow::Cow, collections::BTreeMap};

use http::StatusCode;

use super::{
    content::{self, CALL, CONTENT, PARTIAL, Targets},
    fields::{fields, items, number, setting},
    response::{self, ANSWER, CANDIDATE, error},
    seen::{self, Seen},
};
use crate::{
    dialect::{
        Brought, Progress, Refusal, Request, StreamDialect,
        delta::{APART, bring, edited, is_marker, line_end, lines, unknown},
        text::Collector,
    },
    segment::{Channel, Delta, Part, Target},
    wire::{
        frame::{Event, Framing, Message},
        json::{Document, Malformed, Members, Node, Patch},
    },
};

/// Where the numbers of channels begin that hold text in lines, beside those of the candidates and calls themselves.
const LINES: u64 = 1 << 32;
/// One streamed answer.
#[derive(Debug)]
pub(super) struct Stream {
    seen: Seen,
    choices: u64,
    /// Calls so far: the API gives them no number.
    calls: u64,
    /// The last call of each candidate, which its next part may go on with.
    last: BTreeMap<u64, Call>,
}

/// A call whose arguments may come in pieces.
#[derive(Debug)]
struct Call {
    number: u64,
    /// The argument that the last piece belongs to.
    path: String,
}

impl Stream {
    pub(super) fn new(request: &Request) -> Self {
        Self { seen: Seen::new(request), choices: request.choices, calls: 0, last: BTreeMap::new() }
    }

    fn answer(&mut self, answer: &Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
        let members = fields(answer, "answer", ANSWER)?;
        brought.progress.mark = seen::mark(&members)?.or(brought.progress.mark.take());
        if !members.iter().any(|(key, _)| key == "candidates") && blocks(&members)? {
            brought.progress.ended.extend(0..self.choices.clamp(1, 128));
        }
        for (key, value) in &members {
            match key.as_ref() {
                "candidates" => {
                    for candidate in items(value) {
                        self.candidate(&candidate, brought)?;
                    }
                }
                key if !ANSWER.contains(&key) => unknown(0, key, value, &|_, _| false, brought),
                key => {
                    let mut text = Collector::default();
                    response::read_member(&mut text, key, value)?;
                    let part = if key == "promptFeedback" { Part::Refusal } else { APART };
                    lines(Channel { choice: LINES, part }, text, brought);
                }
            }
        }
        Ok(())
    }

    fn candidate(&mut self, candidate: &Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
        let members = fields(candidate, "candidate", CANDIDATE)?;
        let index = members.iter().find(|(key, _)| key == "index");
        let index = index.map_or(Ok(0), |(key, value)| number(key, value))?;
        brought.progress.begun.push(index);
        for (key, value) in &members {
            match key.as_ref() {
                "content" => self.content(index, value, brought)?,
                key if !CANDIDATE.contains(&key) => unknown(index, key, value, &|_, _| false, brought),
                key => {
                    if key == "finishReason" && is_reason(value) {
                        brought.progress.ended.push(index);
                    }
                    let mut text = Collector::default();
                    response::read_candidate(&mut text, key, value)?;
                    lines(Channel { choice: LINES + index, part: APART }, text, brought);
                }
            }
        }
        Ok(())
    }

    fn content(&mut self, index: u64, content: &Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
        for (key, value) in fields(content, "content", CONTENT)? {
            match key.as_ref() {
                "role" => {
                    let mut text = Collector::default();
                    setting(&mut text, Target::Completion, &value);
                    lines(Channel { choice: LINES + index, part: APART }, text, brought);
                }
                "parts" => {
                    for part in items(&value) {
                        self.part(index, &content::part(&part)?, brought)?;
                    }
                }
                _ => unknown(index, &key, &value, &|_, _| false, brought),
            }
        }
        Ok(())
    }

    fn part(&mut self, index: u64, part: &Members<'_>, brought: &mut Brought) -> Result<(), Malformed> {
        for (key, value) in part {
            match key.as_ref() {
                "text" => {
                    value.string().ok_or_else(|| Malformed::new("`text` must be a string"))?;
                    let part = if content::is_thought(part) { Part::Reasoning } else { Part::Content };
                    bring(index, part, value, &|_, _| false, brought);
                }
                "functionCall" => self.call(index, value, brought)?,
                key if key == "audioTranscription" || !content::is_of_part(key) => {
                    unknown(index, key, value, &|_, _| false, brought);
                }
                key => {
                    let mut text = Collector::default();
                    content::member(&mut text, key, value, Targets::ANSWER)?;
                    let channel = if matches!(key, "executableCode" | "toolCall") {
                        self.calls += 1;
                        Channel { choice: index, part: Part::ToolCall(self.calls) }
                    } else {
                        Channel { choice: LINES + index, part: APART }
                    };
                    lines(channel, text, brought);
                }
            }
        }
        Ok(())
    }

    /// A call, or a piece of one: only its first piece has a name.
    fn call(&mut self, index: u64, call: &Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
        let members = fields(call, "functionCall", CALL)?;
        if members.iter().any(|(key, _)| key == "name") || !self.last.contains_key(&index) {
            self.calls += 1;
            self.last.insert(index, Call { number: self.calls, path: String::new() });
        }
        let Some(last) = self.last.get_mut(&index) else { return Ok(()) };
        let channel = Channel { choice: index, part: Part::ToolCall(last.number) };
        for (key, value) in &members {
            if key == "partialArgs" {
                for piece in items(value) {
                    last.piece(channel, &piece, brought)?;
                }
                continue;
            }
            let mut text = Collector::default();
            let name = if CALL.contains(&key.as_ref()) { key.as_ref() } else { "" };
            content::field(&mut text, name, value, Target::ToolCall)?;
            lines(channel, text, brought);
        }
        Ok(())
    }
}

impl Call {
    /// A piece of one argument. The path to it comes with every piece, so it has a channel of its own.
    fn piece(&mut self, channel: Channel, piece: &Node<'_>, brought: &mut Brought) -> Result<(), Malformed> {
        let beside = Channel { part: Part::ToolCall(LINES + self.number), ..channel };
        let members = fields(piece, "partialArgs", PARTIAL)?;
        let mut text = Collector::default();
        for (key, value) in members.iter().filter(|(key, _)| key != "stringValue") {
            match key.as_ref() {
                "jsonPath" => {
                    text.string(Target::ToolCall, key, value)?;
                    let path = value.string().unwrap_or_default();
                    if path != self.path {
                        self.path = path.into_owned();
                        brought.deltas.push(line_end(channel));
                    }
                }
                key if PARTIAL.contains(&key) => setting(&mut text, Target::ToolCall, value),
                _ => text.strings(Target::ToolCall, value, &|_, _| false),
            }
        }
        lines(beside, text, brought);
        for (_, value) in members.iter().filter(|(key, _)| key == "stringValue") {
            value.string().ok_or_else(|| Malformed::new("`stringValue` must be a string"))?;
            bring(channel.choice, channel.part, value, &|_, _| false, brought);
        }
        Ok(())
    }
}

impl StreamDialect for Stream {
    fn read(&mut self, event: &Event) -> Result<Brought, Malformed> {
        let mut brought = Brought::default();
        let Some(data) = data(event)? else { return Ok(brought) };
        let document = Document::read(data.as_bytes())?;
        for answer in items(&document.root()) {
            self.answer(&answer, &mut brought)?;
        }
        Ok(brought)
    }

    fn left(&mut self, progress: &Progress) {
        self.seen.left(progress);
    }

    fn edit(&self, event: &Event, deltas: &[Delta], texts: &[String]) -> Result<String, Malformed> {
        let data = event.data.as_deref().ok_or_else(|| Malformed::new("a line that is no event cannot be rewritten"))?;
        let document = Document::read(data.as_bytes())?;
        let echoes = response::gather(&items(&document.root()))?.echoes;
        let blanks = echoes.into_iter().map(|place| Patch { range: place.0, with: "null".to_owned() }).collect();
        edited(document, blanks, deltas, texts)
    }

    fn cut(&self, refusal: &Refusal) -> Vec<Message> {
        self.seen.cut(refusal)
    }

    fn fail(&self, code: &str, message: &str) -> Vec<Message> {
        let status = match code {
            "content_filter" | "unscorable_content" => StatusCode::BAD_REQUEST,
            "upstream_unreadable" => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        vec![Message::plain(error(status, code, message))]
    }
}

/// What an event carries. Google's SDK for Python also reads lines that are no field of an event, as errors are sent so; such
/// lines must stand alone.
fn data(event: &Event) -> Result<Option<Cow<'_, str>>, Malformed> {
    let mut data = event.data.as_deref().map(Cow::Borrowed);
    if event.framing == Framing::Sse {
        let text = std::str::from_utf8(&event.raw).map_err(|_| Malformed::new("an event of the stream is not UTF-8"))?;
        let lines = text.trim_start_matches('\u{feff}').split(['\n', '\r']).filter(|line| !line.trim().is_empty());
        let (fields, bare): (Vec<&str>, Vec<&str>) = lines.partition(|line| is_field(line));
        if !bare.is_empty() && !fields.is_empty() {
            return Err(Malformed::new("an event of the stream has lines that are none of its fields"));
        }
        data = data.or_else(|| (!bare.is_empty()).then(|| Cow::Owned(bare.join("\n"))));
    }
    Ok(data.filter(|data| !is_marker(data)))
}

fn is_field(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default();
    matches!(name, "data" | "event" | "id" | "retry" | "")
}

/// Whether a chunk says that the prompt is refused.
fn blocks(members: &Members<'_>) -> Result<bool, Malformed> {
    for (key, value) in members.iter().filter(|(key, _)| key == "promptFeedback") {
        if fields(value, key, &["blockReason"])?.iter().any(|(key, value)| key == "blockReason" && is_reason(value)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an enum says more than that it is not set; some servers write its number.
fn is_reason(value: &Node<'_>) -> bool {
    value.raw() != "0" && value.string().is_none_or(|name| !name.is_empty() && !name.ends_with("_UNSPECIFIED"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        dialect::any::{all_read, any_json, told},
        segment::Direction,
        wire::frame::tests::events,
    };

    fn stream(choices: u64) -> Stream {
        Stream::new(&Request { model: "gemini-pro".to_owned(), choices, ..Request::default() })
    }

    fn refusal(direction: Direction) -> Refusal {
        Refusal { message: "No.".to_owned(), filtered: true, direction }
    }

    fn chunk(parts: &str, more: &str) -> String {
        format!(
            r#"{{"candidates":[{{"content":{{"parts":[{parts}],"role":"model"}}{more}}}],
            "usageMetadata":{{"promptTokenCount":5,"totalTokenCount":5}},"modelVersion":"gemini-pro-001","responseId":"abc"}}"#
        )
    }

    /// An answer with all that the API streams.
    fn chunks() -> Vec<String> {
        vec![
            chunk(r#"{"text":"Let me look.","thought":true}"#, r#","index":0"#),
            chunk(r#"{"functionCall":{"id":"1","name":"look","willContinue":true}}"#, ""),
            chunk(
                r#"{"functionCall":{"partialArgs":[{"jsonPath":"$.city","stringValue":"New Del","willContinue":true}],
                "willContinue":true}}"#,
                "",
            ),
            chunk(
                r#"{"functionCall":{"partialArgs":[{"jsonPath":"$.city","stringValue":"hi"},
                {"json_path":"$.unit","string_value":"celsius"},{"jsonPath":"$.days","numberValue":3}],"willContinue":true}}"#,
                "",
            ),
            chunk(
                r#"{"functionCall":{}},{"functionCall":{"name":"draw","args":{"what":"sun"}}},
                {"executableCode":{"language":"PYTHON","code":"print(1)"}},
                {"codeExecutionResult":{"outcome":"OUTCOME_OK","output":"1"}}"#,
                "",
            ),
            chunk(r#"{"text":"It is sun"}"#, r#","finishReason":"FINISH_REASON_UNSPECIFIED""#),
            chunk(r#"{"text":"ny in"},{"text":" New Delhi."}"#, r#","logprobsResult":{"chosenCandidates":[{"token":"ny"}]}"#),
            chunk(
                r#"{"text":""}"#,
                r#","finishReason":"STOP","groundingMetadata":{"webSearchQueries":["weather"],
                "groundingSupports":[{"segment":{"endIndex":12,"text":"sunny"}}]}"#,
            ),
        ]
    }

    fn sse() -> Vec<Event> {
        let text: String = chunks().iter().map(|chunk| format!("data: {}\r\n\r\n", chunk.replace('\n', ""))).collect();
        events(Framing::Sse, text.as_bytes())
    }

    fn array() -> Vec<Event> {
        events(Framing::Array, format!("[{}\n]\n", chunks().join("\n,\r\n")).as_bytes())
    }

    #[test]
    fn every_text_has_its_channel() {
        for events in [sse(), array()] {
            let expected = [
                ((0, Part::Content), "It is sunny in New Delhi."),
                ((0, Part::Reasoning), "Let me look."),
                ((0, Part::ToolCall(1)), "look\n\nNew Delhi\ncelsius\n"),
                ((0, Part::ToolCall(2)), "draw\nwhat\nsun\n"),
                ((0, Part::ToolCall(3)), "print(1)\n"),
                ((0, Part::ToolCall(LINES + 1)), "$.city\n$.city\n$.unit\n$.days\n"),
                ((LINES, APART), "1\nweather\nsunny\n"),
            ];
            let expected = expected.map(|(channel, text)| (channel, text.to_owned())).into();
            assert_eq!(told(&mut stream(1), &events), (expected, vec![]));
        }
    }

    #[test]
    fn an_edit_lands_in_its_part() {
        let events = sse();
        let mut reader = stream(1);
        let deltas = reader.read(&events[6]).unwrap().deltas;
        let data = reader.edit(&events[6], &deltas, &["ny, \"so\" in".to_owned(), " New Delhi.".to_owned()]).unwrap();
        let expected = events[6].data.clone().unwrap().replace("ny in", r#"ny, \"so\" in"#);
        assert_eq!(data, expected.replace(r#"{"chosenCandidates":[{"token":"ny"}]}"#, "null"));
        let deltas = reader.read(&events[7]).unwrap().deltas;
        let texts = ["storms", "\n", "sunny", "\n"].map(str::to_owned);
        assert!(reader.edit(&events[7], &deltas, &texts).unwrap().contains(r#""webSearchQueries":["storms"]"#));
        assert!(reader.edit(&events[7], &deltas, &["weather", " ", "sunny", "\n"].map(str::to_owned)).is_err());
    }

    #[test]
    fn a_cut_ends_what_the_client_saw() {
        let all = sse();
        for kept in 0..all.len() {
            let mut cut = stream(1);
            let (mut begun, mut ended) = (BTreeSet::new(), BTreeSet::new());
            for event in &all[..kept] {
                let brought = cut.read(event).unwrap();
                cut.left(&brought.progress);
            }
            // It was read, but has not left.
            cut.read(&all[all.len() - 1]).unwrap();
            let messages = cut.cut(&refusal(Direction::Response));
            for event in events(Framing::Sse, &Framing::Sse.ending(&messages, kept > 0)) {
                let brought = stream(1).read(&event).unwrap();
                begun.extend(brought.progress.begun);
                ended.extend(brought.progress.ended);
            }
            assert_eq!((begun, ended), ([0].into(), [0].into()));
            let [told, end] = [0, 1].map(|index| serde_json::from_str::<Value>(&messages[index].data).unwrap());
            assert_eq!(told["candidates"][0]["content"]["parts"], json!([{"text": "No."}]));
            assert_eq!(told["candidates"][0].get("finishReason"), None);
            assert_eq!(end["candidates"][0]["finishReason"], json!("SAFETY"));
            let (model, count) = if kept > 0 { ("gemini-pro-001", 5) } else { ("gemini-pro", 0) };
            assert_eq!((&end["modelVersion"], &end["usageMetadata"]["promptTokenCount"]), (&json!(model), &json!(count)));
            assert_eq!(told["responseId"], end["responseId"]);
            assert_eq!(end["responseId"] == json!("abc"), kept > 0);
        }
        let mut whole = stream(1);
        for event in &all {
            let progress = whole.read(event).unwrap().progress;
            whole.left(&progress);
        }
        assert!(whole.cut(&refusal(Direction::Response)).is_empty());
    }

    #[test]
    fn refused_prompts_and_other_candidates() {
        let messages = stream(1).cut(&refusal(Direction::Request));
        let told: Value = serde_json::from_str(&messages[0].data).unwrap();
        assert_eq!(told["promptFeedback"], json!({"blockReason": "SAFETY", "blockReasonMessage": "No."}));

        let mut two = stream(2);
        let ends = events(Framing::Array, br#"[{"candidates":[{"index":1,"finishReason":2}]}"#);
        let progress = two.read(&ends[0]).unwrap().progress;
        two.left(&progress);
        let messages = two.cut(&refusal(Direction::Response));
        let told: Value = serde_json::from_str(&messages[0].data).unwrap();
        assert_eq!(told["candidates"].as_array().unwrap().len(), 1);
        assert_eq!(told["candidates"][0]["index"], json!(0));

        let blocked = br#"[{"promptFeedback":{"blockReason":"OTHER","blockReasonMessage":"Sorry."}}"#;
        let brought = stream(1).read(&events(Framing::Array, blocked)[0]).unwrap();
        assert_eq!(brought.deltas[0].channel.part, Part::Refusal);
        assert_eq!((brought.deltas[0].text.as_str(), brought.progress.ended), ("Sorry.", vec![0]));
    }

    #[test]
    fn errors_within_and_beside_events() {
        let bare = "{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"Busy.\"\n  }\n}\n\n";
        for (framing, text) in [
            (Framing::Sse, bare.to_owned()),
            (Framing::Sse, "data: {\"error\": {\"code\": 503, \"message\": \"Busy.\"}}\n\n".to_owned()),
            (Framing::Array, format!("[{}", bare.trim())),
        ] {
            let brought = stream(1).read(&events(framing, text.as_bytes())[0]).unwrap();
            let texts: Vec<_> = brought.deltas.iter().map(|delta| delta.text.as_str()).collect();
            assert_eq!(texts, ["Busy.", "\n"], "{text}");
        }
        let event = &events(Framing::Sse, bare.as_bytes())[0];
        let deltas = stream(1).read(event).unwrap().deltas;
        assert!(stream(1).edit(event, &deltas, &["Gone.".to_owned(), "\n".to_owned()]).is_err());
        for mixed in ["data: {}\n{\"a\": 1}\n\n", ": ping\n{}\n\n", "what is this\n\n"] {
            assert!(stream(1).read(&events(Framing::Sse, mixed.as_bytes())[0]).is_err(), "{mixed}");
        }
        for silent in [": ping\n\n", "data: [DONE]\n\n", "\u{feff}data:\n\n", "event: x\nid: 1\nretry: 2\n\n"] {
            assert_eq!(stream(1).read(&events(Framing::Sse, silent.as_bytes())[0]).unwrap(), Brought::default(), "{silent}");
        }
        let failure = stream(1).fail("content_filter", "No.").remove(0).data;
        assert!(failure.starts_with(r#"{"error":"#) && failure.contains("400"), "{failure}");
    }

    proptest! {
        /// Whatever stands in fields that are not known: no string of it goes unread.
        #[test]
        fn no_string_goes_unread(values in prop::collection::vec(any_json(), 8)) {
            let at = |index: usize| values[index].clone();
            let answer = json!([{
                "vendor": at(0),
                "candidates": [{
                    "more": at(1),
                    "content": {"extra": at(2), "parts": [
                        {"text": "a", "extra": at(3)},
                        {"functionCall": {"args": at(4), "extra": at(5), "partialArgs": [{"jsonPath": "a", "extra": at(6)}]}},
                    ]},
                    "groundingMetadata": {"ground": at(7)},
                }],
            }]);
            let event = &events(Framing::Array, answer.to_string().as_bytes())[0];
            let read: Vec<String> = stream(1).read(event).unwrap().deltas.into_iter().map(|delta| delta.text).collect();
            all_read(&values, &read)?;
        }
    }
}
