//! Changing a guard's manifest: thresholds and calibration, all else left as it stands, comments included.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;
use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::manifest::Unusable;
use crate::segment::Task;

/// Maps a graph's scores to probabilities: σ(slope · logit(score) + offset).
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// More than 0, so that the order of scores stays.
    pub slope: f32,
    /// In logits.
    pub offset: f32,
}

impl Calibration {
    /// The probability for a score.
    #[must_use]
    pub fn apply(self, score: f32) -> f32 {
        1.0 / (1.0 + (-(self.slope * logit(score) + self.offset)).exp())
    }

    /// This map and then another, as one.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self { slope: self.slope * next.slope, offset: self.offset * next.slope + next.offset }
    }
}

/// The log odds of a probability; 0 and 1, where they have no end, count as a millionth away from it.
#[must_use]
pub fn logit(score: f32) -> f32 {
    let score = score.clamp(1e-6, 1.0 - 1e-6);
    (score / (1.0 - score)).ln()
}

/// A task's new thresholds and calibration.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// The calibration; `None` leaves scores as the graph yields them.
    pub calibration: Option<Calibration>,
    /// The threshold of languages without one of their own.
    pub threshold: f32,
    /// Thresholds by language, in place of all there were.
    pub thresholds: BTreeMap<String, f32>,
}

/// Writes the tuning of tasks into the manifest in `dir`, by a rename, so that no reader sees half of it.
///
/// # Errors
/// A manifest that cannot be read or written.
pub fn tune(dir: &Path, tunings: &[(Task, Tuning)]) -> Result<(), Unusable> {
    let path = dir.join("guard.toml");
    let fail = |why: String| Unusable::new(dir, why);
    let text = fs::read_to_string(&path).map_err(|e| fail(format!("cannot read guard.toml: {e}")))?;
    let text = rewrite(&text, tunings).map_err(&fail)?;
    let new = dir.join(".guard.toml.new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(|e| fail(format!("cannot write guard.toml: {e}")))
}

fn rewrite(text: &str, tunings: &[(Task, Tuning)]) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| format!("guard.toml: {e}"))?;
    for (task, tuning) in tunings {
        let name = match task {
            Task::Prompt => "prompt",
            Task::Response => "response",
        };
        let spec = document.get_mut("tasks").and_then(Item::as_table_like_mut).and_then(|tasks| tasks.get_mut(name));
        let spec = spec.and_then(Item::as_table_like_mut).ok_or_else(|| format!("guard.toml has no [tasks.{name}] to tune"))?;
        set(spec, "threshold", number(tuning.threshold));
        match tuning.calibration {
            Some(Calibration { slope, offset }) => {
                let pairs = [("slope", number(slope)), ("offset", number(offset))];
                set(spec, "calibration", Value::InlineTable(InlineTable::from_iter(pairs)));
            }
            None => drop(spec.remove("calibration")),
        }
        let thresholds = spec.entry("thresholds").or_insert_with(|| {
            let mut table = Table::new();
            table.decor_mut().set_prefix("");
            Item::Table(table)
        });
        let thresholds = thresholds.as_table_like_mut().ok_or_else(|| format!("[tasks.{name}] `thresholds` is no table"))?;
        let gone = thresholds.iter().map(|(language, _)| language.to_owned());
        for language in gone.filter(|language| !tuning.thresholds.contains_key(language)).collect::<Vec<_>>() {
            thresholds.remove(&language);
        }
        for (language, threshold) in &tuning.thresholds {
            set(thresholds, language, number(*threshold));
        }
    }
    Ok(document.to_string())
}

/// Puts a value in its place, with the comment that stood behind the old one.
fn set(table: &mut dyn TableLike, key: &str, mut value: Value) {
    if let Some(old) = table.get(key).and_then(Item::as_value) {
        *value.decor_mut() = old.decor().clone();
    }
    table.insert(key, Item::Value(value));
}

/// The shortest decimal that is this number: 0.35, not 0.3499999940395355.
fn number(value: f32) -> Value {
    let short: f64 = value.to_string().parse().unwrap_or_else(|_| f64::from(value));
    Value::from(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "# a guard\nname = \"x\"\n\n[tasks.prompt]\nunsafe = [0] # column\nthreshold = 0.5  # chosen by hand\n[tasks.prompt.thresholds]\nen = 0.35 # ours\nth = 0.2\n\n[golden]\ntolerance = 0.02\n";

    #[test]
    fn only_what_was_tuned_changes() {
        let thresholds = BTreeMap::from([("en".to_owned(), 0.41), ("vi".to_owned(), 0.1)]);
        let calibration = Some(Calibration { slope: 1.5, offset: -0.25 });
        let text = rewrite(MANIFEST, &[(Task::Prompt, Tuning { calibration, threshold: 0.3, thresholds })]).unwrap();
        let expected = "# a guard\nname = \"x\"\n\n[tasks.prompt]\nunsafe = [0] # column\nthreshold = 0.3  # chosen by hand\ncalibration = { slope = 1.5, offset = -0.25 }\n[tasks.prompt.thresholds]\nen = 0.41 # ours\nvi = 0.1\n\n[golden]\ntolerance = 0.02\n";
        assert_eq!(text, expected);
        let bare = Tuning { calibration: None, threshold: 0.3, thresholds: BTreeMap::new() };
        let again = rewrite(&text, &[(Task::Prompt, bare)]).unwrap();
        assert!(!again.contains("calibration") && !again.contains("vi = "), "{again}");
        let missing = Tuning { calibration: None, threshold: 0.3, thresholds: BTreeMap::new() };
        assert_eq!(rewrite(MANIFEST, &[(Task::Response, missing)]).unwrap_err(), "guard.toml has no [tasks.response] to tune");
    }

    #[test]
    fn maps_keep_the_order_and_join() {
        let (first, second) = (Calibration { slope: 2.0, offset: -1.0 }, Calibration { slope: 0.5, offset: 0.3 });
        assert!(first.apply(0.2) < first.apply(0.3) && first.apply(0.0) >= 0.0 && first.apply(1.0) <= 1.0);
        assert!((first.then(second).apply(0.4) - second.apply(first.apply(0.4))).abs() < 1e-6);
    }
}
