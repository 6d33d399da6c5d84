//! Charts of what was flagged and of how reviewers decide.

use jiff::{ToSpan as _, civil::Date};
use maud::{Markup, html};

use super::{
    parts::{Icon, empty},
    query::link,
    svg::{Column, across, columns},
    text::{plain, thousands},
};
use crate::review::{Charts, Day, Group, Spread};

/// Days that can be looked back on.
pub(super) const RANGES: [(u16, &str); 4] = [(7, "7 days"), (30, "30 days"), (90, "90 days"), (365, "1 year")];
const DECISIONS: [(&str, &str); 4] = [("block", "Blocked"), ("rewrite", "Rewritten"), ("flag", "Flagged"), ("allow", "Shadow")];

/// The page of charts.
#[derive(Debug)]
pub(super) struct Page<'a> {
    /// How many days it looks back.
    pub(super) days: u16,
    /// The last of them.
    pub(super) today: Date,
    pub(super) charts: &'a Charts,
}

impl Page<'_> {
    /// The page's content.
    pub(super) fn view(&self) -> Markup {
        let all: u64 = self.charts.days.iter().flat_map(|day| day.decisions.values()).sum();
        html! {
            div.charts {
                header.page-head {
                    h1 { "Charts" }
                    nav aria-label="Time" { ul.tabs {
                        @for (days, name) in RANGES {
                            li { a href=(format!("/review/charts?days={days}")) aria-current=[(days == self.days).then_some("page")] { (name) } }
                        }
                    } }
                }
                @if all == 0 {
                    (empty("All calm", &html! { "Nothing was flagged in this time." }))
                } @else {
                    (self.flags(all))
                    div.two {
                        (groups("rules", "By rule", "rule", &self.charts.rules))
                        (groups("languages", "By language", "language", &self.charts.languages))
                    }
                    (self.agreement())
                    (self.scores())
                }
            }
        }
    }

    fn flags(&self, all: u64) -> Markup {
        let days = self.all_days();
        let parts = |counts: &[u64]| DECISIONS.iter().map(|(class, _)| *class).zip(counts.iter().copied()).collect();
        let drawn = days.iter().map(|(day, counts)| Column { name: day.strftime("%b %-d").to_string(), parts: parts(counts) });
        let drawn: Vec<Column> = drawn.collect();
        let label = format!("{} flags in {} days, by day and decision", thousands(count(all)), self.days);
        html! {
            section.panel aria-labelledby="days" {
                h2 id="days" { "By day" span.total { (thousands(count(all))) " flags" } }
                (legend(&DECISIONS))
                (columns(&label, &drawn, None))
                (table(&["Day", "Blocked", "Rewritten", "Flagged", "Shadow"], days.into_iter().map(|(day, counts)| (day.to_string(), counts))))
            }
        }
    }

    /// Every day with its counts, in the decisions' order; the store leaves out days without a case.
    fn all_days(&self) -> Vec<(Date, Vec<u64>)> {
        let known = |date: Date| self.charts.days.iter().find(|day| day.day == date);
        let count = |day: Option<&Day>, name: &str| day.and_then(|day| day.decisions.get(name)).copied().unwrap_or_default();
        let dates = (0..i64::from(self.days)).rev().filter_map(|back| self.today.checked_sub(back.days()).ok());
        dates.map(|date| (date, DECISIONS.iter().map(|(name, _)| count(known(date), name)).collect())).collect()
    }

    fn agreement(&self) -> Markup {
        let most = self.charts.people.iter().map(|person| person.right + person.wrong).max().unwrap_or_default();
        html! {
            section.panel aria-labelledby="people" {
                h2 id="people" { "Reviewers" }
                @if self.charts.people.is_empty() {
                    p.dim { "Nobody has decided a case in this time." }
                } @else {
                    (legend(&[("good", "Right"), ("bad", "Wrong")]))
                    div.wide tabindex="0" role="group" aria-label="Figures" { table.bars {
                        thead { tr { th scope="col" { "Reviewer" } th scope="col" { span.vh { "Chart" } } th scope="col" { "Right" } th scope="col" { "Wrong" } th scope="col" { "Agreement" } } }
                        tbody { @for person in &self.charts.people { tr {
                            th scope="row" { (plain(&person.name)) }
                            td.drawn { (across(&[("good", person.right), ("bad", person.wrong)], most)) }
                            td { (thousands(count(person.right))) }
                            td { (thousands(count(person.wrong))) }
                            td title="Cases that others decided too, and how often they said the same" {
                                @if let Some(percent) = (100 * person.agreed).checked_div(person.shared) {
                                    (percent) "%" span.dim { " of " (thousands(count(person.shared))) }
                                } @else { span.dim { "–" } }
                            }
                        } } }
                    } }
                }
            }
        }
    }

    fn scores(&self) -> Markup {
        html! {
            section aria-labelledby="scores" {
                h2 id="scores" { "Scores by rule" }
                @if self.charts.spreads.is_empty() { p.dim { "No rule here asked a guard." } }
                div.many { @for (at, spread) in self.charts.spreads.iter().enumerate() { (histogram(at, spread)) } }
            }
        }
    }
}

/// Counts of things by name, as bars.
fn groups(id: &str, title: &str, field: &str, groups: &[Group]) -> Markup {
    let all = |group: &Group| group.open + group.right + group.wrong + group.disputed;
    let most = groups.iter().map(all).max().unwrap_or_default();
    let parts = |group: &Group| [("good", group.right), ("bad", group.wrong), ("split", group.disputed), ("waits", group.open)];
    html! {
        section.panel aria-labelledby=(id) {
            h2 id=(id) { (title) }
            (legend(&[("good", "Right"), ("bad", "Wrong"), ("split", "Disputed"), ("waits", "Open")]))
            div.wide tabindex="0" role="group" aria-label="Figures" { table.bars {
                thead { tr { th scope="col" { "Name" } th scope="col" { span.vh { "Chart" } } th scope="col" { "Flags" } th scope="col" { "Wrong" } } }
                tbody { @for group in groups { tr {
                    th scope="row" { (named(field, &group.name)) }
                    td.drawn { (across(&parts(group), most)) }
                    td { (thousands(count(all(group)))) }
                    td title="of those that were decided" {
                        @if let Some(percent) = (100 * group.wrong).checked_div(group.right + group.wrong) { (percent) "%" } @else { span.dim { "–" } }
                    }
                } } }
            } }
        }
    }
}

/// A group's name, which leads to its cases. A rule's stands behind its policy's.
fn named(field: &str, name: &str) -> Markup {
    let (of, name) = if field == "rule" { name.rsplit_once('/').unwrap_or(("", name)) } else { ("", name) };
    html! {
        @if name.is_empty() { span.dim { "not known" } } @else { a href=(link(field, name)) { (plain(name)) } }
        @if !of.is_empty() { " " span.dim { (plain(of)) } }
    }
}

fn histogram(at: usize, spread: &Spread) -> Markup {
    let id = format!("spread-{at}");
    let steps = spread.bins.len();
    #[expect(clippy::cast_precision_loss, reason = "there are a few steps")]
    let from = |step: usize| format!("{:.2}", step as f64 / steps as f64);
    let drawn: Vec<Column> = spread
        .bins
        .iter()
        .enumerate()
        .map(|(step, count)| Column { name: from(step), parts: vec![("spread", *count)] })
        .collect();
    let line = spread.threshold.map(|at| (at, format!("threshold {at:.2}")));
    html! {
        section.panel aria-labelledby=(id) {
            h3 id=(id) { (plain(&spread.rule)) span.dim { " of " (plain(&spread.policy)) } }
            (columns("How its scores are spread from 0 to 1", &drawn, line.as_ref().map(|(at, name)| (*at, name.as_str()))))
            (table(&["Score from", "Flags"], spread.bins.iter().enumerate().map(|(step, count)| (from(step), vec![*count]))))
        }
    }
}

/// The figures of a chart, for who cannot see it or wants them.
fn table(head: &[&str], rows: impl Iterator<Item = (String, Vec<u64>)>) -> Markup {
    html! {
        details.figures-of {
            summary { (Icon::Older.svg()) "Table" }
            div.wide tabindex="0" role="group" aria-label="Figures" { table {
                thead { tr { @for name in head { th scope="col" { (name) } } } }
                tbody { @for (name, counts) in rows { tr {
                    th scope="row" { (name) }
                    @for number in counts { td { (thousands(count(number))) } }
                } } }
            } }
        }
    }
}

fn legend(entries: &[(&str, &str)]) -> Markup {
    html! {
        p.legend aria-hidden="true" {
            @for (class, name) in entries {
                span { svg width="10" height="10" { rect class=(class) width="10" height="10" rx="2" {} } (name) }
            }
        }
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
