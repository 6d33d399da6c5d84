//! Two texts line by line.

/// The lines that only the first has with `-`, those that only the second has with `+`, and those around them that both have.
/// What differs is told as one block.
pub(super) fn lines(expected: &str, actual: &str) -> Vec<String> {
    let (expected, actual): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), actual.lines().collect());
    let same = |pairs: &mut dyn Iterator<Item = (&str, &str)>| pairs.take_while(|(one, other)| one == other).count();
    let before = same(&mut expected.iter().copied().zip(actual.iter().copied()));
    let shorter = expected.len().min(actual.len());
    let after = same(&mut expected.iter().rev().copied().zip(actual.iter().rev().copied())).min(shorter - before);
    let marked = |mark: char, lines: &[&str], skip: usize, end: usize| {
        let lines = lines.iter().take(lines.len() - end).skip(skip);
        lines.map(|line| format!("{mark} {line}")).collect::<Vec<_>>()
    };
    [
        marked(' ', &expected, 0, expected.len() - before),
        marked('-', &expected, before, after),
        marked('+', &actual, before, after),
        marked(' ', &expected, expected.len() - after, 0),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_stands_between_what_is_the_same() {
        assert_eq!(lines("a\nb\nc", "a\nx\ny\nc"), ["  a", "- b", "+ x", "+ y", "  c"]);
        assert_eq!(lines("a\na", "a"), ["  a", "- a"]);
        assert_eq!(lines("", "a"), ["+ a"]);
        assert_eq!(lines("a", "b"), ["- a", "+ b"]);
    }
}
