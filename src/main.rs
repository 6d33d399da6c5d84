//! The command line's way in: see [`seawall::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    seawall::cli::run()
}
