//! The record of a season in each database: how many flagged exchanges a second it takes, and how long reviewers wait for what
//! they ask of it.

mod cases;
#[expect(dead_code, reason = "of what is made up for policies, only the prose")]
mod made;
#[path = "../it/harness/postgres.rs"]
mod postgres;
#[path = "../it/harness/shell.rs"]
mod shell;

use std::{env, error::Error, fs, path::Path, time::Instant};

use cases::Made;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use seawall::{
    policy::Unstored,
    review::{Case, Filter, Recorder, State, Store},
    segment::Direction,
};
use sqlx::{Connection as _, PgConnection};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECORDS: u32 = 100_000;
/// The last ones, which are written while the rest is there.
const MEASURED: u32 = 20_000;
const CALLERS: u32 = 256;
/// Cases that are written at once where nothing is measured.
const BATCH: u32 = 1_024;
const PROSE_BYTES: usize = 1 << 20;
const PAGE: u32 = 50;
const MANY: u32 = 10_000;
const ROUNDS: usize = 5;
/// Seconds that a reviewer waits gladly.
const AIM: f64 = 0.2;

type Answer<T> = Result<T, Box<dyn Error>>;

#[expect(clippy::print_stdout, reason = "this is how it answers")]
fn main() -> Answer<()> {
    let records = records()?;
    let prose = made::prose(Path::new(env!("CARGO_MANIFEST_DIR")), PROSE_BYTES)?;
    let made = Made::new(records, Timestamp::now(), prose);
    let dir = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    println!("{records} records; medians of {ROUNDS} rounds, `!` where one is over {AIM} s\n");
    let sqlite = format!("sqlite://{}", dir.path().join("review.db").display());
    runtime.block_on(run("SQLite", &sqlite, &made, dir.path()))?;
    runtime.block_on(run("PostgreSQL", &postgres::database()?, &made, dir.path()))
}

fn records() -> Answer<u32> {
    let mut arguments = env::args().skip_while(|argument| argument != "--records").skip(1);
    let records = arguments.next().map_or(Ok(RECORDS), |records| records.parse())?;
    if records <= MEASURED {
        return Err(format!("--records must be more than {MEASURED}").into());
    }
    Ok(records)
}

#[expect(clippy::print_stdout, reason = "this is how it answers")]
async fn run(name: &str, url: &str, made: &Made, dir: &Path) -> Answer<()> {
    let store = Store::open(url).await?;
    let seeded = made.count() - MEASURED;
    seed(&store, url, made, seeded).await?;
    println!("{name}");
    let recorder = Recorder::start(store.clone(), dir.join(name))?;
    let cases = |caller| (seeded + caller..made.count()).step_by(CALLERS as usize).map(|number| made.case(number));
    let cases: Vec<Vec<Case>> = (0..CALLERS).map(|caller| cases(caller).collect()).collect();
    let begun = Spent::now()?;
    let callers = cases.into_iter().map(|cases| {
        let recorder = recorder.clone();
        tokio::spawn(async move {
            for case in cases {
                recorder.record(case, Unstored::Block).await?;
            }
            Ok::<_, seawall::review::Error>(())
        })
    });
    for recorded in try_join_all(callers).await? {
        recorded?;
    }
    written("flagged exchanges a second, 256 callers", &begun)?;
    while store.index().await? > 0 {}
    written("  the same until all texts are in the index", &begun)?;
    for (what, filter) in questions() {
        let mut rows = 0;
        let seconds = time(async || {
            rows = store.queue(&filter, None, PAGE).await?.len();
            Ok(())
        });
        waited(&what, &seconds.await?, rows);
    }
    let mut rows = 0;
    let seconds = time(async || {
        rows = store.count_up_to(&Filter::default(), MANY).await? as usize;
        Ok(())
    });
    waited("count", &seconds.await?, rows);
    println!();
    recorder.close().await;
    Ok(())
}

/// Writes the records before the measured ones, the fast way.
async fn seed(store: &Store, url: &str, made: &Made, count: u32) -> Answer<()> {
    let mut direct = if url.starts_with("postgres") { Some(PgConnection::connect(url).await?) } else { None };
    if let Some(direct) = &mut direct {
        sqlx::query("DROP INDEX cases_by_text").execute(direct).await?;
    }
    for first in (0..count).step_by(BATCH as usize) {
        let cases: Vec<Case> = (first..count.min(first + BATCH)).map(|number| made.case(number)).collect();
        store.record(&cases).await?;
    }
    while store.index().await? > 0 {}
    if let Some(direct) = &mut direct {
        for statement in ["CREATE INDEX cases_by_text ON cases USING gin (texts gin_trgm_ops)", "VACUUM ANALYZE"] {
            sqlx::query(statement).execute(&mut *direct).await?;
        }
    }
    Ok(())
}

fn questions() -> Vec<(String, Filter)> {
    let all = Filter::default;
    let text = |text: &str| Some(text.to_owned());
    let mut questions = vec![
        ("first page".to_owned(), all()),
        ("of a time".to_owned(), Filter { until: "45d".parse().ok(), ..all() }),
        ("of a common rule".to_owned(), Filter { rule: text("unsafe-prompt"), ..all() }),
        ("of a rare rule".to_owned(), Filter { rule: text("national-ids"), ..all() }),
        ("of no rule there is".to_owned(), Filter { rule: text("none"), ..all() }),
        ("of a policy".to_owned(), Filter { policy: text("strict"), ..all() }),
        ("of a direction".to_owned(), Filter { direction: Some(Direction::Response), ..all() }),
        ("of a language".to_owned(), Filter { language: text("th"), ..all() }),
        ("of a tenant".to_owned(), Filter { tenant: text("team-39"), ..all() }),
        ("of a key".to_owned(), Filter { key: text("key-399"), ..all() }),
        ("of a subject".to_owned(), Filter { subject: text("nobody"), ..all() }),
        ("of a decision".to_owned(), Filter { decision: text("flag"), ..all() }),
        ("of a state".to_owned(), Filter { state: Some(State::Wrong), ..all() }),
        ("of high scores".to_owned(), Filter { min_score: Some(0.995), ..all() }),
        (
            "of a rule, a tenant and a state".to_owned(),
            Filter { rule: text("unsafe-prompt"), tenant: text("team-39"), state: Some(State::Open), ..all() },
        ),
    ];
    // Each text has a ticket: low numbers are in many, high ones in few.
    for sought in
        ["ticket-1", "ticket-990", "ticket-1001", "zebra crossing", "how to", "ประเทศ", "ကျေးဇူး", "không", "ไม่มีใครเขียนคำนี้"]
    {
        questions.push((format!("search `{sought}`"), Filter { search: text(sought), ..all() }));
    }
    let both = Filter { search: text("ticket-5"), tenant: text("team-20"), ..all() };
    questions.push(("search `ticket-5` of a tenant".to_owned(), both));
    questions
}

/// Seconds that each round takes.
async fn time(mut what: impl AsyncFnMut() -> Answer<()>) -> Answer<Vec<f64>> {
    let mut seconds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        what().await?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds)
}

/// When something began, and this process's seconds of processor time until then.
struct Spent(Instant, f64);

impl Spent {
    fn now() -> Answer<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        // What follows the name, which may have anything in it; Linux counts hundredths of a second, of programs and of itself.
        let (_, fields) = stat.rsplit_once(')').ok_or("/proc/self/stat is not as known")?;
        let spent: Result<Vec<f64>, _> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect();
        Ok(Self(Instant::now(), spent?.iter().sum::<f64>() / 100.0))
    }
}

#[expect(clippy::print_stdout, reason = "this is how it answers")]
fn written(what: &str, begun: &Spent) -> Answer<()> {
    let (records, Spent(now, spent)) = (f64::from(MEASURED), Spent::now()?);
    let a_second = records / now.duration_since(begun.0).as_secs_f64();
    println!("  {what:<44}{a_second:>10.0}, {:.0} µs of processor time each", 1e6 * (spent - begun.1) / records);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is how it answers")]
fn waited(what: &str, seconds: &[f64], rows: usize) {
    let median = seconds.get(seconds.len() / 2).copied().unwrap_or_default();
    let late = if seconds.last().is_some_and(|worst| *worst > AIM) { "!" } else { "" };
    println!("  {what:<44}{:>10.1} ms {late:<2}{rows:>7} cases", 1e3 * median);
}
