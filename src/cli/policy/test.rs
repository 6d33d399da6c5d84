//! `seawall policy test`

use std::{fs, io, path::PathBuf, sync::Arc};

use clap::Args;

use super::Which;
use crate::{
    cli::{Failed, failed, say, usage},
    config::{Config, locate, position},
    policy::{self, Policies, Source},
    scan::Scanner,
    server,
    telemetry::Metrics,
    trial::{self, Guards, Tests},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Test {
    #[command(flatten)]
    which: Which,
}

/// A policy alone, and its tests.
struct Suite {
    policies: Arc<Policies>,
    path: PathBuf,
    text: String,
    tests: Tests,
}

impl Test {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let config = self.which.load()?;
        let sources = policy::sources(config.policies.dir.as_deref()).map_err(usage)?;
        let mut suites = Vec::new();
        for source in sources {
            let path = source.0.display().to_string();
            match suite(&config, source)? {
                Some(suite) => suites.push(suite),
                None => say(format!("{path}: has no tests"))?,
            }
        }
        let guards = Guards::new(&config);
        let ask = suites.iter().any(|suite| suite.tests.ask_guards());
        let scanner = if ask { Some(scanner(&config).await?) } else { None };
        let (mut passed, mut wrong) = (0_usize, 0_usize);
        for suite in &suites {
            for (number, test) in suite.tests.tests.iter().enumerate() {
                let Err(failure) = trial::run(test, &suite.policies, &guards, scanner.as_ref()).await else {
                    passed += 1;
                    continue;
                };
                wrong += 1;
                let line = locate(&suite.text, &["test", &number.to_string()]).map_or(1, |at| position(&suite.text, at).0);
                say(format!("{}:{line}: {} (- expected, + came)\n{failure}", suite.path.display(), test.name))?;
            }
        }
        say(format!("{passed} passed, {wrong} failed"))?;
        if wrong == 0 { Ok(()) } else { Err(failed("tests of policies failed")) }
    }
}

/// A policy's tests: beside it, or those that came with it. `None` if it has none.
fn suite(config: &Config, source: Source) -> Result<Option<Suite>, Failed> {
    let shipped =
        config.policies.dir.as_deref().map_or(policy::shipped().first(), |path| policy::named(policy::name(path)?).ok());
    let path = source.0.with_extension("test.toml");
    let text = match shipped {
        Some(shipped) => shipped.tests.to_owned(),
        None => match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(usage(format!("{}: cannot be read: {e}", path.display()))),
        },
    };
    let policies = server::with_terms(config, |terms| Policies::parse(&[source], terms)).map_err(usage)?.map_err(usage)?;
    let tests = Tests::parse(&path, &text).map_err(usage)?;
    Ok(Some(Suite { policies: Arc::new(policies), path, text, tests }))
}

/// The guards of the settings.
pub(super) async fn scanner(config: &Config) -> Result<Scanner, Failed> {
    server::scanner(config, &Arc::new(Metrics::default())).await.map_err(usage)
}
