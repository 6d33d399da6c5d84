//! Who calls. A leaf: what is known of a caller, for policies, records and limits.

use serde_json::{Map, Value};

/// Who an exchange is for; by default nobody that is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Caller {
    /// The tenant.
    pub tenant: Option<String>,
    /// The name of the key, never the secret.
    pub key: Option<String>,
    /// The subject of the certificate or token.
    pub subject: Option<String>,
    /// What the token claims.
    pub claims: Map<String, Value>,
}
