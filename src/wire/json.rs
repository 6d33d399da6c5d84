//! JSON read once, strictly, and passed on as the bytes that were read.
//!
//! Two parsers that disagree about a body are a way around any guard: one reads the harmless half, the other the harmful.
//! So a [`Document`] refuses everything that parsers are known to differ on (duplicate keys however they are spelled,
//! lone surrogates, numbers out of range, a byte order mark, trailing bytes, great depth), and what is passed on is the
//! original text with edits spliced into their places. Whatever is not edited stays byte for byte as it came.

use std::{borrow::Cow, collections::HashSet, fmt, ops::Range};

use memchr::{memchr, memchr2};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Why a text is no acceptable JSON, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Malformed {
    /// What is wrong, for the sender to read.
    pub why: String,
}

impl Malformed {
    /// A refusal for the given reason.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into() }
    }
}

/// A JSON text that passed the strict read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    text: String,
    /// Where its objects and arrays stand, in the order of their first bytes: whoever opens one steps over those within it, so
    /// that a walk through all of them reads each byte but once, however deep it lies.
    containers: Vec<Range<usize>>,
}

/// A value within a document: its bytes, and where they stand.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    document: &'a Document,
    at: usize,
    end: usize,
}

/// An object's members in their order.
pub type Members<'a> = Vec<(Cow<'a, str>, Node<'a>)>;

/// Raw JSON to stand in place of a value's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// The bytes of the document to replace.
    pub range: Range<usize>,
    /// JSON text to put there.
    pub with: String,
}

impl Document {
    /// Reads a whole JSON text.
    ///
    /// # Errors
    /// Anything but one well-formed, unambiguous value.
    pub fn read(bytes: impl Into<Vec<u8>>) -> Result<Self, Malformed> {
        let text = String::from_utf8(bytes.into())
            .map_err(|e| Malformed::new(format!("the body is not UTF-8 at byte {}", e.utf8_error().valid_up_to())))?;
        let mut reader = serde_json::Deserializer::from_str(&text);
        Strict.deserialize(&mut reader).and_then(|()| reader.end()).map_err(|e| Malformed::new(e.to_string()))?;
        let containers = containers(&text);
        Ok(Self { text, containers })
    }

    /// The outermost value.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        let end = self.text.trim_end_matches(SPACES).len();
        Node { document: self, at: self.text.len() - self.text.trim_start_matches(SPACES).len(), end }
    }

    /// The text as it was read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text with `patches` made. They must not overlap; one that does not fit is a programming error and refused.
    ///
    /// # Errors
    /// A patch that overlaps another or lies outside the text.
    pub fn splice(self, mut patches: Vec<Patch>) -> Result<String, Malformed> {
        if patches.is_empty() {
            return Ok(self.text);
        }
        patches.sort_by_key(|patch| patch.range.start);
        let mut out = String::with_capacity(self.text.len());
        let mut done = 0;
        for patch in &patches {
            let kept = self.text.get(done..patch.range.start).ok_or_else(|| Malformed::new("edits overlap"))?;
            out.push_str(kept);
            out.push_str(&patch.with);
            done = patch.range.end;
        }
        out.push_str(self.text.get(done..).ok_or_else(|| Malformed::new("an edit lies outside the body"))?);
        Ok(out)
    }

    /// The end of the value that begins at a byte.
    fn end(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        match rest.bytes().next() {
            Some(b'"') => literal_end(&self.text, at),
            Some(b'{' | b'[') => {
                let found = self.containers.binary_search_by_key(&at, |container| container.start).ok();
                found.and_then(|found| self.containers.get(found)).map_or(self.text.len(), |container| container.end)
            }
            _ => {
                rest.find(|c| SPACES.contains(&c) || matches!(c, ',' | ']' | '}')).map_or(self.text.len(), |length| at + length)
            }
        }
    }
}

/// What may stand between values.
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// The end of the string that begins at a byte of a JSON text, past its closing quote.
pub(super) fn literal_end(text: &str, at: usize) -> usize {
    let mut from = at + 1;
    loop {
        let rest = text.as_bytes().get(from..).unwrap_or_default();
        match memchr2(b'"', b'\\', rest) {
            Some(found) if rest.get(found) == Some(&b'"') => return from + found + 1,
            // What an escape begins with is no end.
            Some(found) => from += found + 2,
            None => return text.len(),
        }
    }
}

/// What stands between the quotes of a string of a good JSON text, its escapes undone.
pub(super) fn unescaped(within: &str) -> Cow<'_, str> {
    if memchr(b'\\', within.as_bytes()).is_none() {
        return Cow::Borrowed(within);
    }
    serde_json::from_str::<String>(&format!("\"{within}\"")).map_or(Cow::Borrowed(within), Cow::Owned)
}

/// Where the objects and arrays of a good JSON text stand.
fn containers(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut open) = (Vec::<Range<usize>>::new(), Vec::new());
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            b'"' => {
                at = literal_end(text, at);
                continue;
            }
            b'{' | b'[' => {
                open.push(found.len());
                found.push(at..at);
            }
            b'}' | b']' => {
                if let Some(container) = open.pop().and_then(|last| found.get_mut(last)) {
                    container.end = at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

impl<'a> Node<'a> {
    /// Where the value stands in the document.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.at..self.end
    }

    /// The value as JSON text.
    #[must_use]
    pub fn raw(&self) -> &'a str {
        self.document.text.get(self.range()).unwrap_or_default()
    }

    /// The decoded text, of a string.
    #[must_use]
    pub fn string(&self) -> Option<Cow<'a, str>> {
        let within = self.raw().strip_prefix('"')?.strip_suffix('"')?;
        Some(unescaped(within))
    }

    /// The elements, of an array.
    #[must_use]
    pub fn array(&self) -> Option<Vec<Self>> {
        self.raw().starts_with('[').then(|| self.within().collect())
    }

    /// The members, of an object.
    #[must_use]
    pub fn object(&self) -> Option<Members<'a>> {
        if !self.raw().starts_with('{') {
            return None;
        }
        let mut within = self.within();
        let member = || Some((within.next()?.string()?, within.next()?));
        Some(std::iter::from_fn(member).collect())
    }

    /// What stands in an array, or the names and values of an object in turn; what these hold is stepped over.
    fn within(self) -> impl Iterator<Item = Self> {
        let mut at = self.at + 1;
        std::iter::from_fn(move || {
            let rest = self.document.text.get(at..self.end.saturating_sub(1))?;
            let between = |byte: u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':');
            let begun = at + rest.bytes().take_while(|byte| between(*byte)).count();
            let node = Self { document: self.document, at: begun, end: self.document.end(begun) };
            at = node.end;
            (begun + 1 < self.end).then_some(node)
        })
    }

    /// The members of an object whose keys a dialect knows. Some servers match keys without regard to case, the last one
    /// winning; so a key that equals a known one but for its case is refused.
    ///
    /// # Errors
    /// Not an object, or a key that differs from one of `known` only in case.
    pub fn known(&self, what: &str, known: &[&str]) -> Result<Members<'a>, Malformed> {
        let members = self.object().ok_or_else(|| Malformed::new(format!("`{what}` must be an object")))?;
        for (key, _) in &members {
            let differs =
                |name: &&&str| if key.is_ascii() { key.eq_ignore_ascii_case(name) } else { folded(name).eq(folded(key)) };
            if !known.contains(&key.as_ref())
                && let Some(twin) = known.iter().find(differs)
            {
                return Err(Malformed::new(format!("`{what}` has the key `{key}`, which differs from `{twin}` only in case")));
            }
        }
        Ok(members)
    }

    /// Whether the value is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.raw() == "null"
    }

    /// The value, of `true` and `false`.
    #[must_use]
    pub fn bool(&self) -> Option<bool> {
        self.raw().parse().ok()
    }

    /// The value, of a whole number.
    #[must_use]
    pub fn integer(&self) -> Option<u64> {
        self.raw().parse().ok()
    }
}

/// A string as a JSON literal, quotes included. Line ends of Unicode's are escaped: some clients of line-wise streams cut
/// there, JSON or not.
#[must_use]
pub fn quote(text: &str) -> String {
    one_line(&serde_json::Value::from(text).to_string())
}

/// JSON text without the line ends that may stand in strings.
#[must_use]
pub fn one_line(json: &str) -> String {
    json.replace('\u{85}', "\\u0085").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// Unicode simple case folding, near enough for keys: `ſ` becomes `s` and the Kelvin sign `k`.
fn folded(key: &str) -> impl Iterator<Item = char> + '_ {
    key.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

/// Walks a value, keeping nothing but what is needed to refuse duplicate keys.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Self)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = Names { few: Vec::with_capacity(8), more: HashSet::new() };
        while let Some(Text(key)) = members.next_key::<Text<'de>>()? {
            if let Some(twice) = seen.add(key) {
                return Err(serde::de::Error::custom(format_args!("the key `{twice}` stands twice in one object")));
            }
            members.next_value_seed(Self)?;
        }
        Ok(())
    }
}

/// The names of an object's fields. Few are compared with one another faster than they are hashed.
struct Names<'a> {
    few: Vec<Cow<'a, str>>,
    more: HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    /// Adds a name; returns it if it was there.
    fn add(&mut self, name: Cow<'a, str>) -> Option<Cow<'a, str>> {
        if self.few.contains(&name) {
            return Some(name);
        }
        if self.few.len() < 16 {
            self.few.push(name);
            return None;
        }
        self.more.replace(name)
    }
}

/// A string that borrows from the input unless it held escapes (serde's own `Cow` always copies).
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        reader.deserialize_str(Read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> String {
        Document::read(text.as_bytes()).unwrap_err().why
    }

    #[test]
    fn what_parsers_differ_on_is_refused() {
        assert!(refused(r#"{"a":1,"a":2}"#).contains("`a` stands twice"));
        assert!(refused(r#"{"x":{"x":1,"\u0078":2}}"#).contains("`x` stands twice"));
        refused(r#"["\ud800"]"#);
        refused("\u{feff}{}");
        refused("{} {}");
        refused(r#"{"n":1e999}"#);
        refused(r#"{"n":NaN}"#);
        refused("[\"a\u{1}\"]");
        refused(&format!("{}{}", "[".repeat(200), "]".repeat(200)));
        assert!(Document::read(b"[\"\xff\"]").unwrap_err().why.contains("not UTF-8 at byte 2"));
    }

    #[test]
    fn nodes_know_their_place() {
        let document = Document::read(br#" {"a": [1, "t\u0065xt", {"b": null}], "n": 1.50} "#).unwrap();
        let members = document.root().object().unwrap();
        let items = members[0].1.array().unwrap();
        assert_eq!(items[1].string().unwrap(), "text");
        assert_eq!(&document.text()[items[1].range()], r#""t\u0065xt""#);
        assert!(items[2].object().unwrap()[0].1.is_null());
        assert_eq!(members[1].1.raw(), "1.50");
        let patch = Patch { range: items[1].range(), with: quote("a \"b\"") };
        assert_eq!(document.clone().splice(vec![patch]).unwrap(), r#" {"a": [1, "a \"b\"", {"b": null}], "n": 1.50} "#);
    }

    /// Were it not so, each level of a deep value would be read again for all levels above it.
    #[test]
    fn who_opens_a_value_reads_nothing_of_what_lies_deeper() {
        let mut document = Document::read(br#" [ {"a" : [[1,2],{"b\\":"\\"}] , "c":-1}, {}, [], "d" ] "#).unwrap();
        // Any who looked inside would find the ends at other places.
        document.text = document.text.replace(r#"[1,2],{"b\\":"\\"}"#, r#"""]}},{""[[[]"\""""#);
        let items = document.root().array().unwrap();
        let members = items[0].object().unwrap();
        assert_eq!(items.iter().map(Node::raw).collect::<Vec<_>>()[1..], ["{}", "[]", "\"d\""]);
        assert_eq!(members.iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!((members[0].1.raw().len(), members[1].1.raw()), (20, "-1"));
        assert!(items[1].object().unwrap().is_empty() && items[2].array().unwrap().is_empty());
        assert!(items[1].array().is_none() && items[2].object().is_none() && items[3].array().is_none());
    }

    #[test]
    fn keys_that_differ_only_in_case_are_refused() {
        let read = |text: &str| Document::read(text.as_bytes()).unwrap();
        let known = ["messages", "tasks"];
        assert!(read(r#"{"messages":1,"other":2}"#).root().known("body", &known).is_ok());
        for twin in ["Messages", "me\u{17f}\u{17f}ages", "TAS\u{212a}S"] {
            assert!(read(&format!(r#"{{"{twin}":1}}"#)).root().known("body", &known).unwrap_err().why.contains("only in case"));
        }
    }

    proptest! {
        #[test]
        fn nothing_edited_nothing_changed(text in "\\PC*", n in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
            let body = serde_json::json!({"a": [text, n], "b": {"c": text}}).to_string();
            let document = Document::read(body.as_bytes()).unwrap();
            let string = document.root().object().unwrap()[0].1.array().unwrap()[0].string().unwrap().into_owned();
            prop_assert_eq!(string, text);
            prop_assert_eq!(document.splice(Vec::new()).unwrap(), body);
        }
    }
}
