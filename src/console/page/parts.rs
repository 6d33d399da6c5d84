//! Small things that several pages show.

use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use super::text::plain;
use crate::review::State;

/// What was decided.
pub(super) fn decision(decision: &str) -> Markup {
    let (class, word, means) = match decision {
        "block" => ("badge block", "Blocked", "the client got a refusal"),
        "rewrite" => ("badge rewrite", "Rewritten", "what was found was replaced"),
        "flag" => ("badge flag", "Flagged", "passed on and recorded"),
        _ => ("badge shadow", "Shadow", "passed on; a rule on trial matched"),
    };
    html! { span class=(class) title=(means) { (word) } }
}

/// What reviewers made of a case.
pub(super) fn state(state: State) -> Markup {
    let (class, word, sign) = match state {
        State::Open => ("state open", "Open", Icon::Ring),
        State::Right => ("state right", "Right", Icon::Check),
        State::Wrong => ("state wrong", "Wrong", Icon::Cross),
        State::Disputed => ("state disputed", "Disputed", Icon::Split),
    };
    html! { span class=(class) { (sign.svg()) (word) } }
}

/// A score as people read it.
pub(super) fn two(score: f32) -> String {
    format!("{score:.2}")
}

/// A score as a bar, with the threshold as a line across it. The figures stand beside it, so it is hidden from readers aloud.
pub(super) fn bar(score: f32, threshold: Option<f32>) -> Markup {
    let over = threshold.is_none_or(|threshold| score >= threshold);
    let percent = |value: f32| format!("{:.1}%", value.clamp(0.0, 1.0) * 100.0);
    html! {
        svg class=(if over { "bar over" } else { "bar" }) aria-hidden="true" width="100%" height="8" {
            rect.track width="100%" height="4" y="2" rx="2" {}
            rect.fill width=(percent(score)) height="4" y="2" rx="2" {}
            @if let Some(threshold) = threshold {
                line x1=(percent(threshold)) x2=(percent(threshold)) y1="0" y2="8" {}
            }
        }
    }
}

/// A time, in milliseconds since 1970, as people say it; the exact one is in its title.
pub(super) fn ago(at_ms: i64, now: Timestamp) -> Markup {
    let Ok(when) = Timestamp::from_millisecond(at_ms) else { return Markup::default() };
    let exact = when.strftime("%Y-%m-%d %H:%M:%S UTC");
    html! { time datetime=(when) title=(exact) data-ago { (since(when, now)) } }
}

/// Says how long ago something was; `review.js` says it in the same words as time goes on.
fn since(when: Timestamp, now: Timestamp) -> String {
    match now.duration_since(when).as_secs() {
        ..0 => "soon".to_owned(),
        0..60 => "just now".to_owned(),
        s @ 60..3_600 => format!("{} min ago", s / 60),
        s @ 3_600..86_400 => format!("{} h ago", s / 3_600),
        s @ 86_400..2_592_000 => format!("{} d ago", s / 86_400),
        _ => when.strftime("%Y-%m-%d").to_string(),
    }
}

/// The rules of reasons, each once.
pub(super) fn rules(reasons: &Value) -> Vec<&str> {
    let mut rules: Vec<&str> = Vec::new();
    for rule in reasons.as_array().into_iter().flatten().filter_map(|reason| reason.get("rule")?.as_str()) {
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

/// The names of rules.
pub(super) fn chips(names: &[&str]) -> Markup {
    html! { @for name in names { span.chip { (plain(name)) } } }
}

/// A hidden field of every form that changes something.
pub(super) fn csrf(token: &str) -> Markup {
    html! { input type="hidden" name="csrf" value=(token); }
}

/// A note that a page has nothing to show, and what to do about it.
pub(super) fn empty(title: &str, hint: &Markup) -> Markup {
    html! { div.empty { (Icon::Wave.svg()) h2 { (title) } p { (hint) } } }
}

/// Pictures, drawn with the colour of the text around them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Icon {
    Wave,
    Search,
    Check,
    Cross,
    Ring,
    Split,
    Undo,
    Theme,
    Keys,
    Older,
    Newer,
    File,
    Sliders,
}

impl Icon {
    /// The picture; what it means is said beside it.
    pub(super) fn svg(self) -> Markup {
        let path = match self {
            Self::Wave => "M1 6c2 0 2-2 4-2s2 2 4 2 2-2 4-2 2 2 2 2M1 11c2 0 2-2 4-2s2 2 4 2 2-2 4-2 2 2 2 2",
            Self::Search => "M7 2.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9M10.5 10.5 14 14",
            Self::Check => "m3 8.5 3.5 3.5L13 4.5",
            Self::Cross => "m4 4 8 8m0-8-8 8",
            Self::Ring => "M8 3a5 5 0 1 0 0 10A5 5 0 1 0 8 3",
            Self::Split => "M8 14V9L3.5 4M8 9l4.5-5M3 7.5V3.5h4M9 3.5h4v4",
            Self::Undo => "M5.5 3 2.5 6l3 3M3 6h6.5a3.5 3.5 0 0 1 0 7H6",
            Self::Theme => "M8 2.5a5.5 5.5 0 1 0 0 11ZM8 2.5a5.5 5.5 0 0 1 0 11",
            Self::Keys => "M2 4.5h12v7H2zM4.5 7h.01M7 7h.01M9.5 7h.01M11.5 7h.01M5 9.5h6",
            Self::Older => "m6 3.5 4.5 4.5L6 12.5",
            Self::Newer => "M10 3.5 5.5 8l4.5 4.5",
            Self::File => "M8 2v8M4.5 7 8 10.5 11.5 7M3 13.5h10",
            Self::Sliders => "M2 5h6m4 0h2M2 11h2m4 0h6M10 3v4M6 9v4",
        };
        html! { svg.icon viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" { path d=(PreEscaped(path)) {} } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (at, said) in [
            ("2026-01-31T11:59:30Z", "just now"),
            ("2026-01-31T11:58:00Z", "2 min ago"),
            ("2026-01-31T08:00:00Z", "4 h ago"),
            ("2026-01-28T08:00:00Z", "3 d ago"),
            ("2025-01-28T08:00:00Z", "2025-01-28"),
            ("2026-01-31T12:00:01Z", "soon"),
        ] {
            assert_eq!(since(at.parse().unwrap(), now), said);
        }
        let page = ago(now.as_millisecond() - 120_000, now).into_string();
        assert!(page.contains("title=\"2026-01-31 11:58:00 UTC\"") && page.contains(">2 min ago<"), "{page}");
        assert_eq!(ago(i64::MAX, now).into_string(), "");
    }

    #[test]
    fn a_bar_shows_the_threshold() {
        let page = bar(0.9, Some(0.75)).into_string();
        assert!(page.contains("class=\"bar over\"") && page.contains("x1=\"75.0%\""), "{page}");
        assert!(!bar(0.5, Some(0.75)).into_string().contains("over"));
    }
}
