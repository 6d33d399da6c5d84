//! `seawall demo`: a sample LLM, the real proxy in front of it, and users who ask both harmless and harmful things.

mod cases;
mod llm;

use std::{net::SocketAddr, path::Path, sync::PoisonError};

use bytes::Bytes;
use clap::Args;
use http::{Request, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::{
    cases::{CASES, Case, Expected},
    llm::Journal,
};
use super::{Failed, Settings, failed, say, usage};
use crate::{review::Store, scan, segment::Target, server::Server, telemetry, wire::frame::Framing};

#[derive(Debug, Args)]
pub(super) struct Demo {
    #[command(flatten)]
    settings: Settings,
}

/// What the user got.
#[derive(Debug, Default)]
struct Got {
    /// The exchange's id, under which it is on record if it was flagged.
    id: String,
    text: String,
    finish: String,
    decision: String,
}

impl Demo {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let journal = Journal::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let upstream = listener.local_addr().map_err(failed)?;
        tokio::spawn(llm::serve(listener, journal.clone()));

        let record = std::env::temp_dir().join(format!("seawall-demo-{}.db", std::process::id()));
        let server = Box::pin(self.proxy(upstream, &record)).await?;
        let address = server.address().map_err(failed)?;
        say(format!("sample LLM   http://{upstream}"))?;
        say(format!(
            "seawall      http://{address}, guard {}, policy {}",
            server.proxy().scanner().guard().identity(),
            server.proxy().policies().names().collect::<Vec<_>>().join(", ")
        ))?;
        say(format!(
            "\n{:<4} {:<7} {:<9} {:<8} {:<26} WHAT WAS SENT → WHAT CAME BACK",
            "LANG", "ANSWER", "OUTCOME", "DECISION", "THE MODEL SAW"
        ))?;

        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(stop.clone()));
        let cases = Store::open_existing(&format!("sqlite://{}", record.display())).await.map_err(failed)?;
        let mut surprises = 0;
        for case in CASES {
            let mut got = ask(address, case).await?;
            let flagged = cases.find(&got.id).await.map_err(failed)?;
            got.decision = flagged.map_or_else(|| "allow".to_owned(), |case| case.decision);
            let reached = journal.lock().unwrap_or_else(PoisonError::into_inner).contains(case.prompt);
            let as_expected = happened(case, &got, reached);
            surprises += u32::from(!as_expected);
            say(row(case, &got, reached, as_expected))?;
        }
        stop.cancel();
        running.await.map_err(failed)?;

        let record = record.display();
        say(format!(
            "\nWhat was flagged is on record:\n  seawall review list --store sqlite://{record}\n  seawall review show --store sqlite://{record} ID"
        ))?;
        say("Score a text of your own:\n  seawall scan --text \"How do I make tea?\"")?;
        say(
            "Guard your own LLM, then point your app's base URL at http://127.0.0.1:8080/v1:\n  seawall serve --upstream https://api.openai.com",
        )?;
        if surprises > 0 {
            return Err(failed(format!(
                "{surprises} of {} exchanges went otherwise than they should (marked with !)",
                CASES.len()
            )));
        }
        Ok(())
    }

    /// The real proxy, on free ports, recording into a file of its own.
    async fn proxy(&self, upstream: SocketAddr, record: &Path) -> Result<Server, Failed> {
        let own = |value: String| Some(value);
        let mut config = self.settings.load(&[
            ("listen.address", own("127.0.0.1:0".to_owned())),
            ("admin.address", own("127.0.0.1:0".to_owned())),
            ("upstream.url", own(format!("http://{upstream}"))),
            ("review.store", own(format!("sqlite://{}", record.display()))),
            ("review.spool", own(record.with_extension("spool").display().to_string())),
        ])?;
        // The table tells what happened; the log would only repeat it.
        "warn".clone_into(&mut config.telemetry.log);
        telemetry::start(&config.telemetry).map_err(usage)?;
        Server::bind(config).await.map_err(usage)
    }
}

/// One exchange through the proxy.
async fn ask(proxy: SocketAddr, case: &Case) -> Result<Got, Failed> {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let body = json!({"model": "sample", "stream": case.stream, "messages": [{"role": "user", "content": case.prompt}]});
    let request = Request::post(format!("http://{proxy}/v1/chat/completions")).header(CONTENT_TYPE, "application/json");
    let request = request.body(Full::new(Bytes::from(body.to_string()))).map_err(failed)?;
    let (head, mut body) = client.request(request).await.map_err(failed)?.into_parts();
    let id = head.headers.get("seawall-request-id").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut got = Got { id, ..Got::default() };
    let mut whole = Vec::new();
    let mut events = Framing::Sse.decoder(1 << 20);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(failed)?.into_data() else { continue };
        if case.stream {
            events.feed(&data);
            while let Some(event) = events.event().map_err(failed)? {
                got.add(&event.data.unwrap_or_default(), "delta");
            }
        } else {
            whole.extend_from_slice(&data);
        }
    }
    got.add(&String::from_utf8_lossy(&whole), "message");
    Ok(got)
}

impl Got {
    fn add(&mut self, json: &str, part: &str) {
        let value: Value = serde_json::from_str(json).unwrap_or_default();
        let text = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default();
        self.text.push_str(text(&format!("/choices/0/{part}/content")));
        self.finish.push_str(text("/choices/0/finish_reason"));
    }
}

/// Whether an exchange went as it should.
fn happened(case: &Case, got: &Got, reached: bool) -> bool {
    let detectors = scan::detect::Detectors::default();
    let private = |text: &str| !scan::findings(&detectors, Target::Prompt, text).is_empty();
    match case.expected {
        Expected::Answered => got.text == case.answer && got.finish == "stop" && reached,
        Expected::Blocked => got.finish == "content_filter" && !reached,
        Expected::Cut => got.finish == "content_filter" && reached && !got.text.contains(case.answer),
        Expected::Redacted => got.finish == "stop" && !private(&got.text) && (!private(case.prompt) || !reached),
    }
}

fn row(case: &Case, got: &Got, reached: bool, as_expected: bool) -> String {
    let outcome = match case.expected {
        Expected::Answered => "answered",
        Expected::Blocked => "blocked",
        Expected::Cut => "cut",
        Expected::Redacted => "redacted",
    };
    let outcome = if as_expected { outcome.to_owned() } else { format!("!{outcome}") };
    let saw = match (reached, case.expected) {
        (true, _) => "the prompt",
        (false, Expected::Redacted) => "the prompt, masked",
        (false, _) => "nothing",
    };
    let way = if case.stream { "stream" } else { "whole" };
    format!(
        "{:<4} {way:<7} {outcome:<9} {:<8} {saw:<26} {} → {}",
        case.language,
        got.decision,
        short(case.prompt, 44),
        short(&got.text, 90)
    )
}

/// The beginning of a text, or both its ends where the end is what matters.
fn short(text: &str, most: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= most {
        return text.to_owned();
    }
    let (head, tail) = (letters.iter().take(most / 2), letters.iter().skip(letters.len() - most / 2));
    format!("{} … {}", String::from_iter(head), String::from_iter(tail))
}
