//! `seawall man`

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_mangen::generate_to;

use super::{Cli, Failed, failed, say};

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Directory to write the pages into, one for each command
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(&self) -> Result<(), Failed> {
        if let Some(dir) = &self.dir {
            return generate_to(Cli::command(), dir).map_err(|e| failed(format!("{}: cannot be written: {e}", dir.display())));
        }
        // As `generate_to` has it: `help` has no page of its own.
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).map_err(failed)?;
        say(String::from_utf8_lossy(&page).trim_end())
    }
}
