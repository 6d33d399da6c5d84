//! Fields in both of their spellings, and the settings among them: protobuf's JSON takes `topK` and `top_k` for one.

use std::borrow::Cow;

use crate::{
    dialect::text::{Collector, is_id},
    segment::Target,
    wire::json::{Malformed, Members, Node},
};

/// Fields within settings and counts, all of them numbers, names and codes.
const WORDS: &[&str] = &[
    // safetySettings, safetyRatings
    "category",
    "threshold",
    "method",
    "probability",
    "probabilityScore",
    "severity",
    "severityScore",
    "blocked",
    "overwrittenThreshold",
    // toolConfig
    "functionCallingConfig",
    "mode",
    "allowedFunctionNames",
    "streamFunctionCallArguments",
    "retrievalConfig",
    "latLng",
    "latitude",
    "longitude",
    "languageCode",
    "includeServerSideToolInvocations",
    // generationConfig
    "includeThoughts",
    "thinkingBudget",
    "thinkingLevel",
    "aspectRatio",
    "imageSize",
    "personGeneration",
    "prominentPeople",
    "outputMimeType",
    "outputCompressionQuality",
    "imageOutputOptions",
    "mimeType",
    "compressionQuality",
    "autoMode",
    "modelRoutingPreference",
    "manualMode",
    "modelName",
    "featureSelectionPreference",
    "voiceConfig",
    "prebuiltVoiceConfig",
    "voiceName",
    "multiSpeakerVoiceConfig",
    "speakerVoiceConfigs",
    // modelArmorConfig
    "promptTemplateName",
    "responseTemplateName",
    // videoMetadata, mediaResolution and their like
    "startOffset",
    "endOffset",
    "fps",
    "contentLayers",
    "level",
    "numTokens",
    "startPage",
    "endPage",
    // usageMetadata, modelStatus
    "promptTokenCount",
    "candidatesTokenCount",
    "totalTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
    "toolUsePromptTokenCount",
    "promptTokensDetails",
    "candidatesTokensDetails",
    "cacheTokensDetails",
    "toolUsePromptTokensDetails",
    "modality",
    "tokenCount",
    "trafficType",
    "serviceTier",
    "modelStage",
    "retirementTime",
];

/// The members of an object whose fields are known, by their names in camelCase; what is `null` is left out.
///
/// # Errors
/// Not an object, a key that differs from a known one only in case, or a field that stands twice in two spellings.
pub(super) fn fields<'a>(node: &Node<'a>, what: &str, known: &[&'static str]) -> Result<Members<'a>, Malformed> {
    // Most objects have no key with an underscore, not even an escaped one.
    let snakes: Vec<String> =
        if node.raw().contains(['_', '\\']) { known.iter().map(|name| snake(name)).collect() } else { Vec::new() };
    let spellings: Vec<&str> = known.iter().copied().chain(snakes.iter().map(String::as_str)).collect();
    let mut members = Members::new();
    for (key, value) in node.known(what, &spellings)? {
        let spelled = known.iter().zip(&snakes).find(|(_, snake)| *snake == key.as_ref());
        let name = spelled.map_or(key, |(name, _)| Cow::Borrowed(*name));
        // Names that are not known have one spelling, and none stands twice in a document.
        if known.contains(&name.as_ref()) && members.iter().any(|(other, _)| *other == name) {
            return Err(Malformed::new(format!("`{what}` has the field `{name}` twice, in two spellings")));
        }
        members.push((name, value));
    }
    members.retain(|(_, value)| !value.is_null());
    Ok(members)
}

/// The elements of a list; one alone may stand for itself.
pub(super) fn items<'a>(node: &Node<'a>) -> Vec<Node<'a>> {
    node.array().unwrap_or_else(|| vec![*node])
}

/// A small whole number, which may also be written as a string.
///
/// # Errors
/// Anything else.
pub(super) fn number(what: &str, node: &Node<'_>) -> Result<u64, Malformed> {
    let text = node.string().unwrap_or(Cow::Borrowed(node.raw()));
    let text = text.strip_suffix(".0").unwrap_or(&text);
    text.parse::<u32>().map(u64::from).map_err(|_| Malformed::new(format!("`{what}` must be a whole number")))
}

/// A setting: a number, a name, a code or an address. What else stands in its place is read, and so are fields within it that
/// are not known.
pub(super) fn setting(text: &mut Collector, target: Target, node: &Node<'_>) {
    for node in items(node) {
        if node.string().is_none_or(|value| !is_code(&value)) {
            text.strings(target, &node, &|key, value| WORDS.contains(&camel(key).as_ref()) && is_code(value));
        }
    }
}

/// Whether a string is no sentence.
pub(super) fn is_code(value: &str) -> bool {
    is_id(value)
}

/// A name in camelCase.
pub(super) fn camel(name: &str) -> Cow<'_, str> {
    if !name.contains('_') {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len());
    let mut raise = false;
    for c in name.chars() {
        if c == '_' && !out.is_empty() {
            raise = true;
        } else if std::mem::take(&mut raise) {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// A name in snake_case.
fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::Document;

    #[test]
    fn both_spellings_are_one_field() {
        let read = |text: &str| {
            let document = Document::read(text.as_bytes()).unwrap();
            let members = fields(&document.root(), "part", &["inlineData", "text"]);
            members.map(|members| members.into_iter().map(|(key, _)| key.into_owned()).collect::<Vec<_>>())
        };
        assert_eq!(read(r#"{"inlineData":1,"foo_bar":2}"#).unwrap(), ["inlineData", "foo_bar"]);
        assert_eq!(read(r#"{"inline_data":1,"text":null}"#).unwrap(), ["inlineData"]);
        assert_eq!(read(r#"{"inline\u005fdata":1}"#).unwrap(), ["inlineData"]);
        assert!(read(r#"{"inlineData":null,"inline_data":1}"#).unwrap_err().why.contains("in two spellings"));
        for twin in ["InlineData", "Inline_Data", "inlinedata", "TEXT"] {
            assert!(read(&format!(r#"{{"{twin}":1}}"#)).unwrap_err().why.contains("only in case"), "{twin}");
        }
        assert!(read("[]").is_err());
    }

    #[test]
    fn a_text_in_the_place_of_a_setting_is_read() {
        let body = r#"[{"mode":"ANY","level":["HIGH","a b"]},"ไม่ได้","c d","STOP",{"why":"hm","fps":"e\tf"},5,null]"#;
        let mut text = Collector::default();
        setting(&mut text, Target::System, &Document::read(body.as_bytes()).unwrap().root());
        let texts: Vec<_> = text.segments.iter().map(|segment| segment.text.as_str()).collect();
        assert_eq!(texts, ["a b", "ไม่ได้", "c d", "why", "hm", "e\tf"]);
    }

    #[test]
    fn names_and_numbers() {
        for (one, other) in [("topK", "top_k"), ("_responseJsonSchema", "_response_json_schema"), ("text", "text")] {
            assert_eq!((snake(one).as_str(), camel(other).as_ref()), (other, one));
        }
        let read = |text: &str| number("n", &Document::read(text.as_bytes()).unwrap().root()).ok();
        assert_eq!(["2", "\"2\"", "2.0", "-1", "2.5", "[]"].map(read), [Some(2), Some(2), Some(2), None, None, None]);
    }
}
