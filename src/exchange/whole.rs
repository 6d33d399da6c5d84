//! An answer that comes whole: read, judged, and passed on as it came, edited, or refused.

use http::{Response, response};
use hyper::body::Incoming;

use super::{
    Call, Proxy,
    answer::Failure,
    body::{Body, full},
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
        mut head: response::Parts,
        body: Incoming,
        record: &mut Record,
    ) -> Result<Response<Body>, Failure> {
        let (most, idle) = (call.upstream.max_answer, call.upstream.idle);
        let bytes = body::read(body, most, Patience::Silence(idle)).await.map_err(Failure::ResponseBody)?;
        let bytes = encoding::decode(&head.headers, bytes, most).await.map_err(Failure::ResponseEncoding)?;
        let unreadable = |why| Failure::Response { status: head.status, why };
        let document = Document::read(bytes).map_err(unreadable)?;
        let content = call.dialect.response(&document).map_err(unreadable)?;

        let (ask, prompt) = (call.policies.ask(), call.prompt.as_deref());
        let assessed = self.scanner.assess(ask, (document, content), Direction::Response, prompt).await;
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
