//! `seawall completions`

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use super::{Cli, Failed, say};

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell that is to complete
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<(), Failed> {
        let mut command = Cli::command();
        let name = command.get_name().to_owned();
        // By way of memory: `generate` cannot say that its reader has gone.
        let mut script = Vec::new();
        generate(self.shell, &mut command, name, &mut script);
        say(String::from_utf8_lossy(&script).trim_end())
    }
}
