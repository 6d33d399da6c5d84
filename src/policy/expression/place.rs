//! Where in its source a condition is wrong.
//!
//! The parser that is fast enough for ten thousand rules keeps no places. The crate's other parser numbers the nodes alike
//! and does; it is asked only once something is wrong.

use std::{ops::Range, thread};

use cel::{
    ParseErrors,
    common::ast::{EntryExpr, Expr, IdedExpr, SourceInfo},
    parser::Parser,
};

use super::{Mistake, check::MAX_DEPTH};

/// What the parser could not read.
pub(super) fn syntax(source: &str, errors: &ParseErrors) -> Mistake {
    let Some(first) = errors.errors.first() else {
        return Mistake { message: "this is not CEL".to_owned(), at: None };
    };
    let (line, column) = first.pos;
    let count = |count: isize| usize::try_from(count).ok()?.checked_sub(1);
    let at = count(line).zip(count(column)).and_then(|(line, column)| {
        let before: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
        let start = (before + column).min(source.len());
        let length = source.get(start..)?.chars().next().map_or(0, char::len_utf8);
        Some(start..start + length)
    });
    Mistake { message: format!("this is not CEL: {}", first.msg.trim_start_matches("Syntax error: ")), at }
}

/// Bytes of stack for the parser that keeps places, which recurses along a chain of operators; only what it uses is taken.
const STACK: usize = 64 << 20;

/// Where the node `id` stands.
pub(super) fn node(source: &str, id: u64) -> Option<Range<usize>> {
    thread::scope(|scope| {
        let place = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || look_up(source, id)).ok()?;
        place.join().ok()?
    })
}

fn look_up(source: &str, id: u64) -> Option<Range<usize>> {
    let (tree, info) = Parser::new().max_recursion_depth(MAX_DEPTH).parse_with_source_info(source).ok()?;
    let node = find(&tree, id)?;
    let range = span(source, node, &info)?;
    source.get(range.clone()).map(|_| range)
}

fn find(node: &IdedExpr, id: u64) -> Option<&IdedExpr> {
    if node.id == id {
        return Some(node);
    }
    children(&node.expr).into_iter().find_map(|child| find(child, id))
}

/// From the first to the last byte of a node and all in it. The parser tells the place of one sign of each: of a call the
/// opening bracket, of a field the dot.
fn span(source: &str, node: &IdedExpr, info: &SourceInfo) -> Option<Range<usize>> {
    let (start, last) = info.offset_for(node.id)?;
    let (start, last) = (usize::try_from(start).ok()?, usize::try_from(last).ok()?);
    let inside = children(&node.expr).into_iter().filter_map(|child| span(source, child, info));
    let whole = inside.fold(start..last + 1, |whole, part| whole.start.min(part.start)..whole.end.max(part.end));
    let after = source.get(whole.end..)?;
    let closing = |sign: char| {
        after
            .find(|c: char| !c.is_whitespace() && c != ',')
            .filter(|at| after.get(*at..).is_some_and(|rest| rest.starts_with(sign)))
    };
    match &node.expr {
        Expr::Select(select) => {
            let before = after.find(|c: char| !c.is_whitespace() && c != '.').unwrap_or_default();
            // The place of a `has` is its bracket.
            let start = if select.test { span(source, &select.operand, info)?.start } else { whole.start };
            Some(start..whole.end + before + select.field.len())
        }
        Expr::Call(call) if source.get(start..)?.starts_with('(') => {
            let named = call.target.is_none() && source.get(..start)?.ends_with(&call.func_name);
            let start = if named { start - call.func_name.len() } else { whole.start };
            Some(start..closing(')').map_or(whole.end, |at| whole.end + at + 1))
        }
        Expr::Call(_) | Expr::List(_) if source.get(start..)?.starts_with('[') => {
            Some(whole.start..closing(']').map_or(whole.end, |at| whole.end + at + 1))
        }
        _ => Some(whole),
    }
}

fn children(expr: &Expr) -> Vec<&IdedExpr> {
    match expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(made) => {
            vec![&made.iter_range, &made.accu_init, &made.loop_cond, &made.loop_step, &made.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Struct(made) => made.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}

fn entry_parts(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}
