//! The commands: what the library does, from a terminal.

mod completions;
mod config;
mod demo;
mod eval;
mod guard;
mod key;
mod man;
mod policy;
mod review;
mod scan;
mod serve;
mod text;
mod user;

use std::{fmt::Display, mem, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{Config, DEFAULT_GUARD, Guard, load},
    telemetry,
};

/// A guardrail in front of LLM APIs.
#[derive(Debug, Parser)]
#[command(name = "seawall", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Stand in front of an LLM and guard its traffic
    Serve(serve::Serve),
    /// Show it at work: a sample LLM, the embedded guard and real traffic in eight languages, all on this machine
    Demo(demo::Demo),
    /// Score texts: JSON Lines in, JSON Lines out
    Scan(scan::Scan),
    /// Measure a guard on labelled texts
    Eval(eval::Eval),
    /// Look at the settings, and find mistakes in them
    #[command(subcommand)]
    Config(config::Config),
    /// Look at a guard, prove it, tune it
    #[command(subcommand)]
    Guard(guard::Guard),
    /// Write and test policies
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Make keys for callers
    #[command(subcommand)]
    Key(key::Key),
    /// Make people and tools known to the admin listener
    #[command(subcommand)]
    User(user::User),
    /// Look at the record of flagged traffic
    #[command(subcommand)]
    Review(review::Review),
    /// Print what has a shell complete commands and options
    Completions(completions::Completions),
    /// Print the manual page of the program, or write those of all its commands
    Man(man::Man),
}

/// Settings that most commands share.
#[derive(Debug, Args)]
struct Settings {
    /// Settings' file; `seawall.toml` here if there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Policy file, directory of policy files, or name of a policy that comes with Seawall; `baseline` if left out
    #[arg(long, value_name = "PATH")]
    policies: Option<PathBuf>,
    /// Directory of a guard; the embedded guard if left out
    #[arg(long, value_name = "DIR")]
    guard: Option<PathBuf>,
    /// ONNX Runtime's shared library
    #[arg(long, value_name = "FILE", env = "ORT_DYLIB_PATH")]
    ort_lib: Option<PathBuf>,
}

impl Settings {
    fn load(&self, more: &[(&str, Option<String>)]) -> Result<Config, Failed> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let own =
            [("policies.dir", path(&self.policies)), ("guard.dir", path(&self.guard)), ("guard.ort_lib", path(&self.ort_lib))];
        let flags: Vec<(&str, String)> =
            own.into_iter().chain(more.iter().cloned()).filter_map(|(key, value)| Some((key, value?))).collect();
        load(self.config.as_deref(), &flags).map_err(usage)
    }
}

/// The settings with one guard and no other: `[guard]`, or the one of `[guards]` that is named.
fn with_one_guard(mut config: Config, name: Option<&str>) -> Result<Config, Failed> {
    let mut named = mem::take(&mut config.guards);
    if let Some(name) = name.filter(|name| *name != DEFAULT_GUARD) {
        let guard = named.remove(name).ok_or_else(|| no_guard(name, named.keys().map(String::as_str)))?;
        let library = config.guard.ort_lib.take();
        config.guard = Guard { ort_lib: guard.ort_lib.clone().or(library), ..guard };
    }
    Ok(config)
}

fn no_guard<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Failed {
    let near = known.min_by_key(|known| strsim::damerau_levenshtein(known, name)).unwrap_or(DEFAULT_GUARD);
    usage(format!("--guard-name: there is no guard `{name}` in the settings; did you mean `{near}`?"))
}

/// Why a command did not do its work.
#[derive(Debug)]
struct Failed {
    /// 1: it failed; 2: it was asked wrongly.
    code: u8,
    why: String,
}

/// The command was asked wrongly, or its settings are wrong.
fn usage(why: impl Display) -> Failed {
    Failed { code: 2, why: why.to_string() }
}

/// The command failed.
fn failed(why: impl Display) -> Failed {
    Failed { code: 1, why: why.to_string() }
}

/// Runs the command that the arguments name.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return tell(&failed(format!("cannot start the runtime: {e}"))),
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Serve(serve) => Box::pin(serve.run()).await,
            Command::Demo(demo) => Box::pin(demo.run()).await,
            Command::Scan(scan) => scan.run().await,
            Command::Eval(eval) => Box::pin(eval.run()).await,
            Command::Config(config) => config.run(),
            Command::Guard(guard) => guard.run().await,
            Command::Policy(policy) => policy.run().await,
            Command::Key(key) => key.run(),
            Command::User(user) => user.run(),
            Command::Review(review) => review.run().await,
            Command::Completions(completions) => completions.run(),
            Command::Man(man) => man.run(),
        }
    });
    // Reading standard input cannot be cancelled; a command that is done does not wait for it.
    runtime.shutdown_background();
    telemetry::flush();
    done.map_or_else(|failed| tell(&failed), |()| ExitCode::SUCCESS)
}

#[expect(clippy::print_stderr, reason = "a command speaks to its terminal")]
fn tell(failed: &Failed) -> ExitCode {
    // A command that has done all that was wanted of it has nothing to tell.
    if failed.code != 0 {
        eprintln!("seawall: {}", failed.why);
    }
    ExitCode::from(failed.code)
}

/// Writes a line to standard output; a reader that has gone (`| head`) ends the command quietly.
fn say(line: impl Display) -> Result<(), Failed> {
    use std::io::Write as _;
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Err(Failed { code: 0, why: "the reader has gone".to_owned() }),
        Err(e) => Err(failed(format!("cannot write: {e}"))),
    }
}
