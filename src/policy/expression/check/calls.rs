//! Operators, functions and conversions: what each takes and gives.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators as op};
use regex::RegexBuilder;

use super::{Checker, ITEMS, Lowered, Wrong, near, text, wrong};
use crate::policy::expression::{types::Type, values::Pattern};

/// Bytes that a compiled pattern may take.
const MAX_PATTERN: usize = 1 << 20;

/// What can be called, for hints.
const FUNCTIONS: [&str; 9] = ["size", "contains", "startsWith", "endsWith", "matches", "int", "double", "string", "bool"];
const MACROS: [&str; 6] = [op::ALL, op::EXISTS, op::EXISTS_ONE, op::MAP, op::FILTER, op::HAS];

impl Checker<'_> {
    pub(super) fn call(&mut self, id: u64, call: &mut CallExpr) -> Lowered {
        let CallExpr { func_name, target, args } = call;
        let name = func_name.as_str();
        let sign = name.trim_matches(['_', '@']);
        let kind = match (name, target.as_deref_mut(), args.as_mut_slice()) {
            (op::LOGICAL_AND | op::LOGICAL_OR, None, [left, right]) => {
                self.need(left, &Type::Bool, sign)?;
                self.need(right, &Type::Bool, sign)?;
                Type::Bool
            }
            (op::LOGICAL_NOT, None, [of]) => {
                self.need(of, &Type::Bool, sign)?;
                // The interpreter words an error for each `!`, even where there is none.
                let literal = |value: bool| IdedExpr { id, expr: Expr::Literal(LiteralValue::Boolean(value.into())) };
                let args = vec![std::mem::take(of), literal(false), literal(true)];
                let choice = CallExpr { func_name: op::CONDITIONAL.to_owned(), target: None, args };
                return Ok((Type::Bool, Some(Expr::Call(choice))));
            }
            (op::NOT_STRICTLY_FALSE, None, [of]) => {
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
