//! Which waiting texts run together: whose turn it is first, with others of like length, within a budget of padded tokens.
//!
//! Requests take turns: in each round about as many tokens of every request that has any waiting, so that one with hundreds of
//! windows holds up nobody for longer than one with a few, and one of many short texts gets as much as one of a long text (deficit
//! round robin: Shreedhar and Varghese, 1995). The answers to requests that were let in go first, and who would wait too long is
//! refused at once. Pure: it is told the time, and knows neither threads nor graphs.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{Unavailable, tokenize::Window};

/// Most tokens of a request's in a round, in more windows than one: most requests are done in one round or two, and who waits for
/// those of a long one waits for some hundredths of a second on two cores.
const QUANTUM: usize = 256;

/// A window that waits for its score.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) window: Window,
    pub(super) asker: Asker,
    /// The window is of a text that grows, whose beginning may be kept: it runs by itself.
    pub(super) grows: bool,
    /// The session that it is to run on; any if there is none.
    pub(super) home: Option<Home>,
    pub(super) deadline: Instant,
    pub(super) ticket: Ticket,
    pub(super) reply: oneshot::Sender<Result<f32, Unavailable>>,
}

/// When a window came, and how it was served.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    since: Instant,
    turn: Arc<OnceLock<Turn>>,
}

/// How a window came to its batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn {
    /// How long it waited.
    pub wait: Duration,
    /// Windows of the batch.
    pub texts: u32,
    /// Whether it is the first of them: who counts batches counts these.
    pub is_first: bool,
}

impl Ticket {
    /// One of a window that comes now.
    pub(super) fn at(now: Instant) -> Self {
        Self { since: now, turn: Arc::default() }
    }

    /// How it was served, once it was.
    pub(super) fn turn(&self) -> Option<Turn> {
        self.turn.get().copied()
    }

    fn call(&self, now: Instant, texts: u32, is_first: bool) {
        // A window is in one batch only.
        self.turn.get_or_init(|| Turn { wait: now.saturating_duration_since(self.since), texts, is_first });
    }
}

/// The request that a window is of. What has no other windows can have one of its own.
#[derive(Debug, Clone, Default)]
pub(super) struct Asker {
    standing: Arc<Mutex<Standing>>,
    /// Its exchange was let in: what was judged of it before would be lost.
    has_begun: bool,
}

/// How a request stands with the queue that its windows go to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Standing {
    /// None of its windows has come.
    #[default]
    New,
    /// It was let in: the round of its last window, and the tokens of its windows of that round.
    In { round: u64, tokens: usize },
    /// Its first window found no room.
    Refused,
}

impl Asker {
    /// One that is not refused for the time that it would wait, and whose first windows go before all others.
    pub(super) fn begun() -> Self {
        Self { has_begun: true, ..Self::default() }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    /// The round of one more window, of so many tokens, where one is under way, and the request's tokens in it.
    fn next(self, tokens: usize, under_way: u64, has_begun: bool) -> Option<(u64, usize)> {
        match self {
            Self::New => Some((if has_begun { 0 } else { under_way + 1 }, tokens)),
            Self::In { round, tokens: before } if before + tokens <= QUANTUM && (round == 0 || round >= under_way) => {
                Some((round, before + tokens))
            }
            Self::In { round, .. } => Some((round.max(under_way) + 1, tokens)),
            Self::Refused => None,
        }
    }
}

/// The session that keeps the beginning of a text that grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Home {
    /// Its number.
    pub(super) session: usize,
    /// Tokens of the text that it does not keep.
    pub(super) fresh: usize,
}

impl Job {
    fn is_for(&self, session: usize) -> bool {
        self.home.is_none_or(|home| home.session == session)
    }
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Most tokens.
    pub(super) tokens: usize,
    /// Longest wait of a request for its first turn, as far as can be told; `Duration::MAX` if none is too long.
    pub(super) wait: Duration,
}

/// The waiting jobs of one guard.
#[derive(Debug)]
pub(super) struct Queue {
    /// In the order of their rounds, and within a round as they came.
    jobs: VecDeque<Waiting>,
    /// The round that the last batch began with.
    round: u64,
    /// Tokens that wait.
    tokens: usize,
    room: Room,
    pace: Pace,
    /// Batches taken so far.
    batches: u64,
}

#[derive(Debug)]
struct Waiting {
    round: u64,
    job: Job,
}

impl Waiting {
    fn tokens(&self) -> usize {
        self.job.window.ids.len()
    }

    /// It waits for its turn; the first windows of answers do not.
    fn takes_turns(&self) -> bool {
        self.round > 0
    }
}

impl Queue {
    pub(super) fn new(room: Room) -> Self {
        Self { jobs: VecDeque::new(), round: 0, tokens: 0, room, pace: Pace::default(), batches: 0 }
    }

    /// Adds a job, or answers it at once that there is no room. An empty queue takes any job, and a request whose first window
    /// it took has only the queue's end to fear: what was read of it would be lost.
    pub(super) fn push(&mut self, job: Job) {
        let length = job.window.ids.len();
        let Some((round, tokens)) = self.turn(&job.asker, length) else {
            // The caller may have gone; then nobody needs the answer.
            drop(job.reply.send(Err(Unavailable::Overloaded)));
            return;
        };
        *job.asker.standing() = Standing::In { round, tokens };
        self.tokens += length;
        self.jobs.insert(self.place(round), Waiting { round, job });
    }

    /// Whether there is no room for this request, as far as can be told before its text is encoded. One that is new and told so
    /// is refused from then on.
    pub(super) fn refuses(&self, asker: &Asker) -> bool {
        self.turn(asker, 0).is_none()
    }

    /// The round of a request's next window, of so many tokens, and its tokens in that round; `None` if there is no room. If
    /// there is none for its first, there is none for the others, however soon they come: it gets no answer, and they would be
    /// judged in vain.
    fn turn(&self, asker: &Asker, tokens: usize) -> Option<(u64, usize)> {
        let mut standing = asker.standing();
        let (round, own) = standing.next(tokens, self.round, asker.has_begun)?;
        let is_full = !self.jobs.is_empty() && self.tokens + tokens > self.room.tokens;
        let is_new = *standing == Standing::New;
        if is_full || (is_new && !asker.has_begun && self.is_late(self.place(round))) {
            if is_new {
                *standing = Standing::Refused;
            }
            return None;
        }
        Some((round, own))
    }

    /// Where a window of this round comes.
    fn place(&self, round: u64) -> usize {
        self.jobs.partition_point(|waiting| waiting.round <= round)
    }

    /// Whether what is at this place would wait too long: those that take turns come on at the pace that the answers, which
    /// go before them, have left them lately.
    fn is_late(&self, at: usize) -> bool {
        if self.room.wait == Duration::MAX {
            return false;
        }
        let soon = self.pace.within(self.room.wait);
        self.tokens > soon
            && self.jobs.iter().take(at).filter(|other| other.takes_turns()).map(Waiting::tokens).sum::<usize>() > soon
    }

    /// The next batch for a session: of its jobs that are still wanted the one whose turn it is, then others in the order of
    /// their likeness in length, as long as the batch, padded to its longest, stays within `budget` tokens and is at most half
    /// padding. The first goes first whatever its kind, so neither jobs that run by themselves nor batches keep the others
    /// waiting.
    pub(super) fn take(&mut self, session: usize, budget: usize, now: Instant) -> Vec<Job> {
        self.drop_unwanted(now);
        let first = self.jobs.iter().position(|waiting| waiting.job.is_for(session)).and_then(|at| self.jobs.remove(at));
        let Some(first) = first else { return Vec::new() };
        self.round = self.round.max(first.round);
        let length = first.tokens();
        let joins = |(index, other): (usize, &Waiting)| {
            let alike = other.tokens() <= 2 * length && length <= 2 * other.tokens();
            (alike && !first.job.grows && !other.job.grows).then_some((other.tokens(), index))
        };
        let mut alike: Vec<(usize, usize)> = self.jobs.iter().enumerate().filter_map(joins).collect();
        alike.sort_by_key(|(other, _)| other.abs_diff(length));
        let mut longest = length;
        let mut chosen = Vec::new();
        for (other, index) in alike {
            // The first, those chosen, and this one.
            if longest.max(other) * (chosen.len() + 2) > budget {
                break;
            }
            longest = longest.max(other);
            chosen.push(index);
        }
        chosen.sort_unstable();
        let mut batch = vec![first];
        // From the back, so that the indices before stay true.
        batch.extend(chosen.into_iter().rev().filter_map(|index| self.jobs.remove(index)));
        self.tokens -= batch.iter().map(Waiting::tokens).sum::<usize>();
        self.batches += 1;
        let in_turn = batch.iter().filter(|waiting| waiting.takes_turns()).map(Waiting::tokens).sum();
        self.pace.took(in_turn, !self.jobs.is_empty(), now);
        let texts = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        for (place, waiting) in batch.iter().enumerate() {
            waiting.job.ticket.call(now, texts, place == 0);
        }
        batch.into_iter().map(|waiting| waiting.job).collect()
    }

    /// All that waits.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Job> {
        self.tokens = 0;
        self.pace.last = None;
        self.jobs.drain(..).map(|waiting| waiting.job)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Tokens to compute of the jobs that wait for a session and no other.
    pub(super) fn lane(&self, session: usize) -> usize {
        self.jobs
            .iter()
            .filter_map(|waiting| waiting.job.home)
            .filter(|home| home.session == session)
            .map(|home| home.fresh)
            .sum()
    }

    /// Lets any session run what waits for this one.
    pub(super) fn release(&mut self, session: usize) {
        for Waiting { job, .. } in &mut self.jobs {
            job.home = job.home.filter(|home| home.session != session);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Tokens that wait.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    pub(super) fn batches(&self) -> u64 {
        self.batches
    }

    /// Lets go of jobs whose caller has gone, and answers those whose time is up.
    fn drop_unwanted(&mut self, now: Instant) {
        for waiting in std::mem::take(&mut self.jobs) {
            let job = &waiting.job;
            if job.reply.is_closed() || job.deadline <= now {
                self.tokens -= waiting.tokens();
                drop(waiting.job.reply.send(Err(Unavailable::Deadline)));
            } else {
                self.jobs.push_back(waiting);
            }
        }
    }
}

/// How fast tokens of windows that take turns are taken while others wait, lately: by all sessions or servers together.
#[derive(Debug, Default)]
struct Pace {
    tokens: usize,
    time: Duration,
    /// The last batch, if it left others waiting: when, and its tokens.
    last: Option<(Instant, usize)>,
}

impl Pace {
    /// What is older counts for half.
    const LATELY: Duration = Duration::from_secs(1);

    /// A batch was taken, which leaves others waiting or none.
    fn took(&mut self, tokens: usize, leaves: bool, now: Instant) {
        if let Some((before, tokens)) = self.last {
            self.tokens += tokens;
            self.time += now.saturating_duration_since(before);
            if self.time > Self::LATELY {
                (self.tokens, self.time) = (self.tokens / 2, self.time / 2);
            }
        }
        self.last = leaves.then_some((now, tokens));
    }

    /// Tokens that are taken within a time; any number as long as nobody knows. That none were taken for a moment, since answers
    /// went before, tells nothing.
    fn within(&self, wait: Duration) -> usize {
        if self.tokens == 0 && self.time < Self::LATELY / 2 {
            return usize::MAX;
        }
        let tokens = (self.tokens as u128).saturating_mul(wait.as_nanos()).checked_div(self.time.as_nanos());
        tokens.map_or(usize::MAX, |tokens| usize::try_from(tokens).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests;
