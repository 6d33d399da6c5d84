//! Internet addresses, versions 4 and 6: those of hosts. Loopback addresses, masks and the like name nobody.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{context, pattern, stands_alone};

/// No address of version 6 is written with more characters.
const MOST: usize = 45;
/// Characters of its own that the end of a label before an address and the marks after it may have.
const LABEL: usize = 6;

static V4: LazyLock<Regex> = LazyLock::new(|| pattern("(?:[0-9]{1,3}[.]){3}[0-9]{1,3}"));

static WORDS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)(?-u:\b)(?:ipv?4?|host|server|addr(?:ess)?|ping|dns|gateway|subnet|router|ssh|firewall|alamat|pelayan|peladen)(?-u:\b)",
        r"|địa chỉ|máy chủ|ที่อยู่|ไอพี|เซิร์ฟเวอร์|လိပ်စာ|ဆာဗာ|முகவரி|சேவையக|आईपी|सर्वर",
    ))
});
/// What else is written with four numbers.
static VERSION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)(?-u:\b)(?:v|ver|versions?|versi|bersyon|release|build|firmware|driver|update|patch|section|clause|chapter|pasal|seksyen|",
        r"seksiyon|oid)(?-u:\b)|phiên bản|mục|điều|เวอร์ชัน|เวอร์ชั่น|รุ่น|ข้อ|ဗားရှင်း|பதிப்பு|संस्करण",
    ))
});

/// The addresses in the text.
pub(super) fn find(text: &str) -> impl Iterator<Item = Range<usize>> {
    let fours = V4.find_iter(text).map(|found| found.range()).filter(|range| v4(text, range.clone()) == Some(true));
    fours.chain(runs(text).filter_map(|run| v6(text, run.clone()).or_else(|| v6(text, labelled(text, run)?))))
}

fn v4(text: &str, range: Range<usize>) -> Option<bool> {
    let address: Ipv4Addr = text.get(range.clone())?.parse().ok()?;
    let (before, after) = (text.get(..range.start)?, text.get(range.end..)?);
    let followed = |by: char| after.strip_prefix(by).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()));
    // `Chrome/120.0.0.0` is a version.
    let product = before.strip_suffix('/').is_some_and(|name| name.ends_with(|c: char| c.is_ascii_alphanumeric()));
    if !stands_alone(text, range.clone()) || before.ends_with(['.', '-']) || product || followed('.') || followed('-') {
        return None;
    }
    let [first, ..] = address.octets();
    if matches!(first, 0 | 127 | 224..) {
        return None;
    }
    let words = context::before(text, range.start);
    // Such as a version or a section could have.
    let low = first != 10 && address.octets().iter().all(|octet| *octet < 20);
    Some(WORDS.is_match(words) || (!low && !VERSION.is_match(words)))
}

/// Runs of what an address of version 6 is written with.
fn runs(text: &str) -> impl Iterator<Item = Range<usize>> {
    let belongs = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
    let mut at = 0;
    text.split_inclusive(move |c| !belongs(c)).filter_map(move |piece| {
        let start = at;
        at += piece.len();
        let run = piece.trim_end_matches(|c| !belongs(c));
        (run.len() <= MOST + LABEL && run.bytes().filter(|b| *b == b':').count() > 1).then_some(start..start + run.len())
    })
}

/// What follows a label, such as `ip:` or `src:`, whose last letters may look like a group.
fn labelled(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    let (label, rest) = text.get(run.clone())?.split_once(':')?;
    (label.len() < LABEL && !rest.starts_with(':')).then_some(run.start + label.len() + 1..run.end)
}

fn v6(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    let written = text.get(run.clone())?.trim_end_matches('.');
    let written = if written.ends_with("::") { written } else { written.trim_end_matches(':') };
    let address: Ipv6Addr = written.parse().ok()?;
    let range = run.start..run.start + written.len();
    // `2024::12` and `a::b` are something of a program's.
    let groups = written.split(':').filter(|group| !group.is_empty()).count();
    // `00:11:22:33:44:55:66:77` names a device.
    let device = written.split(':').all(|group| group.len() == 2);
    let host = match address.segments() {
        [0x2000..=0x3FFF, ..] => groups > 2 && !device,
        [0, 0, 0, 0, 0, 0xFFFF, ..] | [0xFC00..=0xFDFF | 0xFE80..=0xFEBF, ..] => true,
        _ => false,
    };
    (host && stands_alone(text, range.clone())).then_some(range)
}
