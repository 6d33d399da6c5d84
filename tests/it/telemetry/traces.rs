//! Traces, as a collector has them, and what the upstream and the log are told of them.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::Full;
use seawall::config::{OtlpProtocol, Secret};
use serde_json::{Value, json};

use super::collector::{CLIENT, Call, Collector, SERVER, Told};
use crate::harness::{Answer, Proxy, RULES, ask, ask_stream, chunk, completion, finish, fixture};

/// A client's trace, and its span.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

async fn traced() -> (Collector, Proxy) {
    let collector = Collector::start().await;
    let proxy = Proxy::with(RULES, collector.takes(OtlpProtocol::HttpProtobuf)).await;
    (collector, proxy)
}

/// A call that is part of the client's trace.
fn call(proxy: &Proxy, body: String, flags: &str) -> Request<Full<bytes::Bytes>> {
    let mut request = proxy.request(Method::POST, "/v1/chat/completions", body);
    let parent = HeaderValue::from_str(&format!("00-{TRACE}-{PARENT}-{flags}")).unwrap();
    request.headers_mut().insert("traceparent", parent);
    request.headers_mut().insert("tracestate", HeaderValue::from_static("vendor=1"));
    request
}

/// Sends it; the headers that the upstream saw, and the answer.
async fn sent(proxy: &Proxy, request: Request<Full<bytes::Bytes>>, answer: String) -> (HeaderMap, Answer) {
    let (answer, headers) = tokio::join!(async { Answer::read(proxy.send(request).await).await }, async {
        let call = proxy.upstream.call().await;
        let headers = call.headers.clone();
        call.answer(200, answer);
        headers
    });
    (headers, answer)
}

/// The exchange's span, that of its call if it made one, and those of the guard.
fn sorted(calls: &[Call]) -> (Told, Option<Told>, Vec<Told>) {
    let spans = calls.iter().flat_map(Call::spans);
    let (exchanges, others): (Vec<Told>, Vec<Told>) = spans.partition(|span| span.kind == SERVER);
    let [exchange] = exchanges.try_into().unwrap();
    for span in &others {
        assert_eq!((&span.trace, &span.parent), (&exchange.trace, &exchange.id), "{span:?}");
        assert!(exchange.times[0] <= span.times[0] && span.times[1] <= exchange.times[1], "{span:?}");
    }
    let (calls, guards): (Vec<Told>, Vec<Told>) = others.into_iter().partition(|span| span.kind == CLIENT);
    assert!(guards.iter().all(|span| span.name == "guard"));
    (exchange, calls.into_iter().next(), guards)
}

#[tokio::test]
async fn a_call_is_a_part_of_the_clients_trace() {
    let (collector, proxy) = traced().await;
    let told = json!({"id": "c1", "object": "chat.completion", "created": 1, "model": "m-2026", "usage":
        {"prompt_tokens": 7, "completion_tokens": 9}, "choices": [{"index": 0, "finish_reason": "stop", "message":
        {"role": "assistant", "content": "the plums were delicious"}}]})
    .to_string();
    let (headers, answer) = sent(&proxy, call(&proxy, ask("who ate the plums"), "01"), told).await;
    let calls = collector.exchange().await;
    assert_eq!(
        (calls[0].path.as_str(), &calls[0].headers["content-type"]),
        ("/v1/traces", &HeaderValue::from_static("application/x-protobuf"))
    );
    let raw = format!("{calls:?}");
    assert!(raw.contains("service.name") && !raw.contains("plums") && !raw.contains("delicious"), "{raw}");
    let (exchange, call, guards) = sorted(&calls);
    assert_eq!(
        (exchange.trace.as_str(), exchange.parent.as_str(), exchange.name.as_str()),
        (TRACE, PARENT, "POST openai_chat")
    );
    let call = call.unwrap();
    assert_eq!(headers["traceparent"], format!("00-{TRACE}-{}-01", call.id), "the upstream's parent is our call");
    assert_eq!(headers["tracestate"], "vendor=1");
    let port = proxy.upstream.address.port().to_string();
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "m"),
        ("gen_ai.response.model", "m-2026"),
        ("gen_ai.response.finish_reasons", "stop"),
        ("gen_ai.usage.input_tokens", "7"),
        ("gen_ai.usage.output_tokens", "9"),
        ("http.request.method", "POST"),
        ("http.response.status_code", "200"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
    ] {
        assert_eq!(call.says(key), value, "{key}");
    }
    assert_eq!((call.name.as_str(), call.is_error), ("chat m", false));
    let id = answer.header("seawall-request-id");
    for (key, value) in [("seawall.request_id", id), ("seawall.decision", "allow"), ("gen_ai.request.model", "m")] {
        assert_eq!(exchange.says(key), value, "{key}");
    }
    let directions: BTreeMap<&str, &Told> = guards.iter().map(|span| (span.says("seawall.direction"), span)).collect();
    assert_eq!(directions.keys().copied().collect::<Vec<_>>(), ["request", "response"]);
    for guard in directions.values() {
        let number = |key: &str| guard.says(key).parse::<f64>().unwrap();
        assert!(number("seawall.guard.wait") >= 0.0 && number("seawall.guard.batch") >= 1.0, "{guard:?}");
    }
}

#[tokio::test]
async fn a_stream_tells_how_it_ended() {
    let (collector, proxy) = traced().await;
    let (mut stream, pieces) =
        tokio::join!(proxy.stream(ask_stream("who ate the plums")), async { proxy.upstream.call().await.stream() });
    let usage = json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
        "usage": {"prompt_tokens": 7, "completion_tokens": 9}});
    let end = format!("data: {usage}\n\ndata: [DONE]\n\n");
    pieces.send([chunk(0, "They were delicious, "), chunk(0, "so sweet and so cold."), finish(0), end].concat()).await;
    drop(pieces);
    stream.rest().await;
    let calls = collector.exchange().await;
    assert!(!format!("{calls:?}").contains("sweet"));
    let (exchange, call, guards) = sorted(&calls);
    let call = call.unwrap();
    assert_eq!((call.says("gen_ai.response.finish_reasons"), call.says("gen_ai.usage.output_tokens")), ("stop", "9"));
    assert_eq!((exchange.parent.as_str(), exchange.says("seawall.decision")), ("", "allow"), "a trace of its own");
    assert!(guards.iter().any(|span| span.says("seawall.direction") == "response"), "{guards:?}");
}

#[tokio::test]
async fn what_is_blocked_calls_nobody() {
    let (collector, proxy) = traced().await;
    let answer = Answer::read(proxy.send(call(&proxy, ask("danger"), "01")).await).await;
    assert_eq!(answer.header("seawall-decision"), "block");
    let (exchange, call, guards) = sorted(&collector.exchange().await);
    assert_eq!((exchange.trace.as_str(), exchange.says("seawall.decision"), exchange.is_error), (TRACE, "block", false));
    assert!(call.is_none() && guards.len() == 1);
}

#[tokio::test]
async fn failures_are_told() {
    let collector = Collector::start().await;
    let takes = collector.takes(OtlpProtocol::HttpProtobuf);
    let proxy = Proxy::with(RULES, |config| {
        takes(config);
        config.upstream.url = "http://127.0.0.1:1".to_owned();
    })
    .await;
    proxy.post(ask("hello")).await;
    let (exchange, call, _) = sorted(&collector.exchange().await);
    assert_eq!((exchange.says("error.type"), exchange.is_error), ("upstream_unreachable", true));
    let call = call.unwrap();
    assert_eq!((call.says("error.type"), call.is_error), ("unreachable", true));
}

#[tokio::test]
async fn the_client_says_whether_its_trace_is_kept_and_the_ratio_does_where_it_does_not() {
    let collector = Collector::start().await;
    let takes = collector.takes(OtlpProtocol::HttpProtobuf);
    let proxy = Proxy::with(RULES, |config| {
        takes(config);
        config.telemetry.otlp.ratio = 0.0;
    })
    .await;
    let (headers, _) = sent(&proxy, call(&proxy, ask("one"), "00"), completion("hi")).await;
    let (told, span) = headers["traceparent"].to_str().unwrap().rsplit_once('-').map(|(rest, flags)| (flags, rest)).unwrap();
    assert!(told == "00" && span.starts_with(&format!("00-{TRACE}-")) && !span.ends_with(PARENT), "{headers:?}");
    let alone = proxy.request(Method::POST, "/v1/chat/completions", ask("two"));
    let (headers, _) = sent(&proxy, alone, completion("hi")).await;
    assert!(headers["traceparent"].to_str().unwrap().ends_with("-00") && !headers.contains_key("tracestate"));
    sent(&proxy, call(&proxy, ask("three"), "01"), completion("hi")).await;
    let calls = collector.exchange().await;
    assert_eq!(sorted(&calls).0.trace, TRACE, "only the last is kept");
}

#[tokio::test]
async fn grpc_is_spoken_with_headers_of_ones_own() {
    let (collector, dir) = (Collector::start().await, tempfile::tempdir().unwrap());
    let file = dir.path().join("key");
    std::fs::write(&file, "Bearer s3cret\n").unwrap();
    let takes = collector.takes(OtlpProtocol::Grpc);
    let proxy = Proxy::with(RULES, |config| {
        takes(config);
        config.telemetry.otlp.headers.insert("authorization".to_owned(), Secret { env: None, file: Some(file) });
    })
    .await;
    proxy.post(ask("danger")).await;
    let calls = collector.exchange().await;
    assert_eq!(calls[0].path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    assert_eq!(calls[0].headers["authorization"], "Bearer s3cret");
    assert_eq!(sorted(&calls).0.says("seawall.decision"), "block");
    let count = async || proxy.metric("seawall_trace_spans_total{outcome=\"sent\"}").await;
    while count().await < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(count().await, 2);
}

#[tokio::test]
async fn a_collector_that_is_down_costs_spans_only() {
    let proxy = Proxy::with(RULES, |config| config.telemetry.otlp.endpoint = Some("http://127.0.0.1:1".to_owned())).await;
    assert_eq!(proxy.post(ask("danger")).await.header("seawall-decision"), "block");
    while proxy.metric("seawall_trace_spans_total{outcome=\"failed\"}").await < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(proxy.metric("seawall_trace_spans_total{outcome=\"sent\"}").await, 0);
    let (_, answer) = sent(&proxy, call(&proxy, ask("hello"), "01"), completion("hi")).await;
    assert_eq!(answer.content(), "hi");
}

#[tokio::test]
async fn the_last_spans_are_sent_before_the_end() {
    let (collector, proxy) = traced().await;
    proxy.post(ask("danger")).await;
    proxy.shut_down().await;
    assert_eq!(sorted(&collector.exchange().await).0.says("seawall.decision"), "block");
}

#[tokio::test]
async fn without_a_collector_the_clients_trace_passes_as_it_came() {
    let proxy = Proxy::start().await;
    let (headers, _) = sent(&proxy, call(&proxy, ask("hello"), "01"), completion("hi")).await;
    assert_eq!(
        (&headers["traceparent"], &headers["tracestate"]),
        (&HeaderValue::from_str(&format!("00-{TRACE}-{PARENT}-01")).unwrap(), &HeaderValue::from_static("vendor=1"))
    );
}

/// A program that ends with its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_log_names_the_trace_and_no_text() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream", "http://127.0.0.1:1", "--guard"]);
    command.arg(fixture("guard")).arg("--store").arg(format!("sqlite://{}", dir.path().join("review.db").display()));
    command.env("SEAWALL_REVIEW__SPOOL", dir.path().join("spool")).env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    command.envs([("SEAWALL_GUARD__THREADS", "1"), ("SEAWALL_TELEMETRY__FORMAT", "json")]);
    let mut program = Program(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(program.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let listening = lines.find(|line| line.contains("seawall is listening")).unwrap();
    let address = serde_json::from_str::<Value>(&listening).unwrap()["address"].as_str().unwrap().to_owned();
    let body = ask("who ate the plums");
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ntraceparent: 00-{TRACE}-{PARENT}-01\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut said = Vec::new();
    while !said.last().is_some_and(|line: &String| line.contains("\"message\":\"exchange\"")) {
        said.push(lines.next().unwrap());
    }
    let line: Value = serde_json::from_str(said.last().unwrap()).unwrap();
    assert_eq!((line["trace_id"].as_str(), line["dialect"].as_str()), (Some(TRACE), Some("openai_chat")));
    assert!(!said.concat().contains("plums"), "{said:?}");
}
