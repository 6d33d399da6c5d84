//! Guards that run in this process: sessions on each device, all fed from one queue.

use std::{
    iter,
    panic::resume_unwind,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use super::{
    Growth, Proof,
    batch::{Asker, Job},
    classifier::Classifier,
    decoder::{Counts, Decoder},
    engine::Engine,
    manifest::{Kind, Manifest, Unusable},
    proof::{Golden, prove, warm},
    runtime::{Opener, Runtime, cores},
    tokenize::Encoder,
    worker::{Rules, Session, Workers},
};
use crate::config::{self, Provider};

/// Time between two checks of a session that fails them.
const REST: Duration = Duration::from_secs(10);

/// A guard's sessions. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Here {
    workers: Workers,
    provider: Provider,
    proof: Proof,
    /// One for each session, if texts that grow are scored from what was kept of them.
    counts: Vec<Arc<Counts>>,
}

impl Here {
    /// Opens the sessions and proves each on the golden texts.
    pub(super) fn load(
        runtime: &Runtime,
        dir: &Path,
        manifest: &Manifest,
        encoder: &Encoder,
        settings: &config::Guard,
    ) -> Result<Self, Unusable> {
        let golden = super::golden(dir, manifest, encoder)?;
        let (mut engines, mut counts, mut proof) = (Vec::new(), Vec::new(), Proof::default());
        let sessions = settings.sessions.unwrap_or_else(|| sessions(manifest.kind, settings.provider));
        for &device in &settings.devices {
            let opener = Opener { runtime, dir, settings, device, sessions, graphs: sessions, grows: false };
            for opened in at_once(sessions, || session(opener, manifest, encoder, &golden)) {
                let (engine, own, seen) = opened?;
                engines.push((settings.provider.device(device), engine));
                counts.extend(own);
                proof = proof.worst(seen);
            }
        }
        let rules = Rules { room: super::room(settings), budget: settings.batch_tokens(), rest: REST };
        let check = check(golden, manifest.golden.tolerance);
        let workers = Workers::start(engines, rules, Box::new(check))
            .map_err(|e| Unusable::new(dir, format!("cannot start its threads: {e}")))?;
        Ok(Self { workers, provider: settings.provider, proof, counts })
    }

    pub(super) fn push(&self, job: Job) {
        self.workers.push(job);
    }

    /// Whether there is no room for a text of this request's.
    pub(super) fn refuses(&self, asker: &Asker) -> bool {
        self.workers.refuses(asker)
    }

    pub(super) fn provider(&self) -> Provider {
        self.provider
    }

    pub(super) fn proof(&self) -> Proof {
        self.proof
    }

    /// Texts that wait.
    pub(super) fn waiting(&self) -> usize {
        self.workers.waiting()
    }

    /// Batches begun so far.
    pub(super) fn batches(&self) -> u64 {
        self.workers.batches()
    }

    /// Begins no more batches, and waits until those under way are done.
    pub(super) async fn close(&self) {
        self.workers.close().await;
    }

    /// How each session stands.
    pub(super) fn sessions(&self) -> Vec<Session> {
        self.workers.sessions()
    }

    /// What was done for texts that grow, by all sessions; `None` if nothing is kept of them.
    pub(super) fn growth(&self) -> Option<Growth> {
        let all = |count: fn(&Counts) -> &AtomicU64| self.counts.iter().map(|counts| count(counts).load(Relaxed)).sum();
        self.keeps().then(|| Growth {
            checks: all(|counts| &counts.checks),
            fed: all(|counts| &counts.fed),
            reused: all(|counts| &counts.reused),
            kept: all(|counts| &counts.kept),
            failed: all(|counts| &counts.failed),
        })
    }

    /// Whether anything is kept of texts that grow.
    pub(super) fn keeps(&self) -> bool {
        !self.counts.is_empty()
    }
}

/// How many sessions a device has if no number is named. On a processor batches side by side, each on fewer cores, wait less for
/// each other than a batch's own threads do; two have most of that for the price of one more copy of the weights, which a
/// generative guard has too many of.
fn sessions(kind: Kind, provider: Provider) -> usize {
    match (kind, provider) {
        (Kind::SequenceClassification, Provider::Cpu) => cores().min(2),
        _ => 1,
    }
}

/// What `open` gives, so many times at once.
fn at_once<T: Send>(times: usize, open: impl Fn() -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let others: Vec<_> = (1..times).map(|_| scope.spawn(&open)).collect();
        let first = open();
        iter::once(first)
            .chain(others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic))))
            .collect()
    })
}

type Opened = (Box<dyn Engine>, Option<Arc<Counts>>, Proof);

/// A session, proven.
fn session(opener: Opener<'_>, manifest: &Manifest, encoder: &Encoder, golden: &[Golden]) -> Result<Opened, Unusable> {
    let (mut engine, counts): (Box<dyn Engine>, _) = match manifest.kind {
        Kind::SequenceClassification => (Box::new(Classifier::load(opener, manifest)?), None),
        Kind::DecoderLabel => {
            let decoder = Decoder::load(opener, manifest, encoder)?;
            let counts = decoder.counts();
            (Box::new(decoder), counts)
        }
    };
    let proof = prove(opener.dir, manifest, golden, engine.as_mut(), counts.is_some())?;
    if let Some(counts) = &counts {
        counts.restart();
    }
    let provider = opener.settings.provider;
    if provider != Provider::Cpu {
        let device = provider.device(opener.device);
        warm(engine.as_mut(), manifest)
            .map_err(|e| Unusable::new(opener.dir, format!("the longest text cannot be run on {device}: {e}")))?;
    }
    Ok((engine, counts, proof))
}

/// Whether an engine still scores the first of the golden texts rightly.
fn check(golden: Vec<Golden>, tolerance: f32) -> impl Fn(&mut dyn Engine) -> Result<(), String> {
    move |engine| {
        let Some(golden) = golden.first() else { return Ok(()) };
        let scores = engine.run(&golden.windows.iter().collect::<Vec<_>>()).map_err(|error| error.to_string())?;
        golden.gap(&scores, tolerance).map(drop).map_err(|off| format!("it scores a golden text {off}"))
    }
}
