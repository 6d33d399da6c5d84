//! What the strict reader takes, a lenient one reads the same; and nothing edited is nothing changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::wire::json::Document;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = Document::read(bytes) {
        assert!(std::str::from_utf8(bytes).is_ok());
        assert_eq!(document.splice(Vec::new()).unwrap().as_bytes(), bytes);
    }
});
