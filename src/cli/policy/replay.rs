//! `seawall policy replay`

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, future::ready, stream};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::{
    fs::File,
    io::{AsyncBufReadExt as _, AsyncRead, BufReader, stdin},
};

use super::super::{Failed, Settings, failed, say, text::short, usage};
use crate::{
    config::{Config, Uncovered},
    policy::Policies,
    replay::{Counts, Decided, Example, Exchange, Tally},
    review::{Case, Filter, Moment, Order, Seal, Store},
    scan::Scanner,
    segment::Direction,
    server,
    telemetry::Metrics,
};

/// Exchanges decided at once, so that a guard has full batches.
const AT_ONCE: usize = 64;
/// Columns of a terminal that the report needs.
const COLUMNS: usize = 100;
/// Rules and languages shown; `--json` has all.
const ROWS: usize = 40;

/// Decides recorded exchanges anew, under the policies of `--policies`, and tells what changes.
///
/// The record holds what some rule matched. For a fair picture of ordinary traffic, have a rule with `action = "flag"` and
/// `sample = 0.01` record a share of it first.
///
/// Texts are as the record keeps them: what detectors found is masked, and counts as found. Own detectors of the policies are
/// searched in the rest. Scores are those of then; where a rule asks a guard that was not asked, the exchange is left out and
/// counted, or with `--rescore` the guard is asked now, about the masked text. Claims of tokens are not kept, so a condition
/// that reads one has no answer and its rule matches.
#[derive(Debug, Args)]
pub(in crate::cli) struct Replay {
    #[command(flatten)]
    settings: Settings,
    /// Recorded traffic as `seawall review export` writes it, `-` for standard input; the store of the settings if left out
    #[arg(value_name = "FILE", conflicts_with = "store")]
    file: Option<PathBuf>,
    /// Where traffic is recorded [default: sqlite://seawall.db]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Compare with what these policies would have decided, not with what was decided
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,
    /// Only exchanges since then: `2026-01-31`, `2026-01-31T12:00` (UTC), or so long ago: `12h`, `7d`
    #[arg(long, value_name = "WHEN")]
    since: Option<Moment>,
    /// At most so many exchanges: the newest of a store, the first of a file
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Examples of each change
    #[arg(long, value_name = "N", default_value_t = 3)]
    examples: usize,
    /// Ask guards that were not asked then
    #[arg(long)]
    rescore: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Exit with 1 if any decision changes
    #[arg(long)]
    fail_on_change: bool,
}

/// A line of an export.
#[derive(Debug, Deserialize)]
struct Line {
    case: Case,
}

/// What cases are asked under.
struct Trial {
    proposed: Arc<Policies>,
    /// What is compared with, if not the record.
    against: Option<Arc<Policies>>,
    uncovered: Uncovered,
    dialects: Vec<&'static str>,
    scanner: Option<Scanner>,
}

/// What became of a case.
enum Tried {
    NoEvidence,
    /// These guards have not judged it.
    Unscored(Vec<Arc<str>>),
    Decided {
        case: Box<Case>,
        was: Decided,
        now: Decided,
        rescored: bool,
    },
}

impl Replay {
    pub(in crate::cli) async fn run(self) -> Result<(), Failed> {
        let config = self.settings.load(&[("review.store", self.store.clone())])?;
        let proposed = Arc::new(server::policies(&config).map_err(usage)?);
        let against = self.against.clone().map(|dir| {
            let mut config = config.clone();
            config.policies.dir = Some(dir);
            server::policies(&config).map(Arc::new).map_err(usage)
        });
        let scanner = match self.rescore {
            true => Some(server::scanner(&config, &Arc::new(Metrics::default())).await.map_err(usage)?),
            false => None,
        };
        let uncovered = config.policies.uncovered;
        let trial =
            Trial { proposed, against: against.transpose()?, uncovered, dialects: server::dialects().collect(), scanner };
        let tally = match &self.file {
            Some(_) => self.tally(&trial, self.lines().await?).await?,
            None => {
                let store = self.opened(&config).await?;
                let filter = Filter { since: self.since, ..Filter::default() };
                let limit = self.limit.map_or(usize::MAX, |limit| limit as usize);
                self.tally(&trial, store.cases(filter, Order::NewestFirst).take(limit).map_err(failed)).await?
            }
        };
        if self.json {
            say(serde_json::to_string(&tally).map_err(failed)?)?;
        } else {
            report(&tally, &trial)?;
        }
        match tally.changed {
            changed @ 1.. if self.fail_on_change => Err(failed(format!("{changed} decisions change"))),
            _ => Ok(()),
        }
    }

    async fn opened(&self, config: &Config) -> Result<Store, Failed> {
        let seal = Seal::new(&config.review.keys).map_err(usage)?;
        Ok(Store::open_existing(&config.review.store).await.map_err(failed)?.sealing(seal))
    }

    /// The cases of a file.
    async fn lines(&self) -> Result<impl Stream<Item = Result<Case, Failed>> + use<>, Failed> {
        let file = self.file.clone().unwrap_or_default();
        let name = file.display().to_string();
        let input: Box<dyn AsyncRead + Unpin + Send> = if name == "-" {
            Box::new(stdin())
        } else {
            Box::new(File::open(&file).await.map_err(|e| usage(format!("{name}: cannot be read: {e}")))?)
        };
        let (since, limit) = (self.since.map(Moment::timestamp), self.limit.map_or(usize::MAX, |limit| limit as usize));
        let lines = stream::try_unfold((BufReader::new(input).lines(), 1_usize), |(mut lines, number)| async move {
            let line = lines.next_line().await?;
            Ok::<_, std::io::Error>(line.map(|line| ((number, line), (lines, number + 1))))
        });
        let cases = lines.map(move |line| {
            let (number, line) = line.map_err(|e| failed(format!("{name}: {e}")))?;
            let line: Line = serde_json::from_str(&line)
                .map_err(|e| usage(format!("{name}:{number}: {e}; `seawall review export` writes what is read here")))?;
            Ok(line.case)
        });
        let began = move |case: &Case| since.is_none_or(|since| case.at.parse::<Timestamp>().is_ok_and(|at| at >= since));
        Ok(cases.try_filter(move |case| ready(began(case))).take(limit))
    }

    async fn tally(&self, trial: &Trial, cases: impl Stream<Item = Result<Case, Failed>>) -> Result<Tally, Failed> {
        let tried = cases.map_ok(async |case| Ok::<_, Failed>(trial.run(case).await)).try_buffered(AT_ONCE);
        let count = async |mut tally: Tally, tried| {
            match tried {
                Tried::NoEvidence => tally.leave_out(),
                Tried::Unscored(guards) => tally.unscored(guards.iter().map(|name| &**name)),
                Tried::Decided { case, was, now, rescored } => {
                    tally.rescored += u64::from(rescored);
                    tally.add(&case, &was, &now);
                }
            }
            Ok(tally)
        };
        tried.try_fold(Tally::new(self.examples), count).await
    }
}

impl Trial {
    async fn run(&self, case: Case) -> Tried {
        let mut rescored = false;
        let Some(now) = self.decide(&case, &self.proposed, &mut rescored).await else { return Tried::NoEvidence };
        let was = match &self.against {
            Some(against) => self.decide(&case, against, &mut rescored).await,
            None => Some(Ok(Decided::recorded(&case))),
        };
        match (was, now) {
            (None, _) => Tried::NoEvidence,
            (Some(Err(guards)), _) | (_, Err(guards)) => Tried::Unscored(guards),
            (Some(Ok(was)), Ok(now)) => Tried::Decided { case: Box::new(case), was, now, rescored },
        }
    }

    /// What policies decide, or which guards they need for it; nothing if the case has no evidence.
    async fn decide(
        &self,
        case: &Case,
        policies: &Arc<Policies>,
        rescored: &mut bool,
    ) -> Option<Result<Decided, Vec<Arc<str>>>> {
        let mut exchange = Exchange::new(case, policies, &self.dialects)?;
        if let Some(scanner) = &self.scanner
            && !exchange.unasked().is_empty()
        {
            exchange.rescore(scanner).await;
            *rescored = true;
        }
        let unasked = exchange.unasked();
        if unasked.is_empty() {
            return Some(Ok(exchange.decide(self.uncovered)));
        }
        Some(Err(unasked.into_iter().filter_map(|guard| policies.guards().get(guard).cloned()).collect()))
    }
}

fn report(tally: &Tally, trial: &Trial) -> Result<(), Failed> {
    let names = |policies: &Policies| format!("{} ({})", policies.names().collect::<Vec<_>>().join(" "), policies.revision());
    say(clip(&format!("policies  {}", names(&trial.proposed))))?;
    let against = trial.against.as_deref().map_or_else(|| "what was decided".to_owned(), names);
    say(clip(&format!("against   {against}")))?;
    let period = tally.period.as_ref();
    let period = period.map_or_else(String::new, |(first, last)| format!(", {} to {} (UTC)", time(first), time(last)));
    say(format!("decided   {}{period}", exchanges(tally.exchanges)))?;
    for (guard, count) in tally.guards.iter().take(ROWS) {
        say(clip(&format!("scores    {count} by {guard}")))?;
    }
    notes(tally)?;
    say(format!("\n{} of {} decisions change", tally.changed, tally.exchanges))?;
    if !tally.changes.is_empty() {
        say(format!("\n{:<20} {:>10} {:>10} {:>10}  LANGUAGES", "DECISION", "EXCHANGES", "REQUEST", "RESPONSE"))?;
    }
    let mut changes: Vec<_> = tally.changes.iter().collect();
    changes.sort_by_key(|change| (std::cmp::Reverse(change.exchanges), change.from, change.to));
    for change in &changes {
        let languages: Vec<String> = change.languages.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let name = format!("{} → {}", change.from, change.to);
        let counts = format!("{:>10} {:>10} {:>10}", change.exchanges, change.requests, change.responses);
        say(clip(&format!("{name:<20} {counts}  {}", languages.join(", "))))?;
    }
    rules(tally)?;
    if !tally.languages.is_empty() {
        say(format!("\n{:<20} {:>10} {:>10}", "LANGUAGE", "EXCHANGES", "CHANGED"))?;
    }
    for (name, (all, changed)) in tally.languages.iter().take(ROWS) {
        say(format!("{name:<20} {all:>10} {changed:>10}"))?;
    }
    for change in changes.iter().filter(|change| !change.examples.is_empty()) {
        say(format!("\n{} → {}, for example", change.from, change.to))?;
        change.examples.iter().try_for_each(example)?;
    }
    Ok(())
}

/// What the counts do not hold, and why.
fn notes(tally: &Tally) -> Result<(), Failed> {
    if tally.without_evidence > 0 {
        say(format!("left out  {} recorded before evidence was kept", exchanges(tally.without_evidence)))?;
    }
    if tally.not_rescored > 0 {
        let guards: Vec<String> = tally.needs_rescoring.iter().map(|(name, count)| format!("`{name}` {count}")).collect();
        say(clip(&format!("left out  {} that need rescoring, by {}", exchanges(tally.not_rescored), guards.join(", "))))?;
        say("          `--rescore` asks these guards now, about the masked text")?;
    }
    if tally.rescored > 0 {
        say(format!("rescored  {}, from the text as it is kept, which is masked", exchanges(tally.rescored)))?;
    }
    if tally.unanswered > 0 {
        say(format!("unknown   {} that pass now: the model was not asked then", exchanges(tally.unanswered)))?;
    }
    Ok(())
}

/// The rules, those that match anew or no more first.
fn rules(tally: &Tally) -> Result<(), Failed> {
    let mut rules: Vec<(&String, &Counts)> = tally.rules.iter().collect();
    if rules.is_empty() {
        return Ok(());
    }
    rules.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.new + counts.gone));
    let most = COLUMNS - 33;
    let width = rules.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default().clamp(20, most);
    say(format!("\n{:<width$} {:>10} {:>10} {:>10}", "RULE", "NEW", "GONE", "STILL"))?;
    for (name, counts) in rules.iter().take(ROWS) {
        say(format!("{:<width$} {:>10} {:>10} {:>10}", short(name, most - 1), counts.new, counts.gone, counts.still))?;
    }
    if rules.len() > ROWS {
        say(format!("… and {} more: see `--json`", rules.len() - ROWS))?;
    }
    Ok(())
}

fn example(example: &Example) -> Result<(), Failed> {
    let side = if example.direction == Direction::Request { "prompt" } else { "answer" };
    say(format!("  {}  {}", example.id, time(&example.at)))?;
    say(format!("    {side}  {}", short(&example.text, COLUMNS - 15)))?;
    for (word, rules) in [("was", &example.was), ("now", &example.now)] {
        let rules = if rules.is_empty() { "no rule".to_owned() } else { rules.join(", ") };
        say(format!("    {word:<6}  {}", short(&rules, COLUMNS - 15)))?;
    }
    Ok(())
}

fn exchanges(count: u64) -> String {
    if count == 1 { "1 exchange".to_owned() } else { format!("{count} exchanges") }
}

/// A time to the second.
fn time(at: &str) -> String {
    at.get(..19).unwrap_or(at).replace('T', " ")
}

/// A line that fits.
fn clip(line: &str) -> String {
    match line.char_indices().nth(COLUMNS) {
        Some(_) => line.chars().take(COLUMNS - 1).chain(['…']).collect(),
        None => line.to_owned(),
    }
}
