//! What is done for the record beside serving: exceptions are put in force, and what is not to be kept goes.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use tokio::time::{Instant, interval, timeout};

use crate::{
    config,
    exchange::Proxy,
    review::{self, Keep, Purged, Store},
};

/// Between two looks for what is not to be kept.
const HOUR: Duration = Duration::from_secs(3_600);

/// Puts the exceptions that hold today in force.
pub(super) async fn except(proxy: &Proxy, store: &Store) -> Result<(), review::Error> {
    let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
    proxy.replace_exceptions(store.active(today).await?);
    Ok(())
}

/// Does so again at once when one is made or ended here, and after a while for those of other nodes and of the command line.
pub(super) async fn follow(proxy: Arc<Proxy>, store: Store, settings: config::Review) {
    let every = Duration::from_secs(settings.refresh_s);
    loop {
        // Whether there was a change or time has passed, it is the same that is to be done.
        drop(timeout(every, store.excepted()).await);
        // Those in force stay so meanwhile; their days end without any store.
        if let Err(error) = except(&proxy, &store).await {
            tracing::warn!(%error, "the exceptions cannot be read");
        }
    }
}

/// Deletes what is too old or has no room, at once and every hour.
pub(super) async fn retain(store: Store, settings: config::Review) {
    let keep = Keep { days: settings.keep_days, mb: settings.keep_mb };
    if keep == Keep::default() {
        return;
    }
    let mut hours = interval(HOUR);
    let mut last = (Timestamp::now(), Instant::now());
    loop {
        hours.tick().await;
        let now = (Timestamp::now(), Instant::now());
        let has_jumped = jumped(now.0.duration_since(last.0), now.1 - last.1);
        last = now;
        if has_jumped {
            // What is deleted does not come back once the clock is right again: it has an hour for that.
            tracing::warn!("the system's clock was set: cases that this makes too old are deleted in an hour, and not now");
            continue;
        }
        match store.retain(keep, Timestamp::now()).await {
            Ok(Purged { by_age: 0, by_size: 0 }) => {}
            Ok(Purged { by_age, by_size }) => tracing::info!(by_age, by_size, "cases were deleted as the settings say"),
            Err(error) => tracing::warn!(%error, "cases that are not to be kept cannot be deleted"),
        }
    }
}

/// Whether the clock was set meanwhile: it tells another time to have passed than has.
fn jumped(told: SignedDuration, passed: Duration) -> bool {
    SignedDuration::try_from(passed).is_ok_and(|passed| (told - passed).unsigned_abs() > HOUR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_noticed() {
        let told = |hours: i64| SignedDuration::from_hours(hours);
        assert!(!jumped(told(1), HOUR) && !jumped(told(24), 24 * HOUR) && !jumped(told(2), HOUR));
        assert!(jumped(told(24 * 400), HOUR) && jumped(told(-24), HOUR));
    }
}
