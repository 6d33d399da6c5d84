//! Charts, drawn on the server with attributes only: the page's policy takes no style from anywhere but its file.
//!
//! Widths are percents and heights pixels, so that a chart fills its place and its letters keep their size.

use maud::{Markup, html};

const HEIGHT: f64 = 160.0;
/// Room above the columns for the axis's highest label, and below them for what they stand for.
const TOP: f64 = 14.0;
const BOTTOM: f64 = 22.0;
/// A strip's height, and the parts that it has.
const STRIP: f64 = 28.0;
const PARTS: usize = 64;
/// Labels below that a phone has room for.
const LABELS: usize = 5;

/// A column: what it stands for, and its parts from the bottom up, each with its class.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) parts: Vec<(&'static str, u64)>,
}

impl Column {
    fn all(&self) -> u64 {
        self.parts.iter().map(|(_, count)| count).sum()
    }
}

/// Columns side by side. A line may be drawn at a share of the width, with its name.
pub(super) fn columns(label: &str, columns: &[Column], line: Option<(f32, &str)>) -> Markup {
    let top = nice(columns.iter().map(Column::all).max().unwrap_or_default());
    let every = columns.len().div_ceil(LABELS).max(1);
    let height = TOP + HEIGHT + BOTTOM;
    html! {
        svg.chart role="img" aria-label=(label) width="100%" height=(height) {
            @for value in [top, top / 2] {
                @let y = TOP + HEIGHT * (1.0 - ratio(value, top));
                line.grid x1="0" x2="100%" y1=(y) y2=(y) {}
                @if top > 1 || value == top { text.axis x="0" y=(y - 3.0) { (value) } }
            }
            @for (at, column) in columns.iter().enumerate() {
                (stack(column, share(at, columns.len()), share(1, columns.len()), top))
                @if at % every == 0 {
                    text.axis x=(percent(share(at, columns.len()))) y=(height - 6.0) { (column.name) }
                }
            }
            line.base x1="0" x2="100%" y1=(TOP + HEIGHT) y2=(TOP + HEIGHT) {}
            @if let Some((at, name)) = line {
                @let (at, end) = (f64::from(at.clamp(0.0, 1.0)), at > 0.5);
                line.threshold x1=(percent(at)) x2=(percent(at)) y1="0" y2=(TOP + HEIGHT) {}
                text.threshold x=(percent(at)) dx=(if end { "-5" } else { "5" }) y="10" text-anchor=(if end { "end" } else { "start" }) { (name) }
            }
        }
    }
}

fn stack(column: &Column, x: f64, width: f64, top: u64) -> Markup {
    let told: Vec<String> =
        column.parts.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}")).collect();
    let mut y = TOP + HEIGHT;
    let parts = column.parts.iter().filter(|(_, count)| *count > 0).map(|(class, count)| {
        let height = (ratio(*count, top) * HEIGHT).max(1.0);
        y -= height;
        (*class, y, height)
    });
    // A gap of an eighth on both sides tells columns apart at any width.
    let (x, width) = (percent(x + width / 8.0), percent(width * 0.75));
    let parts: Vec<_> = parts.collect();
    html! {
        @if !parts.is_empty() {
            g {
                title { (column.name) ": " (told.join(", ")) }
                @for (class, y, height) in parts { rect class=(class) x=(x) y=(two(y)) width=(width) height=(two(height)) {} }
            }
        }
    }
}

/// One bar across, as long as its share of the longest; its parts side by side.
pub(super) fn across(parts: &[(&'static str, u64)], most: u64) -> Markup {
    let mut done = 0;
    let placed = parts.iter().map(|(class, count)| {
        let x = ratio(done, most);
        done += count;
        (*class, x, ratio(*count, most))
    });
    let placed: Vec<_> = placed.collect();
    html! {
        svg.across aria-hidden="true" width="100%" height="12" {
            @for (class, x, width) in placed { rect class=(class) x=(percent(x)) width=(percent(width)) height="12" {} }
        }
    }
}

/// A stretch of a text, as shares of its length, and its score.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) score: f32,
}

/// Scores over the length of a text, the worst of what lies in each part of it, with the threshold across them.
pub(super) fn strip(label: &str, stretches: &[Stretch], threshold: f32) -> Markup {
    let parts: Vec<Option<f32>> = (0..PARTS).map(|part| worst(stretches, share(part, PARTS), share(part + 1, PARTS))).collect();
    let height = |score: f32| (f64::from(score.clamp(0.0, 1.0)) * STRIP).max(1.0);
    let line = two(STRIP - height(threshold));
    html! {
        svg.strip role="img" aria-label=(label) width="100%" height=(STRIP) {
            @for (at, score) in parts.into_iter().enumerate() {
                @if let Some(score) = score {
                    @let height = height(score);
                    rect.over[score >= threshold] x=(percent(share(at, PARTS))) width=(percent(share(1, PARTS))) y=(two(STRIP - height)) height=(two(height)) {}
                }
            }
            line.threshold x1="0" x2="100%" y1=(line) y2=(line) {}
        }
    }
}

fn worst(stretches: &[Stretch], from: f64, to: f64) -> Option<f32> {
    let here = stretches.iter().filter(|stretch| stretch.from < to && stretch.to > from);
    here.map(|stretch| stretch.score).max_by(f32::total_cmp)
}

/// The axis's end: the first of 1, 2, 5, 10, 20, … that takes in the most.
fn nice(most: u64) -> u64 {
    let mut scale = 1;
    loop {
        if let Some(top) = [1, 2, 5].iter().map(|step| scale * step).find(|top| *top >= most) {
            return top;
        }
        match u64::checked_mul(scale, 10) {
            Some(next) if next <= u64::MAX / 5 => scale = next,
            _ => return most,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of cases are far below 2^52")]
fn ratio(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { count as f64 / of as f64 }
}

#[expect(clippy::cast_precision_loss, reason = "a chart has a hundred columns")]
fn share(at: usize, of: usize) -> f64 {
    at as f64 / of as f64
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

fn two(number: f64) -> String {
    format!("{number:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (most, top) in [(0, 1), (1, 1), (3, 5), (5, 5), (6, 10), (101, 200), (u64::MAX, u64::MAX)] {
            assert_eq!(nice(most), top);
        }
    }

    #[test]
    fn a_strip_shows_the_worst_of_each_part() {
        let stretch = |from, to, score| Stretch { from, to, score };
        let page = strip("scores", &[stretch(0.0, 0.5, 0.25), stretch(0.25, 0.5, 0.75)], 0.5).into_string();
        assert_eq!((page.matches("<rect").count(), page.matches("<rect class=\"over\"").count()), (PARTS / 2, PARTS / 4));
        assert!(page.contains("y=\"21.00\" height=\"7.00\"") && page.contains("y1=\"14.00\""), "{page}");
    }

    #[test]
    fn columns_are_as_high_as_their_counts() {
        let column = |count| Column { name: "d".into(), parts: vec![("block", count), ("flag", 0)] };
        let page = columns("flags", &[column(5), column(10)], Some((0.7, "threshold"))).into_string();
        assert!(page.contains("height=\"80.00\"") && page.contains("height=\"160.00\""), "{page}");
        assert!(page.contains("x1=\"70.00%\"") && !page.contains("style"), "{page}");
        assert!(!page.contains("class=\"flag\""), "nothing is drawn of nothing: {page}");
    }
}
