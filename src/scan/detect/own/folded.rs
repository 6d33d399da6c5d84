//! Text without regard to case and to how much white space stands between words, with the way back.

/// Most characters of white space that count as one space. Without an end, a phrase could wait for its next word for ever.
const GAP: usize = 32;

/// A folded text.
pub(super) struct Folded {
    text: String,
    /// Offsets in this text and in the text as given, wherever the distance between the two changes.
    turns: Vec<(usize, usize)>,
}

impl Folded {
    pub(super) fn new(text: &str) -> Self {
        let mut folded = Self { text: String::with_capacity(text.len()), turns: vec![(0, 0)] };
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let mut end = at + c.len_utf8();
            if c.is_whitespace() {
                let mut gap = 1;
                while let Some((at, c)) = chars.next_if(|(_, c)| c.is_whitespace()) {
                    (gap, end) = (gap + 1, at + c.len_utf8());
                }
                folded.text.push_str(if gap > GAP { "  " } else { " " });
            } else {
                push(&mut folded.text, c);
            }
            let (here, there) = folded.turns.last().copied().unwrap_or_default();
            if folded.text.len() - here != end - there {
                folded.turns.push((folded.text.len(), end));
            }
        }
        folded
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// The offset in the text as given.
    pub(super) fn origin(&self, at: usize) -> usize {
        let turn = self.turns.partition_point(|(here, _)| *here <= at).checked_sub(1).and_then(|turn| self.turns.get(turn));
        turn.map_or(at, |(here, there)| there + (at - here))
    }
}

/// Adds a character in its one case: small, by way of the capital, which is one for all small forms (ς and σ, ſ and s, ß and ss).
fn push(out: &mut String, c: char) {
    if c.is_ascii() {
        out.push(c.to_ascii_lowercase());
    } else if c.is_alphabetic() && !super::words::is_unspaced(c) {
        out.extend(c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase));
    } else {
        out.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_white_space_fold_and_lead_back() {
        for (text, folded) in [
            ("Project  Blue\n\tSKY", "project blue sky"),
            ("ΟΔΟΣ οδος", "οδοσ οδοσ"),
            ("STRASSE Straße ẞ", "strasse strasse ss"),
            ("ĐƯỜNG Phố", "đường phố"),
            ("ประเทศ ไทย", "ประเทศ ไทย"),
        ] {
            assert_eq!(Folded::new(text).text(), folded);
        }
        let text = "Straße  in\u{2003}Köln";
        let folded = Folded::new(text);
        let at = |word: &str| folded.text().find(word).unwrap();
        assert_eq!(folded.origin(at("in")), text.find("in").unwrap());
        assert_eq!(folded.origin(at("köln")), text.find("Köln").unwrap());
        assert_eq!(folded.origin(folded.text().len()), text.len());
        let gap = |length| Folded::new(&format!("a{}b", " ".repeat(length))).into_text();
        assert_eq!((gap(GAP), gap(GAP + 1)), ("a b".to_owned(), "a  b".to_owned()));
    }
}
