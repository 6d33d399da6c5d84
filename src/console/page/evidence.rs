//! Why a case was decided so: the rules that matched, and what was scored.

use maud::{Markup, html};
use serde::Deserialize;

use super::{
    conversation::worst,
    parts::{bar, two},
    text::{line, plain, thousands},
    windows,
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
    threshold: Option<f32>,
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

/// From which score on a passage that has this one was unsafe: by the word of the rule that matched it at that score, of one
/// that acted before one on trial, or else by the guard's own.
pub(super) fn against(reasons: &[Why], passage: &Passage, score: f32, own: f32) -> f32 {
    let is_at = |why: &&Why| why.score == Some(score) && why.is_about(passage.direction, passage.target);
    let matched = reasons.iter().filter(is_at).filter_map(|why| Some((why.mode == "shadow", why.threshold?)));
    matched.min_by_key(|(on_trial, _)| *on_trial).map_or(own, |(_, threshold)| threshold)
}

/// The rules that matched.
pub(super) fn rules(reasons: &[Why]) -> Markup {
    html! {
        section.panel aria-labelledby="why" {
            h2 id="why" { "Why" }
            @if reasons.is_empty() { p.dim { "No rule is recorded with this case." } }
            ul.why { @for why in reasons { li { (rule(why)) } } }
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
            @if let Some(threshold) = why.threshold { " of " span.figure { (two(threshold)) } }
            @if !why.detectors.is_empty() { ", found " (plain(&why.detectors.join(", "))) }
        }
        @if let Some(note) = &why.note { p.said { (plain(note)) } }
    }
}

/// What guards thought of each text that was judged as one.
pub(super) fn scores(case: &Case, reasons: &[Why]) -> Markup {
    let Some(kept) = &case.evidence else {
        return html! { section.panel aria-labelledby="scores" { h2 id="scores" { "Scores" } p.dim { "This case is from a version that kept no evidence." } } };
    };
    let mut judged: Vec<&Passage> = kept.passages.iter().filter(|passage| !passage.verdicts.is_empty()).collect();
    let first = |passage: &Passage| worst(reasons, passage).map_or(f32::INFINITY, |(score, _)| score);
    judged.sort_by(|a, b| first(b).total_cmp(&first(a)));
    let (shown, more) = judged.split_at(judged.len().min(SHOWN));
    html! {
        section.panel aria-labelledby="scores" {
            h2 id="scores" { "Scores" }
            @if judged.is_empty() { p.dim { "No guard was asked." } }
            ol.judged { @for passage in shown { li { (passage_view(case, kept, reasons, passage)) } } }
            @if !more.is_empty() {
                details.fold {
                    summary { (thousands(more.len())) " lower ones" }
                    ol.judged { @for passage in more { li { (passage_view(case, kept, reasons, passage)) } } }
                }
            }
            @for own in &kept.unscorable { p.said { "Not judged: " (plain(&own.kind)) " in the " (own.direction.name()) } }
        }
    }
}

fn passage_view(case: &Case, kept: &Kept, reasons: &[Why], passage: &Passage) -> Markup {
    let part = passage.piece.as_ref().is_some_and(|piece| !piece.all);
    html! {
        p.scored {
            @if let Some((id, text)) = windows::opening(case, passage) {
                a href=(format!("#{id}")) {
                    bdi lang=[passage.language.as_deref()] dir="auto" { (line(text, EXCERPT)) }
                }
            } @else {
                span.dim { (passage.direction.name()) }
            }
        }
        p.dim {
            (passage.target.name().replace('_', " "))
            @if let Some(language) = &passage.language { " · " (plain(language)) }
            @for other in passage.others.iter().filter(|other| !other.is_empty()) { ", " (plain(other)) }
            @if part { " · a part of a stream" }
        }
        @for verdict in &passage.verdicts { (said(case, kept, reasons, passage, verdict)) }
    }
}

fn said(case: &Case, kept: &Kept, reasons: &[Why], passage: &Passage, verdict: &Verdict) -> Markup {
    let threshold = match verdict.said {
        Said::Score { score, threshold } => Some(against(reasons, passage, score, threshold)),
        Said::Failed { .. } => None,
    };
    let guard = kept.guards.get(verdict.guard).map_or("guard", |guard| guard.name.as_str());
    html! {
        div.verdict {
            span.by-guard { (plain(guard)) }
            @match &verdict.said {
                Said::Score { score, .. } => {
                    (bar(*score, threshold))
                    span.figures {
                        span class=(if threshold.is_some_and(|at| *score >= at) { "figure over" } else { "figure" }) { (two(*score)) }
                        @if let Some(threshold) = threshold { span.dim { " of " (two(threshold)) } }
                    }
                }
                Said::Failed { failed } => { span.failed { "failed: " (plain(failed)) } }
            }
        }
        @if let Some(threshold) = threshold { (windows::view(case, passage, verdict, threshold)) }
    }
}
