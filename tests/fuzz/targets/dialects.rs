//! No body, whole or in events, makes a dialect panic; what it takes has places that can be edited.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::{
    dialect::{DIALECTS, Request, patches},
    segment::Edit,
    wire::{frame::Framing, json::Document},
};

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, bytes) = input;
    let dialect = DIALECTS[usize::from(kind) % DIALECTS.len()];
    let uri = "/v1beta/models/m:streamGenerateContent".parse().unwrap();
    if let Ok(document) = Document::read(bytes) {
        for content in [dialect.request(&uri, &document).map(|request| request.content), dialect.response(&document)] {
            let Ok(content) = content else { continue };
            let editable = content.segments.iter().enumerate().filter(|(_, segment)| segment.place.is_some());
            let edits: Vec<_> =
                editable.map(|(index, segment)| (index, vec![Edit { range: 0..segment.text.len(), with: "x".into() }])).collect();
            let patches = patches(&content.segments, &[], &edits).unwrap();
            if let Ok(edited) = document.clone().splice(patches) {
                Document::read(edited.as_bytes()).unwrap();
            }
        }
    }
    for framing in dialect.framings() {
        let request = Request { stream: Some(*framing), choices: 1, ..Request::default() };
        let (mut decoder, mut reader) = (framing.decoder(1 << 16), dialect.stream(&request));
        decoder.feed(bytes);
        while let Ok(Some(event)) = decoder.event() {
            let Ok(brought) = reader.read(&event) else { break };
            let texts: Vec<String> = brought.deltas.iter().map(|delta| delta.text.clone()).collect();
            if *framing != Framing::EventStream && event.data.as_deref().is_some_and(|data| data.starts_with('{')) {
                drop(reader.edit(&event, &brought.deltas, &texts));
            }
            reader.left(&brought.progress);
        }
    }
});
