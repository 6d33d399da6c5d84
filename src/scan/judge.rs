//! One guard at work: a text's forms and windows, each through the verdict cache.

use std::{future::ready, sync::Arc};

use futures_util::stream::{FuturesUnordered, TryStreamExt as _};

use super::{
    Question,
    cache::{Cache, key, window_key},
    forms, off_reactor,
};
use crate::{
    guard::{Guard, Share, Unavailable, Window},
    segment::Target,
    telemetry::Metrics,
};

/// A guard, and what it is known to think.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) guard: Guard,
    pub(super) cache: Cache,
    pub(super) metrics: Arc<Metrics>,
}

impl Judge {
    /// P(unsafe) of a text, and whether it was known. A guard's scores are kept under its own identity, so that neither
    /// another band nor another guard beside it makes a kept one wrong.
    pub(super) async fn ask(self: &Arc<Self>, question: &Question, share: &Share) -> (Result<f32, Unavailable>, bool) {
        // What is read as JSON has other unhidden forms than plain text has.
        let kind = if question.target == Target::ToolCall { "json" } else { "text" };
        let key = key([self.guard.identity(), kind], question.target.task(), question.prompt.as_deref(), &question.text);
        let work = Arc::clone(self).score(question.clone(), share.clone());
        let (score, hit) = self.cache.get_or(key, work).await;
        self.metrics.verdict(hit, score.is_ok());
        (score, hit)
    }

    /// P(unsafe) of a text: the worst of its forms.
    async fn score(self: Arc<Self>, question: Question, share: Share) -> Result<f32, Unavailable> {
        let work = async {
            let forms = off_reactor(question.text.len(), move || forms(question)).await;
            worst(forms.iter().map(|form| self.form(form, &share)).collect()).await
        };
        self.guard.in_time(work).await
    }

    /// P(unsafe) of one form of a text: the worst of its windows. The windows of a text that does not fit in one are cached
    /// by themselves, so that a text that grows is not scored again from its beginning.
    async fn form(self: &Arc<Self>, form: &Question, share: &Share) -> Result<f32, Unavailable> {
        let grows = form.grows;
        let mut windows = self.guard.windows(form.target.task(), &form.text, form.prompt.as_deref()).await?;
        if windows.len() == 1
            && let Some(window) = windows.pop()
        {
            return self.window(window, grows, share).await;
        }
        let scores = windows.into_iter().map(|window| {
            let key = window_key(self.guard.identity(), &window);
            let (judge, share) = (Arc::clone(self), share.clone());
            let work = async move { judge.window(window, grows, &share).await };
            async move { self.cache.get_or(key, work).await.0 }
        });
        worst(scores.collect()).await
    }

    async fn window(&self, window: Window, grows: bool, share: &Share) -> Result<f32, Unavailable> {
        let _room = share.take(&window).await;
        self.metrics.window();
        if grows { self.guard.score_growing(window).await } else { self.guard.score(window).await }
    }
}

/// The greatest of scores that are awaited together, up to the first failure, which ends the others.
async fn worst(scores: FuturesUnordered<impl Future<Output = Result<f32, Unavailable>>>) -> Result<f32, Unavailable> {
    scores.try_fold(0.0, |worst: f32, score| ready(Ok(worst.max(score)))).await
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_first_failure_ends_the_rest() {
        let never = std::future::pending().boxed();
        let scores = [ready(Ok(0.5)).boxed(), never, ready(Err(Unavailable::Overloaded)).boxed()];
        assert_eq!(worst(scores.into_iter().collect()).now_or_never(), Some(Err(Unavailable::Overloaded)));
        let scores = [0.25, 0.5, 0.125].map(|score| ready(Ok(score)));
        assert_eq!(worst(scores.into_iter().collect()).now_or_never(), Some(Ok(0.5)));
    }
}
