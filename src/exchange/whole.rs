//! An answer that comes whole: read, judged, and passed on as it came, edited, or refused.

use http::{Response, response};
use hyper::body::Incoming;

use super::{
    Call, Proxy,
    answer::Failure,
    body::{Body, full},
    called::Called,
    record::Record,
    refuse,
};
use crate::{
    dialect,
    policy::Settled,
    segment::Direction,
    wire::{
        body::{self, Patience},
        encoding, header as hygiene,
        json::Document,
    },
};

impl Proxy {
    pub(super) async fn whole(
        &self,
        call: &Call,
        mut called: Called,
        (mut head, body): (response::Parts, Incoming),
        record: &mut Record,
    ) -> Result<Response<Body>, Failure> {
        let (most, idle) = (call.upstream.max_answer, call.upstream.idle);
        let bytes = body::read(body, most, Patience::Silence(idle)).await;
        called.ended(&self.metrics, record);
        let bytes = bytes.map_err(Failure::ResponseBody)?;
        let bytes = encoding::decode(&head.headers, bytes, most).await.map_err(Failure::ResponseEncoding)?;
        let unreadable = |why| Failure::Response { status: head.status, why };
        let document = Document::read(bytes).map_err(unreadable)?;
        called.hears(document.text());
        drop(called);
        let content = call.dialect.response(&document).map_err(unreadable)?;

        let (ask, prompt) = (call.policies.ask(), call.prompt.as_deref());
        let begun = record.now();
        let assessed = self.scanner.assess(ask, (document, content), Direction::Response, prompt).await;
        record.judged(begun, assessed.evidence());
        let patches = call.policies.settle(assessed, &call.placeholders, |evidence, edits| {
            dialect::patches(&evidence.segments, &evidence.echoes, edits)
        });
        let (settled, decision, evidence) = patches.map_err(unreadable)?;
        record.decided(&decision, &evidence);
        record.answered(evidence);
        self.record(record).await?;

        match settled {
            Settled::Forward(scanned) => {
                hygiene::for_client(&mut head.headers);
                Ok(Response::from_parts(head, full(scanned.into_body())))
            }
            Settled::Refuse(refused) => refuse(call, refused, Direction::Response),
        }
    }
}
