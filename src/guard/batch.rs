//! Which waiting texts run together: oldest first, with others of like length, within a budget of padded tokens.
//!
//! Pure: it is told the time, and knows neither threads nor graphs.

use std::{collections::VecDeque, time::Instant};

use tokio::sync::oneshot;

use super::{Unavailable, tokenize::Window};

/// A window that waits for its score.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) window: Window,
    /// The window is of a text that grows, whose beginning may be kept: it runs by itself.
    pub(super) grows: bool,
    /// The session that it is to run on; any if there is none.
    pub(super) home: Option<Home>,
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<Result<f32, Unavailable>>,
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

/// The waiting jobs of one guard.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: VecDeque<Job>,
    /// Tokens that wait.
    tokens: usize,
    /// Most tokens that may wait.
    room: usize,
}

impl Queue {
    pub(super) fn new(room: usize) -> Self {
        Self { jobs: VecDeque::new(), tokens: 0, room }
    }

    /// Adds a job, or answers it at once that there is no room. An empty queue takes any job.
    pub(super) fn push(&mut self, job: Job) {
        let tokens = job.window.ids.len();
        if !self.jobs.is_empty() && self.tokens + tokens > self.room {
            // The caller may have gone; then nobody needs the answer.
            drop(job.reply.send(Err(Unavailable::Overloaded)));
            return;
        }
        self.tokens += tokens;
        self.jobs.push_back(job);
    }

    /// The next batch for a session: the oldest of its jobs that is still wanted, then others in the order of their likeness
    /// in length, as long as the batch, padded to its longest, stays within `budget` tokens. The oldest goes first whatever its
    /// kind, so neither jobs that run by themselves nor batches keep the others waiting.
    pub(super) fn take(&mut self, session: usize, budget: usize, now: Instant) -> Vec<Job> {
        self.drop_unwanted(now);
        let oldest = self.jobs.iter().position(|job| job.is_for(session)).and_then(|at| self.jobs.remove(at));
        let Some(oldest) = oldest else { return Vec::new() };
        let length = oldest.window.ids.len();
        let joins = |(index, job): (usize, &Job)| (!oldest.grows && !job.grows).then_some(index);
        let mut alike: Vec<usize> = self.jobs.iter().enumerate().filter_map(joins).collect();
        alike.sort_by_key(|&index| self.jobs.get(index).map_or(0, |job| job.window.ids.len().abs_diff(length)));
        let (mut longest, mut count) = (length, 1);
        let mut chosen = Vec::new();
        for index in alike {
            let length = self.jobs.get(index).map_or(0, |job| job.window.ids.len());
            if longest.max(length) * (count + 1) > budget {
                break;
            }
            longest = longest.max(length);
            count += 1;
            chosen.push(index);
        }
        chosen.sort_unstable();
        let mut batch = vec![oldest];
        // From the back, so that the indices before stay true.
        batch.extend(chosen.into_iter().rev().filter_map(|index| self.jobs.remove(index)));
        self.tokens -= batch.iter().map(|job| job.window.ids.len()).sum::<usize>();
        batch
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Tokens to compute of the jobs that wait for a session and no other.
    pub(super) fn lane(&self, session: usize) -> usize {
        self.jobs.iter().filter_map(|job| job.home).filter(|home| home.session == session).map(|home| home.fresh).sum()
    }

    /// Lets any session run what waits for this one.
    pub(super) fn release(&mut self, session: usize) {
        for job in &mut self.jobs {
            job.home = job.home.filter(|home| home.session != session);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Lets go of jobs whose caller has gone, and answers those whose time is up.
    fn drop_unwanted(&mut self, now: Instant) {
        for job in std::mem::take(&mut self.jobs) {
            if job.reply.is_closed() || job.deadline <= now {
                self.tokens -= job.window.ids.len();
                drop(job.reply.send(Err(Unavailable::Deadline)));
            } else {
                self.jobs.push_back(job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::segment::Task;

    fn job(length: usize, deadline: Instant) -> (Job, oneshot::Receiver<Result<f32, Unavailable>>) {
        let (reply, answer) = oneshot::channel();
        let window = Window { range: 0..length, ids: vec![7; length], task: Task::Prompt, words: None };
        (Job { window, grows: false, home: None, deadline, reply }, answer)
    }

    fn lengths(batch: &[Job]) -> Vec<usize> {
        let mut lengths: Vec<_> = batch.iter().map(|job| job.window.ids.len()).collect();
        lengths.sort_unstable();
        lengths
    }

    #[test]
    fn batches_hold_like_lengths_within_the_budget() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut queue = Queue::new(10_000);
        let mut answers = Vec::new();
        for length in [10, 500, 12, 11, 490, 30] {
            let (job, answer) = job(length, later);
            queue.push(job);
            answers.push(answer);
        }
        assert_eq!(lengths(&queue.take(0, 60, now)), [10, 11, 12]);
        assert_eq!(lengths(&queue.take(0, 1000, now)), [490, 500]);
        assert_eq!(lengths(&queue.take(0, 1, now)), [30], "the oldest runs even over budget");
        assert!(queue.take(0, 60, now).is_empty() && queue.is_empty());
    }

    #[test]
    fn texts_that_grow_run_by_themselves_in_turn() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut queue = Queue::new(10_000);
        let mut answers = Vec::new();
        for (length, grows) in [(10, false), (20, true), (11, false), (21, true), (12, false)] {
            let (job, answer) = job(length, later);
            queue.push(Job { grows, ..job });
            answers.push(answer);
        }
        let batches: Vec<_> = (0..3).map(|_| lengths(&queue.take(0, 1000, now))).collect();
        assert_eq!(batches, [vec![10, 11, 12], vec![20], vec![21]]);
    }

    #[test]
    fn a_session_takes_its_own_and_what_is_anyones_oldest_first() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut queue = Queue::new(10_000);
        let mut answers = Vec::new();
        for (length, home) in [(20, Some(1)), (10, None), (21, Some(0)), (22, Some(1)), (11, None)] {
            let (job, answer) = job(length, later);
            let home = home.map(|session| Home { session, fresh: length });
            queue.push(Job { grows: home.is_some(), home, ..job });
            answers.push(answer);
        }
        assert_eq!((queue.lane(0), queue.lane(1), queue.lane(2)), (21, 42, 0));
        assert_eq!(lengths(&queue.take(0, 1000, now)), [10, 11], "what others wait for is passed over");
        assert_eq!(lengths(&queue.take(1, 1000, now)), [20]);
        assert!(queue.take(2, 1000, now).is_empty());
        queue.release(1);
        assert_eq!(lengths(&queue.take(2, 1000, now)), [22], "it still runs by itself");
        assert_eq!((lengths(&queue.take(0, 1000, now)), queue.is_empty(), queue.tokens), (vec![21], true, 0));
    }

    #[test]
    fn late_unwanted_and_surplus_jobs_do_not_run() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut queue = Queue::new(100);
        let (late, mut late_answer) = job(50, now);
        let (gone, gone_answer) = job(40, later);
        let (over, mut over_answer) = job(20, later);
        drop(gone_answer);
        for job in [late, gone, over] {
            queue.push(job);
        }
        assert!(matches!(over_answer.try_recv(), Ok(Err(Unavailable::Overloaded))));
        assert!(queue.take(0, 1000, now).is_empty());
        assert!(matches!(late_answer.try_recv(), Ok(Err(Unavailable::Deadline))));
        assert_eq!(queue.tokens, 0);
    }
}
