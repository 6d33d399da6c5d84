//! Content encodings: what came compressed is read under a size cap; what is not known is refused.

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use bytes::Bytes;
use http::{HeaderMap, header};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Why a body could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// An encoding, or a pile of encodings, that is not read here.
    #[error("content-encoding `{0}` is not supported: send gzip, deflate, br, zstd or none")]
    Unknown(String),
    /// More than the limit once decoded.
    #[error("the decoded body is larger than {0} bytes")]
    TooLarge(usize),
    /// The bytes are not in the encoding they claim.
    #[error("the body is not valid {0}")]
    Corrupt(String),
}

/// The body with its content encoding undone.
///
/// # Errors
/// An unknown encoding, corrupt bytes, or more than `limit` bytes of content.
pub async fn decode(headers: &HeaderMap, body: Bytes, limit: usize) -> Result<Bytes, Undecodable> {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let coding = match (codings.next(), codings.next()) {
        (None, _) => return Ok(body),
        (Some(one), None) => one.to_str().unwrap_or("?").trim().to_ascii_lowercase(),
        (Some(_), Some(_)) => return Err(Undecodable::Unknown("several".to_owned())),
    };
    let bytes = body.as_ref();
    match coding.as_str() {
        "" | "identity" => Ok(body),
        "gzip" | "x-gzip" => capped(GzipDecoder::new(bytes), &coding, limit).await,
        "deflate" => capped(ZlibDecoder::new(bytes), &coding, limit).await,
        "br" => capped(BrotliDecoder::new(bytes), &coding, limit).await,
        "zstd" => capped(ZstdDecoder::new(bytes), &coding, limit).await,
        _ => Err(Undecodable::Unknown(coding)),
    }
}

async fn capped(decoder: impl AsyncRead + Unpin, coding: &str, limit: usize) -> Result<Bytes, Undecodable> {
    let mut content = Vec::new();
    let cap = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(cap).read_to_end(&mut content).await.map_err(|_| Undecodable::Corrupt(coding.to_owned()))?;
    if content.len() > limit { Err(Undecodable::TooLarge(limit)) } else { Ok(content.into()) }
}

#[cfg(test)]
mod tests {
    use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
    use http::HeaderValue;
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn coded(coding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(coding))])
    }

    macro_rules! encoded {
        ($encoder:ident, $text:expr) => {{
            let mut encoder = $encoder::new(Vec::new());
            encoder.write_all($text).await.unwrap();
            encoder.shutdown().await.unwrap();
            Bytes::from(encoder.into_inner())
        }};
    }

    #[tokio::test]
    async fn known_encodings_are_undone() {
        let text = "สวัสดี".repeat(50).into_bytes();
        for (coding, body) in [
            ("gzip", encoded!(GzipEncoder, &text)),
            ("deflate", encoded!(ZlibEncoder, &text)),
            ("br", encoded!(BrotliEncoder, &text)),
            ("zstd", encoded!(ZstdEncoder, &text)),
        ] {
            assert_eq!(decode(&coded(coding), body, 4096).await.unwrap(), text, "{coding}");
        }
    }

    #[tokio::test]
    async fn bombs_lies_and_piles_are_refused() {
        let bomb = encoded!(GzipEncoder, &vec![b'a'; 1 << 20]);
        assert_eq!(decode(&coded("gzip"), bomb.clone(), 1000).await, Err(Undecodable::TooLarge(1000)));
        assert!(matches!(decode(&coded("br"), bomb.clone(), 1000).await, Err(Undecodable::Corrupt(_))));
        assert!(matches!(decode(&coded("gzip, br"), bomb.clone(), 1000).await, Err(Undecodable::Unknown(_))));
        assert!(matches!(decode(&coded("gzip"), bomb.slice(..bomb.len() - 9), 1 << 22).await, Err(Undecodable::Corrupt(_))));
    }
}
