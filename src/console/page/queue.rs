//! The queue: what was flagged, newest first, and what narrows it.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    parts::{Icon, ago, bar, chips, csrf, decision, empty, rules, state, two},
    query::Asked,
    text::{line, plain},
};
use crate::review::{Choices, Entry, State};

/// Characters of a prompt in a row.
const EXCERPT: usize = 180;
const STATES: [(&str, &str); 5] =
    [("open", "Open"), ("right", "Right"), ("wrong", "Wrong"), ("disputed", "Disputed"), ("all", "All")];
const DECISIONS: [(&str, &str); 4] = [("block", "Blocked"), ("rewrite", "Rewritten"), ("flag", "Flagged"), ("allow", "Shadow")];
const DIRECTIONS: [(&str, &str); 2] = [("request", "Request"), ("response", "Response")];
const TIMES: [(&str, &str); 4] =
    [("1h", "Last hour"), ("24h", "Last 24 hours"), ("7d", "Last 7 days"), ("30d", "Last 30 days")];

/// A page of the queue.
#[derive(Debug)]
pub(super) struct Queue<'a> {
    pub(super) asked: &'a Asked,
    pub(super) rows: &'a [Entry],
    pub(super) choices: &'a Choices,
    /// Where the next older page begins, if there is one.
    pub(super) older: Option<&'a str>,
    /// This is not the newest page.
    pub(super) paged: bool,
    /// What of the filter cannot be asked.
    pub(super) mistake: Option<&'a str>,
    /// Where the browser hears of new cases.
    pub(super) live: Option<&'a str>,
    pub(super) decides: bool,
    pub(super) csrf: &'a str,
    pub(super) now: Timestamp,
}

impl Queue<'_> {
    /// The page's content.
    pub(super) fn view(&self) -> Markup {
        html! {
            div.queue data-live=[self.live] {
                h1.vh { "Queue" }
                (self.filter())
                div.list {
                    (self.bar())
                    @if let Some(mistake) = self.mistake {
                        p.mistake role="alert" { (plain(mistake)) }
                    } @else if self.rows.is_empty() {
                        (self.nothing())
                    } @else {
                        ol.rows aria-label="Cases" { @for row in self.rows { (self.row(row)) } }
                    }
                }
                (self.pages())
                @if self.decides && !self.rows.is_empty() { (self.bulk()) }
            }
        }
    }

    fn filter(&self) -> Markup {
        let narrowed = self.asked.narrowed().count();
        html! {
            form.filter method="get" action="/review" role="search" aria-label="Cases" {
                div.search {
                    (Icon::Search.svg())
                    input type="search" name="q" id="q" value=(self.asked.get("q")) aria-label="Search"
                        placeholder="Search prompts and answers" autocomplete="off" spellcheck="false";
                    kbd.scripted aria-hidden="true" { "/" }
                    button.ghost.scripted.phone type="button" id="filters" aria-expanded="false" aria-controls="fields" {
                        (Icon::Sliders.svg()) "Filters" @if narrowed > 0 { span.count { (narrowed) } }
                    }
                }
                div.fields id="fields" {
                    input type="hidden" name="state" value=(self.asked.get("state"));
                    (self.choice("since", "Time", "Any time", TIMES))
                    (self.choice("decision", "Decision", "Any", DECISIONS))
                    (self.named("rule", "Rule", &self.choices.rules))
                    (self.choice("direction", "Direction", "Any", DIRECTIONS))
                    (self.named("language", "Language", &self.choices.languages))
                    (self.named("tenant", "Tenant", &self.choices.tenants))
                    fieldset.field.range {
                        legend { "Score" }
                        (self.bound("score_from", "Score from", "0"))
                        span aria-hidden="true" { "–" }
                        (self.bound("score_to", "Score to", "1"))
                    }
                    button.apply type="submit" { "Apply" }
                    @if narrowed > 0 { a.clear href=(self.tab(self.asked.get("state"))) { "Clear filters" } }
                }
            }
        }
    }

    /// The queue's address with only its tab.
    fn tab(&self, state: &str) -> String {
        Asked::default().href("/review", &[("state", state)])
    }

    /// An end of the scores. What is no number cannot stand in the field: that it was asked is told as a mistake.
    fn bound(&self, name: &str, label: &str, hint: &str) -> Markup {
        let asked = self.asked.get(name).parse::<f32>().ok().filter(|score| score.is_finite());
        html! {
            input type="number" name=(name) value=[asked] min="0" max="1" step="any" inputmode="decimal"
                placeholder=(hint) aria-label=(label);
        }
    }

    fn named(&self, name: &str, label: &str, values: &[String]) -> Markup {
        self.choice(name, label, "Any", values.iter().map(|value| (value.as_str(), value.as_str())))
    }

    /// A choice of one; what was asked is among them, whatever it is.
    fn choice<'v>(&self, name: &str, label: &str, any: &str, values: impl IntoIterator<Item = (&'v str, &'v str)>) -> Markup {
        let asked = self.asked.get(name);
        let values: Vec<_> = values.into_iter().collect();
        let other = !asked.is_empty() && values.iter().all(|(value, _)| *value != asked);
        html! {
            div.field class=[(!asked.is_empty()).then_some("set")] {
                label for=(name) { (label) }
                select id=(name) name=(name) {
                    option value="" { (any) }
                    @if other { option value=(asked) selected { (plain(asked)) } }
                    @for (value, word) in values { option value=(value) selected[value == asked] { (plain(word)) } }
                }
            }
        }
    }

    fn bar(&self) -> Markup {
        let state = Some(self.asked.get("state")).filter(|state| !state.is_empty()).unwrap_or("open");
        html! {
            div.bar-top {
                @if self.decides && !self.rows.is_empty() {
                    input.pick.scripted type="checkbox" id="all" aria-label="Select all cases on this page";
                }
                nav aria-label="State" { ul.tabs {
                    @for (value, name) in STATES {
                        li { a href=(self.asked.href("/review", &[("state", value)])) aria-current=[(state == value).then_some("page")] { (name) } }
                    }
                } }
                a.pill id="new" href=(self.asked.href("/review", &[])) hidden { span id="new-count" { "0" } " new" }
                div.exports role="group" aria-label="Export" {
                    (Icon::File.svg())
                    a href=(self.asked.href("/review/export.jsonl", &[])) download { span.vh { "Export as " } "JSONL" }
                    a href=(self.asked.href("/review/export.csv", &[])) download { span.vh { "Export as " } "CSV" }
                }
            }
        }
    }

    fn nothing(&self) -> Markup {
        let narrowed = self.asked.narrowed().next().is_some();
        if narrowed {
            empty(
                "Nothing matches",
                &html! { "No case has all of this. " a href=(self.tab(self.asked.get("state"))) { "Clear the filters" } "." },
            )
        } else if self.asked.get("state").is_empty() || self.asked.get("state") == "open" {
            empty("All calm", &html! { "No case waits for a decision. " a href="/review?state=all" { "See all cases" } "." })
        } else {
            empty("No such case", &html! { "Cases come here once reviewers have decided so." })
        }
    }

    fn row(&self, row: &Entry) -> Markup {
        row_view(row, &self.asked.href(&format!("/review/cases/{}", row.id), &[]), self.now, self.decides)
    }

    fn pages(&self) -> Markup {
        html! {
            @if self.paged || self.older.is_some() {
                nav.pages aria-label="Pages" {
                    @if self.paged { a.button rel="prev" href=(self.asked.href("/review", &[])) { (Icon::Newer.svg()) "Newest" } }
                    @if let Some(older) = self.older {
                        a.button rel="next" href=(self.asked.href("/review", &[("after", older)])) { "Older" (Icon::Older.svg()) }
                    }
                }
            }
        }
    }

    fn bulk(&self) -> Markup {
        html! {
            form.bulk id="bulk" method="post" action="/review/decide" data-swap aria-label="Selected cases" {
                (csrf(self.csrf))
                // The first button is the one that Enter in the note would press: this one does nothing.
                button type="submit" disabled hidden {}
                output.scripted id="picked" { "0 selected" }
                input type="text" name="note" maxlength="2000" aria-label="Note" placeholder="Note for the selected cases (optional)";
                button.right type="submit" name="verdict" value="right" title="The flags are right" { (Icon::Check.svg()) "Right" }
                button.wrong type="submit" name="verdict" value="wrong" title="False positives" { (Icon::Cross.svg()) "Wrong" }
                button.ghost.scripted type="reset" { "Clear" }
            }
        }
    }
}

/// A case in a list.
pub(super) fn row_view(row: &Entry, href: &str, now: Timestamp, picks: bool) -> Markup {
    let short: String = row.id.chars().rev().take(6).collect::<Vec<_>>().into_iter().rev().collect();
    html! {
        li.row data-case=(row.id) {
            @if picks { input.pick type="checkbox" name="case" value=(row.id) form="bulk" aria-label=(format!("Select case {short}")); }
            (decision(&row.decision))
            a.open href=(href) {
                span.vh { "Case " (short) ": " }
                bdi lang=[row.language.as_deref()] dir="auto" {
                    @if row.excerpt.trim().is_empty() { span.dim { "no prompt" } } @else { (line(&row.excerpt, EXCERPT)) }
                }
            }
            div.meta {
                (chips(&rules(&row.reasons)))
                @if let Some(tenant) = &row.tenant { span.of title="tenant" { (plain(tenant)) } }
                span.of title="model" { (plain(&row.model)) }
            }
            div.score {
                @if let Some(score) = row.score { span.vh { "score " } span.figure { (two(score)) } (bar(score, None)) }
            }
            span.tongue title="language" { (plain(row.language.as_deref().unwrap_or("–"))) }
            div.when { @if row.state != State::Open { (state(row.state)) } (ago(row.at_ms, now)) }
        }
    }
}
