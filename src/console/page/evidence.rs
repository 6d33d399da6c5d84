//! Why a case was decided so: the rules that matched, and what was scored.

use maud::{Markup, html};
use serde::Deserialize;

use super::{
    conversation::worst,
    parts::{bar, two},
    text::{line, plain, thousands},
};
use crate::{
    review::{Case, Kept, Passage, Said, Verdict},
    segment::{Direction, Target},
};

/// Texts whose scores are shown at once, the worst; others are folded.
const SHOWN: usize = 8;
const EXCERPT: usize = 90;

/// A rule that matched, as the record has it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Why {
    pub(super) policy: String,
    pub(super) rule: String,
    action: String,
    mode: String,
    direction: String,
    target: Option<String>,
    score: Option<f32>,
    detectors: Vec<String>,
    note: Option<String>,
}

impl Why {
    /// Whether it is about text of this kind that travelled this way.
    pub(super) fn is_about(&self, direction: Direction, target: Target) -> bool {
        self.direction == direction.name() && self.target.as_deref() == Some(target.name())
    }

    /// Of a case.
    pub(super) fn of(case: &Case) -> Vec<Self> {
        let reasons = case.reasons.as_array().into_iter().flatten();
        reasons.map(|reason| Self::deserialize(reason).unwrap_or_default()).collect()
    }
}

/// The rules that matched.
pub(super) fn rules(case: &Case) -> Markup {
    let reasons = Why::of(case);
    html! {
        section.panel aria-labelledby="why" {
            h2 id="why" { "Why" }
            @if reasons.is_empty() { p.dim { "No rule is recorded with this case." } }
            ul.why { @for why in &reasons { li { (rule(why)) } } }
        }
    }
}

fn rule(why: &Why) -> Markup {
    html! {
        p.rule {
            span.chip { (plain(&why.rule)) }
            span.dim { " of " (plain(&why.policy)) }
            @if why.mode == "shadow" { " " span.note title="It decided nothing" { "on trial" } }
        }
        p.dim {
            strong { (plain(&why.action)) }
            @if let Some(target) = &why.target { " of a " (plain(&target.replace('_', " "))) }
            @if !why.direction.is_empty() { " in the " (plain(&why.direction)) }
            @if let Some(score) = why.score { ", score " span.figure { (two(score)) } }
            @if !why.detectors.is_empty() { ", found " (plain(&why.detectors.join(", "))) }
        }
        @if let Some(note) = &why.note { p.said { (plain(note)) } }
    }
}

/// What guards thought of each text that was judged as one.
pub(super) fn scores(case: &Case) -> Markup {
    let Some(kept) = &case.evidence else {
        return html! { section.panel aria-labelledby="scores" { h2 id="scores" { "Scores" } p.dim { "This case is from a version that kept no evidence." } } };
    };
    let mut judged: Vec<&Passage> = kept.passages.iter().filter(|passage| !passage.verdicts.is_empty()).collect();
    let first = |passage: &Passage| worst(passage).map_or(f32::INFINITY, |(score, _)| score);
    judged.sort_by(|a, b| first(b).total_cmp(&first(a)));
    let (shown, more) = judged.split_at(judged.len().min(SHOWN));
    html! {
        section.panel aria-labelledby="scores" {
            h2 id="scores" { "Scores" }
            @if judged.is_empty() { p.dim { "No guard was asked." } }
            ol.judged { @for passage in shown { li { (passage_view(case, kept, passage)) } } }
            @if !more.is_empty() {
                details.fold {
                    summary { (thousands(more.len())) " lower ones" }
                    ol.judged { @for passage in more { li { (passage_view(case, kept, passage)) } } }
                }
            }
            @for own in &kept.unscorable { p.said { "Not judged: " (plain(&own.kind)) " in the " (own.direction.name()) } }
        }
    }
}

fn passage_view(case: &Case, kept: &Kept, passage: &Passage) -> Markup {
    let texts = match passage.direction {
        Direction::Request => &case.request,
        Direction::Response => &case.response,
    };
    let first = passage.texts.first().and_then(|at| Some((at, texts.get(*at)?)));
    let part = passage.piece.as_ref().is_some_and(|piece| !piece.all);
    html! {
        p.scored {
            @if let Some((at, text)) = first {
                a href=(format!("#{}-{at}", passage.direction.name())) {
                    bdi lang=[passage.language.as_deref()] dir="auto" { (line(&text.text, EXCERPT)) }
                }
            } @else {
                span.dim { (passage.direction.name()) }
            }
        }
        p.dim {
            (passage.target.name().replace('_', " "))
            @if let Some(language) = &passage.language { " · " (plain(language)) }
            @for other in passage.others.iter().filter(|other| !other.is_empty()) { ", " (plain(other)) }
            @if part { " · the beginning of a stream" }
        }
        @for verdict in &passage.verdicts { (said(kept, verdict)) }
    }
}

fn said(kept: &Kept, verdict: &Verdict) -> Markup {
    let guard = kept.guards.get(verdict.guard).map_or("guard", |guard| guard.name.as_str());
    html! {
        div.verdict {
            span.by-guard { (plain(guard)) }
            @match &verdict.said {
                Said::Score { score, threshold } => {
                    (bar(*score, Some(*threshold)))
                    span.figures {
                        span class=(if score >= threshold { "figure over" } else { "figure" }) { (two(*score)) }
                        span.dim { " of " (two(*threshold)) }
                    }
                }
                Said::Failed { failed } => { span.failed { "failed: " (plain(failed)) } }
            }
        }
    }
}
