//! One case: the conversation, why it was decided, and what reviewers make of it.

use jiff::{Timestamp, civil::Date};
use maud::{Markup, html};

use super::{
    conversation,
    evidence::{self, Why},
    parts::{Icon, ago, csrf, decision, rules, state, two},
    query::Asked,
    queue::row_view,
    text::plain,
};
use crate::review::{Case, Decision, Entry, Facts, Opinion, State};

/// A text that an exception can be made for.
#[derive(Debug, Clone)]
pub(super) struct Pass {
    /// What the form sends.
    pub(super) value: String,
    /// The beginning of the text.
    pub(super) label: String,
    /// What policies know it by.
    pub(super) hash: String,
}

/// What the form for an exception offers.
#[derive(Debug, Clone, Default)]
pub(super) struct Offer {
    pub(super) texts: Vec<Pass>,
    pub(super) policies: Vec<String>,
    /// The last day that an exception may hold.
    pub(super) last: Date,
    /// The day that stands in the form.
    pub(super) expires: Date,
}

/// The page of a case.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) case: &'a Case,
    pub(super) state: State,
    pub(super) decisions: &'a [Decision],
    /// The cases beside it in the queue that it was opened from.
    pub(super) newer: Option<&'a str>,
    pub(super) older: Option<&'a str>,
    pub(super) asked: &'a Asked,
    /// Cases of the same caller.
    pub(super) neighbours: &'a [Entry],
    /// Or why none can be made.
    pub(super) offer: Result<&'a Offer, &'a str>,
    /// The signed-in person.
    pub(super) name: &'a str,
    pub(super) decides: bool,
    pub(super) csrf: &'a str,
    pub(super) now: Timestamp,
}

impl View<'_> {
    /// The page's content.
    pub(super) fn view(&self) -> Markup {
        let reasons = Why::of(self.case);
        html! {
            div.case data-case=(self.case.id) {
                (self.head())
                @if self.decides { (self.decide()) }
                div.columns {
                    section aria-label="Conversation" { (conversation::view(self.case, &reasons)) }
                    aside aria-label="About this case" {
                        @if !self.decisions.is_empty() { (self.decided()) }
                        (evidence::rules(&reasons))
                        (evidence::scores(self.case, &reasons))
                        (self.facts())
                        @if self.decides { (self.exception()) }
                        (self.beside())
                    }
                }
            }
        }
    }

    fn href(&self, id: &str) -> String {
        self.asked.href(&format!("/review/cases/{id}"), &[])
    }

    fn action(&self, what: &str) -> String {
        format!("/review/cases/{}/{what}", self.case.id)
    }

    fn head(&self) -> Markup {
        let rules = rules(&self.case.reasons).join(", ");
        html! {
            header.case-head {
                nav.steps aria-label="Cases" {
                    a.button.ghost id="back" href=(self.asked.href("/review", &[])) { (Icon::Newer.svg()) "Queue" }
                    span.steps-both {
                        @if let Some(id) = self.newer { a.button id="newer" rel="prev" href=(self.href(id)) { (Icon::Newer.svg()) "Newer" } }
                        @if let Some(id) = self.older { a.button id="older" rel="next" href=(self.href(id)) { "Older" (Icon::Older.svg()) } }
                    }
                }
                h1 { (decision(&self.case.decision)) " " span { @if rules.is_empty() { "no rule" } @else { (plain(&rules)) } } }
                p.dim.facts-line {
                    (state(self.state))
                    @if let Ok(at) = self.case.at.parse::<Timestamp>() { (ago(at.as_millisecond(), self.now)) }
                    span { (plain(&self.case.model)) }
                    @if let Some(tenant) = self.case.call.as_ref().and_then(|call| call.tenant.as_deref()) { span { (plain(tenant)) } }
                    @if let Some(score) = self.case.score { span { "score " span.figure { (two(score)) } } }
                }
            }
        }
    }

    /// Right, wrong, and the note that goes with it.
    fn decide(&self) -> Markup {
        let mine = self.decisions.iter().find(|decided| decided.reviewer == self.name);
        let pressed = |opinion: Opinion| mine.map(|mine| if mine.opinion == opinion { "true" } else { "false" });
        html! {
            form.decide id="decide" method="post" action=(self.action("decide")) data-swap aria-label="Your decision" {
                (csrf(self.csrf))
                label.vh for="note" { "Note" }
                textarea id="note" name="note" rows="1" maxlength="2000" placeholder="Note (optional)" { (mine.map_or("", |mine| mine.note.as_str())) }
                div.verdicts {
                    button.right type="submit" name="verdict" value="right" aria-pressed=[pressed(Opinion::Right)] title="The flag is right (r)" {
                        (Icon::Check.svg()) "Right"
                    }
                    button.wrong type="submit" name="verdict" value="wrong" aria-pressed=[pressed(Opinion::Wrong)] title="A false positive (w)" {
                        (Icon::Cross.svg()) "Wrong"
                    }
                    @if mine.is_some() {
                        button.ghost type="submit" formaction="/review/undo" name="case" value=(self.case.id) data-undo title="Take it back (u)" {
                            (Icon::Undo.svg()) "Undo"
                        }
                    }
                    label.onward { input type="checkbox" name="onward" value="yes" id="onward"; "Then the next case" }
                }
            }
        }
    }

    fn decided(&self) -> Markup {
        html! {
            section.panel aria-labelledby="decisions" {
                h2 id="decisions" { "Decisions" }
                ul.decided {
                    @for decided in self.decisions {
                        li {
                            p { strong { (plain(&decided.reviewer)) } (state(said(decided.opinion))) (ago(decided.at_ms, self.now)) }
                            @if !decided.note.is_empty() { p.said dir="auto" { (plain(&decided.note)) } }
                        }
                    }
                }
            }
        }
    }

    fn facts(&self) -> Markup {
        let case = self.case;
        let fact = |name: &str, value: Option<&str>| {
            html! { @if let Some(value) = value.filter(|value| !value.is_empty()) { div { dt { (name) } dd { (plain(value)) } } } }
        };
        html! {
            section.panel aria-labelledby="facts" {
                h2 id="facts" { "The call" }
                dl.facts {
                    (fact("Model", Some(&case.model)))
                    (fact("API", Some(&case.dialect)))
                    (fact("Stream", Some(if case.stream { "yes" } else { "no" })))
                    (fact("Language", case.language.as_deref()))
                    @if let Some(call) = &case.call { (called(call, &fact)) }
                    (fact("Guard", Some(&case.guard)))
                    (fact("Policies", Some(&case.policy)))
                    (fact("Time", Some(&case.at)))
                    (fact("Id", Some(&case.id)))
                }
            }
        }
    }

    fn exception(&self) -> Markup {
        html! {
            section.panel aria-labelledby="exception" {
                h2 id="exception" { "Exception" }
                @match self.offer {
                    Err(why) => { p.dim { "None can be made: " (plain(why)) } }
                    Ok(offer) => {
                        details.make {
                            summary { "Make an exception" }
                            p.dim { "The very same text passes this policy until the day it ends." }
                            (self.exception_form(offer))
                        }
                    }
                }
            }
        }
    }

    fn exception_form(&self, offer: &Offer) -> Markup {
        html! {
            form.stack method="post" action=(self.action("exceptions")) data-swap aria-label="Make an exception" {
                (csrf(self.csrf))
                label { "Text" select name="text" required {
                    @for pass in &offer.texts { option value=(pass.value) { (plain(&pass.label)) } }
                } }
                label { "Policy" select name="policy" required {
                    @for policy in &offer.policies { option value=(policy) { (plain(policy)) } }
                } }
                label { "Owner" input type="text" name="owner" required maxlength="200" value=(self.name) autocomplete="off"; }
                label { "Expires" input type="date" name="expires" required value=(offer.expires) max=(offer.last); }
                label { "Why" input type="text" name="note" maxlength="2000" autocomplete="off"; }
                button.primary type="submit" { "Make the exception" }
            }
        }
    }

    /// The other cases of the caller.
    fn beside(&self) -> Markup {
        let by = self.case.call.as_ref().and_then(|call| call.key.as_deref().or(call.subject.as_deref()));
        html! {
            section.panel aria-labelledby="beside" {
                h2 id="beside" { "Same caller" }
                @match by {
                    None => { p.dim { "It is not known who called." } }
                    Some(by) if self.neighbours.is_empty() => { p.dim { "Nothing else of " (plain(by)) " was flagged." } }
                    Some(by) => {
                        p.dim { "Also flagged of " strong { (plain(by)) } }
                        ol.rows.small aria-label="Other cases of the same caller" {
                            @for row in self.neighbours { (row_view(row, &format!("/review/cases/{}", row.id), self.now, false)) }
                        }
                    }
                }
            }
        }
    }
}

/// The state of a case of which everybody says so.
fn said(opinion: Opinion) -> State {
    match opinion {
        Opinion::Right => State::Right,
        Opinion::Wrong => State::Wrong,
    }
}

fn called(call: &Facts, fact: &impl Fn(&str, Option<&str>) -> Markup) -> Markup {
    let others = call.models.join(", ");
    html! {
        (fact("Also asked", Some(&others)))
        (fact("Tenant", call.tenant.as_deref()))
        (fact("Key", call.key.as_deref()))
        (fact("Subject", call.subject.as_deref()))
        (fact("Known by", call.method.map(|method| method.name())))
        (fact("Route", Some(&call.route)))
        (fact("Upstream", Some(&call.upstream)))
        @for (name, value) in &call.headers { (fact(name, Some(value))) }
    }
}
