//! What ten thousand rules in a hundred policies cost: to load, to choose from for a call, and to ask of a text; and what long
//! lists of own words and expressions cost a search.

mod made;

use std::{error::Error, fs, hint::black_box, path::Path, sync::Arc, time::Instant};

use made::Kind;
use seawall::{
    policy::{HashKey, Policies, Terms, expression::Expression},
    scan::detect::{Detectors, Own},
};

const POLICIES: usize = 100;
const RULES: usize = 100;
const WORDS: usize = 100_000;
const PATTERNS: usize = 1_000;
const ROUNDS: usize = 9;
/// Seconds that a round gives to each thing that is timed, if one call does not take longer.
const TURN: f64 = 0.005;
const PROSE_BYTES: usize = 64 << 10;
const GUARDS: [&str; 2] = ["default", "large"];

type Answer<T> = Result<T, Box<dyn Error>>;

#[expect(clippy::print_stdout, reason = "this is how it answers")]
fn main() -> Answer<()> {
    println!("medians of {ROUNDS} rounds in which all that is compared has its turn\n");
    // First, while little else is resident.
    search()?;
    load()?;
    decide()
}

#[expect(clippy::print_stdout, reason = "this is how it answers")]
fn load() -> Answer<()> {
    let texts = made::policies(POLICIES, RULES, true, None);
    let dir = tempfile::tempdir()?;
    for (path, text) in made::named(texts.clone()) {
        fs::write(dir.path().join(path), text)?;
    }
    let conditions = conditions(&texts);
    let own: Vec<Own> = texts.iter().enumerate().map(|(number, _)| own(&format!("{number}/own"), number * 10, 10, 2)).collect();
    let kept = Policies::load(Some(dir.path()), &terms())?;
    let bytes: usize = texts.iter().map(String::len).sum();
    let mut subjects = Subjects::default();
    subjects.add("load", || Policies::load(Some(dir.path()), &terms()));
    subjects.add("  reading TOML, alone", || texts.iter().map(|text| text.parse::<toml::Table>()).collect::<Vec<_>>());
    subjects.add("  checking conditions, alone", || {
        conditions.iter().map(|source| Expression::compile(source, &GUARDS)).collect::<Vec<_>>()
    });
    subjects.add("  own detectors, alone", || Detectors::new(&own));
    println!(
        "{} rules in {} policies of {:.1} MB, {} with conditions",
        POLICIES * RULES,
        kept.names().count(),
        bytes as f64 / 1e6,
        conditions.len()
    );
    for (name, seconds) in subjects.time() {
        println!("{name:<44}{:>10.1} ms", 1e3 * seconds);
    }
    println!();
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is how it answers")]
fn decide() -> Answer<()> {
    let set = |policies, apart, only| -> Answer<Arc<Policies>> {
        let sources = made::named(made::policies(policies, RULES, apart, only));
        Ok(Arc::new(Policies::parse(&sources, &terms())?))
    };
    let apart = set(POLICIES, true, None)?;
    let together = [1, 10, POLICIES].map(|policies| set(policies, false, None));
    let kinds =
        [Kind::Threshold, Kind::Detectors, Kind::Simple, Kind::Complex].map(|kind| (kind, set(POLICIES, false, Some(kind))));
    let texts = [("harmless", made::evidence(false)), ("unsafe", made::evidence(true))];
    let (mut all, mut only) = (Vec::new(), Vec::new());
    for (policies, set) in [1, 10, POLICIES].into_iter().zip(together) {
        all.push((policies, set?.select(made::call())));
    }
    for (kind, set) in kinds {
        only.push((kind, set?.select(made::call())));
    }
    let chosen = apart.select(made::call());
    let mut subjects = Subjects::default();
    subjects.add(format!("select, one of {POLICIES} policies"), || apart.select(made::call()));
    subjects.add("  making the call, alone", made::call);
    for (text, evidence) in &texts {
        subjects.add(format!("decide, {text}, one policy of {RULES} rules"), || chosen.decide(evidence));
        for (policies, selected) in &all {
            subjects.add(format!("decide, {text}, all of {} rules", policies * RULES), || selected.decide(evidence));
        }
    }
    let [(_, harmless), _] = &texts;
    for (kind, selected) in &only {
        subjects.add(format!("{kind:?}"), || selected.decide(harmless));
    }
    let mut times = subjects.time();
    let by_kind = times.split_off(times.len() - only.len());
    for (name, seconds) in &times {
        println!("{name:<44}{:>10.2} us", 1e6 * seconds);
    }
    // From the smallest set to the largest: what is done once a text is left out.
    for (text, _) in &texts {
        let of = |rules: usize| times.iter().find(|(name, _)| *name == format!("decide, {text}, all of {rules} rules"));
        if let (Some((_, least)), Some((_, most))) = (of(RULES), of(POLICIES * RULES)) {
            println!("a rule more, {text:<31}{:>10.1} ns", 1e9 * (most - least) / ((POLICIES - 1) * RULES) as f64);
        }
    }
    println!("\na rule of one kind, {} in scope, harmless text", POLICIES * RULES);
    for (name, seconds) in by_kind {
        println!("{name:<44}{:>10.1} ns", 1e9 * seconds / (POLICIES * RULES) as f64);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is how it answers")]
fn search() -> Answer<()> {
    let prose = made::prose(Path::new(env!("CARGO_MANIFEST_DIR")), PROSE_BYTES)?;
    let mut kinds = vec![("built in", Detectors::default())];
    for (name, own) in [("own words", own("p/words", 0, WORDS, 0)), ("own regexes", own("p/regexes", 0, 0, PATTERNS))] {
        let (before, started) = (resident(), Instant::now());
        let detectors = Detectors::new(&[own])?;
        let seconds = started.elapsed().as_secs_f64();
        println!("{name:<44}{:>10.0} ms to build, {:.0} MB resident", 1e3 * seconds, resident() - before);
        kinds.push((name, detectors));
    }
    println!("\nsearch, MB/s{:>44}{:>14}{:>14}", "built in", "own words", "own regexes");
    for (language, messages) in &prose {
        let mut subjects = Subjects::default();
        for (name, detectors) in &kinds {
            subjects.add(*name, || messages.iter().map(|text| detectors.find(text, 0)).collect::<Vec<_>>());
        }
        let bytes = messages.iter().map(String::len).sum::<usize>() as f64;
        let times: Vec<f64> = subjects.time().into_iter().map(|(_, seconds)| seconds).collect();
        let [builtin, words, regexes] = times.as_slice() else { continue };
        // Own detectors are searched for beside the built-in ones.
        let speed = |seconds: f64| bytes / 1e6 / seconds;
        println!("{language:<12}{:>44.1}{:>14.1}{:>14.1}", speed(*builtin), speed(words - builtin), speed(regexes - builtin));
    }
    println!();
    Ok(())
}

fn own(name: &str, from: usize, words: usize, patterns: usize) -> Own {
    Own {
        name: name.to_owned(),
        words: (from..from + words).map(made::word).collect(),
        regexes: (from..from + patterns).map(made::pattern).collect(),
        mask: "[own]".to_owned(),
        context: Vec::new(),
    }
}

fn terms() -> Terms<'static> {
    Terms { guards: &GUARDS, dialects: &["openai_chat"], hash_key: HashKey::new(b"bench") }
}

/// The conditions of these policies' rules.
fn conditions(texts: &[String]) -> Vec<String> {
    let tables = texts.iter().filter_map(|text| text.parse::<toml::Table>().ok());
    let rules = tables.flat_map(|table| table.get("rule").and_then(toml::Value::as_array).cloned().unwrap_or_default());
    rules.filter_map(|rule| Some(rule.get("when")?.as_str()?.to_owned())).collect()
}

/// Megabytes of this process that are in memory; not a number where the system does not tell.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    line.map_or(f64::NAN, |kilobytes| kilobytes / 1e3)
}

/// Things to be timed in turn.
#[derive(Default)]
struct Subjects<'s> {
    all: Vec<(String, Box<dyn FnMut() + 's>)>,
}

impl<'s> Subjects<'s> {
    fn add<T>(&mut self, name: impl Into<String>, mut run: impl FnMut() -> T + 's) {
        let run = move || drop(black_box(run()));
        self.all.push((name.into(), Box::new(run)));
    }

    /// The seconds that one run of each takes: the median over rounds in which each has its turn.
    fn time(self) -> Vec<(String, f64)> {
        let timed = |run: &mut dyn FnMut(), times: usize| {
            let started = Instant::now();
            for _ in 0..times {
                run();
            }
            started.elapsed().as_secs_f64() / times as f64
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive count, bounded before")]
        let times = |once: f64| (TURN / once).clamp(1.0, 1e5) as usize;
        let mut all: Vec<_> =
            self.all.into_iter().map(|(name, mut run)| (name, times(timed(&mut run, 1)), run, Vec::new())).collect();
        for _ in 0..ROUNDS {
            for (_, times, run, seconds) in &mut all {
                seconds.push(timed(run, *times));
            }
        }
        let median = |mut seconds: Vec<f64>| {
            seconds.sort_by(f64::total_cmp);
            seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
        };
        all.into_iter().map(|(name, _, _, seconds)| (name, median(seconds))).collect()
    }
}
