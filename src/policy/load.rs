//! Policies from files, all or nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Policies, Policy};
use crate::{
    config::explain,
    scan::{Ask, detect::Detectors},
};

/// The policy in force when none is named.
const BASELINE: &str = include_str!("../../policies/baseline.toml");

/// Why no policies are in force: file, place, mistake.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(String);

impl Policies {
    /// The policies of a file, or of all `.toml` files of a directory; the embedded baseline if none is named.
    ///
    /// # Errors
    /// A file that cannot be read, or one mistake in any of them.
    pub fn load(path: Option<&Path>) -> Result<Self, LoadError> {
        let Some(path) = path else { return Self::parse(&[(PathBuf::from("baseline.toml"), BASELINE.to_owned())]) };
        let unreadable = |path: &Path, e: std::io::Error| LoadError(format!("{}: cannot be read: {e}", path.display()));
        let mut paths = vec![path.to_owned()];
        if path.is_dir() {
            let entries = fs::read_dir(path).map_err(|e| unreadable(path, e))?;
            paths =
                entries.flatten().map(|entry| entry.path()).filter(|path| path.extension() == Some("toml".as_ref())).collect();
            paths.sort();
        }
        if paths.is_empty() {
            return Err(LoadError(format!("{}: holds no policy: put a `.toml` file there, or name a file", path.display())));
        }
        let read = |path: PathBuf| fs::read_to_string(&path).map_err(|e| unreadable(&path, e)).map(|text| (path, text));
        Self::parse(&paths.into_iter().map(read).collect::<Result<Vec<_>, _>>()?)
    }

    fn parse(sources: &[(PathBuf, String)]) -> Result<Self, LoadError> {
        let mut policies: Vec<Policy> = Vec::new();
        let mut own = Vec::new();
        let mut revision = blake3::Hasher::new();
        for (path, text) in sources {
            let mut policy: Policy = toml::from_str(text).map_err(|e| LoadError(explain(path, text, &e)))?;
            if policies.iter().any(|other| other.name == policy.name) {
                return Err(LoadError(format!("{}: another file has the policy `{}`", path.display(), policy.name)));
            }
            let mut add = |text: &str| {
                revision.update(&(text.len() as u64).to_le_bytes());
                revision.update(text.as_bytes());
            };
            add(text);
            for (name, detector) in &policy.detectors {
                let detector = detector.read(path, [&policy.name, name]);
                let detector = detector.map_err(|why| LoadError(format!("{}: detectors.{name}: {why}", path.display())))?;
                // What stands in a file beside the policy is part of it.
                detector.words.iter().for_each(|word| add(word));
                own.push(detector);
            }
            policy.qualify();
            policies.push(policy);
        }
        let detectors = Detectors::new(&own).map_err(|unfit| {
            let policy = policies.iter().position(|policy| policy.knows(&unfit.name));
            let path = policy.and_then(|at| sources.get(at)).map_or(Path::new(""), |(path, _)| path);
            LoadError(format!("{}: {unfit}", path.display()))
        })?;
        let known: Vec<_> = detectors.names().map(|(name, _)| name).collect();
        for (policy, (path, _)) in policies.iter().zip(sources) {
            let known: Vec<&str> = known.iter().map(|name| &**name).filter(|name| policy.knows(name)).collect();
            for rule in &policy.rules {
                rule.check(&known).map_err(|why| LoadError(format!("{}: rule `{}`: {why}", path.display(), rule.name)))?;
            }
        }
        let revision = revision.finalize().to_hex().chars().take(12).collect();
        Ok(Self { policies, revision, ask: Ask { detectors: detectors.into() } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        Policies::parse(&[(PathBuf::from("p.toml"), text.to_owned())]).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let rule = |line: &str| told(&format!("name = \"p\"\n[[rule]]\nname = \"r\"\nwhere = [\"prompt\"]\n{line}\n"));
        assert!(rule("action = \"blok\"").starts_with("p.toml:5:10: "), "{}", rule("action = \"blok\""));
        assert!(rule("action = \"blok\"").ends_with("did you mean `block`?"));
        assert!(rule("treshold = 0.5\naction = \"block\"").ends_with("did you mean `threshold`?"));
        assert!(rule("threshold = 1.5\naction = \"block\"").contains("\"guard\" or a number from 0 to 1"));
        assert_eq!(rule("action = \"redact\""), "p.toml: rule `r`: `redact` needs `detectors` that say what to mask");
        assert!(rule("detectors = [\"payment_cart\"]\naction = \"flag\"").ends_with("did you mean `payment_card`?"));
        assert!(Policies::load(Some(Path::new("/nowhere"))).unwrap_err().to_string().contains("cannot be read"));
    }

    #[test]
    fn mistakes_in_own_detectors_are_told_with_their_place() {
        let own = |name: &str, lines: &str| told(&format!("name = \"p\"\n[detectors.{name}]\n{lines}\n"));
        assert_eq!(own("x", "regex = [\"(a\"]"), "p.toml: detector `p/x`: regex `(a`: unclosed group");
        assert!(own("x", "regex = [\"a*\"]").contains("empty text"));
        assert!(own("x", "mask = \"[x]\"").starts_with("p.toml: detector `p/x`: it names nothing to look for"));
        assert!(own("x", "regx = []").ends_with("did you mean `regex`?"));
        assert!(own("x", "words_file = \"none.txt\"").starts_with("p.toml: detectors.x: words_file: none.txt: cannot be read"));
        assert!(own("email", "words = [\"a\"]").starts_with("p.toml: detectors.email: a built-in detector has this name"));
        assert!(own("secret", "words = [\"a\"]").contains("built-in"));
        assert!(own("\"a/b\"", "words = [\"a\"]").contains("letters, digits"));
        let rule = "[[rule]]\nname = \"r\"\nwhere = [\"prompt\"]\naction = \"flag\"\ndetectors = [\"projects\"]";
        assert!(own("project", &format!("words = [\"a\"]\n{rule}")).ends_with("did you mean `project`?"));
    }

    #[test]
    fn own_detectors_are_their_policys_and_words_can_stand_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let policy = |name: &str, lines: &str| {
            let rule = "[[rule]]\nname = \"r\"\nwhere = [\"prompt\"]\naction = \"redact\"\ndetectors = [\"x\"]";
            fs::write(dir.path().join(format!("{name}.toml")), format!("name = \"{name}\"\n{rule}\n{lines}\n")).unwrap();
        };
        let words = |text: &str| fs::write(dir.path().join("words.txt"), text).unwrap();
        let load = || Policies::load(Some(dir.path()));
        policy("a", "[detectors.x]\nwords_file = \"words.txt\"");
        policy("b", "");
        words("Blue Sky\n\n  red\n");
        assert!(load().unwrap_err().to_string().contains("b.toml: rule `r`: there is no detector `x`"));
        policy("b", "[detectors.x]\nregex = [\"PRJ-\\\\d\"]\nmask = \"[project]\"");
        let set = load().unwrap();
        let found = set.ask().detectors.find("red, blue  sky PRJ-1", 0);
        let found: Vec<(&str, &str)> =
            found.iter().map(|finding| (&*finding.detector, set.ask().detectors.mask(&finding.detector))).collect();
        assert_eq!(found, [("a/x", "[x]"), ("a/x", "[x]"), ("b/x", "[project]")]);
        assert!(set.policies.iter().zip(["a/x", "b/x"]).all(|(policy, name)| policy.rules[0].detectors == [name]));
        words("Blue Sky\ngreen");
        assert_ne!(load().unwrap().revision(), set.revision(), "the words are part of the policy");
        words("\n");
        assert!(load().unwrap_err().to_string().contains("words.txt holds no words"));
    }

    #[test]
    fn the_baseline_loads() {
        let policies = Policies::load(None).unwrap();
        assert_eq!(policies.revision().len(), 12);
    }
}
