//! One guard at work: a text's forms and windows, each through the verdict cache.

use std::sync::Arc;

use futures_util::{
    FutureExt as _,
    stream::{FuturesUnordered, TryStreamExt as _},
};

use super::{
    cache::{Cache, Digest, Found, Key, digest},
    off_reactor,
    question::{Form, Question, forms},
    shared::{Shared, Shelf},
    window::Scored,
};
use crate::{
    guard::{Guard, Share, Unavailable, Window},
    segment::Task,
    telemetry::Metrics,
};

/// A guard, and what it is known to think.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) guard: Guard,
    /// Of the guard's identity.
    name: Digest,
    cache: Cache,
    /// What other nodes know.
    shelf: Option<Shelf>,
    pub(super) metrics: Arc<Metrics>,
}

impl Judge {
    pub(super) fn new(guard: Guard, cache: Cache, shared: Option<&Shared>, metrics: &Arc<Metrics>) -> Self {
        let (name, shelf) = (digest(guard.identity()), shared.map(|shared| shared.shelf(guard.origin())));
        Self { guard, name, cache, shelf, metrics: Arc::clone(metrics) }
    }

    /// P(unsafe) of a text, if that is known.
    pub(super) fn known(&self, question: &Question<'_>) -> Option<Scored> {
        self.cache.known(&self.key(question))
    }

    /// A guard's scores are kept under its own identity, so that neither another band nor another guard beside it makes a kept
    /// one wrong.
    fn key(&self, question: &Question<'_>) -> Key {
        let (kind, task, context) = (question.kind(), question.target.task(), question.given().map(|context| context.digest));
        Key { guard: self.name, kind, task, context, text: question.digest }
    }

    /// P(unsafe) of a text, and whether it was known.
    pub(super) async fn ask(self: &Arc<Self>, question: &Question<'_>, share: &Share) -> (Result<Scored, Unavailable>, bool) {
        // On the heap: it is large, and its room would be kept for each text that is asked.
        let work = || Arc::clone(self).find(question.clone().into_owned(), share.clone()).boxed();
        let (score, hit) = self.cache.get_or(self.key(question), work).await;
        self.metrics.verdict(hit, score.is_ok());
        (score, hit)
    }

    /// What another node thinks of a text, or else the guard, which others are then told.
    async fn find(self: Arc<Self>, question: Question<'static>, share: Share) -> Result<Found, Unavailable> {
        let Some(shelf) = &self.shelf else { return self.score(question, share).await.map(Found::from) };
        let (question, name) = shelf.name(question).await;
        if let Some(scored) = shelf.get(&name).await {
            return Ok(Found { scored, told: true });
        }
        self.score(question, share).await.inspect(|scored| shelf.put(&name, scored)).map(Found::from)
    }

    /// P(unsafe) of a text: the worst of its forms.
    async fn score(self: &Arc<Self>, question: Question<'static>, share: Share) -> Result<Scored, Unavailable> {
        let work = async {
            self.guard.admit(&share)?;
            let (target, grows) = (question.target, question.grows);
            let forms = off_reactor(question.text.len(), move || forms(&question)).await;
            Ok(Scored::worst(all(forms.iter().map(|form| self.form(form, (target.task(), grows), &share))).await?))
        };
        self.guard.in_time(work).await
    }

    /// P(unsafe) of one form of a text: the worst of its windows. The windows of a text that does not fit in one are cached
    /// by themselves, so that a text that grows is not scored again from its beginning.
    async fn form(self: &Arc<Self>, form: &Form, (task, grows): (Task, bool), share: &Share) -> Result<Scored, Unavailable> {
        let mut windows = self.guard.windows_in_turn(task, &form.text, form.prompt.as_deref(), share).await?;
        if windows.len() == 1
            && let Some(window) = windows.pop()
        {
            return self.window(window, grows, share).await.map(Scored::from);
        }
        let places: Vec<_> = windows.iter().map(|window| form.origin(window.range.clone())).collect();
        let scores = windows.into_iter().map(|window| {
            let key = Key::window(self.name, &window);
            let (judge, share) = (Arc::clone(self), share.clone());
            let work = move || async move { judge.window(window, grows, &share).await.map(Found::from) };
            async move { self.cache.get_or(key, work).await.0 }
        });
        let scores = all(scores).await?;
        Ok(Scored::of(places.into_iter().zip(scores).map(|(place, score)| (place, score.value))))
    }

    async fn window(&self, window: Window, grows: bool, share: &Share) -> Result<f32, Unavailable> {
        let _room = share.take(&window).await;
        let (score, turn) = self.guard.score_in_turn(window, grows, share).await?;
        self.metrics.window(turn.wait, turn.is_first.then_some(turn.texts));
        share.scored(turn);
        Ok(score)
    }
}

/// What is awaited together, in the order given, up to the first failure, which ends the others.
async fn all<T>(asked: impl Iterator<Item = impl Future<Output = Result<T, Unavailable>>>) -> Result<Vec<T>, Unavailable> {
    let numbered = asked.enumerate().map(|(number, asked)| async move { Ok::<_, Unavailable>((number, asked.await?)) });
    let mut answers: Vec<(usize, T)> = numbered.collect::<FuturesUnordered<_>>().try_collect().await?;
    answers.sort_unstable_by_key(|(number, _)| *number);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[test]
    fn the_first_failure_ends_the_rest() {
        let never = std::future::pending().boxed();
        let scores = [ready(Ok(0.5)).boxed(), never, ready(Err(Unavailable::Overloaded)).boxed()];
        assert_eq!(all(scores.into_iter()).now_or_never(), Some(Err(Unavailable::Overloaded)));
    }

    #[tokio::test]
    async fn answers_come_in_the_order_of_their_questions() {
        let late = async {
            tokio::task::yield_now().await;
            Ok(0.25)
        };
        assert_eq!(all([late.boxed(), ready(Ok(0.5)).boxed()].into_iter()).await, Ok(vec![0.25, 0.5]));
    }
}
