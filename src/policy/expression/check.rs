//! Checks a condition's types before it is ever asked, and makes it ready to be asked quickly: fields of records become
//! variables of their own, patterns and lists that are written out are made once.
//!
//! What is left out of CEL is left out because it could fail on some exchange, or take long on one.

mod calls;

use super::{
    Asks,
    types::{self, Type},
};
use cel::common::{
    ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, SelectExpr, operators as op},
    types::{CelList, CelString},
    value::Val,
};

/// How deep a condition may nest: evaluation recurses on the stack of the thread that decides.
pub(super) const MAX_DEPTH: u16 = 48;
/// How many parts of a condition one exchange may make it look at.
const MAX_STEPS: usize = 4096;
/// How many items a list is taken to have that only an exchange tells.
const ITEMS: usize = 32;
/// What is wrong, and with which node.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) id: u64,
    pub(super) message: String,
}

/// What a checked condition asks for, and the values that it names by their number.
pub(super) type Checked = (Asks, Vec<Box<dyn Val>>);

/// A part's type, and what stands in its place if something else does from now on.
type Lowered = Result<(Type, Option<Expr>), Wrong>;

/// Checks the condition `tree` and prepares it.
pub(super) fn check(tree: &mut IdedExpr, guards: &[&str]) -> Result<Checked, Wrong> {
    let mut checker = Checker {
        guards,
        scope: Vec::new(),
        asks: Asks::default(),
        constants: Vec::new(),
        depth: 0,
        steps: 0,
        times: 1,
        ranges: 0,
    };
    let kind = checker.check(tree)?;
    if !kind.fits(&Type::Bool) {
        return Err(wrong(tree.id, format!("a condition is a `bool`, and this is a `{kind}`")));
    }
    Ok((checker.asks, checker.constants))
}

struct Checker<'a> {
    guards: &'a [&'a str],
    /// The variables of the macros around, innermost last.
    scope: Vec<(String, Type)>,
    asks: Asks,
    constants: Vec<Box<dyn Val>>,
    depth: u16,
    steps: usize,
    /// How often the part being checked is looked at.
    times: usize,
    /// How many macros' lists the part being checked is inside of.
    ranges: usize,
}

impl Checker<'_> {
    fn check(&mut self, node: &mut IdedExpr) -> Result<Type, Wrong> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(wrong(node.id, format!("the condition nests deeper than {MAX_DEPTH} levels; make two rules of it")));
        }
        self.spend(node.id, 1)?;
        let (kind, instead) = match &mut node.expr {
            Expr::Literal(literal) => (literal_type(node.id, literal)?, None),
            Expr::Ident(name) => (self.ident(node.id, name)?, None),
            Expr::Select(select) => self.select(node.id, select)?,
            Expr::Call(call) => self.call(node.id, call)?,
            Expr::List(list) => self.list(list)?,
            Expr::Comprehension(comprehension) => (self.comprehension(node.id, comprehension)?, None),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                return Err(wrong(node.id, "a condition has no maps of its own; compare with `==` and `||`"));
            }
        };
        if let Some(instead) = instead {
            node.expr = instead;
        }
        self.depth -= 1;
        Ok(kind)
    }

    fn need(&mut self, node: &mut IdedExpr, wanted: &Type, by: &str) -> Result<(), Wrong> {
        let kind = self.check(node)?;
        if kind.fits(wanted) { Ok(()) } else { Err(wrong(node.id, format!("`{by}` takes a `{wanted}`, not a `{kind}`"))) }
    }

    /// Counts work against the limit.
    fn spend(&mut self, id: u64, steps: usize) -> Result<(), Wrong> {
        self.steps = self.steps.saturating_add(steps.saturating_mul(self.times));
        if self.steps <= MAX_STEPS {
            return Ok(());
        }
        let message = format!(
            "the condition may take more than {MAX_STEPS} steps, counting {ITEMS} items for a list that is not written out; \
             nest fewer macros or make two rules of it"
        );
        Err(wrong(id, message))
    }

    fn constant(&mut self, value: Box<dyn Val>) -> Expr {
        self.constants.push(value);
        Expr::Ident(format!("@{}", self.constants.len() - 1))
    }

    fn own(&self, name: &str) -> Option<&Type> {
        self.scope.iter().rev().find(|(known, _)| known == name).map(|(_, kind)| kind)
    }

    fn ident(&mut self, id: u64, name: &str) -> Result<Type, Wrong> {
        if let Some(kind) = self.own(name) {
            return Ok(kind.clone());
        }
        match name {
            "score" | "threshold" => self.asks.score = true,
            "findings" => self.asks.findings = true,
            _ => {}
        }
        if let Some(kind) = types::variable(name) {
            return Ok(kind);
        }
        if let Some(record) = types::RECORDS.iter().find(|record| **record == name) {
            let fields = self.fields(record).map(|field| format!("`{record}.{field}`")).collect::<Vec<_>>().join(", ");
            return Err(wrong(id, format!("`{record}` is asked by field: {fields}")));
        }
        let own = self.scope.iter().map(|(name, _)| name.as_str()).filter(|name| !name.starts_with('@'));
        Err(wrong(id, format!("there is no variable `{name}`{}", near(name, types::names().chain(own)))))
    }

    /// The record that a node names, unless a macro's variable has that name.
    fn record(&self, node: &IdedExpr) -> Option<&'static str> {
        let Expr::Ident(name) = &node.expr else { return None };
        types::RECORDS.into_iter().find(|record| record == name && self.own(name).is_none())
    }

    fn fields<'a>(&'a self, record: &'a str) -> impl Iterator<Item = &'a str> {
        let guards = if record == "scores" { self.guards } else { &[] };
        types::fields(record).chain(guards.iter().copied())
    }

    fn field(&mut self, id: u64, record: &'static str, field: &str) -> Lowered {
        let name = format!("{record}.{field}");
        let known =
            if record == "scores" { self.guards.contains(&field).then_some(Type::Double) } else { types::variable(&name) };
        let Some(kind) = known else {
            let what = if record == "scores" { format!("guard `{field}`") } else { format!("`{name}`") };
            return Err(wrong(id, format!("there is no {what}{}", near(field, self.fields(record)))));
        };
        if record == "scores" {
            self.asks.guards.insert(field.to_owned());
        }
        self.asks.every_header |= kind == Type::Headers;
        Ok((kind, Some(Expr::Ident(name))))
    }

    /// A header whose name is written out. `before` says whether all headers were asked for without it.
    fn header(&mut self, id: u64, name: &str, before: bool) -> Result<(), Wrong> {
        let lower = name.to_lowercase();
        if lower != name {
            return Err(wrong(id, format!("names of headers are in lower case: `{lower}`")));
        }
        self.asks.every_header = before;
        self.asks.headers.insert(lower);
        Ok(())
    }

    fn select(&mut self, id: u64, select: &mut SelectExpr) -> Lowered {
        if let Some(record) = self.record(&select.operand) {
            if select.test {
                return Err(wrong(id, format!("`has` asks for headers and claims; `{record}` is always whole")));
            }
            return self.field(id, record, &select.field);
        }
        let before = self.asks.every_header;
        match self.check(&mut select.operand)? {
            Type::Dyn if select.test => Ok((Type::Bool, None)),
            Type::Dyn => Ok((Type::Dyn, None)),
            Type::Headers => {
                self.header(id, &select.field, before)?;
                if !select.test {
                    return Ok((Type::Text, Some(Expr::Ident(format!("request.headers.{}", select.field)))));
                }
                let name = Expr::Literal(LiteralValue::String(CelString::from(select.field.clone())));
                let name = IdedExpr { id, expr: name };
                let args = vec![name, std::mem::take(&mut *select.operand)];
                Ok((Type::Bool, Some(Expr::Call(CallExpr { func_name: op::IN.to_owned(), target: None, args }))))
            }
            kind => Err(wrong(id, format!("a `{kind}` has no fields"))),
        }
    }

    fn index(&mut self, id: u64, of: &mut IdedExpr, key: &mut IdedExpr) -> Lowered {
        if let Some(record) = self.record(of) {
            let Some(field) = text(key) else {
                return Err(wrong(key.id, format!("`{record}` is asked by a name that is written out")));
            };
            return self.field(id, record, field);
        }
        let before = self.asks.every_header;
        match self.check(of)? {
            Type::Headers => match text(key) {
                Some(name) => {
                    self.header(key.id, name, before)?;
                    Ok((Type::Text, Some(Expr::Ident(format!("request.headers.{name}")))))
                }
                None => self.need(key, &Type::Text, "[]").map(|()| (Type::Text, None)),
            },
            Type::Dyn => match self.check(key)? {
                Type::Text | Type::Int | Type::Dyn => Ok((Type::Dyn, None)),
                kind => Err(wrong(key.id, format!("a claim is asked by a `string` or an `int`, not by a `{kind}`"))),
            },
            Type::List(_) => Err(wrong(id, "a list may be too short to have that item; ask with `in`, `exists` or `size`")),
            kind => Err(wrong(id, format!("a `{kind}` has no items"))),
        }
    }

    fn list(&mut self, list: &mut ListExpr) -> Lowered {
        let mut of = None;
        for item in &mut list.elements {
            let kind = self.item(item)?;
            let earlier = of.unwrap_or_else(|| kind.clone());
            let message = format!("the items of a list are of one type, not `{earlier}` and `{kind}`");
            of = Some(earlier.join(kind).ok_or_else(|| wrong(item.id, message))?);
        }
        let literal = |item: &IdedExpr| match &item.expr {
            Expr::Literal(literal) => Some(literal.to_val().into_owned()),
            _ => None,
        };
        let literals: Option<Vec<Box<dyn Val>>> = list.elements.iter().map(literal).collect();
        let instead = literals.filter(|items| !items.is_empty()).map(|items| self.constant(Box::new(CelList::from(items))));
        Ok((Type::List(Box::new(of.unwrap_or(Type::Dyn))), instead))
    }

    /// An item is copied into its list, whatever its size.
    fn item(&mut self, item: &mut IdedExpr) -> Result<Type, Wrong> {
        let kind = self.check(item)?;
        if matches!(kind, Type::List(_) | Type::Headers | Type::Dyn) {
            self.spend(item.id, ITEMS)?;
        }
        Ok(kind)
    }

    /// How many items a checked list has.
    fn items(&self, list: &IdedExpr) -> usize {
        let Expr::Ident(name) = &list.expr else { return ITEMS };
        let number = name.strip_prefix('@').and_then(|number| number.parse::<usize>().ok());
        let constant = number.and_then(|number| self.constants.get(number));
        constant.and_then(|value| value.downcast_ref::<CelList<'_>>()).map_or(ITEMS, |list| list.inner().len())
    }

    /// The macros `all`, `exists`, `exists_one`, `map` and `filter`, which are loops by the time they are checked.
    fn comprehension(&mut self, id: u64, made: &mut ComprehensionExpr) -> Result<Type, Wrong> {
        // Lists that macros make of each other's could double at each.
        if self.ranges > 0 {
            return Err(wrong(id, "what a macro made cannot be gone through again; put both conditions into one macro"));
        }
        self.ranges += 1;
        let range = self.check(&mut made.iter_range)?;
        self.ranges -= 1;
        let item = match range {
            Type::List(of) => *of,
            Type::Headers => Type::Text,
            Type::Dyn => Type::Dyn,
            kind => return Err(wrong(made.iter_range.id, format!("a `{kind}` has no items to go through"))),
        };
        let around = self.times;
        let start = self.check(&mut made.accu_init)?;
        self.times = around.saturating_mul(self.items(&made.iter_range));
        self.scope.push((made.accu_var.clone(), start));
        self.scope.push((made.iter_var.clone(), item));
        self.need(&mut made.loop_cond, &Type::Bool, "macro")?;
        let step = self.check(&mut made.loop_step)?;
        self.scope.truncate(self.scope.len() - 2);
        self.times = around;
        self.scope.push((made.accu_var.clone(), step));
        let kind = self.check(&mut made.result)?;
        self.scope.pop();
        Ok(kind)
    }
}

fn literal_type(id: u64, literal: &LiteralValue) -> Result<Type, Wrong> {
    match literal {
        LiteralValue::Boolean(_) => Ok(Type::Bool),
        LiteralValue::Int(_) | LiteralValue::UInt(_) => Ok(Type::Int),
        LiteralValue::Double(_) => Ok(Type::Double),
        LiteralValue::String(_) => Ok(Type::Text),
        LiteralValue::Null => Ok(Type::Null),
        LiteralValue::Bytes(_) => Err(wrong(id, "a condition has no bytes; write a string")),
    }
}

/// The text that a node writes out.
fn text(node: &IdedExpr) -> Option<&str> {
    match &node.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .min_by_key(|known| strsim::damerau_levenshtein(known, name))
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default()
}

fn wrong(id: u64, message: impl Into<String>) -> Wrong {
    Wrong { id, message: message.into() }
}
