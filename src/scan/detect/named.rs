//! Keys and passwords without a form of their own, known by the name that they are given: `DB_PASSWORD=…`.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{pattern, secret, stands_alone};

/// The detector, the name, the form of the value, and the fewest different characters of a real one.
const NAMED: [(&str, &str, &str, usize); 6] = [
    ("secret.aws", "secret[_ -]?access[_ -]?key", "[A-Za-z0-9/+]{40}", 14),
    ("secret.azure", "(?:account|access|storage|azure[a-z_]{0,24})[_ -]?key", "(?:[A-Za-z0-9/+]{86}==|[A-Za-z0-9/+]{43}=)", 20),
    ("secret.azure", "[?&;]sig", "(?:[A-Za-z0-9/+]|%[0-9A-Fa-f]{2}){43,60}(?:=|%3[Dd])", 20),
    ("secret.twilio", "twilio[a-z_ -]{0,12}(?:token|secret|key)", "[0-9a-f]{32}", 8),
    ("secret.cohere", "(?:\\b|_)co(?:here)?[_ -]?api[_ -]?key", "[A-Za-z0-9]{40}", 12),
    ("secret.password", NAMES, "[A-Za-z0-9!@#$%^&*+/=_~.-]{8,200}", 6),
];

/// A longer value is cut: a stream must not wait for ever.
const MOST: usize = 200;

const NAMES: &str = concat!(
    "pass(?:word|wd|phrase|code)|pwd|secret|api[_ -]?key|(?:access|auth|bearer|secret|api|refresh)[_ -]?(?:token|key)|",
    "mật khẩu|รหัสผ่าน|kata ?sandi|kata ?laluan|စကားဝှက်|கடவுச்சொல்|पासवर्ड",
);

/// Quotes, an equals sign or colon, or the word that says what something is; in lists, lined up or on the next line.
const BETWEEN: &str = concat!(
    r#"[\\"'`]{0,3}(?:\s{0,8}(?::=|=>|[:=])\s{0,8}|\s{1,3}(?:is|là|adalah|ialah|ay|है)(?:\s{0,3}:\s{0,8}|\s{1,3})"#,
    r#"|\s{0,3}(?:คือ|က)\s{0,3}:?\s{0,3})[\\"'`]{0,3}"#,
);

static NAME: LazyLock<[Regex; 6]> =
    LazyLock::new(|| NAMED.map(|(_, name, ..)| pattern(&format!("(?i)(?:{}){BETWEEN}", name.replace("\\b", "(?-u:\\b)")))));
static VALUE: LazyLock<[Regex; 6]> = LazyLock::new(|| NAMED.map(|(_, _, value, _)| pattern(&format!("^(?:{value})"))));

/// Values that stand for one, by how they begin or by what no value holds.
static FILLER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)^(?:my|the|a|an|some)?[_-]?(?:example|changeme|change_me|your|placeholder|dummy|redacted)",
        r"|x{4}|\*{3}|^\$[a-z_]+$|^%|\.\.|env\.",
    ))
});
/// What stands for a value where it is most of it.
static COUNTED: LazyLock<Regex> = LazyLock::new(|| pattern("(?i)example|changeme|placeholder|dummy|redacted|1234567[0-9]*"));

/// The secrets in the text.
pub(super) fn find(text: &str) -> impl Iterator<Item = (&'static str, Range<usize>)> {
    NAMED.iter().zip(NAME.iter().zip(VALUE.iter())).flat_map(move |((detector, _, _, fewest), (name, value))| {
        name.find_iter(text).filter_map(move |name| {
            let found = value.find(text.get(name.end()..)?)?;
            let any = *detector == "secret.password";
            let written = if any { found.as_str().trim_end_matches('.') } else { found.as_str() };
            let range = name.end()..name.end() + written.len();
            let cut = any && found.len() == MOST;
            let ends = cut
                || !text.get(range.end..)?.starts_with(if any { &['(', '[', '{', '<', ':'][..] } else { &['/', '+', '='][..] });
            let real = !any || (!is_filler(written) && (is_password(name.as_str(), written) || is_key(written)));
            (ends && real && secret::distinct(written) >= *fewest && (cut || stands_alone(text, range.clone())))
                .then_some((*detector, range))
        })
    })
}

fn is_filler(value: &str) -> bool {
    let counted: usize = COUNTED.find_iter(value).map(|found| found.len()).sum();
    FILLER.is_match(value) || counted * 2 >= value.len()
}

/// Letters, digits and a mark or both cases, as nobody writes words.
fn is_password(name: &str, value: &str) -> bool {
    let has = |is: fn(&u8) -> bool| value.as_bytes().iter().any(is);
    let marked = has(|b| b"!@#$%^&*+=~".contains(b)) || (has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase));
    let key = name.to_ascii_lowercase();
    !["key", "token", "secret"].iter().any(|word| key.contains(word))
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_alphabetic)
        && marked
        // Paths, hosts and names in code have no such marks.
        && (!value.contains(['/', '.']) || (has(|b| b"!#$%^&*".contains(b)) && !value.contains("://")))
}

/// Long, and hexadecimal or of letters in both cases and digits, without words and paths.
fn is_key(value: &str) -> bool {
    let count = |is: fn(&u8) -> bool| value.as_bytes().iter().filter(|b| is(b)).count();
    let hex = value.len() >= 32 && value.bytes().all(|b| b.is_ascii_hexdigit());
    let mixed = count(u8::is_ascii_digit) >= 3 && count(u8::is_ascii_uppercase) >= 3 && count(u8::is_ascii_lowercase) >= 3;
    (hex || mixed) && value.len() >= 16 && !value.contains('.') && secret::distinct(value) >= 10
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_none};
    use super::*;

    #[test]
    fn named_as_people_write_it() {
        let long = "aB3dE5fG7h".repeat(30);
        let named = format!("client_secret={long} ok");
        finds(
            "secret.password",
            &[
                ("password is: hunTer2!x", "hunTer2!x"),
                ("password:  hunTer2!x", "hunTer2!x"),
                ("password   = hunTer2!x", "hunTer2!x"),
                ("password\t=\thunTer2!x", "hunTer2!x"),
                ("password:\n  hunTer2!x", "hunTer2!x"),
                ("password = for-your-Eyes7!", "for-your-Eyes7!"),
                ("password = hunTer1234567!pass#Word", "hunTer1234567!pass#Word"),
                ("password = hun/Ter.2!x", "hun/Ter.2!x"),
                ("pwd=$2b$10$abcdefGH/ij.K1", "$2b$10$abcdefGH/ij.K1"),
                (&named, &long[..MOST]),
            ],
        );
        finds_none(
            "secret.password",
            &[
                "password = your-passWord1!",
                "password = Example1!",
                "password: my_example_Pass1",
                "password = Pass1234567!",
                "password: https://Example2.com/#x",
                "password: config/v1/Secret.yaml",
                "password          = hunTer2!x",
                "password = $PASSWORD",
            ],
        );
    }
}
