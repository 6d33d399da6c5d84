//! People who sign in with a password.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use argon2::{
    Argon2, PasswordVerifier as _,
    password_hash::{PasswordHash, PasswordHasher as _, SaltString},
};
use tokio::{sync::Semaphore, task, time};

use super::session::proof;
use crate::{
    config::{self, Role},
    connect::Misconfigured,
    identity::{Secret, chance},
};

/// Passwords judged at once: each takes some 20 MB and a core.
const AT_ONCE: usize = 2;
/// How long one waits to be judged.
const PATIENCE: Duration = Duration::from_secs(5);
/// Fewest characters of a password.
const LEAST: usize = 12;

/// The people in the settings.
#[derive(Debug)]
pub(super) struct Users {
    known: BTreeMap<String, User>,
    turns: Arc<Semaphore>,
}

#[derive(Debug)]
pub(super) struct User {
    pub(super) role: Role,
    hash: Arc<str>,
}

impl User {
    /// What a session of theirs rests on: it ends with this password.
    pub(super) fn proof(&self) -> String {
        proof("user", &self.hash)
    }
}

/// Too many want to be judged.
#[derive(Debug)]
pub(super) struct Busy;

impl Users {
    pub(super) fn new(settings: &[config::User]) -> Result<Self, Misconfigured> {
        let read = |(number, user): (usize, &config::User)| {
            // What stands there is not told. One that was cut short is a salt without a hash, which no password fits.
            let is_whole = PasswordHash::new(&user.password).is_ok_and(|hash| hash.hash.is_some());
            if !is_whole {
                let (key, name) = (format!("admin.users.{number}.password"), &user.name);
                return Err(Misconfigured(format!("`{key}` is no whole hash: make one with `seawall user new {name}`")));
            }
            Ok((user.name.clone(), User { role: user.role, hash: user.password.as_str().into() }))
        };
        let known = settings.iter().enumerate().map(read).collect::<Result<_, Misconfigured>>()?;
        Ok(Self { known, turns: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(super) fn get(&self, name: &str) -> Option<&User> {
        self.known.get(name)
    }

    /// Whose name and password these are.
    pub(super) async fn find(&self, name: &str, password: Secret) -> Result<Option<&User>, Busy> {
        let known = self.get(name);
        // A name that nobody has costs as much time as a wrong password.
        let Some(user) = known.or_else(|| self.known.values().next()) else { return Ok(None) };
        let hash = Arc::clone(&user.hash);
        let Ok(Ok(turn)) = time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await else { return Err(Busy) };
        let judged = task::spawn_blocking(move || {
            let _turn = turn;
            holds(&hash, &password)
        });
        let holds = judged.await.unwrap_or(false);
        Ok(known.filter(|_| holds))
    }
}

fn holds(hash: &str, password: &Secret) -> bool {
    let hash = PasswordHash::new(hash);
    hash.is_ok_and(|hash| Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok())
}

/// A password that is too easily guessed.
#[derive(Debug, thiserror::Error)]
#[error("a password must have at least {LEAST} characters")]
pub struct TooShort;

/// The hash of a new password, as settings have it.
///
/// # Errors
/// A password that is too short, or a system that gives no random bytes.
pub fn password_hash(password: &Secret) -> Result<String, Box<dyn std::error::Error>> {
    if password.expose().chars().count() < LEAST {
        return Err(TooShort.into());
    }
    let chance = chance()?;
    let salt = chance.expose().as_bytes().get(..16).unwrap_or_default();
    let salt = SaltString::encode_b64(salt).map_err(|e| e.to_string())?;
    Ok(Argon2::default().hash_password(password.expose().as_bytes(), &salt).map_err(|e| e.to_string())?.to_string())
}

#[cfg(test)]
pub(super) mod tests {
    use argon2::Params;

    use super::*;

    /// A hash that takes no time to make.
    pub(in crate::console) fn quick(password: &str) -> String {
        let argon = Argon2::from(Params::new(8, 1, 1, None).unwrap());
        argon.hash_password(password.as_bytes(), &SaltString::encode_b64(b"0123456789").unwrap()).unwrap().to_string()
    }

    fn users(settings: &[(&str, &str)]) -> Result<Users, Misconfigured> {
        let user = |(name, password): &(&str, &str)| config::User {
            name: (*name).to_owned(),
            password: (*password).to_owned(),
            role: Role::Viewer,
        };
        Users::new(&settings.iter().map(user).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn a_password_opens_for_its_own_name_only() {
        let users = users(&[("ana", &quick("one")), ("bo", &quick("two"))]).unwrap();
        let opens = async |name: &str, password: &str| users.find(name, Secret::new(password)).await.unwrap().is_some();
        assert!(opens("ana", "one").await && opens("bo", "two").await);
        assert!(!opens("ana", "two").await && !opens("Ana", "one").await && !opens("ana", "").await);
        // The one whose password is compared with for a name that nobody has is not let in by it.
        assert!(!opens("nobody", "one").await);
    }

    #[tokio::test]
    async fn not_many_are_judged_at_once() {
        let users = users(&[("ana", &quick("one"))]).unwrap();
        let turns = users.turns.acquire_many(u32::try_from(AT_ONCE).unwrap()).await.unwrap();
        let waits = time::timeout(Duration::from_millis(50), users.find("ana", Secret::new("one"))).await;
        assert!(waits.is_err());
        drop(turns);
        assert!(users.find("ana", Secret::new("one")).await.unwrap().is_some());
    }

    #[test]
    fn hashes_are_salted_and_hold_what_is_said_of_them() {
        let password = Secret::new("a long password");
        let (one, two) = (password_hash(&password).unwrap(), password_hash(&password).unwrap());
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && one != two, "{one}");
        assert!(holds(&one, &password) && !holds(&one, &Secret::new("another password")));
        assert_eq!(password_hash(&Secret::new("short")).unwrap_err().to_string(), TooShort.to_string());
        let told = users(&[("ana", "$argon2id$hunter2")]).unwrap_err().to_string();
        assert!(told.starts_with("`admin.users.0.password` is no whole hash") && !told.contains("hunter2"), "{told}");
    }
}
