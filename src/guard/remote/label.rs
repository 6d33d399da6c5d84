//! P(unsafe) from what a generative server says of its first token.

use super::failure::Failure;
use crate::guard::manifest::{Activation, TaskSpec};

/// P(unsafe) from the log-probabilities of the labels. One that is missing is known to be no greater than `bound`; the score
/// is then the greatest that this allows, so that what was not told is never taken for safe.
pub(super) fn score(spec: &TaskSpec, told: &[Option<f32>], bound: f32) -> Result<f32, Failure> {
    if told.iter().all(Option::is_none) {
        return Err(Failure::Unfit("told none of the labels' probabilities".to_owned()));
    }
    let probability = |logits: &[f32]| spec.probability(Activation::Softmax, logits);
    let mut logits: Vec<f32> = told.iter().map(|told| told.unwrap_or(f32::NEG_INFINITY)).collect();
    let missing = spec.unsafe_columns.iter().filter(|column| told.get(**column).is_some_and(Option::is_none));
    for &column in missing {
        let mut raised = logits.clone();
        if let Some(logit) = raised.get_mut(column) {
            *logit = bound;
        }
        if probability(&raised) > probability(&logits) {
            logits = raised;
        }
    }
    Ok(probability(&logits))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn spec(unsafe_columns: &[usize], weights: &[f32]) -> TaskSpec {
        TaskSpec {
            unsafe_columns: unsafe_columns.to_vec(),
            weights: weights.to_vec(),
            passes: Vec::new(),
            speakers: Vec::new(),
            template: Vec::new(),
            threshold: 0.5,
            thresholds: BTreeMap::new(),
            calibration: None,
        }
    }

    #[test]
    fn what_is_not_told_is_not_taken_for_safe() {
        let two = spec(&[1], &[]);
        let near = |told: [Option<f32>; 2], wanted: f32| {
            let got = score(&two, &told, -5.0).unwrap();
            assert!((got - wanted).abs() < 1e-6, "{told:?}: {got}");
        };
        near([Some(0.25_f32.ln()), Some(0.75_f32.ln())], 0.75);
        // Unsafe could be as likely as the least likely token that was told.
        near([Some(-1.0), None], 1.0 / (1.0 + 4.0_f32.exp()));
        // Safe could have no probability at all.
        near([None, Some(-1.0)], 1.0);
        assert!(score(&two, &[None, None], -5.0).is_err());
    }

    #[test]
    fn of_three_labels_each_counts_by_its_weight() {
        let three = spec(&[1, 2], &[1.0, 0.5]);
        let third = (1.0_f32 / 3.0).ln();
        assert!((score(&three, &[Some(third); 3], -9.0).unwrap() - 0.5).abs() < 1e-6);
        assert_eq!(score(&three, &[None, Some(-0.1), None], -0.1).unwrap(), 1.0, "the half label may be as good as absent");
    }
}
