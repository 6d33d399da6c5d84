//! Settings that requests of several APIs have, read strictly.

use crate::wire::json::{Malformed, Node};

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
