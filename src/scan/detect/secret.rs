//! Keys and tokens of well-known services, each by its own prefix and form.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{Span, jwt, pattern, stands_alone};

/// No form but that of web tokens is longer; a longer run is cut, for a stream must not wait for ever.
pub(super) const MOST: usize = 320;

/// The forms, the more specific first: the detector, how the form begins, the fewest different characters of a real one
/// (fillers have fewer), and what follows.
const FORMS: [(&str, &str, usize, &str); 28] = [
    ("secret.anthropic", "sk-ant-", 12, "[a-z0-9]{3,10}-[A-Za-z0-9_-]{24,280}"),
    ("secret.openrouter", "sk-or-", 12, "v1-[0-9a-f]{64}"),
    ("secret.openai", "sk-", 12, "(?:(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{24,280}|[A-Za-z0-9]{32,280})"),
    ("secret.aws", "A[KS]IA", 8, "[A-Z2-7]{16}"),
    ("secret.github", "gh[pousr]_", 12, "[A-Za-z0-9]{36,280}"),
    ("secret.github", "github_pat_", 12, "[A-Za-z0-9_]{60,280}"),
    ("secret.google", "AIza", 10, "[A-Za-z0-9_-]{35}"),
    ("secret.google", "GOCSPX-", 10, "[A-Za-z0-9_-]{28}"),
    ("secret.google", r"ya29\.", 10, "[A-Za-z0-9_-]{30,280}"),
    ("secret.slack", "xox[abeoprs]-", 8, "(?:[0-9]-)?[A-Za-z0-9-]{20,280}"),
    ("secret.slack", "xapp-", 8, "[0-9]-[A-Za-z0-9-]{20,280}"),
    ("secret.slack", r"hooks\.slack\.com/services/", 8, "T[A-Z0-9]{6,14}/B[A-Z0-9]{6,14}/[A-Za-z0-9]{16,40}"),
    ("secret.stripe", "[sr]k_(?:live|test)_", 10, "[A-Za-z0-9]{16,280}"),
    ("secret.stripe", "whsec_", 10, "[A-Za-z0-9+/]{24,280}"),
    ("secret.huggingface", "hf_", 12, "[A-Za-z0-9]{34,40}"),
    ("secret.gitlab", "gl(?:pat|dt|ptt|rt|ft|soat|agent)-", 12, r"[A-Za-z0-9_-]{20,200}(?:\.[0-9a-z]{2}\.[0-9a-z]{9})?"),
    ("secret.npm", "npm_", 12, "[A-Za-z0-9]{36}"),
    ("secret.pypi", "pypi-AgE", 12, "[A-Za-z0-9_-]{60,280}"),
    ("secret.sendgrid", r"SG\.", 12, r"[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"),
    ("secret.digitalocean", "do[opr]_v1_", 12, "[a-f0-9]{64}"),
    ("secret.databricks", "dapi", 10, "[a-f0-9]{32}(?:-[0-9])?"),
    ("secret.mailgun", "key-", 10, "[a-f0-9]{32}"),
    ("secret.shopify", "shp(?:at|ca|pa|ss)_", 10, "[a-fA-F0-9]{32}"),
    ("secret.discord", r"discord(?:app)?\.com/api/webhooks/", 16, "[0-9]{17,20}/[A-Za-z0-9_-]{60,80}"),
    ("secret.replicate", "r8_", 12, "[A-Za-z0-9]{37}"),
    ("secret.groq", "gsk_", 12, "[A-Za-z0-9]{48,56}"),
    ("secret.xai", "xai-", 12, "[A-Za-z0-9]{70,90}"),
    ("secret.perplexity", "pplx-", 12, "[A-Za-z0-9]{40,64}"),
];

/// One search finds all places worth a closer look.
static STARTS: LazyLock<Regex> = LazyLock::new(|| {
    let starts: Vec<&str> = FORMS.iter().map(|(_, start, ..)| *start).collect();
    pattern(&format!("{}|{}", starts.join("|"), jwt::START))
});
static WHOLE: LazyLock<Vec<Regex>> =
    LazyLock::new(|| FORMS.iter().map(|(_, start, _, rest)| pattern(&format!("^(?:{start})(?:{rest})"))).collect());

/// A bot's number and its key.
static TELEGRAM: LazyLock<Regex> = LazyLock::new(|| pattern("(?-u:\\b)[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"));
/// A bot's number in base64, a time, and what seals them.
static DISCORD: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?-u:\b)([MNO][A-Za-z0-9]{22,27})\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}"));

/// The secrets in the text; they may overlap.
pub(super) fn find(text: &str) -> impl Iterator<Item = Span> {
    let prefixed = STARTS.find_iter(text).filter_map(|start| at(text, start.start()));
    let alone = |range: &Range<usize>| stands_alone(text, range.clone());
    let telegram = TELEGRAM.find_iter(text).filter(|found| !filled(found.as_str())).map(|found| found.range());
    let discord = DISCORD.captures_iter(text).filter_map(|found| {
        let number = jwt::decode(found.get(1)?.as_str())?;
        number.iter().all(u8::is_ascii_digit).then_some(found.get(0)?.range())
    });
    let telegram = telegram.filter(alone).map(|range| Span { detector: "secret.telegram", range });
    let discord = discord.filter(alone).map(|range| Span { detector: "secret.discord", range });
    prefixed.chain(telegram).chain(discord)
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
    FORMS.iter().zip(WHOLE.iter()).find_map(|((detector, _, fewest, _), whole)| {
        let found = whole.find(rest)?;
        let range = start..start + found.end();
        (distinct(found.as_str()) >= *fewest
            && !filled(found.as_str())
            && (found.len() >= 280 || stands_alone(text, range.clone())))
        .then_some(Span { detector, range })
    })
}

/// Whether a part of it is a filler, such as `xxxxxxxx`.
fn filled(text: &str) -> bool {
    text.as_bytes().chunk_by(|a, b| a == b).any(|run| run.len() > 6)
}

/// How many different bytes the text has.
pub(super) fn distinct(text: &str) -> usize {
    let mut seen: Vec<u8> = text.bytes().collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len()
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
