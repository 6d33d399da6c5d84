//! `seawall user`

use std::{
    fmt::Display,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
};

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::{Failed, failed, say, usage};
use crate::{
    config::Role,
    console::password_hash,
    identity::{Secret, hash, new_key},
};

#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Ask for a password, and print the lines for `seawall.toml` that let this person sign in at the admin listener
    New {
        #[command(flatten)]
        who: Who,
        /// Read the password from standard input, its first line, in place of asking for it
        #[arg(long)]
        password_stdin: bool,
    },
    /// Make a token for a tool: prints it, once, and the lines for `seawall.toml` that let it in at the admin listener
    Token {
        #[command(flatten)]
        who: Who,
    },
}

#[derive(Debug, Args)]
pub(super) struct Who {
    /// The name, to sign in by and in records
    name: String,
    /// What they may do: look, decide, or all
    #[arg(long, value_parser = PossibleValuesParser::new(Role::ALL.map(Role::name)))]
    role: String,
}

impl User {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            Self::New { who, password_stdin } => {
                let password = if password_stdin { line()? } else { ask()? };
                let hash = password_hash(&password).map_err(usage)?;
                say("# For `seawall.toml`:")?;
                say(who.lines("users", "password", &hash))
            }
            Self::Token { who } => {
                let token = new_key().map_err(failed)?;
                say(token.expose())?;
                say("\n# The token is shown this once. For `seawall.toml`:")?;
                say(who.lines("tokens", "hash", &hash(token.expose())))
            }
        }
    }
}

impl Who {
    fn lines(&self, table: &str, key: &str, hash: &str) -> String {
        let name = toml::Value::String(self.name.clone());
        format!("[[admin.{table}]]\nname = {name}\nrole = \"{}\"\n{key} = \"{hash}\"", self.role)
    }
}

/// The first line of standard input.
fn line() -> Result<Secret, Failed> {
    let mut text = Zeroizing::new(String::new());
    io::stdin().lock().read_line(&mut text).map_err(failed)?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

/// Asks on the terminal, twice.
fn ask() -> Result<Secret, Failed> {
    if !io::stdin().is_terminal() {
        return Err(usage("standard input is no terminal to ask for the password on: use `--password-stdin`"));
    }
    let silent = Silent::new()?;
    let first = prompt("Password: ")?;
    let second = prompt("The same again: ")?;
    drop(silent);
    if first == second { Ok(first) } else { Err(usage("these are two different passwords")) }
}

fn prompt(text: impl Display) -> Result<Secret, Failed> {
    let mut terminal = io::stderr();
    write!(terminal, "{text}").and_then(|()| terminal.flush()).map_err(failed)?;
    let answer = line()?;
    writeln!(terminal).map_err(failed)?;
    Ok(answer)
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Silent(Termios);

impl Silent {
    fn new() -> Result<Self, Failed> {
        let own = tcgetattr(io::stdin()).map_err(failed)?;
        let mut silent = own.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent).map_err(failed)?;
        Ok(Self(own))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // A terminal that has gone away shows nothing either.
        tcsetattr(io::stdin(), OptionalActions::Flush, &self.0).unwrap_or(());
    }
}
