//! What a manifest's types alone cannot tell: whether it contradicts itself.

use super::{Activation, Kind, Manifest, Piece, Slot, TaskSpec, Tokens};
use crate::guard::speakers::can_break;

impl Manifest {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.format != 1 {
            return Err(format!("guard.toml has format {}, this version of Seawall reads format 1", self.format));
        }
        let Tokens { max, window, stride, .. } = self.tokens;
        if stride == 0 || stride >= window || window > max {
            return Err(format!(
                "[tokens] needs 0 < stride ({stride}) < window ({window}) <= max ({max}): windows must overlap"
            ));
        }
        let tolerance = self.golden.tolerance;
        if !(tolerance > 0.0 && tolerance < 0.5) {
            return Err(format!("[golden] tolerance {tolerance} is not between 0 and 0.5: any graph would pass"));
        }
        self.check_kind()?;
        for (name, task) in [("prompt", Some(&self.tasks.prompt)), ("response", self.tasks.response.as_ref())] {
            let Some(task) = task else { continue };
            let checked = self.check_columns(task).and_then(|()| self.check_template(task)).and_then(|()| check_scores(task));
            checked.map_err(|why| format!("[tasks.{name}] {why}"))?;
        }
        Ok(())
    }

    /// Each kind has what it needs, and nothing that it would pass over.
    fn check_kind(&self) -> Result<(), String> {
        let has = [
            ("[inputs] mask", self.inputs.mask.is_some(), Kind::SequenceClassification),
            ("[inputs] types", self.inputs.types.is_some(), Kind::SequenceClassification),
            ("[inputs] lengths", self.inputs.lengths.is_some(), Kind::DecoderLabel),
            ("[output] labels", !self.output.labels.is_empty(), Kind::DecoderLabel),
            ("[files] incremental", self.files.incremental.is_some(), Kind::DecoderLabel),
        ];
        if let Some((what, ..)) = has.iter().find(|(_, given, kind)| *given && *kind != self.kind) {
            return Err(format!("{what} has no meaning for the kind `{}`", self.kind.name()));
        }
        let optional = |what: &str| ["[inputs] types", "[files] incremental"].contains(&what);
        if let Some((what, ..)) = has.iter().find(|(what, given, kind)| !given && *kind == self.kind && !optional(what)) {
            return Err(format!("{what} is missing; the kind `{}` needs it", self.kind.name()));
        }
        let labels = &self.output.labels;
        if labels.iter().enumerate().any(|(at, label)| labels.iter().take(at).any(|other| other.id == label.id)) {
            return Err("[output] labels name an id twice".to_owned());
        }
        if self.kind == Kind::DecoderLabel && (labels.len() < 2 || self.output.activation != Activation::Softmax) {
            return Err(
                "[output] a decoder's labels are judged against each other: it needs two or more, and softmax".to_owned()
            );
        }
        Ok(())
    }

    fn check_columns(&self, task: &TaskSpec) -> Result<(), String> {
        let columns = &task.unsafe_columns;
        if columns.is_empty() {
            return Err("`unsafe` names no column".to_owned());
        }
        if let Some(twice) = columns.iter().enumerate().find_map(|(at, column)| columns.iter().take(at).find(|c| *c == column))
        {
            return Err(format!("`unsafe` names column {twice} twice"));
        }
        let labels = self.output.labels.len();
        if let Some(column) = columns.iter().find(|column| labels > 0 && **column >= labels) {
            return Err(format!("`unsafe` names column {column}, but there are {labels} labels, counted from 0"));
        }
        if labels == columns.len() {
            return Err("`unsafe` names every label: every text would be unsafe".to_owned());
        }
        if !task.weights.is_empty() && task.weights.len() != columns.len() {
            return Err(format!("has {} `weights` for {} columns of `unsafe`", task.weights.len(), columns.len()));
        }
        if let Some(weight) = task.weights.iter().find(|weight| !(**weight > 0.0 && **weight <= 1.0)) {
            return Err(format!("weight {weight} is not above 0 and at most 1"));
        }
        Ok(())
    }

    fn check_template(&self, task: &TaskSpec) -> Result<(), String> {
        let count =
            |wanted| task.template.iter().filter(|piece| matches!(piece, Piece::Slot { slot, .. } if *slot == wanted)).count();
        let (texts, passes) = (count(Slot::Text), count(Slot::Pass));
        if texts != 1 {
            return Err(format!("template has {texts} pieces {{ slot = \"text\" }}, it needs one"));
        }
        match (task.passes.is_empty(), passes) {
            (true, 0) | (false, 1) => {}
            (true, _) => return Err("template has a piece { slot = \"pass\" }, but there are no `passes`".to_owned()),
            (false, _) => {
                return Err(format!("has `passes`, and {passes} pieces {{ slot = \"pass\" }} for them; it needs one"));
            }
        }
        for piece in &task.template {
            match piece {
                Piece::Slot { slot: Slot::Prompt, max: None, .. } => {
                    return Err("{ slot = \"prompt\" } needs a `max`: a long prompt would leave the text no room".to_owned());
                }
                Piece::Slot { slot: Slot::Prompt, max: Some(most), .. } if *most >= self.tokens.max => {
                    return Err(format!(
                        "{{ slot = \"prompt\", max = {most} }} leaves the text no room in {}",
                        self.tokens.max
                    ));
                }
                Piece::Slot { slot: Slot::Text | Slot::Pass, max: Some(_), .. } => {
                    return Err("`max` is for { slot = \"prompt\" } only: no text may go unjudged".to_owned());
                }
                Piece::Slot { slot: Slot::Pass, trim: Some(_), .. } => {
                    return Err("`trim` is for texts; write the `passes` as they are to be read".to_owned());
                }
                Piece::Slot { .. } | Piece::Ids { .. } | Piece::Text { .. } => {}
            }
        }
        if let Some(speaker) = task.speakers.iter().find(|speaker| !can_break(speaker)) {
            return Err(format!(
                "speaker \"{speaker}\" must end in a word of two or more characters: a space before the last is to break it"
            ));
        }
        Ok(())
    }
}

fn check_scores(task: &TaskSpec) -> Result<(), String> {
    let thresholds = task.thresholds.values().chain([&task.threshold]);
    if let Some(wrong) = thresholds.into_iter().find(|value| !(0.0..=1.0).contains(*value)) {
        return Err(format!("threshold {wrong} is not between 0 and 1"));
    }
    if let Some(calibration) = task.calibration
        && !(calibration.slope > 0.0 && calibration.slope.is_finite() && calibration.offset.is_finite())
    {
        return Err("calibration needs a slope above 0 and a finite offset".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::guard::manifest::Trim;

    const DECODER: &str = r#"
format = 1
name = "shield"
version = "1"
kind = "decoder-label"
licence = "Gemma"
languages = ["en"]
[files]
graph = { path = "prefill.onnx", sha256 = "" }
incremental = { path = "incremental.onnx", sha256 = "" }
tokenizer = { path = "tokenizer.json", sha256 = "" }
golden = { path = "golden.jsonl", sha256 = "" }
[inputs]
ids = "input_ids"
lengths = "lengths"
[output]
name = "label_logits"
activation = "softmax"
labels = [{ text = "Safe", id = 7 }, { text = "Unsafe", id = 8 }, { text = "Controversial", id = 9 }]
[tokens]
max = 64
window = 32
stride = 16
pad = 0
[tasks.prompt]
unsafe = [1, 2]
weights = [1.0, 0.5]
passes = ["No Harassment.", "No Hate."]
speakers = ["Human:"]
template = [{ ids = [2] }, { text = "Human:" }, { slot = "text" }, { text = "\nPolicy: " }, { slot = "pass" }, { ids = [3] }]
threshold = 0.5
[tasks.response]
unsafe = [1]
template = [{ slot = "prompt", max = 8 }, { slot = "text" }]
threshold = 0.5
[golden]
tolerance = 0.02
"#;

    fn told(from: &str, to: &str) -> String {
        assert!(DECODER.contains(from), "{from}");
        let manifest: Manifest = toml::from_str(&DECODER.replacen(from, to, 1)).unwrap();
        manifest.check().unwrap_err()
    }

    #[test]
    fn contradictions_are_told() {
        toml::from_str::<Manifest>(DECODER).unwrap().check().unwrap();
        let cases = [
            ("lengths = \"lengths\"", "", "[inputs] lengths is missing; the kind `decoder-label` needs it"),
            ("lengths = \"lengths\"", "mask = \"m\"\nlengths = \"lengths\"", "[inputs] mask has no meaning"),
            ("kind = \"decoder-label\"", "kind = \"sequence-classification\"", "[inputs] lengths has no meaning"),
            ("activation = \"softmax\"", "activation = \"sigmoid\"", "softmax"),
            ("id = 9", "id = 8", "name an id twice"),
            ("unsafe = [1, 2]", "unsafe = [1, 3]", "names column 3, but there are 3 labels"),
            ("unsafe = [1, 2]", "unsafe = [1, 1]", "names column 1 twice"),
            ("unsafe = [1, 2]", "unsafe = [0, 1, 2]", "every text would be unsafe"),
            ("weights = [1.0, 0.5]", "weights = [1.0]", "has 1 `weights` for 2 columns"),
            ("weights = [1.0, 0.5]", "weights = [1.0, 1.5]", "weight 1.5 is not"),
            ("passes = [\"No Harassment.\", \"No Hate.\"]", "", "there are no `passes`"),
            (", { slot = \"pass\" }", "", "0 pieces { slot = \"pass\" }"),
            ("{ slot = \"prompt\", max = 8 }", "{ slot = \"prompt\" }", "[tasks.response] { slot = \"prompt\" } needs a `max`"),
            ("max = 8 }", "max = 64 }", "leaves the text no room in 64"),
            ("{ slot = \"text\" }, { text", "{ slot = \"text\", max = 9 }, { text", "`max` is for"),
            ("{ slot = \"pass\" }", "{ slot = \"pass\", trim = \"end\" }", "`trim` is for texts"),
            ("speakers = [\"Human:\"]", "speakers = [\":\"]", "a word of two or more characters"),
            ("speakers = [\"Human:\"]", "speakers = [\"Policy A\"]", "a word of two or more characters"),
        ];
        for (from, to, expected) in cases {
            let why = told(from, to);
            assert!(why.contains(expected) && !why.contains('\n'), "{from} → {to}: {why}");
        }
    }

    #[test]
    fn trimming_is_pythons() {
        let text = "\u{1c}\u{3000}\n a\u{200b} b\u{a0}\t\u{1f}\u{2028}\u{85}";
        assert_eq!(Trim::Both.of(text), "a\u{200b} b");
        assert_eq!(Trim::Start.of(text), "a\u{200b} b\u{a0}\t\u{1f}\u{2028}\u{85}");
        assert_eq!(Trim::End.of(text), "\u{1c}\u{3000}\n a\u{200b} b");
        assert_eq!(Trim::Both.of("\u{200b} \u{2800}"), "\u{200b} \u{2800}", "what looks empty is not white space to it");
    }

    #[test]
    fn probabilities_are_added_or_the_greatest_counts() {
        let manifest: Manifest = toml::from_str(DECODER).unwrap();
        let logits = [1.0_f32.ln(), 2.0_f32.ln(), 1.0_f32.ln()];
        let near = |value: f32, expected: f32| assert!((value - expected).abs() < 1e-6, "{value} {expected}");
        near(manifest.tasks.prompt.probability(Activation::Softmax, &logits), 0.5 + 0.5 * 0.25);
        near(manifest.tasks.prompt.probability(Activation::Sigmoid, &logits), 2.0 / 3.0);
        assert!(manifest.tasks.prompt.probability(Activation::Softmax, &[f32::NAN; 3]).is_nan());
    }

    #[test]
    fn the_examples_that_ship_are_sound() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/examples");
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "toml") {
                let manifest: Manifest = toml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
                manifest.check().unwrap();
                names.push(manifest.name);
            }
        }
        for name in ["llama-guard-3-8b", "llama-prompt-guard-2-86m", "toxic-bert"] {
            assert!(names.iter().any(|own| own == name), "{name}: {names:?}");
        }
    }
}
