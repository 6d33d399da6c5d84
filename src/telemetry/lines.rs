//! Log lines on their way to standard error. A quiet proxy's leave at once; those of a busy one gather for a moment and leave in
//! one system call. Warnings and errors wait for nothing.

use std::{
    io::{self, Write, stderr},
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

/// Lines on their way.
pub(super) struct Lines {
    gathered: Mutex<Gathered>,
    begun: Condvar,
}

struct Gathered {
    lines: Vec<u8>,
    /// When the last ones left.
    left: Instant,
    out: Box<dyn Write + Send>,
}

/// The way of lines of this process, which ends at standard error.
///
/// # Errors
/// No thread for those that gather.
pub(super) fn lines() -> io::Result<&'static Lines> {
    let mut is_new = false;
    let lines = LINES.get_or_init(|| {
        is_new = true;
        Lines::new(Box::new(stderr()))
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
    fn new(out: Box<dyn Write + Send>) -> Self {
        let gathered = Gathered { lines: Vec::new(), left: Instant::now(), out };
        Self { gathered: Mutex::new(gathered), begun: Condvar::new() }
    }

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
        // Nobody is left to tell where standard error is gone.
        drop(self.out.write_all(&self.lines));
        self.lines.clear();
        self.left = Instant::now();
    }
}

/// A line that is being written.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What was written, each time.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<String>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_gather_until_one_cannot_wait_or_there_are_many_or_it_is_time() {
        let written = Written::default();
        let lines = Lines::new(Box::new(written.clone()));
        let told = || std::mem::take(&mut *written.0.lock().unwrap());
        let just_left = || lines.lock().left = Instant::now() + Duration::from_secs(60);
        just_left();
        lines.add(b"a\n", true);
        lines.add(b"b\n", true);
        assert!(told().is_empty());
        lines.add(b"a warning\n", false);
        assert_eq!(told(), ["a\nb\na warning\n"], "in their order, at once");
        just_left();
        lines.add(&vec![b'x'; MANY], true);
        assert_eq!(told().len(), 1);
        lines.lock().left = Instant::now().checked_sub(MOMENT).unwrap();
        lines.add(b"after a while\n", true);
        assert_eq!(told(), ["after a while\n"]);
    }
}
