//! Race mode: the upstream is asked while the prompt is still being judged.

use std::pin::pin;

use super::answer::Failure;
use crate::{policy::Settled, wire::json::Document};

/// Fields by which a call can do more than answer: have tools run, or be kept for a later call.
const ACTING: &[&str] = &[
    "tools",
    "functions",
    "mcp_servers",
    "mcpServers",
    "toolConfig",
    "tool_config",
    "container",
    "conversation",
    "previous_response_id",
    "store",
    "background",
];

/// Whether a call can do more than answer: it waits for its verdict.
pub(super) fn acts(document: &Document) -> bool {
    document.root().object().is_none_or(|members| members.iter().any(|(key, _)| ACTING.contains(&key.as_ref())))
}

/// Judges a request while the upstream is asked already. The answer waits for the verdict, and is dropped, which cancels the
/// call, unless the verdict is that what was asked may go on as it is.
pub(super) async fn raced<A>(
    judge: impl Future<Output = Result<Settled, Failure>>,
    ask: impl Future<Output = A>,
    asked: &Document,
) -> Result<(Settled, Option<A>), Failure> {
    let (mut judge, mut ask) = (pin!(judge), pin!(ask));
    let mut answer = None;
    let settled = loop {
        tokio::select! {
            settled = &mut judge => break settled?,
            early = &mut ask, if answer.is_none() => answer = Some(early),
        }
    };
    match &settled {
        Settled::Forward(scanned) if scanned.body() == asked.text() => {
            let answer = match answer {
                Some(answer) => answer,
                None => ask.await,
            };
            Ok((settled, Some(answer)))
        }
        Settled::Forward(_) | Settled::Refuse(_) => Ok((settled, None)),
    }
}
