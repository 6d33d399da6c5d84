//! Private keys in PEM form: the whole block, or all that follows its header while no footer has come.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::pattern;

/// A partial header at the end of a text is within its last bytes.
const HEADER: usize = 80;

static BEGIN: LazyLock<Regex> = LazyLock::new(|| pattern("-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"));
static END: LazyLock<Regex> = LazyLock::new(|| pattern("-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"));
static PARTIAL: LazyLock<Regex> = LazyLock::new(|| pattern("-----BEGIN[A-Z0-9 ]*-{0,4}$"));

/// The blocks in the text, in order; only the last can be without its footer.
pub(super) fn find(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let begin = BEGIN.find_at(text, from)?;
        from = END.find_at(text, begin.end()).map_or(text.len(), |end| end.end());
        Some(begin.start()..from)
    })
}

/// Where a block or its header begins that text to come may continue.
pub(super) fn open(text: &str) -> Option<usize> {
    let last = find(text).last();
    let block = last.filter(|block| block.end == text.len()).map(|block| block.start);
    let tail = text.ceil_char_boundary(text.len().saturating_sub(HEADER));
    block.or_else(|| PARTIAL.find(text.get(tail..)?).map(|partial| tail + partial.start()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_none};
    use super::*;

    const KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----";

    #[test]
    fn keys() {
        let inside = format!("here: {KEY} thanks 4111");
        let cut = "-----BEGIN PRIVATE KEY-----\nMIIE a@b.co 4111 1111 1111 1111";
        let other = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----";
        let pgp = "-----BEGIN PGP PRIVATE KEY BLOCK-----\nb3Bl\n-----END PGP PRIVATE KEY BLOCK-----";
        let escaped = r"-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----";
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMHcC\n-----END ENCRYPTED PRIVATE KEY-----";
        let thai = format!("กุญแจ{KEY}ครับ");
        let tamil = format!("சாவி {KEY} இது");
        let wrapped = format!("------{other}-----");
        let unlike = "-----BEGIN PRIVATE KEY-----\nx\n-----END CERTIFICATE-----\ny";
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
                (unlike, unlike),
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
    }
}
