//! One suite for every row of the table of dialects: a new dialect is tested by being added.

use std::collections::BTreeSet;

use http::StatusCode;

use super::{DIALECTS, Dialect, Refusal, Request};
use crate::{
    segment::{Direction, Part, Target},
    wire::json::Document,
};

const MESSAGE: &str = "Not with me: \"no\"\n— ไม่ได้.";

fn refusal() -> Refusal {
    Refusal { message: MESSAGE.to_owned(), filtered: true, direction: Direction::Response }
}

fn texts(dialect: &dyn Dialect, answer: &str) -> Vec<String> {
    let document = Document::read(answer.as_bytes()).unwrap();
    let content = dialect.response(&document).unwrap();
    assert!(content.segments.iter().all(|segment| segment.target == Target::Completion), "{}", dialect.name());
    content.segments.into_iter().map(|segment| segment.text).collect()
}

#[test]
fn a_refusal_is_an_answer_of_its_dialect() {
    for dialect in DIALECTS {
        let request = Request { model: "m".to_owned(), choices: 1, ..Request::default() };
        assert_eq!(texts(*dialect, &dialect.refuse(&request, &refusal())), [MESSAGE], "{}", dialect.name());
        let error = dialect.error(StatusCode::BAD_REQUEST, "some_code", MESSAGE);
        assert!(texts(*dialect, &error).contains(&MESSAGE.to_owned()), "{}", dialect.name());
    }
}

#[test]
fn a_cut_closes_all_that_is_open() {
    for dialect in DIALECTS {
        for framing in dialect.framings() {
            let request =
                Request { model: "m".to_owned(), choices: 1, usage: true, stream: Some(*framing), ..Request::default() };
            let mut decoder = framing.decoder(1 << 20);
            decoder.feed(&framing.ending(&dialect.stream(&request).cut(&refusal()), false));
            let mut reader = dialect.stream(&request);
            let (mut told, mut begun, mut ended) = (String::new(), BTreeSet::new(), BTreeSet::new());
            while let Some(event) = decoder.event().unwrap() {
                let brought = reader.read(&event).unwrap();
                for delta in brought.deltas {
                    assert!(matches!(delta.channel.part, Part::Content | Part::Refusal), "{}", dialect.name());
                    told.push_str(&delta.text);
                }
                begun.extend(brought.progress.begun);
                ended.extend(brought.progress.ended);
            }
            assert!(decoder.rest().unwrap().is_none_or(|event| event.data.is_none()), "{}", dialect.name());
            // Some APIs tell the whole once more at the end.
            assert_eq!(told.replace(MESSAGE, ""), "", "{}", dialect.name());
            assert!(told.contains(MESSAGE), "{}", dialect.name());
            assert_eq!((begun, ended.len()), (ended.clone(), 1), "{}", dialect.name());
        }
    }
}
