//! Settings and roles that requests of several APIs have, read strictly.

use std::borrow::Cow;

use crate::{
    segment::Target,
    wire::json::{Malformed, Node},
};

/// A string.
///
/// # Errors
/// Anything else.
pub(super) fn word(what: &str, node: &Node<'_>) -> Result<String, Malformed> {
    node.string().map(Into::into).ok_or_else(|| Malformed::new(format!("`{what}` must be a string")))
}

/// A switch.
///
/// # Errors
/// Anything else: what one server takes for true, another does not.
pub(super) fn switch(what: &str, node: &Node<'_>) -> Result<bool, Malformed> {
    node.bool().ok_or_else(|| Malformed::new(format!("`{what}` must be true or false")))
}

/// A whole number.
///
/// # Errors
/// Anything else.
pub(super) fn count(what: &str, node: &Node<'_>) -> Result<u64, Malformed> {
    node.integer().ok_or_else(|| Malformed::new(format!("`{what}` must be a whole number")))
}

/// What the text of a message is, by its role.
///
/// # Errors
/// No role, or one that is not `known`.
pub(super) fn role(
    members: &[(Cow<'_, str>, Node<'_>)],
    known: impl FnOnce(&str) -> Option<Target>,
) -> Result<Target, Malformed> {
    let role = members.iter().find(|(key, _)| key == "role").and_then(|(_, value)| value.string());
    let role = role.ok_or_else(|| Malformed::new("a message has no `role`"))?;
    known(&role).ok_or_else(|| Malformed::new(format!("`{role}` is not a role this proxy knows")))
}
