//! Email addresses.

use std::ops::Range;

const MOST_LOCAL: usize = 64;
const MOST_DOMAIN: usize = 253;
const MOST_TOP: usize = 24;

/// The addresses in the text, one for each `@` that has one around it; they may overlap.
pub(super) fn find(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices('@').filter_map(|(at, _)| around(text, at))
}

fn around(text: &str, at: usize) -> Option<Range<usize>> {
    let (local, domain) = (text.get(..at)?, text.get(at + 1..)?);
    let is_local = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'');
    let length = local.bytes().rev().take(MOST_LOCAL).take_while(is_local).count();
    let local = local.get(at - length..)?.trim_start_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    if local.is_empty() || local.ends_with('.') {
        return None;
    }
    let is_domain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let domain = domain.get(..domain.bytes().take(MOST_DOMAIN).take_while(is_domain).count())?;
    let end = at + 1 + host(domain)?;
    // `git@host:path` names a repository.
    let remote = matches!(local, "git" | "hg") && text.get(end..)?.starts_with([':', '/']);
    (!remote).then_some(at - local.len()..end)
}

/// The length of the longest host name at the start of what may be one: labels, of which the last is a top-level domain.
pub(super) fn host(domain: &str) -> Option<usize> {
    let (mut length, mut host, mut versioned) = (0, None, false);
    for (place, label) in domain.split('.').enumerate() {
        let numeric = label.bytes().all(|b| b.is_ascii_digit());
        // `package@18.2` is a version.
        versioned = numeric && (place == 0 || versioned);
        if label.is_empty() || label.starts_with('-') || (place == 1 && versioned) {
            break;
        }
        length += label.len() + usize::from(place > 0);
        let trimmed = label.trim_end_matches('-');
        let top = trimmed.starts_with("xn--") || trimmed.bytes().all(|b| b.is_ascii_alphabetic());
        if place > 0 && (2..=MOST_TOP).contains(&trimmed.len()) && top {
            host = Some(length - (label.len() - trimmed.len()));
        }
        if trimmed.len() < label.len() {
            break;
        }
    }
    host
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_none};

    #[test]
    fn addresses() {
        finds(
            "email",
            &[
                ("a@b.co", "a@b.co"),
                ("Write to john.doe+tag@example.com.", "john.doe+tag@example.com"),
                ("อีเมลsomchai@example.co.thค่ะ", "somchai@example.co.th"),
                ("email tôi là nguyen_van@vnpt.vn nhé", "nguyen_van@vnpt.vn"),
                ("kirim ke budi@perusahaan.co.id, ya", "budi@perusahaan.co.id"),
                ("ကျွန်တော့်aung@mail.mmပါ", "aung@mail.mm"),
                ("மின்னஞ்சல் kumar@example.sg", "kumar@example.sg"),
                ("e-mel: <ali@gov.my>", "ali@gov.my"),
                ("ang email ko: maria@yahoo.com.ph!", "maria@yahoo.com.ph"),
                ("mailto:x@y-z.org?subject=hi", "x@y-z.org"),
                ("123456@qq.com", "123456@qq.com"),
                ("me@163.com", "me@163.com"),
                ("o'brien@example.ie", "o'brien@example.ie"),
                ("user@example.com.2", "user@example.com"),
                ("a@xn--80ak6aa92e.xn--p1ai", "a@xn--80ak6aa92e.xn--p1ai"),
            ],
        );
    }

    #[test]
    fn no_addresses() {
        finds_none(
            "email",
            &[
                "@handle",
                "me @ home",
                "user@localhost",
                "react@18.2.0",
                "pkg@1.2.3-beta.rc",
                "git@github.com:owner/repo.git",
                "a@",
                "@b.com",
                "a@.com",
                "a@b.c",
                "a@b..com",
                "ส่ง@ไทย.ไทย",
                "a@-b.com",
                "john.@example.com",
                "@a@b",
                "5@10.00",
            ],
        );
    }
}
