//! What the checks of a growing answer cost a decoder guard in all, as multiples of scoring the whole answer once: from what
//! was kept, and whole each time.
//!
//! usage: incremental GUARD

use std::{env, path::PathBuf, time::Instant};

use seawall::{
    config,
    guard::{Guard, Runtime, Unavailable},
    segment::Task,
};

/// Tokens of the answer, if a window of the guard holds so many, and tokens between checks.
const ANSWER: usize = 1_000;
const STEP: usize = 32;
const ROUNDS: usize = 5;
const PROMPT: &str = "How do I plan a day in town?";
const WORDS: &str = "The ferry leaves at nine, the market opens at ten, and lunch is by the river at noon. ";

#[expect(clippy::print_stdout, reason = "this is how it answers")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo bench` adds flags of its own.
    let mut arguments = env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let dir = arguments.next().ok_or("usage: incremental GUARD")?;
    // One thread: it is the work that is compared, not how well a short sequence spreads over cores.
    let settings =
        config::Guard { dir: Some(PathBuf::from(dir)), threads: Some(1), deadline_ms: 600_000, ..config::Guard::default() };
    let guard = Guard::load(&Runtime::load(None)?, &settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        rounds.push(runtime.block_on(measure(&guard, round))?);
    }
    // The first warms up.
    rounds.remove(0);
    let (tokens, checks) = rounds.first().map_or((0, 0), |round| (round.tokens, round.checks));
    let median = |times: fn(&Round) -> f64| {
        let mut times: Vec<f64> = rounds.iter().map(times).collect();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
    };
    println!("{tokens} tokens, template and prompt included, in {checks} checks {STEP} tokens apart; {ROUNDS} rounds");
    println!("one pass over all of it     {:8.2} ms", 1000.0 * median(|round| round.once));
    println!("checks from what was kept   {:8.2} times that", median(|round| round.grown / round.once));
    println!("checks whole each time      {:8.2} times that", median(|round| round.whole / round.once));
    println!("encoding for all checks     {:8.2} times that, not counted above", median(|round| round.encoding / round.once));
    Ok(())
}

/// Seconds of each kind.
struct Round {
    tokens: usize,
    checks: usize,
    once: f64,
    grown: f64,
    whole: f64,
    encoding: f64,
}

/// Each round has an answer of its own, of which nothing is kept.
async fn measure(guard: &Guard, round: usize) -> Result<Round, Unavailable> {
    let answer = answer(guard, &format!("Plan {round}: ")).await?;
    let started = Instant::now();
    let mut checks = Vec::new();
    for text in &answer {
        checks.extend(guard.windows(Task::Response, text, Some(PROMPT)).await?);
    }
    let encoding = started.elapsed().as_secs_f64();
    let Some(last) = checks.last().cloned() else { return Err(Unavailable::Engine("no check".to_owned())) };
    let (tokens, count) = (last.ids.len(), checks.len());
    let started = Instant::now();
    guard.score(last).await?;
    let once = started.elapsed().as_secs_f64();
    let started = Instant::now();
    for window in checks.clone() {
        guard.score_growing(window).await?;
    }
    let grown = started.elapsed().as_secs_f64();
    let started = Instant::now();
    for window in checks {
        guard.score(window).await?;
    }
    let whole = started.elapsed().as_secs_f64();
    Ok(Round { tokens, checks: count, once, grown, whole, encoding })
}

/// An answer as it is at each check, a word past the distance at most.
async fn answer(guard: &Guard, beginning: &str) -> Result<Vec<String>, Unavailable> {
    let mut text = beginning.to_owned();
    let empty = guard.windows(Task::Response, "", Some(PROMPT)).await?.first().map_or(0, |window| window.ids.len());
    let (mut checks, mut before) = (Vec::new(), empty);
    for word in WORDS.split_inclusive(' ').cycle() {
        text.push_str(word);
        let mut windows = guard.windows(Task::Response, &text, Some(PROMPT)).await?;
        let Some(window) = windows.pop().filter(|_| windows.is_empty()) else { break };
        if window.ids.len() >= before + STEP {
            before = window.ids.len();
            checks.push(text.clone());
        }
        if window.ids.len() >= empty + ANSWER {
            break;
        }
    }
    Ok(checks)
}
