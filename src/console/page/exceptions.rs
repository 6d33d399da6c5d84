//! Exceptions that reviewers made: texts that pass a policy until a day.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use maud::{Markup, html};

use super::{
    parts::{ago, csrf, empty},
    text::plain,
};
use crate::review::Exception;

/// The page's content. Beside each exception is whether whoever looks may remove it.
pub(super) fn view(exceptions: &[(Exception, bool)], csrf: &str, now: Timestamp) -> Markup {
    let today = TimeZone::UTC.to_datetime(now).date();
    html! {
        div.exceptions {
            header.page-head { h1 { "Exceptions" } p.dim { "Texts that pass a policy until the day beside them. Any other text is judged as ever." } }
            @if exceptions.is_empty() {
                (empty("No exceptions", &html! { "Open a case that was flagged wrongly to make one." }))
            } @else {
                ul.cards aria-label="Exceptions" { @for (exception, removable) in exceptions { (card(exception, removable.then_some(csrf), today, now)) } }
            }
        }
    }
}

fn card(exception: &Exception, token: Option<&str>, today: Date, now: Timestamp) -> Markup {
    let ended = exception.expires < today;
    html! {
        li.card.ended[ended] {
            div.card-head {
                span.chip { (plain(&exception.policy)) }
                span class=(if ended { "state wrong" } else { "state right" }) { (left(exception.expires, today)) }
            }
            p { "Owner " strong { (plain(&exception.owner)) } }
            @if !exception.note.is_empty() { p.said dir="auto" { (plain(&exception.note)) } }
            p.dim {
                "until " time datetime=(exception.expires) { (exception.expires) }
                " · by " (plain(&exception.created_by)) ", " (ago(exception.created_ms, now))
                " · " code title=(exception.hash) { (exception.hash.chars().take(12).collect::<String>()) "…" }
            }
            div.card-foot {
                @if let Some(case) = &exception.case { a href=(format!("/review/cases/{case}")) { "Its case" } }
                @if let Some(token) = token {
                    form method="post" action=(format!("/review/exceptions/{}/remove", exception.id)) data-swap {
                        (csrf(token))
                        button type="submit" { "Remove" }
                    }
                }
            }
        }
    }
}

/// How long it still holds.
fn left(expires: Date, today: Date) -> String {
    match expires.since(today).map_or(0, |span| span.get_days()) {
        ..0 => "ended".to_owned(),
        0 => "ends today".to_owned(),
        1 => "1 day left".to_owned(),
        days => format!("{days} days left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_how_long_it_holds() {
        let day = |day: &str| day.parse::<Date>().unwrap();
        for (expires, said) in [
            ("2026-01-30", "ended"),
            ("2026-01-31", "ends today"),
            ("2026-02-01", "1 day left"),
            ("2026-05-01", "90 days left"),
        ] {
            assert_eq!(left(day(expires), day("2026-01-31")), said);
        }
    }
}
