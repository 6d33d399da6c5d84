//! Panics: where they were and how many, and what they say only where that is no more than this program's own words. The text of
//! a prompt could stand in the rest: of a string that cannot be cut somewhere, the library says what it holds.

use std::{
    any::Any,
    panic,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Has the log tell of panics, in place of the library's words on standard error.
pub(super) fn heed() {
    panic::set_hook(Box::new(|panic| {
        COUNT.fetch_add(1, Relaxed);
        let (thread, place) = (thread::current(), panic.location().map(ToString::to_string));
        tracing::error!(
            place,
            thread = thread.name(),
            why = own_words(panic.payload()),
            "a mistake in Seawall: please report it"
        );
    }));
}

/// How many there were.
pub(super) fn count() -> u64 {
    COUNT.load(Relaxed)
}

/// What a panic says, if it is the same each time.
fn own_words(payload: &dyn Any) -> Option<&'static str> {
    payload.downcast_ref::<&'static str>().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_into_a_panics_words_is_not_told() {
        let told = |panics: fn()| panic::catch_unwind(panics).map_err(|payload| own_words(&*payload));
        assert_eq!(told(|| panic!("a limit is 0")), Err(Some("a limit is 0")));
        let prompt = || {
            let prompt = "a prompt \u{e9}".to_owned();
            let _ = &prompt[..prompt.len() - 1];
        };
        assert_eq!(told(prompt), Err(None));
    }
}
