use std::sync::{
    atomic::{AtomicBool, Ordering::SeqCst},
    mpsc::{self, Receiver, Sender},
};

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use super::*;
use crate::{
    guard::{
        batch::{Asker, Ticket},
        tokenize::Window,
    },
    segment::Task,
};

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);
const RULES: Rules = Rules { room: Room { tokens: 100_000, wait: Duration::MAX }, budget: 1, rest: Duration::from_millis(10) };

type Answer = oneshot::Receiver<Result<f32, Unavailable>>;

/// Scores by the ids alone; tells who runs what, and goes on when it is let.
struct Fake {
    session: usize,
    ran: Sender<(usize, Vec<u32>)>,
    go_on: Receiver<()>,
    is_broken: Arc<AtomicBool>,
}

/// The test's side of the fakes.
struct Fakes {
    workers: Workers,
    ran: Receiver<(usize, Vec<u32>)>,
    go_on: Vec<Sender<()>>,
    is_broken: Vec<Arc<AtomicBool>>,
}

fn score(ids: &[u32]) -> f32 {
    let sum: u32 = ids.iter().zip(1..).map(|(id, place)| id * place).sum();
    f32::from(u16::try_from(sum % 1_000).unwrap()) / 1_000.0
}

impl Engine for Fake {
    fn run(&mut self, windows: &[&Window]) -> Result<Vec<f32>, Unavailable> {
        assert!(!self.is_broken.load(SeqCst), "it is broken");
        if let [window] = windows {
            self.ran.send((self.session, window.ids.clone())).unwrap();
            self.go_on.recv_timeout(LONG).unwrap();
        }
        Ok(windows.iter().map(|window| score(&window.ids)).collect())
    }

    fn kept(&self) -> Option<Store<()>> {
        Some(Store::new(1_000, 2))
    }
}

impl Fakes {
    fn start(sessions: usize, rules: Rules) -> Self {
        let (ran, order) = mpsc::channel();
        let is_broken: Vec<Arc<AtomicBool>> = (0..sessions).map(|_| Arc::default()).collect();
        let (go_on, waits): (Vec<_>, Vec<_>) = (0..sessions).map(|_| mpsc::channel()).unzip();
        let engine = |(session, go_on)| {
            let is_broken = Arc::clone(&is_broken[session]);
            let fake = Fake { session, ran: ran.clone(), go_on, is_broken };
            (format!("cuda:{session}"), Box::new(fake) as Box<dyn Engine>)
        };
        let engines = waits.into_iter().enumerate().map(engine).collect();
        let two = [window(vec![1]), window(vec![2])];
        // Two windows, for which the fakes do not wait.
        let check = move |engine: &mut dyn Engine| {
            engine.run(&two.iter().collect::<Vec<_>>()).map(drop).map_err(|error| error.to_string())
        };
        Self { workers: Workers::start(engines, rules, Box::new(check)).unwrap(), ran: order, go_on, is_broken }
    }

    fn push(&self, ids: &[u32], grows: bool) -> Answer {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + LONG;
        let (window, ticket) = (window(ids.to_vec()), Ticket::at(deadline));
        self.workers.push(Job { window, asker: Asker::default(), grows, home: None, deadline, ticket, reply });
        answer
    }

    /// Who runs what next.
    fn next(&self) -> (usize, Vec<u32>) {
        self.ran.recv_timeout(LONG).unwrap()
    }

    fn let_go_on(&self, session: usize) {
        self.go_on[session].send(()).unwrap();
    }

    fn is_ready(&self, session: usize) -> bool {
        self.workers.sessions()[session].is_ready
    }

    fn wait_until(&self, what: impl Fn(&Self) -> bool) {
        let end = Instant::now() + LONG;
        while !what(self) {
            assert!(Instant::now() < end);
            thread::yield_now();
        }
    }
}

fn window(ids: Vec<u32>) -> Window {
    Window { range: 0..1, ids, task: Task::Response, words: None }
}

#[test]
fn sessions_run_at_once_and_answer_each_its_own() {
    let fakes = Fakes::start(2, RULES);
    let answers = [fakes.push(&[1, 2], false), fakes.push(&[3, 4], false), fakes.push(&[5, 6], false)];
    let (one, other) = (fakes.next(), fakes.next());
    assert_ne!(one.0, other.0, "the second came while the first was still running");
    assert_eq!(fakes.workers.waiting(), 1);
    fakes.let_go_on(other.0);
    assert_eq!(fakes.next(), (other.0, vec![5, 6]), "whoever is free takes what waits");
    fakes.let_go_on(one.0);
    fakes.let_go_on(other.0);
    let scores = answers.map(|answer| answer.blocking_recv().unwrap().unwrap());
    assert_eq!(scores, [score(&[1, 2]), score(&[3, 4]), score(&[5, 6])]);
}

#[test]
fn each_takes_its_share_of_what_waits() {
    let fakes = Fakes::start(2, Rules { budget: 100, ..RULES });
    let answers = [1, 2, 3, 4].map(|id| {
        let answer = fakes.push(&[id], false);
        // Both are busy before anything waits.
        (id < 3).then(|| fakes.next());
        answer
    });
    fakes.let_go_on(0);
    assert_eq!(fakes.next(), (0, vec![3]), "the batch has room for both");
    fakes.let_go_on(1);
    assert_eq!(fakes.next(), (1, vec![4]));
    fakes.let_go_on(0);
    fakes.let_go_on(1);
    assert!(answers.into_iter().all(|answer| answer.blocking_recv().unwrap().is_ok()));
}

#[test]
fn several_sessions_score_as_one_does() {
    let mut random = fastrand::Rng::with_seed(5);
    let texts: Vec<Vec<u32>> = (0..200).map(|_| (0..random.usize(1..30)).map(|_| random.u32(1..50)).collect()).collect();
    let scores = |sessions: usize| {
        let fakes = Fakes::start(sessions, Rules { budget: 100, ..RULES });
        // Nobody is ever to wait.
        fakes.go_on.iter().for_each(|go_on| texts.iter().for_each(|_| go_on.send(()).unwrap()));
        let answers: Vec<Answer> = texts.iter().enumerate().map(|(at, ids)| fakes.push(ids, at % 3 == 0)).collect();
        answers.into_iter().map(|answer| answer.blocking_recv().unwrap().unwrap()).collect::<Vec<f32>>()
    };
    assert_eq!(scores(3), scores(1));
}

#[test]
fn a_text_that_grows_stays_with_its_session_and_keeps_others_from_none() {
    let fakes = Fakes::start(2, RULES);
    let text: Vec<u32> = (1..200).collect();
    let mut homes = Vec::new();
    for end in (40..140).step_by(5) {
        let answer = fakes.push(&text[..end], true);
        let (session, _) = fakes.next();
        fakes.let_go_on(session);
        assert_eq!(answer.blocking_recv().unwrap(), Ok(score(&text[..end])));
        homes.push(session);
    }
    let home = homes[0];
    assert_eq!(homes, [home; 20]);

    // While its session is busy it waits, and other texts pass by.
    let busy = [fakes.push(&text[..150], true), fakes.push(&text[..160], true)];
    assert_eq!(fakes.next(), (home, text[..150].to_vec()));
    let (plain, new) = (fakes.push(&[7, 7], false), fakes.push(&[8; 30], true));
    assert_eq!(fakes.next(), (1 - home, vec![7, 7]));
    fakes.let_go_on(1 - home);
    assert_eq!(fakes.next(), (1 - home, vec![8; 30]), "a new text may grow anywhere");
    fakes.let_go_on(home);
    assert_eq!(fakes.next(), (home, text[..160].to_vec()));
    (0..2).for_each(|session| fakes.let_go_on(session));
    for answer in busy.into_iter().chain([plain, new]) {
        assert!(answer.blocking_recv().unwrap().is_ok());
    }
}

#[test]
fn one_that_breaks_rests_and_loses_no_work_of_others() {
    let fakes = Fakes::start(2, RULES);
    let text: Vec<u32> = (1..100).collect();
    let first = fakes.push(&text[..50], true);
    let (broken, _) = fakes.next();
    let sound = 1 - broken;
    // Its own next text waits for it when it breaks.
    let waits = fakes.push(&text[..60], true);
    let held = fakes.push(&[1, 1], false);
    assert_eq!(fakes.next(), (sound, vec![1, 1]));
    fakes.is_broken[broken].store(true, SeqCst);
    fakes.let_go_on(broken);
    assert!(first.blocking_recv().unwrap().is_ok(), "it broke after this one");
    assert!(matches!(waits.blocking_recv().unwrap(), Err(Unavailable::Engine(_))), "this one it fails");
    fakes.wait_until(|fakes| !fakes.is_ready(broken));
    assert_eq!(fakes.workers.sessions()[broken].failures, 1);
    assert!(fakes.is_ready(sound));

    let mut later: Vec<Answer> = (2..12).map(|id| fakes.push(&[id, id], false)).collect();
    later.push(fakes.push(&text[..70], true));
    fakes.let_go_on(sound);
    for answer in later {
        assert_eq!(fakes.next().0, sound);
        fakes.let_go_on(sound);
        assert!(answer.blocking_recv().unwrap().is_ok());
    }
    assert!(held.blocking_recv().unwrap().is_ok());
    assert_eq!(fakes.workers.sessions()[broken].failures, 1, "nothing else was given to it");

    fakes.is_broken[broken].store(false, SeqCst);
    fakes.wait_until(|fakes| fakes.is_ready(broken));
    let both = [fakes.push(&[1, 1], false), fakes.push(&[2, 2], false)];
    assert_ne!(fakes.next().0, fakes.next().0, "it works again");
    (0..2).for_each(|session| fakes.let_go_on(session));
    assert!(both.into_iter().all(|answer| answer.blocking_recv().unwrap().is_ok()));
}

#[test]
fn a_text_that_waits_for_one_that_breaks_goes_to_another() {
    let fakes = Fakes::start(2, RULES);
    let text: Vec<u32> = (1..100).collect();
    let first = fakes.push(&text[..50], true);
    let (broken, _) = fakes.next();
    let held = fakes.push(&[1, 1], false);
    assert_eq!(fakes.next().0, 1 - broken);
    let (fails, waits) = (fakes.push(&text[..60], true), fakes.push(&text[..70], true));
    fakes.is_broken[broken].store(true, SeqCst);
    fakes.let_go_on(broken);
    assert!(first.blocking_recv().unwrap().is_ok());
    assert!(fails.blocking_recv().unwrap().is_err());
    fakes.let_go_on(1 - broken);
    assert_eq!(fakes.next(), (1 - broken, text[..70].to_vec()));
    fakes.let_go_on(1 - broken);
    assert!(waits.blocking_recv().unwrap().is_ok() && held.blocking_recv().unwrap().is_ok());
}

#[test]
fn where_all_are_broken_callers_are_told_at_once() {
    for sessions in [1, 2] {
        let fakes = Fakes::start(sessions, Rules { rest: LONG, ..RULES });
        fakes.is_broken.iter().for_each(|is_broken| is_broken.store(true, SeqCst));
        for id in 1..9 {
            let answer = fakes.push(&[id], false).blocking_recv().unwrap();
            assert_eq!(answer, Err(Unavailable::Engine("the guard panicked".to_owned())));
        }
        fakes.is_broken.iter().for_each(|is_broken| is_broken.store(false, SeqCst));
        let answer = fakes.push(&[9], false);
        let (session, _) = fakes.next();
        fakes.let_go_on(session);
        assert!(answer.blocking_recv().unwrap().is_ok());
        fakes.wait_until(|fakes| fakes.is_ready(session));
    }
}

#[test]
fn a_text_that_fails_by_its_own_fault_rests_nobody() {
    struct Picky;
    impl Engine for Picky {
        fn run(&mut self, windows: &[&Window]) -> Result<Vec<f32>, Unavailable> {
            Ok(windows.iter().map(|window| if window.ids == [13] { f32::NAN } else { 0.5 }).collect())
        }
    }
    let (checked, checks) = mpsc::channel();
    let check = move |engine: &mut dyn Engine| {
        let scores = engine.run(&[&window(vec![1])]).map_err(|error| error.to_string());
        checked.send(()).unwrap();
        scores.map(drop)
    };
    let workers = Workers::start(vec![("cpu".to_owned(), Box::new(Picky))], RULES, Box::new(check)).unwrap();
    let ask = |id: u32| {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + LONG;
        let (window, ticket) = (window(vec![id]), Ticket::at(deadline));
        workers.push(Job { window, asker: Asker::default(), grows: false, home: None, deadline, ticket, reply });
        answer.blocking_recv().unwrap()
    };
    assert!(matches!(ask(13), Err(Unavailable::Engine(_))));
    checks.recv_timeout(LONG).unwrap();
    assert_eq!(ask(1), Ok(0.5));
    assert_eq!(workers.sessions(), [Session { device: "cpu".to_owned(), is_ready: true, failures: 1 }]);
}

#[test]
fn what_cannot_grow_is_scored_whole() {
    struct Whole(Result<f32, Unavailable>);
    impl Engine for Whole {
        fn run(&mut self, windows: &[&Window]) -> Result<Vec<f32>, Unavailable> {
            self.0.clone().map(|score| vec![score; windows.len()])
        }

        fn grow(&mut self, _: &Window) -> Result<Vec<f32>, Unavailable> {
            Err(Unavailable::Engine("no memory".to_owned()))
        }
    }
    for whole in [Ok(0.25), Err(Unavailable::Engine("nor this".to_owned()))] {
        let (reply, mut answer) = oneshot::channel();
        let (window, deadline) = (window(vec![7]), Instant::now());
        let ticket = Ticket::at(deadline);
        let job = Job { window, asker: Asker::default(), grows: true, home: None, deadline, ticket, reply };
        assert_eq!(run(&mut Whole(whole.clone()), vec![job]), whole.is_ok());
        assert_eq!(answer.try_recv().unwrap(), whole);
    }
}

#[test]
fn a_session_goes_on_whatever_panics() {
    /// What a batch panics with. It panics once more when that is caught.
    struct Twice;
    impl Drop for Twice {
        fn drop(&mut self) {
            panic!("beside a batch");
        }
    }
    struct Panics;
    impl Engine for Panics {
        fn run(&mut self, windows: &[&Window]) -> Result<Vec<f32>, Unavailable> {
            if windows.iter().any(|window| window.ids == [13]) {
                std::panic::panic_any(Twice);
            }
            Ok(vec![0.5; windows.len()])
        }
    }
    let workers = Workers::start(vec![("cpu".to_owned(), Box::new(Panics))], RULES, Box::new(|_| Ok(()))).unwrap();
    let ask = |id: u32| {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + LONG;
        let (window, ticket) = (window(vec![id]), Ticket::at(deadline));
        workers.push(Job { window, asker: Asker::default(), grows: false, home: None, deadline, ticket, reply });
        answer.blocking_recv()
    };
    assert!(ask(13).is_err(), "its caller is told at once");
    assert_eq!(ask(1).unwrap(), Ok(0.5));
    assert_eq!(workers.sessions(), [Session { device: "cpu".to_owned(), is_ready: true, failures: 1 }]);
}

#[tokio::test]
async fn closing_waits_for_the_batch_under_way() {
    let fakes = Fakes::start(2, RULES);
    let answer = fakes.push(&[1, 2], false);
    let (session, _) = fakes.next();
    let mut close = std::pin::pin!(fakes.workers.close());
    assert!((&mut close).now_or_never().is_none());
    fakes.let_go_on(session);
    close.await;
    assert_eq!(answer.await.unwrap(), Ok(score(&[1, 2])));
}
