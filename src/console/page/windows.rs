//! The stretches of a long text that a guard judged by themselves: how they scored, and the way to each in the text.

use std::ops::Range;

use maud::{Markup, html};

use super::{
    evidence::{Why, against},
    parts::two,
    svg::{Stretch, strip},
    text::{line, thousands},
    whole::Pointed,
};
use crate::{
    review::{Case, MOST_WINDOWS, Passage, Said, Text, Verdict, Window},
    segment::Direction,
};

/// Stretches of one verdict that are listed, the worst.
const LISTED: usize = 8;
const EXCERPT: usize = 60;

/// The texts of a case that travelled this way.
pub(super) fn texts(case: &Case, direction: Direction) -> &[Text] {
    match direction {
        Direction::Request => &case.request,
        Direction::Response => &case.response,
    }
}

/// A verdict's stretches, the worst first; none if one is all of the text.
fn listed<'c>(case: &Case, passage: &Passage, verdict: &'c Verdict) -> Vec<&'c Window> {
    let length = |window: &Window| texts(case, passage.direction).get(window.text).map(|text| text.text.len());
    let is_all = |window: &Window| window.start == 0 && length(window) == Some(window.end);
    let mut windows: Vec<&Window> = match verdict.windows.as_slice() {
        [only] if is_all(only) => Vec::new(),
        windows => windows.iter().collect(),
    };
    windows.sort_by(|a, b| b.score.total_cmp(&a.score));
    windows.truncate(LISTED);
    windows
}

fn id(direction: Direction, window: &Window) -> String {
    format!("{}-{}-{}", direction.name(), window.text, window.start)
}

/// Where a link to a passage leads, and how the text begins there. What a check of a stream saw begins where it did.
pub(super) fn opening<'c>(case: &'c Case, passage: &Passage) -> Option<(String, &'c str)> {
    let text = |at: usize| texts(case, passage.direction).get(at).map(|text| text.text.as_str());
    if let Some([only]) = passage.piece.as_ref().and(passage.verdicts.first()).map(|verdict| verdict.windows.as_slice()) {
        let part = text(only.text)?;
        return Some((id(passage.direction, only), part.get(part.floor_char_boundary(only.start)..).unwrap_or_default()));
    }
    let first = *passage.texts.first()?;
    Some((format!("{}-{first}", passage.direction.name()), text(first)?))
}

/// What the page points at in one text of a case.
pub(super) fn pointed(case: &Case, reasons: &[Why], direction: Direction, at: usize) -> Pointed {
    let mut pointed = Pointed::default();
    let mut worst: Option<(f32, Range<usize>)> = None;
    let passages = case.evidence.iter().flat_map(|kept| &kept.passages);
    for passage in passages.filter(|passage| passage.direction == direction && passage.texts.contains(&at)) {
        for verdict in &passage.verdicts {
            let Said::Score { score, threshold } = verdict.said else { continue };
            let threshold = against(reasons, passage, score, threshold);
            for window in listed(case, passage, verdict).into_iter().filter(|window| window.text == at) {
                let (id, range) = (id(direction, window), window.start..window.end);
                if window.score >= threshold && worst.as_ref().is_none_or(|(score, _)| window.score > *score) {
                    worst = Some((window.score, range.clone()));
                }
                if !pointed.stretches.iter().any(|(_, own)| *own == id) {
                    pointed.stretches.push((range, id));
                }
            }
        }
    }
    pointed.worst = worst.map(|(score, range)| (range, format!("worst, score {}", two(score))));
    pointed
}

/// The stretches of a verdict, over the length of its texts and as a list that leads to the worst.
pub(super) fn view(case: &Case, passage: &Passage, verdict: &Verdict, threshold: f32) -> Markup {
    let listed = listed(case, passage, verdict);
    if verdict.windows.len() < 2 || listed.is_empty() {
        return Markup::default();
    }
    let texts = texts(case, passage.direction);
    let excerpt = |window: &Window| {
        let text = texts.get(window.text).map_or("", |text| text.text.as_str());
        let range = text.floor_char_boundary(window.start)..text.ceil_char_boundary(window.end);
        line(text.get(range).unwrap_or_default(), EXCERPT)
    };
    let count = verdict.windows.len();
    let label = format!("How {} stretches of it scored, from its beginning to its end", thousands(count));
    html! {
        div.windows {
            (strip(&label, &laid(texts, passage, &verdict.windows), threshold))
            p.dim {
                @if listed.len() < count { "The " (thousands(listed.len())) " worst of " }
                (thousands(count)) @if count >= MOST_WINDOWS { " or more" } " stretches"
            }
            ol aria-label="The worst stretches" {
                @for window in &listed {
                    li {
                        span class=(if window.score >= threshold { "figure over" } else { "figure" }) { (two(window.score)) }
                        a href=(format!("#{}", id(passage.direction, window))) { bdi dir="auto" { (excerpt(window)) } }
                    }
                }
            }
        }
    }
}

/// Where the stretches lie in all of the texts, one after the other.
#[expect(clippy::cast_precision_loss, reason = "texts are far shorter than 2^52 bytes")]
fn laid(texts: &[Text], passage: &Passage, windows: &[Window]) -> Vec<Stretch> {
    let lengths = passage.texts.iter().map(|at| (*at, texts.get(*at).map_or(0, |text| text.text.len())));
    let mut all = 0;
    let begins: Vec<(usize, usize)> = lengths
        .map(|(at, length)| {
            all += length;
            (at, all - length)
        })
        .collect();
    let share = |at: usize| if all == 0 { 0.0 } else { at as f64 / all as f64 };
    let stretch = |window: &Window| {
        let (_, begin) = begins.iter().find(|(at, _)| *at == window.text)?;
        Some(Stretch { from: share(begin + window.start), to: share(begin + window.end), score: window.score })
    };
    windows.iter().filter_map(stretch).collect()
}
