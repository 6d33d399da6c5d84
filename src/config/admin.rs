//! `[admin]`: where operators and reviewers connect, and who they are.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, Tls, Wrong};

/// What the hash of a password begins with: the way it was made.
const PASSWORD: &str = "$argon2id$";
/// What the hash of a token begins with, and its length in hexadecimal digits.
const TOKEN: (&str, usize) = ("sha256:", 64);
/// Longest name of a person or a tool, in bytes.
const NAME: usize = 128;

/// `[admin]`: where operators and reviewers connect.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Address and port; keep it off public networks.
    pub address: SocketAddr,
    /// TLS; plain HTTP if it is left out, over which browsers sign in from this machine only. Certificates of clients open
    /// nothing here.
    pub tls: Option<Tls>,
    /// The listener's address as browsers have it, such as `https://seawall.example.com`: what links to cases begin with.
    pub public_url: Option<String>,
    /// Whether `/readyz` says no while flagged exchanges cannot be recorded: the store is away, and some policy does not have
    /// them go to the journal. Off, as harmless traffic needs no record, and a store that is away makes all nodes unready at once.
    pub ready_needs_store: bool,
    /// Longest sign-in, in hours.
    pub session_h: u64,
    /// Time without any call after which a sign-in ends, in minutes.
    pub session_idle_m: u64,
    /// People who sign in with a password.
    pub users: Vec<User>,
    /// Tools that send a token.
    pub tokens: Vec<AdminToken>,
    /// Another place that people sign in at.
    pub oidc: Option<Oidc>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8081)),
            tls: None,
            public_url: None,
            ready_needs_store: false,
            session_h: 12,
            session_idle_m: 60,
            users: Vec::new(),
            tokens: Vec::new(),
            oidc: None,
        }
    }
}

/// What somebody may do; each may do what the ones before may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look.
    Viewer,
    /// Decide on what was flagged.
    Reviewer,
    /// Change what the proxy does, and what is kept.
    Admin,
}

impl Role {
    /// All of them, the one that may least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Reviewer, Self::Admin];

    /// Its name in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Reviewer => "reviewer",
            Self::Admin => "admin",
        }
    }
}

/// `[[admin.users]]`: somebody who signs in with a password, as `seawall user new` prints it.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name to sign in by, and in records.
    pub name: String,
    /// The password's hash by Argon2id, in PHC's form.
    pub password: String,
    /// What they may do.
    pub role: Role,
}

/// `[[admin.tokens]]`: a tool, as `seawall user token` prints it.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminToken {
    /// Its name in records.
    pub name: String,
    /// `sha256:` and the token's hash in hexadecimal digits.
    pub hash: String,
    /// What it may do.
    pub role: Role,
}

/// `[admin.oidc]`: an OpenID Connect provider that people sign in at, by the code flow with PKCE.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Oidc {
    /// Its address; `https:`, or `http:` on this machine. How it is spoken to is found from here
    /// (`/.well-known/openid-configuration`).
    pub issuer: String,
    /// What it knows Seawall by.
    pub client_id: String,
    /// What proves that; none for a public client.
    pub client_secret: Option<Secret>,
    /// Where it sends people back to: this listener's address as browsers have it, and `/review/sign-in/oidc/done`.
    pub redirect_url: String,
    /// What it is asked for besides `openid` and `email`.
    pub scopes: Vec<String>,
    /// The claim that names the person; an `email` counts unless it is marked as unverified.
    pub name_claim: String,
    /// The claim that holds a group, or a list of groups.
    pub role_claim: String,
    /// Which of these groups have which role.
    pub roles: Roles,
    /// PEM file of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for Oidc {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            client_id: String::new(),
            client_secret: None,
            redirect_url: String::new(),
            scopes: Vec::new(),
            name_claim: "email".to_owned(),
            role_claim: "groups".to_owned(),
            roles: Roles::default(),
            ca_file: None,
        }
    }
}

/// `[admin.oidc.roles]`: groups, or `*` for everybody who can sign in there. Who is in none may do nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Roles {
    /// Who looks.
    pub viewer: Vec<String>,
    /// Who decides.
    pub reviewer: Vec<String>,
    /// Who may do all.
    pub admin: Vec<String>,
}

impl Roles {
    /// The groups of a role.
    #[must_use]
    pub fn of(&self, role: Role) -> &[String] {
        match role {
            Role::Viewer => &self.viewer,
            Role::Reviewer => &self.reviewer,
            Role::Admin => &self.admin,
        }
    }
}

/// The path that a provider sends people back to.
pub const OIDC_DONE: &str = "/review/sign-in/oidc/done";

impl Admin {
    /// What types alone cannot tell.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let wrong = |key: &str, why: &str| Err((format!("admin.{key}"), why.to_owned()));
        if self.session_h == 0 {
            return wrong("session_h", "must be more than 0");
        }
        if self.session_idle_m == 0 {
            return wrong("session_idle_m", "must be more than 0");
        }
        if self.public_url.as_ref().is_some_and(|url| !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme))) {
            return wrong("public_url", "must be an address such as `https://seawall.example.com`");
        }
        let mut names = BTreeSet::new();
        for (number, User { name, password, .. }) in self.users.iter().enumerate() {
            named(&mut names, name).map_err(|why| (format!("admin.users.{number}.name"), why))?;
            // What stands there is not told: it may be the password itself.
            if !password.starts_with(PASSWORD) {
                return wrong(&format!("users.{number}.password"), "must be a hash, as `seawall user new` prints it");
            }
        }
        for (number, AdminToken { name, hash, .. }) in self.tokens.iter().enumerate() {
            named(&mut names, name).map_err(|why| (format!("admin.tokens.{number}.name"), why))?;
            let (way, length) = TOKEN;
            let digits = hash.strip_prefix(way).unwrap_or_default();
            if digits.len() != length || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                let why = "must be `sha256:` and 64 hexadecimal digits, as `seawall user token` prints it";
                return wrong(&format!("tokens.{number}.hash"), why);
            }
        }
        self.oidc.as_ref().map_or(Ok(()), Oidc::check)
    }
}

impl Oidc {
    fn check(&self) -> Result<(), Wrong> {
        let wrong = |key: &str, why: String| Err((format!("admin.oidc.{key}"), why));
        if self.issuer.is_empty() {
            return wrong("issuer", "must be the provider's address, such as `https://login.example.com`".to_owned());
        }
        if self.client_id.is_empty() {
            return wrong("client_id", "must be what the provider knows Seawall by".to_owned());
        }
        if !self.redirect_url.ends_with(OIDC_DONE) || !self.redirect_url.starts_with("http") {
            return wrong("redirect_url", format!("must be an address such as `https://seawall.example.com{OIDC_DONE}`"));
        }
        if Role::ALL.iter().all(|role| self.roles.of(*role).is_empty()) {
            return wrong(
                "roles",
                "must give a role to a group, such as `viewer = [\"*\"]`: else nobody may do anything".into(),
            );
        }
        Ok(())
    }
}

/// Checks a name, which must tell one person or tool from all others.
fn named<'n>(names: &mut BTreeSet<&'n str>, name: &'n str) -> Result<(), String> {
    if name.trim() != name || name.is_empty() || name.len() > NAME || name.chars().any(char::is_control) {
        return Err(format!("must be 1 to {NAME} bytes of text, with no spaces around it"));
    }
    if names.insert(name) { Ok(()) } else { Err(format!("`{name}` is the name of another user or token too")) }
}

#[cfg(test)]
mod tests {
    use crate::config::load::tests::told;

    #[test]
    fn mistakes_are_told() {
        let user = |name: &str, password: &str| {
            format!("[[admin.users]]\nname = \"{name}\"\npassword = \"{password}\"\nrole = \"viewer\"\n")
        };
        let token =
            |name: &str, hash: &str| format!("[[admin.tokens]]\nname = \"{name}\"\nrole = \"admin\"\nhash = \"{hash}\"\n");
        let (phc, hash) = ("$argon2id$v=19$…", format!("sha256:{}", "0".repeat(64)));
        let secret = told(&user("ana", "hunter2"));
        assert_eq!(secret, "s.toml:3: `admin.users.0.password` must be a hash, as `seawall user new` prints it");
        let twice = told(&(user("ana", phc) + &token("ana", &hash)));
        assert_eq!(twice, "s.toml:6: `admin.tokens.0.name` `ana` is the name of another user or token too");
        assert!(told(&token("ci", "sk-seawall-x")).starts_with("s.toml:4: `admin.tokens.0.hash` must be `sha256:`"));
        assert!(told(&user(" ana", phc)).starts_with("s.toml:2: `admin.users.0.name` must be"));
        assert!(told(&user("ana", phc).replace("viewer", "boss")).contains("must be one of viewer, reviewer, admin"));
        assert_eq!(told("[admin]\nsession_h = 0\n"), "s.toml:2: `admin.session_h` must be more than 0");
        assert!(told("[admin]\npublic_url = \"h:1\"\n").starts_with("s.toml:2: `admin.public_url` must be an address"));
        let oidc = "[admin.oidc]\nissuer = \"https://i\"\nclient_id = \"c\"\n";
        assert!(told(oidc).contains("`admin.oidc.redirect_url` must be an address such as"));
        let oidc = format!("{oidc}redirect_url = \"https://h/review/sign-in/oidc/done\"\n");
        assert!(told(&oidc).contains("`admin.oidc.roles` must give a role"));
        assert!(told(&format!("{oidc}roles = {{ boss = [\"x\"] }}\n")).contains("`admin.oidc.roles.boss` is no setting"));
    }
}
