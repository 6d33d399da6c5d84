//! JSON Web Tokens: three parts in base64url, or five of an encrypted one, of which the first is a header that names an `alg`.

/// Longer tokens are cut: a stream must not wait for ever.
pub(super) const MOST: usize = 4096;
/// How the first part begins: `{"`.
pub(super) const START: &str = "eyJ";

/// The length of the token at the start of the text.
pub(super) fn at_start(text: &str) -> Option<usize> {
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let run = text.get(..text.bytes().take(MOST).take_while(is_token).count())?;
    let cut = run.len() == MOST;
    let mut parts = run.split('.');
    let header = parts.next()?;
    let rest: Vec<&str> = parts.collect();
    let json = decode(header)?;
    let ends = json.ends_with(b"}") || (cut && rest.is_empty());
    if !json.starts_with(b"{\"") || !ends || !json.windows(5).any(|name| name == b"\"alg\"") {
        return None;
    }
    let taken = match rest.as_slice() {
        [key, vector, sealed, tag, ..] if json.windows(5).any(|name| name == b"\"enc\"") => {
            [*key, vector, sealed, tag].iter().map(|part| part.len() + 1).sum()
        }
        _ if cut && rest.len() < 2 => return Some(MOST),
        [payload, signature, ..] if payload.len() >= 8 => payload.len() + signature.len() + 2,
        _ => return None,
    };
    Some(header.len() + taken)
}

/// Whole bytes of base64url without padding.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut held, mut bits, mut out) = (0_u32, 0, Vec::new());
    for b in text.bytes() {
        let value = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        held = (held << 6 | u32::from(value)) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits & 0xFF) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_none};
    use super::*;

    const JWT: &str =
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";

    #[test]
    fn decodes() {
        assert_eq!(decode("eyJhbGciOiJub25lIn0").unwrap(), br#"{"alg":"none"}"#);
    }

    #[test]
    fn tokens() {
        let bearer = format!("Authorization: Bearer {JWT}");
        let query = format!("?token={JWT}&x=1");
        let quoted = format!("\"{JWT}\"");
        let stop = format!("It is {JWT}, ok");
        let thai = format!("โทเค็น{JWT}ครับ");
        let viet = format!("mã của tôi: {JWT} nhé");
        let tamil = format!("டோக்கன் {JWT}");
        let burmese = format!("တိုကင်{JWT}ပါ");
        let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.";
        let sealed = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAA.BBBB.CCCC";
        let long = format!("{JWT}.more");
        let (header, claims, key) = ("eyJhbGciOiJIUzI1NiJ9", "eyJzdWIi".repeat(700), "abcd".repeat(3));
        let large = format!("at {header}.{claims}.{key} it is");
        let certified = format!("at {header}{claims}.{claims}.{key} it is");
        let most = |text: &str| text.get(3..3 + MOST).unwrap().to_owned();
        let (large_part, certified_part) = (most(&large), most(&certified));
        finds(
            "secret.jwt",
            &[
                (JWT, JWT),
                (&bearer, JWT),
                (&query, JWT),
                (&quoted, JWT),
                (&stop, JWT),
                (&thai, JWT),
                (&viet, JWT),
                (&tamil, JWT),
                (&burmese, JWT),
                (none, none),
                (sealed, sealed),
                (&long, JWT),
                (&large, &large_part),
                (&certified, &certified_part),
            ],
        );
    }

    #[test]
    fn no_tokens() {
        let joined = format!("x{JWT}");
        finds_none(
            "secret.jwt",
            &[
                "eyJ",
                "eyJhbGciOiJIUzI1NiJ9",
                "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0",
                "eyJuYW1lIjoieCJ9.eyJzdWIiOiIxIn0.abcdef",
                "heyJude.is.asong",
                "eyJude.is.asongbythem.beatles",
                "eyJhbGciOiJIUzI1NiJ9 . eyJzdWIiOiIxIn0 . abc",
                &joined,
                "eyJhbGciOiJIUzI1NiJ9...",
                "ข้อความ eyJ ไม่ใช่",
                "a.b.c",
            ],
        );
    }
}
