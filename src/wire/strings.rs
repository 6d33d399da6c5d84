//! Every string of a JSON document, names of fields too, in one pass over its bytes.

use std::{borrow::Cow, ops::Range};

use super::json::{Document, literal_end, unescaped};

/// A string literal and what it stands in.
#[derive(Debug, Clone)]
pub struct Literal<'a> {
    /// Its bytes in the document, quotes included.
    pub range: Range<usize>,
    /// Whether it is the name of a field.
    pub is_name: bool,
    /// As written, without the quotes.
    raw: &'a str,
    above: &'a [Option<Cow<'a, str>>],
}

impl<'a> Literal<'a> {
    /// The string, with its escapes undone.
    #[must_use]
    pub fn text(&self) -> Cow<'a, str> {
        unescaped(self.raw)
    }

    /// The names of the fields that it stands in, from the outermost; a name stands in its own field.
    pub fn path(&self) -> impl DoubleEndedIterator<Item = &'a str> + use<'a> {
        self.above.iter().flatten().map(AsRef::as_ref)
    }
}

/// Shows every string of a document to `visit`, in the order of their bytes.
pub fn visit(document: &Document, visit: &mut dyn FnMut(&Literal<'_>)) {
    let text = document.text();
    // What is open around the current byte: an object by the name of the field that it is at, an array by none.
    let (mut above, mut objects): (Vec<Option<Cow<'_, str>>>, Vec<bool>) = (Vec::new(), Vec::new());
    let (mut at, mut names) = (0, false);
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            b'"' => {
                let range = at..literal_end(text, at);
                let raw = text.get(range.start + 1..range.end - 1).unwrap_or_default();
                if names && let Some(name) = above.last_mut() {
                    // Once, and not for each string below: a name can be long.
                    *name = Some(unescaped(raw));
                }
                at = range.end;
                visit(&Literal { range, is_name: names, raw, above: &above });
                names = false;
                continue;
            }
            b'{' | b'[' => {
                names = *byte == b'{';
                objects.push(names);
                above.push(None);
            }
            b'}' | b']' => {
                objects.pop();
                above.pop();
                names = false;
            }
            b',' => names = objects.last() == Some(&true),
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_strings_with_their_paths() {
        let text = r#" {"a" : [{"b\n": "x\"y", "c":{}} , "z", [] ],"d":{"e":["f",1]},"g":"{\"h\":1}", "i":[], "j":"" } "#;
        let mut seen = Vec::new();
        visit(&Document::read(text.as_bytes()).unwrap(), &mut |literal| {
            let string = text.get(literal.range.clone()).unwrap();
            assert_eq!(serde_json::from_str::<String>(string).unwrap(), literal.text());
            let mark = if literal.is_name { ":" } else { "" };
            seen.push(format!("{}={}{mark}", literal.path().collect::<Vec<_>>().join("/"), literal.text()));
        });
        let expected = [
            "a=a:",
            "a/b\n=b\n:",
            "a/b\n=x\"y",
            "a/c=c:",
            "a=z",
            "d=d:",
            "d/e=e:",
            "d/e=f",
            "g=g:",
            "g={\"h\":1}",
            "i=i:",
            "j=j:",
            "j=",
        ];
        assert_eq!(seen, expected);
    }
}
