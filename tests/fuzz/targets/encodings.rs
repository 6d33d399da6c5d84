//! No compressed body, of any encoding, makes reading it panic or grow beyond its limit.
#![no_main]

use http::{HeaderMap, HeaderValue, header::CONTENT_ENCODING};
use libfuzzer_sys::fuzz_target;
use seawall::wire::encoding::decode;

const LIMIT: usize = 64 << 10;
const ENCODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, bytes) = input;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(ENCODINGS[usize::from(kind) % ENCODINGS.len()]));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    if let Ok(whole) = runtime.block_on(decode(&headers, bytes.to_vec().into(), LIMIT)) {
        assert!(whole.len() <= LIMIT);
    }
});
