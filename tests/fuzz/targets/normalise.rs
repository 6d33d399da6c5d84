//! Every part of a view comes from whole characters of the text; no text makes undoing its hiding panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::{
    scan::{detect::Detectors, findings, normalise},
    segment::Target,
};

fuzz_target!(|text: &str| {
    let view = normalise::fold(text);
    let origin = view.origin(0..view.text().len());
    assert!(text.is_char_boundary(origin.start) && text.is_char_boundary(origin.end));
    drop((normalise::unspaced(view.text()), normalise::carried(view.text()), normalise::untagged(text)));
    for finding in findings(&Detectors::default(), Target::Prompt, text) {
        assert!(text.get(finding.range).is_some());
    }
});
