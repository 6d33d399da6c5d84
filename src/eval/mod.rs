//! Measuring a guard: labelled text through the same scanner that guards traffic, and figures of how well it ranks and sorts.
//!
//! Knows the scanner, no HTTP and no policy. [`judge`] scores, [`Report`] measures, [`page`] draws, [`calibrate`] tunes.

pub mod calibrate;
mod cascade;
mod hide;
mod labelled;
pub mod metrics;
pub mod page;
mod report;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

pub use self::{
    cascade::{CascadeReport, CascadeRow},
    hide::hidden,
    labelled::{Labelled, Unlabelled, read},
    report::{Comparison, Figures, Group, Mean, Measure, Report, percent},
};
use crate::{
    guard::Unavailable,
    scan::{Ask, Scanner},
    segment::{Content, Direction, Score, Segment, Target, Task},
};

/// Texts judged at once, so that the guard has full batches.
const AT_ONCE: usize = 64;

/// A labelled text and what the guard thinks of it.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The text and the truth.
    pub text: Labelled,
    /// P(unsafe), and the threshold in force for the text's task and detected language.
    pub score: Score,
    /// The language that the scanner saw, which chooses the threshold.
    pub detected: Option<&'static str>,
}

impl Judged {
    /// The language that the file says, else the one detected.
    #[must_use]
    pub fn language(&self) -> &str {
        self.text.lang.as_deref().or(self.detected).unwrap_or(report::UNKNOWN)
    }

    /// Whether the guard calls it unsafe.
    #[must_use]
    pub fn is_flagged(&self) -> bool {
        self.score.value >= self.score.threshold
    }
}

/// Scores texts as the proxy would: hidden forms undone, long ones window by window, the worst counting. Keeps their order.
///
/// # Errors
/// A text that the guard could not score: figures of the others would not be the guard's.
pub async fn judge(scanner: &Scanner, texts: Vec<Labelled>) -> Result<Vec<Judged>, Unavailable> {
    stream::iter(texts.into_iter().map(|text| one(scanner, text))).buffered(AT_ONCE).try_collect().await
}

async fn one(scanner: &Scanner, text: Labelled) -> Result<Judged, Unavailable> {
    let (direction, target) = match text.task {
        Task::Prompt => (Direction::Request, Target::Prompt),
        Task::Response => (Direction::Response, Target::Completion),
    };
    let segment = Segment { target, passage: 0, text: text.text.clone(), place: None };
    let content = Content { segments: vec![segment], ..Content::default() };
    let evidence = scanner.evidence(&Ask::default(), content, direction, text.prompt.as_deref()).await;
    let passage = evidence.passages.into_iter().next();
    let passage = passage.ok_or_else(|| Unavailable::Engine("the scanner found no text".to_owned()))?;
    Ok(Judged { score: passage.score?, detected: passage.language, text })
}

/// A task's name in reports.
#[must_use]
pub fn task_name(task: Task) -> &'static str {
    match task {
        Task::Prompt => "prompt",
        Task::Response => "response",
    }
}
