//! JSON read once, strictly, and passed on as the bytes that were read.
//!
//! Two parsers that disagree about a body are a way around any guard: one reads the harmless half, the other the harmful.
//! So a [`Document`] refuses everything that parsers are known to differ on (duplicate keys however they are spelled,
//! lone surrogates, numbers out of range, a byte order mark, trailing bytes, great depth), and what is passed on is the
//! original text with edits spliced into their places. Whatever is not edited stays byte for byte as it came.

use std::{borrow::Cow, collections::HashSet, fmt, ops::Range};

use memchr::memchr2;
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
    /// Its values, and the names of fields, in the order of their first bytes. Its bytes are walked for these once; whoever opens
    /// a value steps over what lies deeper.
    values: Vec<Value>,
}

/// What stands in a document: a value, or the name of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Value {
    start: u32,
    end: u32,
    kind: Kind,
}

/// What a value is. What holds others names the place, among all values, of the first one behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object(u32),
    Array(u32),
    /// A string, and whether it holds escapes.
    String(bool),
    /// A number, `true`, `false` or `null`.
    Word,
}

/// A value within a document: its bytes, and where they stand.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    document: &'a Document,
    /// Its place among the values.
    place: usize,
    value: Value,
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
        let values = values(&text).ok_or_else(|| Malformed::new("the body is larger than 4 GiB"))?;
        Ok(Self { text, values })
    }

    /// The outermost value.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        self.node(0)
    }

    /// All values and the names of fields, in the order of their first bytes.
    pub(super) fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.values.iter().enumerate().map(|(place, value)| Node { document: self, place, value: *value })
    }

    fn node(&self, place: usize) -> Node<'_> {
        // No document is without a value, and nobody asks for one behind the last.
        let value = self.values.get(place).copied().unwrap_or(Value { start: 0, end: 0, kind: Kind::Word });
        Node { document: self, place, value }
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
}

/// The values of a good JSON text, if it is not too long for them.
fn values(text: &str) -> Option<Vec<Value>> {
    u32::try_from(text.len()).ok()?;
    // It is no longer than such a number tells, and has fewer values than bytes.
    let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    let (mut found, mut open) = (Vec::<Value>::with_capacity(16 + text.len() / 64), Vec::<usize>::with_capacity(8));
    let mut at = 0;
    while let Some(&byte) = text.as_bytes().get(at) {
        let start = number(at);
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' => at += 1,
            b'"' => {
                let (end, escaped) = literal_end(text, at);
                found.push(Value { start, end: number(end), kind: Kind::String(escaped) });
                at = end;
            }
            b'{' | b'[' => {
                let kind = if byte == b'{' { Kind::Object } else { Kind::Array };
                open.push(found.len());
                found.push(Value { start, end: start, kind: kind(0) });
                at += 1;
            }
            b'}' | b']' => {
                at += 1;
                let behind = number(found.len());
                if let Some(value) = open.pop().and_then(|place| found.get_mut(place)) {
                    value.end = number(at);
                    value.kind = if byte == b'}' { Kind::Object(behind) } else { Kind::Array(behind) };
                }
            }
            _ => {
                let ends = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b']' | b'}');
                at = text.bytes().skip(at).position(|byte| ends(&byte)).map_or(text.len(), |length| at + length);
                found.push(Value { start, end: number(at), kind: Kind::Word });
            }
        }
    }
    Some(found)
}

/// The end of the string that begins at a byte of a JSON text, past its closing quote, and whether it holds escapes.
fn literal_end(text: &str, at: usize) -> (usize, bool) {
    let (mut from, mut escaped) = (at + 1, false);
    loop {
        let rest = text.as_bytes().get(from..).unwrap_or_default();
        match memchr2(b'"', b'\\', rest) {
            Some(found) if rest.get(found) == Some(&b'"') => return (from + found + 1, escaped),
            // What an escape begins with is no end.
            Some(found) => (from, escaped) = (from + found + 2, true),
            None => return (text.len(), escaped),
        }
    }
}

impl<'a> Node<'a> {
    /// Where the value stands in the document.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.value.start as usize..self.value.end as usize
    }

    /// The value as JSON text.
    #[must_use]
    pub fn raw(&self) -> &'a str {
        self.document.text.get(self.range()).unwrap_or_default()
    }

    /// The decoded text, of a string.
    #[must_use]
    pub fn string(&self) -> Option<Cow<'a, str>> {
        let Kind::String(escaped) = self.value.kind else { return None };
        let Range { start, end } = self.range();
        let within = self.document.text.get(start + 1..end.saturating_sub(1))?;
        // The strict read has seen that its escapes can be undone; were it not so, the text is judged as it is written.
        let undone = escaped.then(|| serde_json::from_str(self.raw()).ok()).flatten();
        Some(undone.map_or(Cow::Borrowed(within), Cow::Owned))
    }

    /// The elements, of an array.
    #[must_use]
    pub fn array(&self) -> Option<Vec<Self>> {
        matches!(self.value.kind, Kind::Array(_)).then(|| self.within().collect())
    }

    /// The members, of an object.
    #[must_use]
    pub fn object(&self) -> Option<Members<'a>> {
        let Kind::Object(_) = self.value.kind else { return None };
        let mut within = self.within();
        let member = || Some((within.next()?.string()?, within.next()?));
        Some(std::iter::from_fn(member).collect())
    }

    /// What it is.
    pub(super) fn kind(&self) -> Kind {
        self.value.kind
    }

    /// Its place among all values.
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// The place of the first value behind it.
    fn behind(&self) -> usize {
        match self.value.kind {
            Kind::Object(behind) | Kind::Array(behind) => behind as usize,
            Kind::String(_) | Kind::Word => self.place + 1,
        }
    }

    /// What stands in an array, or the names and values of an object in turn; what these hold is stepped over.
    fn within(self) -> impl Iterator<Item = Self> {
        let (mut place, behind) = (self.place + 1, self.behind());
        std::iter::from_fn(move || {
            let node = (place < behind).then(|| self.document.node(place))?;
            place = node.behind();
            Some(node)
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

    #[test]
    fn what_lies_deeper_is_stepped_over() {
        let document = Document::read(br#" [ {"a" : [[1,2],{"b\\":"\\"}] , "c":-1}, {}, [], "d" ] "#).unwrap();
        let items = document.root().array().unwrap();
        let members = items[0].object().unwrap();
        assert_eq!(items.iter().map(Node::raw).collect::<Vec<_>>()[1..], ["{}", "[]", "\"d\""]);
        assert_eq!(members.iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!((members[0].1.raw().len(), members[1].1.raw()), (20, "-1"));
        assert!(items[1].object().unwrap().is_empty() && items[2].array().unwrap().is_empty());
        assert!(items[1].array().is_none() && items[2].object().is_none() && items[3].array().is_none());
        assert!(members[1].1.string().is_none() && members[0].1.string().is_none());
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
