//! What policies may know of an exchange besides its text.

use std::collections::BTreeMap;

use crate::identity::Caller;

/// The facts of an exchange that policies may ask for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Call {
    /// The route that took it; empty if none did.
    pub route: String,
    /// Where it goes.
    pub upstream: String,
    /// The API that it speaks.
    pub dialect: &'static str,
    /// The model that it asks for; empty if it names none.
    pub model: String,
    /// Whether the answer is asked for as a stream.
    pub stream: bool,
    /// Its headers by name, in lower case; the values of a repeated header stand in one, with `, ` between.
    pub headers: BTreeMap<String, String>,
    /// Who calls.
    pub caller: Caller,
    /// Its random number for sampling, drawn once, so that deciding stays pure.
    pub draw: u64,
}
