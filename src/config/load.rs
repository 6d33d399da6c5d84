//! Settings from their sources, and mistakes told with their place: file, line, key, and the nearest right key.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use figment::{
    Figment,
    error::Kind,
    providers::{Env, Serialized},
    value::Dict,
};

use super::{Config, explain, locate, nearest, position};

/// The settings' file in the working directory, read if it is there.
const FILE: &str = "seawall.toml";

/// A mistake in the settings, one line each.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// The settings: defaults, then the file (`seawall.toml` here if none is named), then `SEAWALL_SECTION__KEY`, then `flags`
/// (dotted keys).
///
/// # Errors
/// A file that cannot be read, an unknown key, a wrong type or value.
pub fn load(file: Option<&Path>, flags: &[(&str, String)]) -> Result<Config, Error> {
    let path = file.map_or_else(|| PathBuf::from(FILE), Path::to_owned);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if file.is_none() && e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(Error(format!("{}: cannot be read: {e}", path.display()))),
    };
    let values: Dict = toml::from_str(&text).map_err(|e| Error(explain(&path, &text, &e)))?;
    // `SEAWALL_LOG` and the like, without a section, belong to others.
    let environment = Env::prefixed("SEAWALL_").filter(|key| key.as_str().contains("__")).split("__");
    let mut figment =
        Figment::from(Serialized::defaults(Config::default())).merge(Serialized::defaults(values)).merge(environment);
    for (key, value) in flags {
        figment = figment.merge(Serialized::default(key, value));
    }
    let place = Place { path: &path, text: &text };
    let config: Config = figment.extract().map_err(|e| place.tell(&e))?;
    config.check().map_err(|(key, why)| place.at(&key, &why))?;
    Ok(config)
}

/// Where a key was set.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn tell(&self, errors: &figment::Error) -> Error {
        let lines: Vec<String> = errors.clone().into_iter().map(|error| self.line(&error)).collect();
        Error(lines.join("\n"))
    }

    fn line(&self, error: &figment::Error) -> String {
        let key = error.path.join(".");
        match &error.kind {
            Kind::UnknownField(field, known) => {
                let full: Vec<&str> = [key.as_str(), field].into_iter().filter(|part| !part.is_empty()).collect();
                let key = if key.split('.').next_back() == Some(field) { key } else { full.join(".") };
                let near = nearest(field, known.iter().copied()).unwrap_or_default();
                self.at(&key, &format!("is no setting; did you mean `{near}`?")).0
            }
            // The value itself is not told: it may be a secret.
            Kind::InvalidType(_, wanted) | Kind::InvalidValue(_, wanted) => self.at(&key, &format!("must be {wanted}")).0,
            Kind::UnknownVariant(_, known) => self.at(&key, &format!("must be one of {}", known.join(", "))).0,
            other => self.at(&key, &other.to_string()).0,
        }
    }

    fn at(&self, key: &str, why: &str) -> Error {
        let variable = format!("SEAWALL_{}", key.to_uppercase().replace('.', "__"));
        if env::var_os(&variable).is_some() {
            return Error(format!("{variable}: `{key}` {why}"));
        }
        let names: Vec<&str> = key.split('.').collect();
        match locate(self.text, &names) {
            Some(at) => Error(format!("{}:{}: `{key}` {why}", self.path.display(), position(self.text, at).0)),
            None => Error(format!("`{key}` {why}")),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What is said of a settings file.
    pub(crate) fn told(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.toml");
        fs::write(&path, text).unwrap();
        load(Some(&path), &[]).unwrap_err().to_string().replace(&path.display().to_string(), "s.toml")
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        assert_eq!(
            told("[listen]\n\n[guard]\nbatch_token = 3\n"),
            "s.toml:4: `guard.batch_token` is no setting; did you mean `batch_tokens`?"
        );
        assert_eq!(told("[gard]\n"), "s.toml:1: `gard` is no setting; did you mean `guard`?");
        assert_eq!(
            told("[upstream]\nconnect_timeout_ms = \"secret\"\n"),
            "s.toml:2: `upstream.connect_timeout_ms` must be u64"
        );
        assert_eq!(told("[guard]\nthreads = 0\n"), "s.toml:2: `guard.threads` must be more than 0");
        assert_eq!(
            told("[upstreams.azure]\nurl = \"http://x\"\n\n[[routes]]\nprefix = \"/a\"\nupstream = \"azur\"\n"),
            "s.toml:6: `routes.0.upstream` `azur` is no upstream; did you mean `azure`?"
        );
        assert!(
            told("[upstreams.default]\nurl = \"http://x\"\n").starts_with("s.toml:1: `upstreams.default` is what policies")
        );
        let route = "[upstreams.a]\nurl = \"http://x\"\n\n[[routes]]\nprefix = \"/a\"\nupstream = \"a\"\nname = \"\"\n";
        assert!(told(route).starts_with("s.toml:7: `routes.0.name` is what policies call"));
        assert!(told("[[routes]]\nprefix = \"/a\"\n").contains("missing field `upstream`"));
        assert!(told("[listen\n").starts_with("s.toml:1:"));
        assert!(load(Some(Path::new("/nowhere/s.toml")), &[]).unwrap_err().to_string().contains("cannot be read"));
    }

    #[test]
    fn flags_win() {
        let config =
            load(None, &[("upstream.url", "http://x".to_owned()), ("listen.address", "127.0.0.1:1".to_owned())]).unwrap();
        assert_eq!((config.upstream.url.as_str(), config.listen.address.port()), ("http://x", 1));
    }
}
