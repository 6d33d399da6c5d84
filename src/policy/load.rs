//! Policies from files, all or nothing.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    HashKey, Policies,
    compile::{Mistake, Policy},
    own::full,
    rule::File,
    shipped::{Shipped, shipped},
};
use crate::{
    config::{explain, locate, nearest, position},
    scan::detect::{Detectors, Own},
};

/// How the names of policies' tests end, which stand beside them.
const TESTS: &str = ".test.toml";

/// What policies may name that other rooms have, and the key that they hash with.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'t> {
    /// Names of the guards; [`super::Selected::guards`] tells them by their place.
    pub guards: &'t [&'t str],
    /// Names of the APIs.
    pub dialects: &'t [&'t str],
    /// For `redact = "hash"`.
    pub hash_key: HashKey,
}

/// Why no policies are in force: file, place and mistake, one a line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(String);

/// A policy's text, and its path, by which mistakes are told and beside which word lists stand.
pub type Source = (PathBuf, String);

/// The texts of the policies at a path: of a file, of all `.toml` files of a directory but the tests, or of a policy that comes
/// with Seawall, by its name. A name is one if it looks like no path and nothing is there. The baseline if none is named.
///
/// # Errors
/// What cannot be read, a directory without policies, or an unknown name.
pub fn sources(path: Option<&Path>) -> Result<Vec<Source>, LoadError> {
    let Some(path) = path else { return Ok(shipped().first().map(Shipped::source).into_iter().collect()) };
    if let Some(name) = name(path) {
        return named(name).map(|shipped| vec![shipped.source()]);
    }
    let unreadable = |path: &Path, e: std::io::Error| LoadError(format!("{}: cannot be read: {e}", path.display()));
    let mut paths = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        paths = entries
            .map_err(|e| unreadable(path, e))?
            .into_iter()
            .map(|entry| entry.path())
            .filter(|path| is_policy(path))
            .collect();
        paths.sort();
    }
    if paths.is_empty() {
        return Err(LoadError(format!("{}: holds no policy: put a `.toml` file there, or name a file", path.display())));
    }
    let read = |path: PathBuf| fs::read_to_string(&path).map_err(|e| unreadable(&path, e)).map(|text| (path, text));
    paths.into_iter().map(read).collect()
}

/// The name that a path is, if it is none: of a policy that comes with Seawall.
#[must_use]
pub fn name(path: &Path) -> Option<&str> {
    path.to_str().filter(|name| !name.contains('/') && !name.ends_with(".toml") && !path.exists())
}

/// The policy that comes with Seawall under this name.
///
/// # Errors
/// There is none.
pub fn named(name: &str) -> Result<&'static Shipped, LoadError> {
    let names = || shipped().iter().map(|shipped| shipped.name);
    shipped().iter().find(|shipped| shipped.name == name).ok_or_else(|| {
        let near = nearest(name, names()).unwrap_or_default();
        let all = names().collect::<Vec<_>>().join(", ");
        LoadError(format!("{name}: there is no such file, and no policy of this name; did you mean `{near}`, of {all}?"))
    })
}

impl Policies {
    /// The policies of [`sources`].
    ///
    /// # Errors
    /// A file that cannot be read, an unknown name, or all mistakes in any of them.
    pub fn load(path: Option<&Path>, terms: &Terms<'_>) -> Result<Self, LoadError> {
        Self::parse(&sources(path)?, terms)
    }

    /// The policies of these texts; mistakes are told with the paths, beside which word lists stand.
    ///
    /// # Errors
    /// All mistakes in any of them.
    pub fn parse(sources: &[Source], terms: &Terms<'_>) -> Result<Self, LoadError> {
        let (mut files, mut own, mut mistakes): (Vec<(usize, File)>, Vec<Own>, Vec<String>) = Default::default();
        let mut names = HashSet::new();
        let mut revision = blake3::Hasher::new();
        let mut add = |text: &str| {
            revision.update(&(text.len() as u64).to_le_bytes());
            revision.update(text.as_bytes());
        };
        for (number, (path, text)) in sources.iter().enumerate() {
            add(text);
            let file: File = match toml::from_str(text) {
                Ok(file) => file,
                Err(error) => {
                    mistakes.push(explain(path, text, &error));
                    continue;
                }
            };
            if !names.insert(file.name.clone()) {
                let why = format!("another file has the policy `{}`", file.name);
                mistakes.push(tell(path, text, &Mistake { key: vec!["name".to_owned()], why }));
                continue;
            }
            for (name, detector) in &file.detectors {
                match detector.read(path, [&file.name, name]) {
                    Ok(detector) => {
                        // What stands in a file beside the policy is part of it.
                        detector.words.iter().for_each(|word| add(word));
                        own.push(detector);
                    }
                    Err(why) => {
                        mistakes.push(tell(path, text, &Mistake { key: vec!["detectors".to_owned(), name.clone()], why }))
                    }
                }
            }
            files.push((number, file));
        }
        let detectors = Detectors::new(&own).unwrap_or_else(|unfit| {
            let named = |(number, file): &(usize, File)| {
                let name = file.detectors.keys().find(|name| full(&file.name, name) == unfit.name)?;
                Some((*number, vec!["detectors".to_owned(), name.clone()]))
            };
            if let Some((number, key)) = files.iter().find_map(named)
                && let Some((path, text)) = sources.get(number)
            {
                mistakes.push(tell(path, text, &Mistake { key, why: unfit.why }));
            }
            Detectors::default()
        });
        let mut policies = Vec::with_capacity(files.len());
        for (number, file) in files {
            let Some((path, text)) = sources.get(number) else { continue };
            match Policy::new(file, terms, &detectors) {
                Ok(policy) => policies.push(policy),
                Err(wrong) => mistakes.extend(wrong.iter().map(|mistake| tell(path, text, mistake))),
            }
        }
        if !mistakes.is_empty() {
            return Err(LoadError(mistakes.join("\n")));
        }
        let headers = policies.iter().map(Policy::headers).collect::<Option<Vec<_>>>();
        let headers = headers.map(|sets| sets.into_iter().flatten().collect::<BTreeSet<_>>().into_iter().collect());
        let revision = revision.finalize().to_hex().chars().take(12).collect();
        let guards = terms.guards.iter().map(|name| Arc::from(*name)).collect();
        Ok(Self { policies, revision, headers, hash_key: terms.hash_key, detectors: Arc::new(detectors), guards })
    }
}

fn is_policy(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".toml") && !name.ends_with(TESTS)
}

/// A mistake as `FILE:LINE:COLUMN: key: mistake`.
fn tell(path: &Path, text: &str, mistake: &Mistake) -> String {
    let key: Vec<&str> = mistake.key.iter().map(String::as_str).collect();
    let (line, column) = position(text, locate(text, &key).unwrap_or_default());
    format!("{}:{line}:{column}: `{}`: {}", path.display(), key.join("."), mistake.why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::TERMS;

    fn told(text: &str) -> String {
        Policies::parse(&[(PathBuf::from("p.toml"), text.to_owned())], &TERMS).unwrap_err().to_string()
    }

    /// What is said of a line of a rule, after the key.
    fn of_rule(line: &str) -> String {
        told(&format!("name = \"p\"\n[[rule]]\nname = \"r\"\nwhere = [\"prompt\"]\n{line}\n"))
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let unknown = of_rule("action = \"blok\"");
        assert!(unknown.starts_with("p.toml:5:10: `rule.0.action`: "), "{unknown}");
        assert!(unknown.ends_with("did you mean `block`?"), "{unknown}");
        let unknown = of_rule("treshold = 0.5\naction = \"block\"");
        assert!(unknown.starts_with("p.toml:5:1: `rule.0.treshold`: "), "{unknown}");
        assert!(unknown.ends_with("did you mean `threshold`?"), "{unknown}");
        let target = told("name = \"p\"\n[[rule]]\nname = \"r\"\nwhere = [\"system\", \"promt\"]\naction = \"flag\"\n");
        assert!(target.starts_with("p.toml:4:20: `rule.0.where.1`: ") && target.ends_with("`prompt`?"), "{target}");
        assert!(told("name = \"p\"\n[scope]\nmodel = [\"x\"]\n").starts_with("p.toml:3:1: `scope.model`: "));
        assert!(
            of_rule("threshold = \"gard\"\naction = \"flag\"").contains("p.toml:5:13: `rule.0.threshold`: must be \"guard\"")
        );
    }

    #[test]
    fn what_types_cannot_tell_is_told_so_too() {
        for (line, mistake) in [
            ("action = \"redact\"", "5:1: `rule.0.action`: `redact` needs `detectors` that say what to take out"),
            (
                "detectors = [\"email\", \"payment_cart\"]\naction = \"flag\"",
                "5:23: `rule.0.detectors.1`: there is no detector `payment_cart`; did you mean `payment_card`?",
            ),
            ("threshold = 1.5\naction = \"flag\"", "5:1: `rule.0.threshold`: must be \"guard\" or a number from 0 to 1"),
            (
                "threshold = { th = 0.5, \"response.tha\" = 0.5 }\naction = \"flag\"",
                "5:25: `rule.0.threshold.response.tha`: there is no task or language `tha`; did you mean `ta`?",
            ),
            (
                "threshold = { promt = 2 }\naction = \"flag\"",
                "5:15: `rule.0.threshold.promt`: must be \"guard\" or a number from 0 to 1\n\
                 p.toml:5:15: `rule.0.threshold.promt`: there is no task or language `promt`; did you mean `prompt`?",
            ),
            (
                "guard = \"defalt\"\nthreshold = 0.5\naction = \"flag\"",
                "5:1: `rule.0.guard`: there is no guard `defalt`; did you mean `default`?",
            ),
            (
                "guard = \"large\"\naction = \"flag\"",
                "5:1: `rule.0.guard`: does nothing without a `threshold` or a condition (`when`)",
            ),
            (
                "when = 'score > 0.5 && langage == \"th\"'\naction = \"flag\"",
                "5:1: `rule.0.when`: there is no variable `langage`; did you mean `language`?, in `langage`",
            ),
            (
                "sample = 0.0\naction = \"flag\"",
                "5:1: `rule.0.sample`: must be a share of the exchanges, more than 0 and at most 1",
            ),
            (
                "action = \"block\"\nmessages = { th = \"x\", xx = \"x\" }",
                "6:24: `rule.0.messages.xx`: there is no language `xx`; did you mean `en`?",
            ),
            (
                "action = \"flag\"\n[scope]\ndialects = [\"openai_*\", \"openai\"]",
                "7:25: `scope.dialects.1`: there is no API `openai`; did you mean `openai_chat`?",
            ),
            (
                "action = \"flag\"\n[scope]\nheaders.x-team = []",
                "7:9: `scope.headers.x-team`: names nothing, so the policy would cover nothing: leave it out to cover all",
            ),
            (
                "action = \"flag\"\n[[exempt]]\nhash = \"12\"\nexpires = \"tomorrow\"",
                "7:1: `exempt.0.hash`: must be the 64 hexadecimal digits of a text's hash\n\
                 p.toml:8:1: `exempt.0.expires`: must be a day, such as `2027-01-31`",
            ),
            (
                "action = \"flag\"\n[[rule]]\nname = \"r\"\nwhere = [\"prompt\"]\naction = \"flag\"",
                "7:1: `rule.1.name`: another rule is named `r`: records could not tell them apart",
            ),
        ] {
            assert_eq!(of_rule(line), format!("p.toml:{mistake}"), "{line}");
        }
    }

    #[test]
    fn the_mistakes_of_all_files_are_told_at_once() {
        let source = |name: &str, text: &str| (PathBuf::from(name), text.to_owned());
        let sources = [
            source("a.toml", "name = 1"),
            source("b.toml", "name = \"b\""),
            source("c.toml", "description = \"\"\nname = \"b\""),
        ];
        let told = Policies::parse(&sources, &TERMS).unwrap_err().to_string();
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[0].starts_with("a.toml:1:8: `name`: "), "{told}");
        assert_eq!(lines[1..], ["c.toml:2:1: `name`: another file has the policy `b`"]);
    }

    #[test]
    fn a_directory_is_read_without_its_tests() {
        let dir = tempfile::tempdir().unwrap();
        let told = || Policies::load(Some(dir.path()), &TERMS);
        assert!(told().unwrap_err().to_string().contains("holds no policy"));
        for (name, text) in [("b.toml", "name = \"b\""), ("a.toml", "name = \"a\""), ("a.test.toml", "x = 1"), ("notes.md", "")]
        {
            fs::write(dir.path().join(name), text).unwrap();
        }
        assert_eq!(told().unwrap().names().collect::<Vec<_>>(), ["a", "b"]);
        let missing = |path: &str| Policies::load(Some(Path::new(path)), &TERMS).unwrap_err().to_string();
        assert!(missing("/nowhere").contains("cannot be read") && missing("nowhere.toml").contains("cannot be read"));
        assert!(missing("baselin").contains("did you mean `baseline`"));
    }

    #[test]
    fn mistakes_in_own_detectors_are_told_with_their_place() {
        let own = |name: &str, lines: &str| told(&format!("name = \"p\"\n[detectors.{name}]\n{lines}\n"));
        assert_eq!(own("x", "regex = [\"(a\"]"), "p.toml:2:12: `detectors.x`: regex `(a`: unclosed group");
        assert!(own("x", "regex = [\"a*\"]").contains("empty text"));
        assert!(own("x", "mask = \"[x]\"").starts_with("p.toml:2:12: `detectors.x`: it names nothing to look for"));
        assert!(own("x", "regx = []").ends_with("did you mean `regex`?"));
        assert!(
            own("x", "words_file = \"none.txt\"")
                .ends_with("words_file: none.txt: cannot be read: No such file or directory (os error 2)")
        );
        assert!(own("email", "words = [\"a\"]").ends_with("a built-in detector has this name: choose another"));
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
        let load = || Policies::load(Some(dir.path()), &TERMS);
        policy("a", "[detectors.x]\nwords_file = \"words.txt\"");
        policy("b", "");
        words("Blue Sky\n\n  red\n");
        let stranger = load().unwrap_err().to_string();
        assert!(stranger.contains("b.toml:6:14: `rule.0.detectors.0`: there is no detector `x`"), "{stranger}");
        policy("b", "[detectors.x]\nregex = [\"PRJ-\\\\d\"]\nmask = \"[project]\"");
        let set = load().unwrap();
        let found = set.detectors.find("red, blue  sky PRJ-1", 0);
        let found: Vec<(&str, &str)> =
            found.iter().map(|finding| (&*finding.detector, set.detectors.mask(&finding.detector))).collect();
        assert_eq!(found, [("a/x", "[x]"), ("a/x", "[x]"), ("b/x", "[project]")]);
        let numbers = ["a/x", "b/x"].map(|name| vec![set.detectors.number(name).unwrap()]);
        assert!(set.policies.iter().zip(numbers).all(|(policy, own)| policy.rules[0].detectors == own));
        words("Blue Sky\ngreen");
        assert_ne!(load().unwrap().revision(), set.revision(), "the words are part of the policy");
        words("\n");
        assert!(load().unwrap_err().to_string().contains("words.txt holds no words"));
    }

    #[test]
    fn a_policy_that_comes_with_seawall_goes_by_its_name() {
        let revision = |path: Option<&str>| Policies::load(path.map(Path::new), &TERMS).unwrap().revision().to_owned();
        assert_eq!(revision(Some("baseline")), revision(None));
    }
}
