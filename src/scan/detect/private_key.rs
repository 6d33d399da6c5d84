//! Private keys in PEM form: the whole block, or, where no footer has come, what follows its header as far as it may be a key's.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::pattern;

/// A partial header at the end of a text is within its last bytes, and so many bytes after a block tell that it has ended.
const HEADER: usize = 80;
/// Characters of a line by which a block without a footer is a key, and not only a header that somebody writes about.
const LINE: usize = 16;

static BEGIN: LazyLock<Regex> = LazyLock::new(|| pattern("-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"));
static END: LazyLock<Regex> = LazyLock::new(|| pattern("^-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"));
static PARTIAL: LazyLock<Regex> = LazyLock::new(|| pattern("-----BEGIN[A-Z0-9 ]*-{0,4}$"));
/// Fields such as `DEK-Info: AES-128-CBC,…`, base64, and what stands around its lines in code and in mail.
static BODY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r#"^(?:(?:Proc-Type|DEK-Info|Version|Comment|Charset|Hash|MessageID): [^\r\n\\"]{0,128}"#,
        r#"|[A-Za-z0-9+/=\s"',>#|\\])*"#,
    ))
});

struct Block {
    range: Range<usize>,
    is_key: bool,
    /// Text to come may continue it.
    is_open: bool,
}

/// The blocks of keys in the text, in order.
pub(super) fn find(text: &str) -> impl Iterator<Item = Range<usize>> {
    blocks(text).filter(|block| block.is_key).map(|block| block.range)
}

/// Where a block or its header begins that text to come may continue.
pub(super) fn open(text: &str) -> Option<usize> {
    let block = blocks(text).last().filter(|block| block.is_open).map(|block| block.range.start);
    let tail = text.ceil_char_boundary(text.len().saturating_sub(HEADER));
    block.or_else(|| PARTIAL.find(text.get(tail..)?).map(|partial| tail + partial.start()))
}

fn blocks(text: &str) -> impl Iterator<Item = Block> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let begin = BEGIN.find_at(text, from)?;
        let body = BODY.find(text.get(begin.end()..)?)?.as_str();
        let end = begin.end() + body.len();
        let rest = text.get(end..)?;
        if let Some(footer) = END.find(rest) {
            from = end + footer.end();
            return Some(Block { range: begin.start()..from, is_key: true, is_open: false });
        }
        from = end;
        let written = begin.end() + body.trim_end_matches(|c| !is_base64(c)).len();
        let is_key = body.split(|c| !is_base64(c)).any(is_line);
        Some(Block { range: begin.start()..written, is_key, is_open: rest.len() < HEADER })
    })
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')
}

/// Longer than words are, and not in small letters only.
fn is_line(run: &str) -> bool {
    run.len() >= LINE && run.contains(|c: char| c.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_none};
    use super::*;

    const KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----";

    #[test]
    fn keys() {
        let inside = format!("here: {KEY} thanks 4111");
        let cut = "-----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n7bq";
        let more = format!("{cut} . and so on");
        let code = r#""-----BEGIN PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA\n" + "7bq" (cut)"#;
        let fields = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES-EDE3-CBC,01AB\n\nMHcC\n-----END RSA PRIVATE KEY-----";
        let other = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----";
        let pgp = "-----BEGIN PGP PRIVATE KEY BLOCK-----\nb3Bl\n-----END PGP PRIVATE KEY BLOCK-----";
        let escaped = r"-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----";
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMHcC\n-----END ENCRYPTED PRIVATE KEY-----";
        let thai = format!("กุญแจ{KEY}ครับ");
        let tamil = format!("சாவி {KEY} இது");
        let wrapped = format!("------{other}-----");
        finds(
            "secret.private_key",
            &[
                (KEY, KEY),
                (&inside, KEY),
                (cut, cut),
                (other, other),
                (pgp, pgp),
                (escaped, escaped),
                (encrypted, encrypted),
                (&thai, KEY),
                (&tamil, KEY),
                (&wrapped, other),
                (&more, cut),
                (code, code.get(1..code.len() - 7).unwrap()),
                (fields, fields),
            ],
        );
        assert_eq!(find(&format!("{KEY}\n{KEY}")).count(), 2);
    }

    #[test]
    fn no_keys() {
        finds_none(
            "secret.private_key",
            &[
                "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
                "-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----",
                "-----BEGIN RSA PUBLIC KEY-----",
                "---- BEGIN SSH2 PUBLIC KEY ----",
                "-----END PRIVATE KEY-----",
                "BEGIN PRIVATE KEY",
                "----BEGIN PRIVATE KEY----",
                "-----begin private key-----",
                "my private key is safe",
                "-----BEGIN PRIVATE KEY",
                "-----BEGIN PGP MESSAGE-----",
                "-----BEGIN PRIVATE KEY-----\nx\n-----END CERTIFICATE-----\ny",
                "a file that begins with -----BEGIN PRIVATE KEY----- is a key, and one with an internationalised name is too",
                r#"if text.contains("-----BEGIN PRIVATE KEY-----") { return refuse(text) }"#,
            ],
        );
    }

    #[test]
    fn an_unfinished_header_is_open() {
        assert_eq!(open("see -----BEGIN RSA PRIV"), Some(4));
        assert_eq!(open("see -----BEGIN RSA PRIVATE KEY----"), Some(4));
        assert_eq!(open(&format!("see {KEY} ok")), None);
        assert_eq!(open("see -----BEGIN PRIVATE KEY-----\nabc def"), Some(4));
        assert_eq!(open("see -----BEGIN CERTIFICATE-----\nabc"), None);
        assert_eq!(open("see -----BEGIN PRIVATE KEY-----\nabc\n-----END PRIV"), Some(4));
        assert_eq!(open(&format!("see -----BEGIN PRIVATE KEY----- is a header. {}", "It is. ".repeat(12))), None);
    }
}
