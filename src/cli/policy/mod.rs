//! `seawall policy`

mod check;
mod explain;
mod replay;
mod test;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Failed, Settings, say, usage};
use crate::{config::Config, policy, trial};

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Load policies as `serve` does, and tell what is odd about them
    ///
    /// Warns of rules that can never match or never matter, thresholds that change nothing, conditions that always or never
    /// hold, exemptions that are over, names in a scope that the settings do not have, and calls that no policy covers. Exits
    /// with 0 also where there are warnings, with 2 if a policy is wrong.
    Check(check::Check),
    /// Tell what policies make of a text or a request, rule by rule, and why
    ///
    /// Shows the language of each text, its hash for `[[exempt]]`, the guards' scores and what detectors find; then for each
    /// policy whether it covers the call, and for each rule whether it matches, with all that this rests on; last what is
    /// decided.
    Explain(Box<explain::Explain>),
    /// Run the tests that stand beside policies: NAME.test.toml beside NAME.toml
    ///
    /// Each policy's tests are run with that policy alone in force, by the same code that serves. A test that gives its scores
    /// needs no guard; others ask the guard of the settings. A rule with `threshold = "guard"` takes the threshold of that
    /// guard's manifest, or 0.5 if the guard is not on this machine. Exits with 1 if a test fails, with 2 if a file is wrong.
    Test(test::Test),
    /// What a policy would change in recorded traffic, before it goes live
    Replay(Box<replay::Replay>),
    /// Print a policy that comes with Seawall, to be used by its name or copied and changed
    Show {
        /// Its name
        name: String,
        /// Print its tests instead
        #[arg(long)]
        tests: bool,
    },
    /// The JSON Schema of policy files, for editors: name it in a first line `#:schema PATH`
    Schema {
        /// That of files of tests instead
        #[arg(long)]
        tests: bool,
    },
}

/// Which policies, under which settings.
#[derive(Debug, Args)]
struct Which {
    /// Policy file, directory of policy files, or name of a policy that comes with Seawall; those of the settings if left out
    #[arg(value_name = "PATH", conflicts_with = "policies")]
    set: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl Which {
    /// The settings, with the policies that are named.
    fn load(self) -> Result<Config, Failed> {
        let mut config = self.settings.load(&[])?;
        config.policies.dir = self.set.or(config.policies.dir);
        Ok(config)
    }
}

impl Policy {
    pub(super) async fn run(self) -> Result<(), Failed> {
        match self {
            Self::Check(check) => check.run(),
            Self::Replay(replay) => replay.run().await,
            Self::Explain(explain) => explain.run().await,
            Self::Test(test) => test.run().await,
            Self::Show { name, tests } => {
                let shipped = policy::named(&name).map_err(usage)?;
                say(if tests { shipped.tests } else { shipped.text }.trim_end())
            }
            Self::Schema { tests } => say(if tests { trial::schema() } else { policy::schema() }.trim_end()),
        }
    }
}
