//! Which calls a policy covers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Call;

/// The calls that a policy covers: all that is named must fit, each by any one of its patterns, in which `*` stands for any
/// characters. What a call does not have reads as the empty string, but a header that it does not have fits nothing.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Scope {
    /// Routes by `name`, or by prefix where they have none; `""` is the calls that no route takes.
    pub routes: Option<Vec<String>>,
    /// Upstreams; `default` is `[upstream]`.
    pub upstreams: Option<Vec<String>>,
    /// Models as the client asks for them.
    pub models: Option<Vec<String>>,
    /// APIs, such as `openai_chat`.
    pub dialects: Option<Vec<String>>,
    /// Names of the callers' keys.
    pub keys: Option<Vec<String>>,
    /// Tenants.
    pub tenants: Option<Vec<String>>,
    /// Languages of the text, so this is asked of each text; `""` is text that does not tell. A policy that names languages
    /// leaves other text to other policies and so covers no call by itself.
    pub languages: Option<Vec<String>>,
    /// Headers of the call by name: one of the values that stand between commas, or all of them as written.
    pub headers: BTreeMap<String, Vec<String>>,
}

impl Scope {
    /// All lists that are named, with their keys.
    pub(super) fn lists(&self) -> impl Iterator<Item = (Vec<&str>, &Vec<String>)> {
        let lists = [
            ("routes", &self.routes),
            ("upstreams", &self.upstreams),
            ("models", &self.models),
            ("dialects", &self.dialects),
            ("keys", &self.keys),
            ("tenants", &self.tenants),
            ("languages", &self.languages),
        ];
        let lists = lists.into_iter().filter_map(|(key, list)| Some((vec![key], list.as_ref()?)));
        lists.chain(self.headers.iter().map(|(name, list)| (vec!["headers", name.as_str()], list)))
    }

    /// The first part that the call does not fit, and what the call has there; none if it is covered, as far as that does not
    /// hang on a text's language. Names of headers are in lower case.
    pub(super) fn misfit<'s>(&'s self, call: &'s Call) -> Option<(&'s str, &'s str)> {
        let caller = &call.caller;
        let parts = [
            ("routes", &self.routes, call.route.as_str()),
            ("upstreams", &self.upstreams, &call.upstream),
            ("models", &self.models, &call.model),
            ("dialects", &self.dialects, call.dialect),
            ("keys", &self.keys, caller.key.as_deref().unwrap_or_default()),
            ("tenants", &self.tenants, caller.tenant.as_deref().unwrap_or_default()),
        ];
        let part = parts.into_iter().find(|(_, wanted, value)| !fits(wanted, value)).map(|(key, _, value)| (key, value));
        part.or_else(|| {
            self.headers.iter().find_map(|(name, wanted)| {
                let value = call.headers.get(name);
                let fits = value.is_some_and(|value| has(wanted, value));
                (!fits).then(|| (name.as_str(), value.map_or("", String::as_str)))
            })
        })
    }

    /// Whether it is asked of texts in this language; a tag such as `zh-Hant` also fits where `zh` is named.
    pub(super) fn speaks(&self, language: Option<&str>) -> bool {
        let language = language.unwrap_or_default();
        fits(&self.languages, language) || language.split_once('-').is_some_and(|(base, _)| fits(&self.languages, base))
    }
}

fn fits(wanted: &Option<Vec<String>>, value: &str) -> bool {
    wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|pattern| matches(pattern, value)))
}

fn has(wanted: &[String], value: &str) -> bool {
    wanted.iter().any(|pattern| matches(pattern, value) || value.split(',').any(|part| matches(pattern, part.trim())))
}

/// Whether the pattern is all of the text; `*` stands for any characters.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        // The first place leaves the most room for what follows.
        let Some((_, after)) = text.split_once(piece) else { return false };
        text = after;
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Caller;

    fn scope(text: &str) -> Scope {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn patterns() {
        for (pattern, text, fit) in [
            ("gpt-4", "gpt-4", true),
            ("gpt-4", "gpt-4o", false),
            ("gpt-4*", "gpt-4o", true),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("a*b*c", "abbc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*ab", "aab", true),
            ("**", "x", true),
            ("*ä*", "bär", true),
            ("A*", "ab", false),
        ] {
            assert_eq!(matches(pattern, text), fit, "{pattern} {text}");
        }
    }

    #[test]
    fn all_that_is_named_must_fit() {
        let call = Call {
            route: "/team-a".into(),
            upstream: "azure".into(),
            dialect: "openai_chat",
            model: "gpt-4o".into(),
            headers: [("x-team".to_owned(), "sales, support-2".to_owned())].into(),
            caller: Caller { tenant: Some("support".into()), ..Caller::default() },
            ..Call::default()
        };
        for (text, covered) in [
            ("", true),
            ("routes = [\"/team-a\"]\nmodels = [\"x\", \"gpt-4*\"]", true),
            ("routes = [\"/team-a\"]\nmodels = [\"x\"]", false),
            ("routes = [\"\"]", false),
            ("upstreams = [\"default\"]", false),
            ("dialects = [\"openai_*\"]", true),
            ("tenants = [\"support\"]", true),
            ("keys = [\"ci\"]", false),
            ("keys = [\"\"]", true),
            ("headers = { x-team = [\"support*\"] }", true),
            ("headers = { x-team = [\"sales, *\"] }", true),
            ("headers = { x-team = [\"support\"] }", false),
            ("headers = { x-other = [\"*\"] }", false),
        ] {
            assert_eq!(scope(text).misfit(&call).is_none(), covered, "{text}");
        }
    }

    #[test]
    fn languages_are_asked_of_each_text() {
        let thai = scope("languages = [\"th\", \"zh\"]");
        assert!(thai.misfit(&Call::default()).is_none());
        assert_eq!([Some("th"), Some("zh-Hant"), Some("vi"), None].map(|tag| thai.speaks(tag)), [true, true, false, false]);
        assert!(scope("languages = [\"\"]").speaks(None) && scope("").speaks(None));
    }
}
