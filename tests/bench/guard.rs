//! Guard throughput, driven line by line: each line of standard input, however empty, runs one round over all texts and is
//! answered with the seconds that it took. `tests/bench/guard.py` drives it and compares.
//!
//! usage: guard TEXTS.jsonl [GUARD [PROVIDER]]   (a JSON string a line)

use std::{env, fs, io, path::PathBuf, time::Instant};

use futures_util::future::try_join_all;
use seawall::{
    config::{self, Provider},
    guard::{Guard, Runtime, Unavailable},
    segment::Task,
};

#[expect(clippy::print_stdout, reason = "this is how it answers")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo bench` adds flags of its own.
    let mut arguments = env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let file = arguments.next().ok_or("usage: guard TEXTS.jsonl [GUARD [PROVIDER]]")?;
    let texts: Vec<String> = fs::read_to_string(file)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let settings = config::Guard {
        dir: arguments.next().map(PathBuf::from),
        provider: arguments.next().map_or(Ok(Provider::Cpu), |name| serde_json::from_value(name.into()))?,
        // All texts wait at once here; that is not what is measured.
        queue_tokens: usize::MAX,
        queue_ms: 600_000,
        deadline_ms: 600_000,
        // Nothing grows here, and a generative guard needs half the memory without.
        kv_tokens: 0,
        ..config::Guard::default()
    };
    // As `seawall` takes it; built elsewhere, this has none near it.
    let library = env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    let guard = Guard::load(&Runtime::load(library.as_deref())?, &settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for line in io::stdin().lines() {
        line?;
        let started = Instant::now();
        runtime.block_on(round(&guard, &texts))?;
        println!("{}", started.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Every text as the proxy scores it: cut into windows, encoded, batched, run.
async fn round(guard: &Guard, texts: &[String]) -> Result<(), Unavailable> {
    try_join_all(texts.iter().map(async |text| {
        let windows = guard.windows(Task::Prompt, text, None).await?;
        try_join_all(windows.into_iter().map(|window| guard.score(window))).await
    }))
    .await
    .map(drop)
}
