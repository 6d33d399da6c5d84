//! The audit trail: who looked, decided, exported and purged.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    parts::{Icon, ago, empty},
    text::{line, plain},
};
use crate::review::Line;

/// The page's content, newest first; `older` is where the next page begins.
pub(super) fn view(lines: &[Line], older: Option<i64>, now: Timestamp) -> Markup {
    html! {
        div.audit {
            header.page-head {
                h1 { "Audit" }
                p.dim { "Each line carries a hash of all before it; " code { "seawall review verify" } " checks them." }
            }
            @if lines.is_empty() {
                (empty("Nothing yet", &html! { "Looks and decisions come here." }))
            } @else {
                div.wide tabindex="0" role="group" aria-label="Lines" { table.trail {
                    thead { tr { @for name in ["Time", "Who", "What", "Case", "Detail", "Hash"] { th scope="col" { (name) } } } }
                    tbody { @for line in lines { (row(line, now)) } }
                } }
            }
            @if let Some(older) = older {
                nav.pages aria-label="Pages" { a.button rel="next" href=(format!("/review/audit?before={older}")) { "Older" (Icon::Older.svg()) } }
            }
        }
    }
}

fn row(entry: &Line, now: Timestamp) -> Markup {
    html! {
        tr {
            td { (ago(entry.at_ms, now)) }
            td { (plain(&entry.actor)) }
            td { span.chip { (plain(&entry.action.replace('_', " "))) } }
            td { @if let Some(case) = &entry.case { a href=(format!("/review/cases/{case}")) { code { (case.chars().take(13).collect::<String>()) "…" } } } }
            td.detail { (line(&entry.detail, 120)) }
            td { code title=(entry.hash) { (entry.seq) " · " (entry.hash.chars().take(8).collect::<String>()) } }
        }
    }
}
