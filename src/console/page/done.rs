//! What was just done, carried over the redirect that follows it in a cookie, and told once.
//!
//! The cookie says what in a few fixed words; nobody who plants one can have a page say anything else.

use crate::review::{Error, Opinion};

use super::layout::Toast;

/// Cases whose decision can be taken back at once; ids of more would not fit in a cookie.
const UNDO: usize = 50;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Done {
    /// Cases were decided; all of them, and those that can be undone.
    Decided(Opinion, usize, Vec<String>),
    /// Decisions were taken back.
    Undone(usize),
    /// An exception was made.
    Excepted,
    /// An exception was removed.
    Removed,
    /// Nothing, for this reason.
    Failed(Why),
}

/// Why nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// No case was selected.
    None,
    /// The form lacks something.
    Form,
    /// What it is about is not there any more.
    Gone,
    /// The exception cannot be so.
    Exception,
    /// It belongs to somebody else.
    NotOwn,
    /// The record cannot be written.
    Store,
}

const WHYS: [(Why, &str, &str); 6] = [
    (Why::None, "none", "Select the cases first."),
    (Why::Form, "form", "The form was not complete. Nothing was changed."),
    (Why::Gone, "gone", "That is not on record any more."),
    (Why::Exception, "exception", "No exception was made: it needs an owner, and a last day within a year from today."),
    (Why::NotOwn, "not-own", "Only who made an exception, or an admin, removes it."),
    (Why::Store, "store", "The record cannot be written now. Nothing was changed; try again."),
];

impl From<Error> for Why {
    fn from(error: Error) -> Self {
        match error {
            Error::Gone(_) => Self::Gone,
            Error::Wrong { .. } => Self::Exception,
            other => {
                tracing::warn!(error = %other, "a reviewer's wish was not written");
                Self::Store
            }
        }
    }
}

impl Done {
    /// As the cookie has it.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Decided(opinion, count, ids) => {
                let ids = if ids.len() > UNDO { "" } else { &ids.join("*") };
                format!("{}*{count}*{ids}", opinion.name())
            }
            Self::Undone(count) => format!("undone*{count}"),
            Self::Excepted => "excepted".to_owned(),
            Self::Removed => "removed".to_owned(),
            Self::Failed(why) => {
                let name = WHYS.iter().find(|(own, ..)| own == why).map_or("", |(_, name, _)| name);
                format!("failed*{name}")
            }
        }
    }

    /// What a cookie tells.
    pub(super) fn read(told: &str) -> Option<Self> {
        let mut parts = told.split('*');
        let what = parts.next()?;
        let mut next = || parts.next().unwrap_or_default();
        if let Some(opinion) = Opinion::named(what) {
            let count = next().parse().ok()?;
            let is_id = |id: &&str| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            return Some(Self::Decided(opinion, count, parts.filter(is_id).take(UNDO).map(str::to_owned).collect()));
        }
        match what {
            "undone" => next().parse().ok().map(Self::Undone),
            "excepted" => Some(Self::Excepted),
            "removed" => Some(Self::Removed),
            "failed" => {
                let name = next();
                WHYS.iter().find(|(_, own, _)| *own == name).map(|(why, ..)| Self::Failed(*why))
            }
            _ => None,
        }
    }

    /// In words.
    pub(super) fn toast(self) -> Toast {
        let cases = |count: usize| if count == 1 { "1 case".to_owned() } else { format!("{count} cases") };
        let said = match &self {
            Self::Decided(opinion, count, _) => format!("Marked {} {}.", cases(*count), opinion.name()),
            Self::Undone(count) => format!("Took the decision on {} back.", cases(*count)),
            Self::Excepted => "The exception holds from now on.".to_owned(),
            Self::Removed => "The exception is removed.".to_owned(),
            Self::Failed(why) => WHYS.iter().find(|(own, ..)| own == why).map_or("", |(.., words)| words).to_owned(),
        };
        let failed = matches!(self, Self::Failed(_));
        Toast { said, failed, undo: if let Self::Decided(_, _, ids) = self { ids } else { Vec::new() } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_outlives_a_redirect() {
        let ids = |count: usize| (0..count).map(|at| format!("0193-{at}")).collect::<Vec<_>>();
        let failed = WHYS.map(|(why, ..)| Done::Failed(why));
        let all = [Done::Decided(Opinion::Wrong, 2, ids(2)), Done::Undone(3), Done::Excepted, Done::Removed];
        for done in all.into_iter().chain(failed) {
            assert_eq!(Done::read(&done.told()), Some(done));
        }
        let many = Done::Decided(Opinion::Right, 60, ids(60));
        assert_eq!(Done::read(&many.told()), Some(Done::Decided(Opinion::Right, 60, vec![])));
    }

    #[test]
    fn a_planted_cookie_says_nothing_of_its_own() {
        for planted in ["", "x", "failed*<b>", "right*x", "undone*-1"] {
            assert_eq!(Done::read(planted), None, "{planted}");
        }
        assert_eq!(Done::read("right*1*<b>*a").map(|done| done.toast().undo), Some(vec!["a".to_owned()]));
    }
}
