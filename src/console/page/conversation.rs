//! A case's texts as the conversation that they were.

use maud::{Markup, html};

use super::{
    evidence::{Why, against},
    parts::two,
    text::thousands,
    whole::whole,
    windows::pointed,
};
use crate::{
    review::{Case, Passage, Said, Text},
    segment::{Direction, Target},
};

/// Messages that are shown at once, the newest; earlier ones are folded.
const SHOWN: usize = 40;
/// Bytes of text on one page. What goes beyond it is offered as files only.
const ROOM: usize = 2_000_000;

/// What is known of one text.
#[derive(Debug, Default, Clone)]
struct Known<'c> {
    language: Option<&'c str>,
    /// The highest score of a passage that it is part of, and the threshold there.
    worst: Option<(f32, f32)>,
}

/// The texts of one message.
struct Message<'c> {
    direction: Direction,
    target: Target,
    texts: Vec<(usize, &'c Text)>,
}

/// The conversation of a case.
pub(super) fn view(case: &Case, reasons: &[Why]) -> Markup {
    let request = messages(Direction::Request, &case.request);
    let response = messages(Direction::Response, &case.response);
    let (earlier, shown) = request.split_at(request.len().saturating_sub(SHOWN));
    let mut room = ROOM;
    let mut bubbles = |messages: &[Message<'_>]| {
        html! { @for message in messages { (bubble(case, reasons, message, &mut room)) } }
    };
    // The newest are what people read: they take their room first.
    let (answer, shown, earlier_view) = (bubbles(&response), bubbles(shown), bubbles(earlier));
    html! {
        div.talk {
            @if !earlier.is_empty() {
                details.fold.earlier { summary { (thousands(earlier.len())) " earlier messages" } (earlier_view) }
            }
            (shown)
            @if !response.is_empty() {
                p.divide { span { @if case.decision == "block" { "The model's answer, as far as it was read" } @else { "The model's answer" } } }
                (answer)
            }
            @if request.is_empty() && response.is_empty() { p.dim { "No text was kept of this case." } }
        }
    }
}

/// Where a text can be had as a file.
fn file(case: &Case, direction: Direction, at: usize) -> String {
    format!("/review/cases/{}/texts/{}/{at}", case.id, direction.name())
}

fn messages(direction: Direction, texts: &[Text]) -> Vec<Message<'_>> {
    let mut messages: Vec<Message<'_>> = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let is_same = |last: &&mut Message<'_>| {
            last.target == text.target && last.texts.last().is_some_and(|(_, other)| other.message == text.message)
        };
        match messages.last_mut().filter(is_same) {
            Some(last) => last.texts.push((at, text)),
            None => messages.push(Message { direction, target: text.target, texts: vec![(at, text)] }),
        }
    }
    messages
}

fn bubble(case: &Case, reasons: &[Why], message: &Message<'_>, room: &mut usize) -> Markup {
    let Message { direction, target, texts } = message;
    let known: Vec<Known<'_>> = texts.iter().map(|(at, _)| known(case, reasons, *direction, *at)).collect();
    let worst = known.iter().filter_map(|known| known.worst).max_by(|a, b| a.0.total_cmp(&b.0));
    let over = worst.is_some_and(|(score, threshold)| score >= threshold);
    let found = texts.iter().any(|(_, text)| !text.findings.is_empty());
    let (class, who) = role(*target);
    let mut one = |at: usize, text: &Text, language: Option<&str>| {
        let href = file(case, *direction, at);
        let left = room.checked_sub(text.text.len());
        *room = left.unwrap_or(*room);
        html! {
            div.text id=(format!("{}-{at}", direction.name())) lang=[language] dir="auto" {
                @if left.is_some() {
                    (whole(&text.text, &text.findings, &pointed(case, reasons, *direction, at), &href))
                } @else {
                    p.cut { a href=(href) download { "Download this text: " (thousands(text.text.len())) " bytes" } }
                }
            }
        }
    };
    let body = html! { @for ((at, text), known) in texts.iter().zip(&known) { (one(*at, text, known.language)) } };
    let head = html! {
        span.who { (who) }
        @if let Some((score, threshold)) = worst {
            span class=(if over { "mark over" } else { "mark" }) title=(format!("P(unsafe) {score:.3}, threshold {threshold:.3}")) { (two(score)) }
        }
    };
    // Instructions and tools are long and seldom what matters.
    let folded = matches!(target, Target::System | Target::ToolDefinition) && !over && !found;
    html! {
        article class=(format!("bubble {class}{}", if over { " over" } else { "" })) {
            @if folded {
                details { summary.head { (head) } (body) }
            } @else {
                header.head { (head) }
                (body)
            }
        }
    }
}

fn role(target: Target) -> (&'static str, &'static str) {
    match target {
        Target::Prompt => ("user", "User"),
        Target::System => ("system", "System"),
        Target::ToolDefinition => ("tool", "Tool definition"),
        Target::ToolCall => ("tool call", "Tool call"),
        Target::ToolResult => ("tool", "Tool result"),
        Target::Completion => ("assistant", "Assistant"),
    }
}

fn known<'c>(case: &'c Case, reasons: &[Why], direction: Direction, at: usize) -> Known<'c> {
    let passages = case.evidence.iter().flat_map(|evidence| &evidence.passages);
    let about = passages.filter(|passage| passage.direction == direction && passage.texts.contains(&at));
    about.fold(Known::default(), |known, passage| Known {
        language: known.language.or(passage.language.as_deref()),
        worst: known.worst.into_iter().chain(worst(reasons, passage)).max_by(|a, b| a.0.total_cmp(&b.0)),
    })
}

/// The highest score of a passage, and the threshold there.
pub(super) fn worst(reasons: &[Why], passage: &Passage) -> Option<(f32, f32)> {
    let scores = passage.verdicts.iter().filter_map(|verdict| match verdict.said {
        Said::Score { score, threshold } => Some((score, against(reasons, passage, score, threshold))),
        Said::Failed { .. } => None,
    });
    scores.max_by(|a, b| a.0.total_cmp(&b.0))
}
