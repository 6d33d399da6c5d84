//! Operators' own detectors, through the real proxy.

use crate::harness::{Proxy, ask, ask_stream, chunk, completion, finish, told};

const RULES: &str = r#"
name = "team"

[[rule]]
name = "codes"
where = ["prompt", "completion"]
detectors = ["codes", "names"]
action = "redact"

[detectors.codes]
regex = ['\bPRJ-\d{4}\b', 'ลับ\d+']
mask = "[code]"

[detectors.names]
words = ["Blue Sky", "ฟ้าใส", "蓝天"]
context = ["project", "โครงการ", "计划"]

[detectors.unused]
words = ["grey"]
"#;

const WRITTEN: &str = "Our PRJ-1234 is Project  BLUE\nsky, not PRJ-12345, which is something else altogether. The blue sky is a sky for all and each of us. โครงการฟ้าใส ลับ42 蓝天计划, the end.";
const MASKED: &str = "Our [code] is Project  [names], not PRJ-12345, which is something else altogether. The blue sky is a sky for all and each of us. โครงการ[names] [code] [names]计划, the end.";

#[tokio::test]
async fn what_they_find_is_redacted_in_both_directions_and_on_record() {
    let proxy = Proxy::with(RULES, |_| {}).await;
    let (answer, sent) = tokio::join!(proxy.post(ask(WRITTEN)), async {
        let call = proxy.upstream.call().await;
        let sent = call.text();
        call.answer(200, completion(WRITTEN));
        sent
    });
    assert_eq!(sent, ask(MASKED));
    assert_eq!(answer.content(), MASKED);
    let case = proxy.review().await.find(answer.header("seawall-request-id")).await.unwrap().unwrap();
    assert_eq!((case.prompt(), case.answer().as_str()), (MASKED, MASKED));
    assert_eq!(case.reasons[0]["detectors"], serde_json::json!(["team/codes", "team/names"]));
}

#[tokio::test]
async fn a_match_split_over_a_stream_is_found_as_in_the_whole() {
    let proxy = Proxy::with(RULES, |_| {}).await;
    let chars: Vec<char> = WRITTEN.chars().collect();
    for size in [1, 2, 3, 5, 8, 13, 40] {
        let (mut stream, upstream) =
            tokio::join!(proxy.stream(ask_stream("hi")), async { proxy.upstream.call().await.stream() });
        let (chunks, ()) = tokio::join!(stream.chunks(), async {
            for piece in chars.chunks(size) {
                upstream.send(chunk(0, &piece.iter().collect::<String>())).await;
            }
            upstream.send(finish(0)).await;
            drop(upstream);
        });
        assert_eq!(told(&chunks, 0), (MASKED.to_owned(), Some("stop".to_owned())), "in pieces of {size}");
    }
}

#[tokio::test]
async fn what_no_rule_names_is_masked_on_record_only() {
    let proxy = Proxy::with(RULES, |_| {}).await;
    let (answer, sent) = tokio::join!(proxy.post(ask("grey PRJ-0001")), async {
        let call = proxy.upstream.call().await;
        let sent = call.text();
        call.answer(200, completion("ok"));
        sent
    });
    assert_eq!(sent, ask("grey [code]"));
    let case = proxy.review().await.find(answer.header("seawall-request-id")).await.unwrap().unwrap();
    assert_eq!(case.prompt(), "[unused] [code]");
}
