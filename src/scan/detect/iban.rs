//! Bank account numbers (IBAN): each country's own length and form, and the remainder by 97 that checks them (ISO 13616).

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{pattern, stands_alone};

/// The longest, in groups of four.
const MOST: usize = 34 + 8;

static START: LazyLock<Regex> = LazyLock::new(|| pattern("(?-u:\\b)[A-Za-z]{2}[0-9]{2}"));
/// What follows each country's letters and check digits: `n` a digit, `a` a letter, `c` either. From the registry, release 101.
const COUNTRIES: &str = concat!(
    "ADnnnnnnnncccccccccccc AEnnnnnnnnnnnnnnnnnnn ALnnnnnnnncccccccccccccccc ATnnnnnnnnnnnnnnnn AZaaaacccccccccccccccccccc ",
    "BAnnnnnnnnnnnnnnnn BEnnnnnnnnnnnn BGaaaannnnnncccccccc BHaaaacccccccccccccc BInnnnnnnnnnnnnnnnnnnnnnn ",
    "BRnnnnnnnnnnnnnnnnnnnnnnnac BYccccnnnncccccccccccccccc CHnnnnncccccccccccc CRnnnnnnnnnnnnnnnnnn ",
    "CYnnnnnnnncccccccccccccccc CZnnnnnnnnnnnnnnnnnnnn DEnnnnnnnnnnnnnnnnnn DJnnnnnnnnnnnnnnnnnnnnnnn DKnnnnnnnnnnnnnn ",
    "DOccccnnnnnnnnnnnnnnnnnnnn EEnnnnnnnnnnnnnnnn EGnnnnnnnnnnnnnnnnnnnnnnnnn ESnnnnnnnnnnnnnnnnnnnn FInnnnnnnnnnnnnn ",
    "FKaannnnnnnnnnnn FOnnnnnnnnnnnnnn FRnnnnnnnnnncccccccccccnn GBaaaannnnnnnnnnnnnn GEaannnnnnnnnnnnnnnn ",
    "GIaaaaccccccccccccccc GLnnnnnnnnnnnnnn GRnnnnnnncccccccccccccccc GTcccccccccccccccccccccccc HNaaaannnnnnnnnnnnnnnnnnnn ",
    "HRnnnnnnnnnnnnnnnnn HUnnnnnnnnnnnnnnnnnnnnnnnn IEaaaannnnnnnnnnnnnn ILnnnnnnnnnnnnnnnnnnn IQaaaannnnnnnnnnnnnnn ",
    "ISnnnnnnnnnnnnnnnnnnnnnn ITannnnnnnnnncccccccccccc JOaaaannnncccccccccccccccccc KWaaaacccccccccccccccccccccc ",
    "KZnnnccccccccccccc LBnnnncccccccccccccccccccc LCaaaacccccccccccccccccccccccc LInnnnncccccccccccc LTnnnnnnnnnnnnnnnn ",
    "LUnnnccccccccccccc LVaaaaccccccccccccc LYnnnnnnnnnnnnnnnnnnnnn MCnnnnnnnnnncccccccccccnn MDcccccccccccccccccccc ",
    "MEnnnnnnnnnnnnnnnnnn MKnnnccccccccccnn MNnnnnnnnnnnnnnnnn MRnnnnnnnnnnnnnnnnnnnnnnn MTaaaannnnncccccccccccccccccc ",
    "MUaaaannnnnnnnnnnnnnnnnnnaaa NIaaaannnnnnnnnnnnnnnnnnnn NLaaaannnnnnnnnn NOnnnnnnnnnnn OMnnncccccccccccccccc ",
    "PKaaaacccccccccccccccc PLnnnnnnnnnnnnnnnnnnnnnnnn PSaaaaccccccccccccccccccccc PTnnnnnnnnnnnnnnnnnnnnn ",
    "QAaaaaccccccccccccccccccccc ROaaaacccccccccccccccc RSnnnnnnnnnnnnnnnnnn RUnnnnnnnnnnnnnnccccccccccccccc ",
    "SAnncccccccccccccccccc SCaaaannnnnnnnnnnnnnnnnnnnaaa SDnnnnnnnnnnnnnn SEnnnnnnnnnnnnnnnnnnnn SInnnnnnnnnnnnnnn ",
    "SKnnnnnnnnnnnnnnnnnnnn SMannnnnnnnnncccccccccccc SOnnnnnnnnnnnnnnnnnnn STnnnnnnnnnnnnnnnnnnnnn ",
    "SVaaaannnnnnnnnnnnnnnnnnnn TLnnnnnnnnnnnnnnnnnnn TNnnnnnnnnnnnnnnnnnnnn TRnnnnnncccccccccccccccc ",
    "UAnnnnnnccccccccccccccccccc VAnnnnnnnnnnnnnnnnnn VGaaaannnnnnnnnnnnnnnn XKnnnnnnnnnnnnnnnn ",
    "YEaaaannnncccccccccccccccccc",
);

/// The numbers in the text.
pub(super) fn find(text: &str) -> impl Iterator<Item = Range<usize>> {
    START.find_iter(text).filter_map(|start| at(text, start.start()))
}

/// Where a number may begin that text to come continues.
pub(super) fn open(text: &str) -> Option<usize> {
    let tail = text.ceil_char_boundary(text.len().saturating_sub(MOST));
    let belongs = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'-');
    let run = text.len() - text.get(tail..)?.bytes().rev().take_while(belongs).count();
    let starts = START.find_iter(text.get(tail..)?).map(|start| tail + start.start());
    starts.filter(|start| *start >= run).find(|start| form(text, *start).is_some())
}

/// What follows the country's letters and the check digits.
fn form(text: &str, start: usize) -> Option<&'static str> {
    let country = text.get(start..start + 2)?.to_ascii_uppercase();
    COUNTRIES.split_ascii_whitespace().find_map(|form| form.strip_prefix(&country))
}

fn at(text: &str, start: usize) -> Option<Range<usize>> {
    let form = form(text, start)?;
    let (mut account, mut end, mut parted) = (String::new(), start, false);
    for b in text.get(start..)?.bytes() {
        if account.len() == form.len() + 4 {
            break;
        }
        let parts = matches!(b, b' ' | b'-') && account.len().is_multiple_of(4) && !parted;
        if b.is_ascii_alphanumeric() {
            account.push(char::from(b.to_ascii_uppercase()));
        } else if !parts {
            return None;
        }
        parted = parts;
        end += 1;
    }
    let own = account.get(4..)?;
    (own.len() == form.len() && fits(own, form) && remainder(&account) == Some(1) && stands_alone(text, start..end))
        .then_some(start..end)
}

fn fits(own: &str, form: &str) -> bool {
    own.bytes().zip(form.bytes()).all(|(b, kind)| match kind {
        b'n' => b.is_ascii_digit(),
        b'a' => b.is_ascii_uppercase(),
        _ => true,
    })
}

/// Of the number that the account is when its first four characters stand last, and letters count from ten.
fn remainder(account: &str) -> Option<u32> {
    let (head, own) = account.split_at_checked(4)?;
    own.chars().chain(head.chars()).try_fold(0, |sum, c| {
        let value = c.to_digit(36)?;
        Some((sum * if value < 10 { 10 } else { 100 } + value) % 97)
    })
}
