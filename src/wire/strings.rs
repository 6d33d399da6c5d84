//! Every string of a JSON document, names of fields too.

use std::{borrow::Cow, ops::Range};

use super::json::{Document, Kind, Node};

/// A string literal and what it stands in.
#[derive(Debug, Clone)]
pub struct Literal<'a> {
    /// Its bytes in the document, quotes included.
    pub range: Range<usize>,
    /// Whether it is the name of a field.
    pub is_name: bool,
    node: Node<'a>,
    above: &'a [Around<'a>],
}

/// An object or an array around a literal.
#[derive(Debug)]
struct Around<'a> {
    /// The place of the first value behind it.
    behind: usize,
    is_object: bool,
    /// Whether the last that stood in it was the name of a field.
    at_name: bool,
    /// The name of the field that it is at.
    name: Option<Cow<'a, str>>,
}

impl<'a> Literal<'a> {
    /// The string, with its escapes undone.
    #[must_use]
    pub fn text(&self) -> Cow<'a, str> {
        self.node.string().unwrap_or_default()
    }

    /// The names of the fields that it stands in, from the outermost; a name stands in its own field.
    pub fn path(&self) -> impl DoubleEndedIterator<Item = &'a str> + use<'a> {
        self.above.iter().filter_map(|around| around.name.as_deref())
    }
}

/// Shows every string of a document to `visit`, in the order of their bytes.
pub fn visit(document: &Document, visit: &mut dyn FnMut(&Literal<'_>)) {
    let mut above = Vec::<Around<'_>>::with_capacity(8);
    for node in document.nodes() {
        while above.last().is_some_and(|around| around.behind <= node.place()) {
            above.pop();
        }
        let mut is_name = false;
        if let Some(around) = above.last_mut().filter(|around| around.is_object) {
            around.at_name = !around.at_name;
            is_name = around.at_name;
            if is_name {
                // Once, and not for each string below: a name can be long.
                around.name = node.string();
            }
        }
        match node.kind() {
            Kind::String(_) => visit(&Literal { range: node.range(), is_name, node, above: &above }),
            Kind::Object(behind) | Kind::Array(behind) => {
                let is_object = matches!(node.kind(), Kind::Object(_));
                above.push(Around { behind: behind as usize, is_object, at_name: false, name: None });
            }
            Kind::Word => {}
        }
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
