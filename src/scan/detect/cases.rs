//! Precision and recall of each detector on `cases.tsv`, a table of synthetic texts in the guard's languages and Hindi.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{TABLE, find};

/// Texts with a span, and hard ones without, that each detector is tried on at least.
const FEWEST: usize = 15;
/// What each detector must reach.
const PRECISION: f64 = 0.95;
const RECALL: f64 = 0.95;

#[derive(Default)]
struct Tally {
    with: usize,
    without: usize,
    hits: usize,
    wrong: usize,
    misses: Vec<String>,
}

/// The text and the span in it that is to be found.
fn read(written: &str) -> (String, Option<Range<usize>>) {
    let mut text = String::new();
    let (mut start, mut span) = (0, None);
    let mut rest = written;
    while let Some(c) = rest.chars().next() {
        let made = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let made = made.and_then(|(made, after)| Some((key(made)?, after)));
        rest = &rest[c.len_utf8()..];
        match (c, made) {
            ('⟦', _) => start = text.len(),
            ('⟧', _) => span = Some(start..text.len()),
            (_, Some((key, after))) => {
                text.push_str(&key);
                rest = after;
            }
            (c, None) => text.push(c),
        }
    }
    (text.replace("\\n", "\n"), span.map(|span| fit(&text, span)))
}

/// The span where each `\n` is one byte.
fn fit(text: &str, span: Range<usize>) -> Range<usize> {
    let before = |at: usize| at - text[..at].matches("\\n").count();
    before(span.start)..before(span.end)
}

/// Characters made here, so that no file holds what looks like a live key: `mixed:34`.
fn key(made: &str) -> Option<String> {
    let (alphabet, length) = made.split_once(':')?;
    let alphabet: &[u8] = match alphabet {
        "mixed" => b"aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW",
        "upper" => b"AB2CD3EF4GH5JK6LM7NPQ",
        "hex" => b"0a1b2c3d4e5f6789",
        "base64" => b"wJalrXUtnFEMI/K7MDENGbPxRfiCYz+3",
        _ => return None,
    };
    let length: usize = length.parse().ok()?;
    Some((0..length).map(|at| char::from(alphabet[(at * 11 + at / 5) % alphabet.len()])).collect())
}

fn tally() -> BTreeMap<&'static str, Tally> {
    let mut tallies = BTreeMap::<_, Tally>::new();
    for line in include_str!("cases.tsv").lines().filter(|line| !line.starts_with('#')) {
        let (detector, written) = line.split_once('\t').unwrap();
        let (text, span) = read(written);
        let found: Vec<_> = find(&text).into_iter().filter(|f| *f.detector == *detector).map(|f| f.range).collect();
        let hit = span.as_ref().is_some_and(|span| found.contains(span));
        let tally = tallies.entry(detector).or_default();
        *(if span.is_some() { &mut tally.with } else { &mut tally.without }) += 1;
        tally.hits += usize::from(hit);
        tally.wrong += found.len() - usize::from(hit);
        if hit != span.is_some() || found.len() > usize::from(hit) {
            tally.misses.push(format!("{written}: {:?}", find(&text)));
        }
    }
    tallies
}

/// The table is printed with `cargo test detectors_reach -- --nocapture`.
#[test]
#[expect(clippy::print_stdout, reason = "captured, but where somebody asks for it")]
#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn detectors_reach_their_precision_and_recall() {
    let tallies = tally();
    let mut short = Vec::new();
    println!("{:<24} {:>5} {:>8} {:>10} {:>7}", "detector", "with", "without", "precision", "recall");
    for (detector, ..) in TABLE {
        let Some(tally) = tallies.get(detector) else { panic!("{detector} has no cases") };
        let precision = tally.hits as f64 / ((tally.hits + tally.wrong) as f64).max(1.0);
        let recall = tally.hits as f64 / tally.with as f64;
        println!("{detector:<24} {:>5} {:>8} {precision:>10.3} {recall:>7.3}", tally.with, tally.without);
        tally.misses.iter().for_each(|miss| println!("    {miss}"));
        if precision < PRECISION || recall < RECALL || tally.with.min(tally.without) < FEWEST {
            short.push(detector);
        }
    }
    assert_eq!(short, [""; 0]);
    assert_eq!(tallies.len(), TABLE.len(), "each case names a detector");
}
