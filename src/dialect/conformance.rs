//! One suite for every row of the table of dialects: a new dialect is tested by being added.

use http::StatusCode;

use super::{DIALECTS, Dialect, Refusal, Request};
use crate::{
    segment::{Direction, Part, Target},
    wire::{frame::Framing, json::Document},
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
fn a_cut_closes_every_choice_that_is_open() {
    for dialect in DIALECTS {
        let request =
            Request { model: "m".to_owned(), choices: 2, usage: true, stream: Some(Framing::Sse), ..Request::default() };
        let mut decoder = Framing::Sse.decoder(1 << 20);
        decoder.feed(&Framing::Sse.ending(&dialect.stream(&request).cut(&refusal()), false));
        let mut reader = dialect.stream(&request);
        let mut told = vec![String::new(); 2];
        let mut ended = Vec::new();
        while let Some(event) = decoder.event().unwrap() {
            let brought = reader.read(&event).unwrap();
            for delta in brought.deltas {
                assert_eq!(delta.channel.part, Part::Content, "{}", dialect.name());
                told[usize::try_from(delta.channel.choice).unwrap()].push_str(&delta.text);
            }
            ended.extend(brought.progress.ended);
        }
        assert_eq!((told, ended), (vec![MESSAGE.to_owned(); 2], vec![0, 1]), "{}", dialect.name());
        assert!(decoder.rest().unwrap().is_none(), "{}", dialect.name());
    }
}
