//! Log lines on their way to standard error. A quiet proxy's leave at once; those of a busy one gather for a moment and leave in
//! one system call. Warnings and errors wait for nothing.

use std::{
    io::{self, Write, stderr},
    mem::take,
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long lines may gather.
const MOMENT: Duration = Duration::from_millis(100);
/// Bytes of lines that leave before the moment is over.
const MANY: usize = 64 << 10;

static LINES: OnceLock<Lines> = OnceLock::new();

/// The lines of this process.
#[derive(Debug)]
pub(super) struct Lines {
    gathered: Mutex<Gathered>,
    begun: Condvar,
}

#[derive(Debug)]
struct Gathered {
    lines: Vec<u8>,
    /// When the last ones left.
    left: Instant,
}

/// The way of lines of this process, which ends at standard error.
///
/// # Errors
/// No thread for those that gather.
pub(super) fn lines() -> io::Result<&'static Lines> {
    let mut is_new = false;
    let lines = LINES.get_or_init(|| {
        is_new = true;
        Lines { gathered: Mutex::new(Gathered { lines: Vec::new(), left: Instant::now() }), begun: Condvar::new() }
    });
    if is_new {
        thread::Builder::new().name("log".to_owned()).spawn(|| lines.run())?;
    }
    Ok(lines)
}

/// Lets leave what has gathered.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.lock().leave();
    }
}

impl Lines {
    fn add(&self, line: &[u8], waits: bool) {
        let mut gathered = self.lock();
        let is_first = gathered.lines.is_empty();
        gathered.lines.extend_from_slice(line);
        if !waits || gathered.lines.len() >= MANY || gathered.left.elapsed() >= MOMENT {
            gathered.leave();
        } else if is_first {
            self.begun.notify_one();
        }
    }

    fn run(&self) {
        loop {
            let gathered = self.begun.wait_while(self.lock(), |gathered| gathered.lines.is_empty());
            drop(gathered);
            thread::sleep(MOMENT);
            self.lock().leave();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        // Lines hold no invariant that a panic could break.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gathered {
    fn leave(&mut self) {
        let lines = take(&mut self.lines);
        // Nobody is left to tell where standard error is gone.
        drop(stderr().write_all(&lines));
        (self.lines, self.left) = (lines, Instant::now());
        self.lines.clear();
    }
}

/// A line that is being written.
#[derive(Debug)]
pub(super) struct Line {
    lines: &'static Lines,
    waits: bool,
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.add(line, self.waits);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for &'static Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line { lines: self, waits: false }
    }

    fn make_writer_for(&self, told: &Metadata<'_>) -> Line {
        Line { lines: self, waits: *told.level() > Level::WARN }
    }
}
