//! Which session a text that grows goes to: the one that keeps enough of its beginning, unless too much waits there.
//!
//! Pure: what sessions keep is known by its token ids alone.

use std::cmp::Reverse;

use super::{batch::Home, kv::Store};

/// A text is left to one session only if that spares at least one in so many of the tokens that others would have to compute:
/// beginnings that are alike by chance, or in a template, are no reason to wait.
const WORTH: usize = 4;

/// A session as far as the choice needs it.
#[derive(Debug)]
pub(super) struct Candidate<'s> {
    pub(super) session: usize,
    /// What it keeps.
    pub(super) kept: &'s Store<()>,
    /// Tokens to compute that wait for it and no other.
    pub(super) lane: usize,
}

/// The session that the text is to wait for; `None` if any will do.
pub(super) fn home<'s>(candidates: impl Iterator<Item = Candidate<'s>>, ids: &[u32]) -> Option<Home> {
    let held: Vec<_> = candidates.map(|one| (one.kept.held(ids), Reverse(one.lane), one.session)).collect();
    let &(most, Reverse(lane), session) = held.iter().max()?;
    let &(least, ..) = held.iter().min()?;
    let spared = most - least;
    let is_worth_it = spared * WORTH >= ids.len() - least && lane <= spared;
    is_worth_it.then_some(Home { session, fresh: ids.len() - most })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A template's 20 tokens, then the text.
    fn ids(text: &[u32]) -> Vec<u32> {
        (100..120).chain(text.iter().copied()).collect()
    }

    /// The choice among sessions that keep these texts, and have so much waiting.
    fn choice(sessions: &[(&[&[u32]], usize)], text: &[u32]) -> Option<(usize, usize)> {
        let stores: Vec<Store<()>> = sessions
            .iter()
            .map(|(texts, _)| {
                let mut store = Store::new(1_000, 0);
                store.pin(ids(&[]), (), 20);
                texts.iter().for_each(|text| store.keep(ids(text), (), 20 + text.len()));
                store
            })
            .collect();
        let lanes = sessions.iter().map(|(_, lane)| *lane);
        let candidates = stores.iter().zip(lanes).enumerate();
        let candidates = candidates.map(|(session, (kept, lane))| Candidate { session, kept, lane });
        home(candidates, &ids(text)).map(|home| (home.session, home.fresh))
    }

    #[test]
    fn a_text_goes_where_its_beginning_is_kept() {
        let (one, other): (&[u32], &[u32]) = (&[1, 2, 3, 4], &[5, 6, 7, 8]);
        let grown = [5, 6, 7, 8, 9];
        assert_eq!(choice(&[(&[one], 0), (&[other], 0)], &grown), Some((1, 1)));
        assert_eq!(choice(&[(&[one, other], 0), (&[], 0)], &grown), Some((0, 1)));
    }

    #[test]
    fn one_that_is_new_may_go_anywhere() {
        let one: &[u32] = &[1, 2, 3, 4];
        assert_eq!(choice(&[(&[one], 0), (&[], 0)], &[5, 6, 7]), None, "all keep the template");
        assert_eq!(choice(&[(&[one], 0), (&[], 0)], &[1, 6, 7, 8, 9]), None, "a word alike says nothing");
        assert_eq!(choice(&[(&[one], 0), (&[one], 0)], &[1, 2, 3, 4, 5]), None, "both keep it");
        assert_eq!(choice(&[(&[one], 0)], &[1, 2, 3, 4, 5]), None, "there is but one");
        assert_eq!(choice(&[], &[1]), None);
    }

    #[test]
    fn waiting_must_not_cost_more_than_computing() {
        let one: &[u32] = &[1, 2, 3, 4];
        assert_eq!(choice(&[(&[one], 4), (&[], 0)], &[1, 2, 3, 4, 5]), Some((0, 1)));
        assert_eq!(choice(&[(&[one], 5), (&[], 0)], &[1, 2, 3, 4, 5]), None);
        assert_eq!(choice(&[(&[one], 3), (&[one], 2), (&[], 0)], &[1, 2, 3, 4, 5]), Some((1, 1)), "the shorter lane");
    }
}
