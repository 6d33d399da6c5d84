//! OpenMetrics as the text format that came before it, which is what tools take that ask for nothing.

/// The same metrics: a counter's name ends in `_total` in all its lines, and there is no more than names, help and types.
pub(super) fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        // The help of a metric stands before its type.
        let described = if line.starts_with("# HELP ") { lines.peek().copied().unwrap_or_default() } else { line };
        let counter = described.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter"));
        match counter.and_then(|name| line.split_once(name)) {
            Some((before, after)) => out.extend([before, counter.unwrap_or_default(), "_total", after, "\n"]),
            None => out.extend([line, "\n"]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_one_name_in_all_their_lines() {
        let text = "# HELP a_b Of a_b.\n# TYPE a_b counter\na_b_total{c=\"a_b\"} 1\n# HELP s Time.\n# TYPE s histogram\n# UNIT s seconds\ns_sum 0.5\n# EOF\n";
        let told = "# HELP a_b_total Of a_b.\n# TYPE a_b_total counter\na_b_total{c=\"a_b\"} 1\n# HELP s Time.\n# TYPE s histogram\ns_sum 0.5\n";
        assert_eq!(classic(text), told);
    }
}
