//! The command line's way in: see [`seawall::cli`].

use std::process::ExitCode;

/// An exchange takes and gives back hundreds of small pieces of memory, on whichever thread it is on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    seawall::cli::run()
}
