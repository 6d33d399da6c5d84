//! However a stream is cut into pieces, its events are the same, and their bytes are the stream's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::wire::frame::{Event, Framing};

fn decode(framing: Framing, pieces: &[&[u8]]) -> Result<Vec<Event>, String> {
    let mut decoder = framing.decoder(1 << 16);
    let mut events = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        while let Some(event) = decoder.event().map_err(|e| e.to_string())? {
            events.push(event);
        }
    }
    events.extend(decoder.rest().map_err(|e| e.to_string())?);
    Ok(events)
}

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (kind, at, bytes) = input;
    let framing = [Framing::Sse, Framing::Ndjson, Framing::Array, Framing::EventStream][usize::from(kind % 4)];
    let (head, tail) = bytes.split_at(usize::from(at) % (bytes.len() + 1));
    let (whole, cut) = (decode(framing, &[bytes]), decode(framing, &[head, tail]));
    assert_eq!(whole.is_ok(), cut.is_ok());
    if let (Ok(whole), Ok(cut)) = (whole, cut) {
        assert_eq!(whole, cut);
        assert_eq!(whole.iter().flat_map(|event| event.raw.to_vec()).collect::<Vec<u8>>(), bytes);
    }
});
