//! `seawall policy`

mod test;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Failed, Settings, say, usage};
use crate::{config::Config, policy, trial};

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Run the tests that stand beside policies: NAME.test.toml beside NAME.toml
    ///
    /// Each policy's tests are run with that policy alone in force, by the same code that serves. A test that gives its scores
    /// needs no guard; others ask the guard of the settings. A rule with `threshold = "guard"` takes the threshold of that
    /// guard's manifest, or 0.5 if the guard is not on this machine. Exits with 1 if a test fails, with 2 if a file is wrong.
    Test(test::Test),
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
    path: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl Which {
    /// The settings, with the policies that are named.
    fn load(self) -> Result<Config, Failed> {
        let mut config = self.settings.load(&[])?;
        config.policies.dir = self.path.or(config.policies.dir);
        Ok(config)
    }
}

impl Policy {
    pub(super) async fn run(self) -> Result<(), Failed> {
        match self {
            Self::Test(test) => test.run().await,
            Self::Show { name, tests } => {
                let shipped = policy::named(&name).map_err(usage)?;
                say(if tests { shipped.tests } else { shipped.text }.trim_end())
            }
            Self::Schema { tests } => say(if tests { trial::schema() } else { policy::schema() }.trim_end()),
        }
    }
}
