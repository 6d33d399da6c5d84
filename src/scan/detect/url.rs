//! Web addresses: with a scheme, or of a host that begins with `www.`.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{email, pattern};

/// A longer address is cut: a stream must not wait for ever.
pub(super) const MOST: usize = 2048;

pub(super) static STARTS: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)(?:https?|ftps?|wss?)://|www\."));

/// Whether the byte can stand in an address.
fn belongs(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b)
}

/// The addresses in the text. One ends where the next begins, so each byte is looked at once.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    let begins = |start: &regex::Match<'_>| {
        let before = text.get(..start.start()).and_then(|before| before.bytes().next_back());
        let named = !start.as_str().ends_with('/');
        !before.is_some_and(|b| b.is_ascii_alphanumeric() || (named && b"/.-_@:".contains(&b)))
    };
    let starts: Vec<Range<usize>> = STARTS.find_iter(text).filter(begins).map(|start| start.range()).collect();
    let ends = starts.iter().skip(1).map(|next| next.start).chain([text.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| address(text, start, end)).collect()
}

fn address(text: &str, start: &Range<usize>, end: usize) -> Option<Range<usize>> {
    let rest = text.get(start.end..end)?;
    let rest = rest.get(..rest.bytes().take(MOST).take_while(|b| belongs(*b)).count())?;
    // The sentence's own marks.
    let mut rest = rest.trim_end_matches(|c: char| ".,;:!?'*_~([".contains(c));
    while let Some(shorter) = rest.strip_suffix([')', ']']).filter(|shorter| !shorter.contains(['(', '['])) {
        rest = shorter.trim_end_matches(|c: char| ".,;:!?'*_~".contains(c));
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = host.rsplit_once(':').map_or(host, |(host, port)| if port.ends_with(']') { authority } else { host });
    let known = email::host(host) == Some(host.len())
        || host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok()
        || (host.starts_with('[') && host.ends_with(']'));
    known.then_some(start.start..start.end + rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_ends_where_the_next_begins_or_after_its_most() {
        assert_eq!(find("http://a.co/x,http://b.co/y"), [0..13, 14..27]);
        assert_eq!(find(&format!("http://a.co/{}", "x".repeat(2 * MOST))).first(), Some(&(0..MOST + 7)));
    }
}
