//! Who calls: what a key, a certificate or a token says about the caller.

use serde_json::{Map, Value};

/// Who an exchange is for. The default is nobody.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Caller {
    /// The tenant that the caller belongs to.
    pub tenant: Option<String>,
    /// The name of the key that was shown, never the secret.
    pub key: Option<String>,
    /// Who the certificate or token names.
    pub subject: Option<String>,
    /// What the token claims beyond that.
    pub claims: Map<String, Value>,
}
