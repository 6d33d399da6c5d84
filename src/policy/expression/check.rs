//! Checks a condition's types before it is ever asked, and makes it ready to be asked quickly: fields of records become
//! variables of their own, patterns and lists that are written out are made once.
//!
//! What is left out of CEL is left out because it could fail on some exchange, or take long on one.

use cel::common::{
    ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, SelectExpr, operators as op},
    types::{CelList, CelString},
    value::Val,
};
use regex::RegexBuilder;

use super::{
    Asks,
    types::{self, Type},
    values::Pattern,
};

/// How deep a condition may nest: evaluation recurses on the stack of the thread that decides.
pub(super) const MAX_DEPTH: u16 = 48;
/// How many parts of a condition one exchange may make it look at.
const MAX_STEPS: usize = 4096;
/// How many items a list is taken to have that only an exchange tells.
const ITEMS: usize = 32;
/// Bytes that a compiled pattern may take.
const MAX_PATTERN: usize = 1 << 20;

/// The functions of one argument, for hints.
const FUNCTIONS: [&str; 9] = ["size", "contains", "startsWith", "endsWith", "matches", "int", "double", "string", "bool"];
const MACROS: [&str; 6] = [op::ALL, op::EXISTS, op::EXISTS_ONE, op::MAP, op::FILTER, op::HAS];

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

    fn call(&mut self, id: u64, call: &mut CallExpr) -> Lowered {
        let CallExpr { func_name, target, args } = call;
        let name = func_name.as_str();
        let sign = name.trim_matches(['_', '@']);
        let kind = match (name, target.as_deref_mut(), args.as_mut_slice()) {
            (op::LOGICAL_AND | op::LOGICAL_OR, None, [left, right]) => {
                self.need(left, &Type::Bool, sign)?;
                self.need(right, &Type::Bool, sign)?;
                Type::Bool
            }
            (op::LOGICAL_NOT | op::NOT_STRICTLY_FALSE, None, [of]) => {
                self.need(of, &Type::Bool, sign)?;
                Type::Bool
            }
            (op::CONDITIONAL, None, [asked, one, other]) => {
                self.need(asked, &Type::Bool, "?")?;
                let (one, other) = (self.check(one)?, self.check(other)?);
                let message = format!("both sides of `:` are of one type, not `{one}` and `{other}`");
                one.join(other).ok_or_else(|| wrong(id, message))?
            }
            (op::EQUALS | op::NOT_EQUALS, None, [left, right]) => {
                self.compare(id, sign, [left, right], Type::equals)?;
                Type::Bool
            }
            (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, None, [left, right]) => {
                self.compare(id, sign, [left, right], Type::orders)?;
                Type::Bool
            }
            (op::IN, None, [item, list]) => {
                self.within(id, item, list)?;
                Type::Bool
            }
            (op::INDEX, None, [of, key]) => return self.index(id, of, key),
            (op::ADD, None, [made, more]) if self.is_made(made) => self.grow(more)?,
            (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE, None, [left, right]) => {
                self.double(left, sign)?;
                self.double(right, sign)?;
                let by =
                    |number: &IdedExpr| matches!(&number.expr, Expr::Literal(LiteralValue::Double(by)) if *by.inner() != 0.0);
                if name == op::DIVIDE && !by(right) {
                    return Err(wrong(right.id, "`/` divides by a number that is written out and is not 0"));
                }
                Type::Double
            }
            (op::NEGATE, None, [of]) => {
                self.double(of, sign)?;
                Type::Double
            }
            (_, of, args) => return self.function(id, name, of.into_iter().chain(args).collect()),
        };
        Ok((kind, None))
    }

    /// Whether a node is the list or number that the macro around is making.
    fn is_made(&self, node: &IdedExpr) -> bool {
        matches!(&node.expr, Expr::Ident(name) if name.starts_with('@') && self.own(name).is_some())
    }

    /// What a macro adds to what it makes: an item of a list, or 1.
    fn grow(&mut self, more: &mut IdedExpr) -> Result<Type, Wrong> {
        let Expr::List(list) = &mut more.expr else { return self.check(more) };
        let mut of = Type::Dyn;
        for item in &mut list.elements {
            of = self.item(item)?;
        }
        Ok(Type::List(Box::new(of)))
    }

    /// Arithmetic is in doubles alone, which neither overflow nor, as text would, grow.
    fn double(&mut self, node: &mut IdedExpr, by: &str) -> Result<(), Wrong> {
        match self.check(node)? {
            Type::Double => Ok(()),
            Type::Int => Err(wrong(node.id, format!("`{by}` takes a `double`, not an `int`: write 1.0, or `double(…)`"))),
            Type::Dyn => Err(wrong(node.id, format!("`{by}` takes a `double`, not a `dyn`: write `double(…)`"))),
            kind => Err(wrong(node.id, format!("`{by}` takes a `double`, not a `{kind}`"))),
        }
    }

    fn compare(
        &mut self,
        id: u64,
        sign: &str,
        [left, right]: [&mut IdedExpr; 2],
        can: fn(&Type, &Type) -> bool,
    ) -> Result<(), Wrong> {
        let (one, other) = (self.check(left)?, self.check(right)?);
        if !can(&one, &other) {
            return Err(wrong(id, format!("`{sign}` cannot compare a `{one}` with a `{other}`")));
        }
        if matches!(one, Type::List(_) | Type::Dyn) && matches!(other, Type::List(_) | Type::Dyn) {
            self.spend(id, ITEMS)?;
        }
        Ok(())
    }

    fn within(&mut self, id: u64, item: &mut IdedExpr, list: &mut IdedExpr) -> Result<(), Wrong> {
        let kind = self.check(item)?;
        let before = self.asks.every_header;
        let list_type = self.check(list)?;
        self.spend(id, self.items(list))?;
        let can = match &list_type {
            Type::List(of) => kind.equals(of),
            Type::Headers => {
                if let Some(name) = text(item) {
                    self.header(item.id, name, before)?;
                }
                kind.fits(&Type::Text)
            }
            Type::Dyn => true,
            Type::Text => return Err(wrong(id, "`in` looks into lists and maps; of a string, ask `contains`")),
            _ => false,
        };
        if can { Ok(()) } else { Err(wrong(id, format!("`in` cannot find a `{kind}` in a `{list_type}`"))) }
    }

    fn function(&mut self, id: u64, name: &str, mut args: Vec<&mut IdedExpr>) -> Lowered {
        let kind = match (name, args.as_mut_slice()) {
            ("contains" | "startsWith" | "endsWith", [of, part]) => {
                self.need(of, &Type::Text, name)?;
                self.need(part, &Type::Text, name)?;
                Type::Bool
            }
            ("matches", [of, pattern]) => return self.matches(of, pattern),
            ("size", [of]) => match self.check(of)? {
                Type::Text | Type::List(_) | Type::Headers | Type::Dyn => Type::Int,
                kind => return Err(wrong(of.id, format!("a `{kind}` has no size"))),
            },
            ("int", [of]) => self.convert(name, of, &[Type::Int], Type::Int)?,
            ("double", [of]) => self.convert(name, of, &[Type::Int, Type::Double], Type::Double)?,
            ("string", [of]) => self.convert(name, of, &[Type::Bool, Type::Int, Type::Double, Type::Text], Type::Text)?,
            ("bool", [of]) => self.convert(name, of, &[Type::Bool], Type::Bool)?,
            _ => return Err(wrong(id, misused(name))),
        };
        Ok((kind, None))
    }

    /// Conversions that always succeed, but for claims.
    fn convert(&mut self, name: &str, of: &mut IdedExpr, from: &[Type], to: Type) -> Result<Type, Wrong> {
        let kind = self.check(of)?;
        if kind == Type::Dyn || from.contains(&kind) {
            return Ok(to);
        }
        let from = from.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", ");
        Err(wrong(of.id, format!("`{name}` takes {from} or a claim, not a `{kind}`")))
    }

    /// A match becomes a search in a pattern that is compiled here.
    fn matches(&mut self, of: &mut IdedExpr, pattern: &IdedExpr) -> Lowered {
        self.need(of, &Type::Text, "matches")?;
        let Some(source) = text(pattern) else {
            return Err(wrong(pattern.id, "`matches` takes a pattern that is written out, so that it is compiled once"));
        };
        let compiled = RegexBuilder::new(source).size_limit(MAX_PATTERN).build().map_err(|error| {
            let error = error.to_string();
            let error = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            wrong(pattern.id, format!("the pattern does not compile: {error}"))
        })?;
        let pattern = IdedExpr { id: pattern.id, expr: self.constant(Box::new(Pattern(compiled))) };
        let args = vec![std::mem::take(of), pattern];
        Ok((Type::Bool, Some(Expr::Call(CallExpr { func_name: op::IN.to_owned(), target: None, args }))))
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

/// Why there is no such call.
fn misused(name: &str) -> String {
    match name {
        op::HAS => "`has` takes one field: `has(identity.claims.role)`".to_owned(),
        op::ALL | op::EXISTS | op::EXISTS_ONE | op::MAP | op::FILTER => {
            format!("`{name}` takes a variable and what is asked of it: `findings.{name}(name, …)`")
        }
        "contains" | "startsWith" | "endsWith" | "matches" => format!("`{name}` takes one string: `language.{name}(\"…\")`"),
        "size" | "int" | "double" | "string" | "bool" => format!("`{name}` takes one value: `{name}(…)`"),
        op::MODULO => "there is no `%`; arithmetic is in doubles".to_owned(),
        _ => format!("there is no function `{name}`{}", near(name, FUNCTIONS.into_iter().chain(MACROS))),
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
