//! Keys and tokens of well-known services, each by its own prefix and form.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{Span, jwt, pattern, stands_alone};

/// No form but that of web tokens is longer; a longer run is cut, for a stream must not wait for ever.
pub(super) const MOST: usize = 320;

/// How the forms begin: one search finds all places worth a closer look.
static STARTS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"sk-|sk_live_|sk_test_|rk_live_|rk_test_|whsec_|AKIA|ASIA|gh[pousr]_|github_pat_|AIza|GOCSPX-|ya29\.|xox[abeoprs]-|xapp-|hooks\.slack\.com/services/|eyJ",
    )
});

/// The forms, the more specific first, with the fewest different characters of a real one: fillers have fewer.
static FORMS: LazyLock<[(&str, usize, Regex); 8]> = LazyLock::new(|| {
    [
        ("secret.anthropic", 12, pattern("^sk-ant-[a-z0-9]{3,10}-[A-Za-z0-9_-]{24,280}")),
        ("secret.openai", 12, pattern("^sk-(?:(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{24,280}|[A-Za-z0-9]{32,280})")),
        ("secret.aws", 8, pattern("^A[KS]IA[A-Z2-7]{16}")),
        ("secret.github", 12, pattern("^(?:gh[pousr]_[A-Za-z0-9]{36,280}|github_pat_[A-Za-z0-9_]{60,280})")),
        ("secret.google", 10, pattern(r"^(?:AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{30,280})")),
        ("secret.slack", 8, pattern("^(?:xox[abeoprs]-(?:[0-9]-)?[A-Za-z0-9-]{20,280}|xapp-[0-9]-[A-Za-z0-9-]{20,280})")),
        ("secret.slack", 8, pattern("^hooks[.]slack[.]com/services/T[A-Z0-9]{6,14}/B[A-Z0-9]{6,14}/[A-Za-z0-9]{16,40}")),
        ("secret.stripe", 10, pattern("^(?:[sr]k_(?:live|test)_[A-Za-z0-9]{16,280}|whsec_[A-Za-z0-9+/]{24,280})")),
    ]
});

/// The name of AWS's unprefixed half, and what may stand between the name and the value.
static AWS_NAME: LazyLock<Regex> = LazyLock::new(|| pattern("(?i)secret[_ -]?access[_ -]?key[\\\\\"'`:=> ]{1,8}"));
static AWS_VALUE: LazyLock<Regex> = LazyLock::new(|| pattern("^[A-Za-z0-9/+]{40}"));

/// The secrets in the text; they may overlap.
pub(super) fn find(text: &str) -> impl Iterator<Item = Span> {
    let prefixed = STARTS.find_iter(text).filter_map(|start| at(text, start.start()));
    prefixed.chain(AWS_NAME.find_iter(text).filter_map(|name| aws_value(text, name.end())))
}

fn at(text: &str, start: usize) -> Option<Span> {
    let before = text.get(..start)?.bytes().next_back();
    let rest = text.get(start..)?;
    if before.is_some_and(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    if rest.starts_with(jwt::START) {
        // Inside a run of its own characters a token could begin at every few bytes, each with a long look ahead.
        let inside = before.is_some_and(|b| matches!(b, b'-' | b'_' | b'.'));
        let length = if inside { None } else { jwt::at_start(rest) };
        return length.map(|length| Span { detector: "secret.jwt", range: start..start + length });
    }
    FORMS.iter().find_map(|(detector, fewest, form)| {
        let found = form.find(rest)?;
        let range = start..start + found.end();
        (distinct(found.as_str()) >= *fewest && (found.len() >= 280 || stands_alone(text, range.clone())))
            .then_some(Span { detector, range })
    })
}

fn aws_value(text: &str, start: usize) -> Option<Span> {
    let found = AWS_VALUE.find(text.get(start..)?)?;
    let range = start..start + found.end();
    let ends = !text.get(range.end..)?.starts_with(['/', '+', '=']);
    (ends && stands_alone(text, range.clone()) && distinct(found.as_str()) >= 14)
        .then_some(Span { detector: "secret.aws", range })
}

fn distinct(text: &str) -> usize {
    let mut seen: Vec<u8> = text.bytes().collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len()
}

/// Where in an unfinished run of token characters something may begin that is longer than [`MOST`].
pub(super) fn long_start(text: &str, run: Range<usize>) -> Option<usize> {
    text.get(run.clone())?.find(jwt::START).map(|at| run.start + at)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{finds, finds_none};

    /// Made here, so that no file holds what looks like a live key.
    fn made(prefix: &str, alphabet: &str, length: usize) -> String {
        let alphabet = alphabet.as_bytes();
        let body = (0..length).map(|at| char::from(alphabet[(at * 7 + at / 5) % alphabet.len()]));
        prefix.chars().chain(body).collect()
    }

    const MIXED: &str = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW";
    const UPPER: &str = "AB2CD3EF4GH5JK6LM7NPQ";

    /// Each of the key's usual surroundings, in the guard's languages.
    fn check(detector: &str, keys: &[String], not: &[&str]) {
        for key in keys {
            let texts: Vec<String> = [
                "{}",
                "key: {}.",
                "export KEY={}",
                "\"{}\"",
                "คีย์{}ครับ",
                "khóa {} nhé",
                "kunci saya {}, ya",
                "သော့{}ပါ",
                "சாவி {} இது",
                "kekunci ({})",
                "ang susi ko ay {}!",
            ]
            .iter()
            .map(|form| form.replace("{}", key))
            .collect();
            let cases: Vec<(&str, &str)> = texts.iter().map(|text| (text.as_str(), key.as_str())).collect();
            finds(detector, &cases);
            finds_none(detector, &[&format!("a{key}"), key.get(..8).unwrap(), &key.replacen(['-', '_', 'A', '.'], " ", 1)]);
        }
        finds_none(detector, not);
    }

    #[test]
    fn openai_and_anthropic() {
        let keys = [made("sk-proj-", MIXED, 64), made("sk-", MIXED, 48), made("sk-svcacct-", MIXED, 80)];
        let not = [
            "sk-",
            "task-force-of-the-year",
            "sk-learn-is-a-python-library-for-learning",
            "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "sk-proj-...",
            "sk-ant-api03",
            "disk-0123456789abcdefABCDEF0123456789ab",
            "sk-your-api-key-goes-here",
            "sk-proj-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "คีย์ sk-สั้น",
        ];
        check("secret.openai", &keys, &not);
        let not = [
            "sk-ant-",
            "sk-ant-api03-",
            "sk-ant-api03-short",
            "ant-api03-abcdefghijklmnopqrstuvwxyz",
            "sk-ant-api03-xxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ];
        check(
            "secret.anthropic",
            &[made("sk-ant-api03-", MIXED, 95)],
            &[&not[..], &["sk-ant", "giant-api", "mỹ-ant"]].concat(),
        );
    }

    #[test]
    fn aws() {
        let not = [
            "AKIA",
            "AKIAIOSFODNN7",
            "AKIAAAAAAAAAAAAAAAAA",
            "akiaiosfodnn7example",
            "AKIAIOSFODNN7EXAMPLES",
            "XAKIAIOSFODNN7EXAMPLE",
            "ASIA is a continent",
            "AKIA0189018901890189",
            "ทวีป ASIA",
            "aws_secret_access_key = changeme",
            "aws_secret_access_key=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ];
        check("secret.aws", &[made("AKIA", UPPER, 16), made("ASIA", UPPER, 16)], &not);
        let value = made("", "wJalrXUtnFEMI/K7MDENGbPxRfiCYz+3", 40);
        let texts = [
            format!("aws_secret_access_key = {value}"),
            format!("\"SecretAccessKey\": \"{value}\""),
            format!("AWS Secret Access Key: {value}."),
        ];
        finds("secret.aws", &texts.each_ref().map(|text| (text.as_str(), value.as_str())));
    }

    #[test]
    fn github_and_google() {
        let not = [
            "ghp_",
            "ghp_short",
            "GHP_abc",
            "github_pat_",
            "gh_pages",
            "ghx_0123456789abcdefABCDEF0123456789abcd",
            "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ];
        check("secret.github", &[made("ghp_", MIXED, 36), made("github_pat_", MIXED, 82), made("ghs_", MIXED, 36)], &not);
        let not = [
            "AIza",
            "AIzaShort",
            "aiza0123456789",
            "AIzaXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX",
            "GOCSPX-",
            "ya29.",
            "ya29.short",
            "สวัสดี AIza",
        ];
        check("secret.google", &[made("AIza", MIXED, 35), made("GOCSPX-", MIXED, 28), made("ya29.", MIXED, 60)], &not);
    }

    #[test]
    fn slack_and_stripe() {
        let hook = made("hooks.slack.com/services/T01ABCDEF/B02ABCDEF/", MIXED, 24);
        let not = [
            "xoxb-",
            "xoxb-1",
            "xoxo-love",
            "xoxz-0123456789-0123456789ab",
            "xapp-",
            "hooks.slack.com/services/",
            "xoxb-xxxxxxxxxxxxxxxxxxxxxxxxx",
        ];
        check("secret.slack", &[made("xoxb-123456789012-", MIXED, 24), made("xapp-1-", MIXED, 40)], &not);
        finds("secret.slack", &[(&format!("https://{hook}"), &hook)]);
        let not = [
            "sk_live_",
            "sk_test_short",
            "pk_live_0123456789abcdefABCDEF01",
            "sk_other_0123456789abcdef",
            "risk_live_x",
            "whsec_",
            "sk_test_xxxxxxxxxxxxxxxxxxxxxxxx",
        ];
        check("secret.stripe", &[made("sk_live_", MIXED, 24), made("rk_test_", MIXED, 99), made("whsec_", MIXED, 32)], &not);
    }
}
