use std::time::Duration;

use super::*;
use crate::segment::Task;

type Answer = oneshot::Receiver<Result<f32, Unavailable>>;

fn queue(tokens: usize) -> Queue {
    Queue::new(Room { tokens, wait: Duration::from_secs(2) })
}

fn job(length: usize, deadline: Instant) -> (Job, Answer) {
    let (reply, answer) = oneshot::channel();
    let window = Window { range: 0..length, ids: vec![7; length], task: Task::Prompt, words: None };
    let ticket = Ticket::at(deadline);
    (Job { window, asker: Asker::default(), grows: false, home: None, deadline, ticket, reply }, answer)
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
    let mut queue = queue(10_000);
    let mut answers = Vec::new();
    for length in [10, 500, 12, 11, 490, 15] {
        let (job, answer) = job(length, later);
        queue.push(job);
        answers.push(answer);
    }
    assert_eq!(lengths(&queue.take(0, 40, now)), [10, 11, 12]);
    assert_eq!(lengths(&queue.take(0, 2000, now)), [490, 500], "one that is far shorter would be all padding");
    assert_eq!(lengths(&queue.take(0, 1, now)), [15], "the first runs even over budget");
    assert!(queue.take(0, 60, now).is_empty() && queue.is_empty());
}

#[test]
fn each_window_knows_how_it_was_served() {
    let (now, later) = (Instant::now(), Duration::from_millis(5));
    let mut queue = queue(10_000);
    let pushed = [10, 11, 500].map(|length| {
        let (job, answer) = job(length, now + Duration::from_secs(1));
        let ticket = Ticket::at(now);
        queue.push(Job { ticket: ticket.clone(), ..job });
        (ticket, answer)
    });
    queue.take(0, 1000, now + later);
    let turn = |is_first| Some(Turn { wait: later, texts: 2, is_first });
    assert_eq!(pushed.map(|(ticket, _)| ticket.turn()), [turn(true), turn(false), None], "the third still waits");
}

#[test]
fn texts_that_grow_run_by_themselves_in_turn() {
    let now = Instant::now();
    let later = now + Duration::from_secs(1);
    let mut queue = queue(10_000);
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
    let mut queue = queue(10_000);
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
    assert_eq!(queue.batches(), 4, "what is not there is no batch");
}

#[test]
fn requests_take_turns_however_many_windows_they_have() {
    let now = Instant::now();
    let later = now + Duration::from_secs(1);
    let (mut queue, mut answers) = (queue(10_000), Vec::new());
    let mut push = |queue: &mut Queue, length: usize, asker: &Asker| {
        let (job, answer) = job(length, later);
        queue.push(Job { asker: asker.clone(), ..job });
        answers.push(answer);
    };
    let [long, other] = [Asker::default(), Asker::default()];
    (0..8).for_each(|_| push(&mut queue, 150, &long));
    let one = |queue: &mut Queue| lengths(&queue.take(0, 1, now))[0];
    assert_eq!([one(&mut queue), one(&mut queue)], [150, 150]);
    // Two more requests come, one of them with three short windows.
    push(&mut queue, 20, &Asker::default());
    [100, 50, 125].into_iter().for_each(|length| push(&mut queue, length, &other));
    let order: Vec<usize> = (0..10).map(|_| one(&mut queue)).collect();
    assert_eq!(order, [150, 20, 100, 50, 150, 125, 150, 150, 150, 150], "two in one round, the third in the next");
    push(&mut queue, 20, &Asker::default());
    push(&mut queue, 30, &other);
    let answer = Asker::begun();
    [40, 41, 250].into_iter().for_each(|length| push(&mut queue, length, &answer));
    let order: Vec<usize> = (0..5).map(|_| one(&mut queue)).collect();
    assert_eq!(order, [40, 41, 20, 30, 250], "an answer's first windows go first");
}

#[test]
fn who_would_wait_too_long_is_refused_at_once() {
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let (mut queue, mut answers) = (queue(1_000_000), Vec::new());
    let mut push = |queue: &mut Queue, asker: &Asker| {
        let (job, mut answer) = job(100, at(60_000));
        queue.push(Job { asker: asker.clone(), ..job });
        let is_in = answer.try_recv().is_err();
        answers.push(answer);
        is_in
    };
    let new = Asker::default;
    assert!((0..60).all(|_| push(&mut queue, &new())), "nobody knows how fast it goes");
    for ms in [0, 100, 200] {
        assert_eq!(queue.take(0, 1, at(ms)).len(), 1);
    }
    assert_eq!(queue.pace.within(Duration::from_secs(2)), 2_000, "100 tokens in 100 ms");
    assert!(!push(&mut queue, &new()), "5,700 tokens wait before it");
    assert!(push(&mut queue, &Asker::begun()));
    for ms in 3..43 {
        assert_eq!(queue.take(0, 1, at(ms * 100)).len(), 1);
    }
    assert_eq!([(); 3].map(|()| push(&mut queue, &new())), [true, true, false], "1,800, 1,900 and 2,000 wait before them");
    // From now on every other window is an answer's, which goes first.
    for ms in (43..67).step_by(2) {
        assert!(push(&mut queue, &Asker::begun()));
        assert_eq!([0, 100].map(|more| queue.take(0, 1, at(ms * 100 + more)).len()), [1, 1]);
    }
    let more = (0..10).filter(|_| push(&mut queue, &new())).count();
    assert!((1..5).contains(&more), "800 wait, and about 1,000 are done in time: {more}");
    while !queue.take(0, 10_000, at(9_000)).is_empty() {}
    assert!(push(&mut queue, &new()));
}

#[test]
fn a_request_is_refused_by_what_is_known_of_the_pace() {
    let refuses = |asker: Asker, wait, tokens, millis| {
        let mut queue = Queue::new(Room { tokens: 10_000, wait });
        queue.push(job(100, Instant::now()).0);
        queue.pace = Pace { tokens, time: Duration::from_millis(millis), last: None };
        queue.refuses(&asker)
    };
    let two = Duration::from_secs(2);
    assert!(refuses(Asker::default(), two, 10, 900), "100 tokens wait, of which 22 are taken in time");
    assert!(!refuses(Asker::default(), two, 100, 900));
    assert!(refuses(Asker::default(), two, 0, 900), "answers alone leave no time for requests");
    assert!(!refuses(Asker::default(), two, 0, 10), "a moment of answers tells nothing");
    assert!(!refuses(Asker::begun(), two, 0, 900), "an answer's request was let in");
    assert!(!refuses(Asker::default(), Duration::MAX, 0, 900), "nobody waits too long for an evaluation");
}

#[test]
fn a_request_is_refused_as_a_whole_or_not_at_all() {
    let now = Instant::now();
    let mut queue = queue(10_000);
    let mut answers = Vec::new();
    let mut push = |queue: &mut Queue, asker: &Asker| {
        let (job, answer) = job(100, now + Duration::from_secs(1));
        queue.push(Job { asker: asker.clone(), ..job });
        answers.push(answer);
    };
    let [first, second] = [Asker::default(), Asker::default()];
    push(&mut queue, &first);
    queue.pace = Pace { tokens: 10, time: Duration::from_secs(1), last: None };
    assert!(queue.refuses(&second));
    assert!(!queue.refuses(&first), "it was let in");
    queue.pace = Pace::default();
    assert!(queue.refuses(&second), "its other texts, though there would be room for them now");
    push(&mut queue, &second);
    push(&mut queue, &first);
    assert_eq!(queue.take(0, 10_000, now).len(), 2);
}

#[test]
fn late_unwanted_and_surplus_jobs_do_not_run() {
    let now = Instant::now();
    let later = now + Duration::from_secs(1);
    let mut queue = queue(100);
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
