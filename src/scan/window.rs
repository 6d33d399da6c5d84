//! The windows that a guard judged a long text in: where each stands, and what the guard thinks of it.
//!
//! A verdict takes them through the cache as ranges of the text that was judged. Where they stand in the texts of a body is
//! worked out for the record only: most verdicts are never asked for it.

use std::{ops::Range, sync::Arc};

use super::{Passage, Verdict};
use crate::segment::Segment;

/// Windows that are kept of one text, the worst of them: a text may have thousands.
pub const MOST: usize = 256;

/// Bytes that a verdict without windows takes in the cache, about, with its key and what the cache needs to find it.
const PLAIN: usize = 256;

/// A stretch of a text that a guard judged by itself. Small, since every cached verdict of a long text has many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spot {
    start: u32,
    end: u32,
    score: f32,
}

/// The worst windows of a text, in its order; `None` where one window took in all of it, or where none can be told.
pub type Spots = Option<Arc<[Spot]>>;

/// What a guard thinks of a text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Scored {
    /// P(unsafe): the worst of its windows and forms.
    pub(super) value: f32,
    pub(super) spots: Spots,
}

/// A stretch of a segment in a text that was judged as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The segment.
    segment: usize,
    /// Where it begins in the text that was judged, in bytes.
    start: usize,
    /// The bytes of the segment; of a stream's check, of its channel.
    range: Range<usize>,
}

/// A window as it stands in a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// The segment.
    pub segment: usize,
    /// The bytes of the segment; of a stream's check, of its channel.
    pub range: Range<usize>,
    /// P(unsafe) of the window.
    pub score: f32,
}

impl Spot {
    fn new(range: &Range<usize>, score: f32) -> Self {
        // No text that a guard reads is so long; one that were would only be told wrong.
        let short = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: short(range.start), end: short(range.end), score }
    }

    fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl From<f32> for Scored {
    fn from(value: f32) -> Self {
        Self { value, spots: None }
    }
}

impl Scored {
    /// Of a text's windows, in its order, with their ranges in it, where those can be told. Several passes over one stretch are
    /// one window.
    pub(super) fn of(windows: impl IntoIterator<Item = (Option<Range<usize>>, f32)>) -> Self {
        let (mut value, mut spots, mut told) = (0.0_f32, Vec::<Spot>::new(), true);
        for (range, score) in windows {
            value = value.max(score);
            match (range, spots.last_mut()) {
                (None, _) => told = false,
                (Some(range), Some(last)) if last.range() == range => last.score = last.score.max(score),
                (Some(range), _) => spots.push(Spot::new(&range, score)),
            }
        }
        if !told || spots.len() < 2 {
            return value.into();
        }
        if spots.len() > MOST {
            spots.sort_by(|a, b| b.score.total_cmp(&a.score));
            spots.truncate(MOST);
            spots.sort_by_key(|spot| (spot.start, spot.end));
        }
        Self { value, spots: Some(spots.into()) }
    }

    /// The worst of a text's forms. Told are the windows of the form in which one is the worst; as it is written, if several are.
    pub(super) fn worst(forms: Vec<Self>) -> Self {
        let value = forms.iter().fold(0.0, |worst: f32, form| worst.max(form.value));
        let top = |spots: &Arc<[Spot]>| spots.iter().fold(0.0, |worst: f32, spot| worst.max(spot.score));
        let spots = forms.into_iter().filter_map(|form| form.spots);
        Self { value, spots: spots.max_by(|a, b| top(a).total_cmp(&top(b))) }
    }

    /// It as others can be told of it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let spots = self.spots.iter().flat_map(|spots| spots.iter());
        let spots = spots.flat_map(|spot| [spot.start.to_le_bytes(), spot.end.to_le_bytes(), spot.score.to_le_bytes()]);
        std::iter::once(self.value.to_le_bytes()).chain(spots).flatten().collect()
    }

    /// From such bytes; `None` if they tell of no verdict.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (words, []) = bytes.as_chunks::<4>() else { return None };
        let (value, spots) = words.split_first()?;
        let score = |word: [u8; 4]| Some(f32::from_le_bytes(word)).filter(|score| (0.0..=1.0).contains(score));
        let (spots, []) = spots.as_chunks::<3>() else { return None };
        let spot = |[start, end, worst]: &[[u8; 4]; 3]| {
            let (start, end) = (u32::from_le_bytes(*start), u32::from_le_bytes(*end));
            Some(Spot { start, end, score: score(*worst)? }).filter(|_| start <= end)
        };
        let spots: Arc<[Spot]> = spots.iter().take(MOST).map(spot).collect::<Option<_>>()?;
        Some(Self { value: score(*value)?, spots: Some(spots).filter(|spots| !spots.is_empty()) })
    }

    /// What it weighs in the cache, where a verdict without windows is one.
    pub(super) fn weight(&self) -> u32 {
        let windows = self.spots.as_deref().map_or(0, size_of_val);
        u32::try_from(1 + windows.div_ceil(PLAIN)).unwrap_or(u32::MAX)
    }
}

impl Piece {
    /// All of a check's text, which begins there in its channel.
    pub(super) fn of_stream(begin: usize, length: usize) -> Self {
        Self { segment: 0, start: 0, range: begin..begin + length }
    }

    fn end(&self) -> usize {
        self.start.saturating_add(self.range.len())
    }

    /// What of it lies in a stretch of the judged text.
    fn within(&self, stretch: &Range<usize>) -> Option<Self> {
        let (start, end) = (self.start.max(stretch.start), self.end().min(stretch.end));
        let shifted = |at: usize| self.range.start + (at - self.start);
        (start < end).then(|| Self { segment: self.segment, start, range: shifted(start)..shifted(end) })
    }
}

/// Where segments stand in their texts put together, with so many bytes between two.
pub(super) fn lay(segments: &[Segment], indices: &[usize], seam: usize) -> Vec<Piece> {
    let mut start = 0;
    let mut piece = |&segment: &usize| {
        let length = segments.get(segment)?.text.len();
        let piece = Piece { segment, start, range: 0..length };
        start += length + seam;
        Some(piece)
    };
    indices.iter().filter_map(&mut piece).collect()
}

/// Where the pieces of stretches stand in the stretches put together.
pub(super) fn splice(stretches: &[(Vec<Piece>, Range<usize>)], seam: usize) -> Vec<Piece> {
    let (mut pieces, mut begin) = (Vec::new(), 0);
    for (own, stretch) in stretches {
        let own = own.iter().filter_map(|piece| piece.within(stretch));
        pieces.extend(own.map(|piece| Piece { start: begin + (piece.start - stretch.start), ..piece }));
        begin += stretch.len() + seam;
    }
    pieces
}

impl Passage {
    /// The windows that a guard judged it in, as they stand in its segments: at most [`MOST`], the worst, in its order. One that
    /// goes over a seam stands in several. Of a stream's check that fits one window, where it stands; of other text that does, none.
    #[must_use]
    pub fn windows(&self, verdict: &Verdict) -> Vec<Placed> {
        let whole = || self.segments.iter().map(|&segment| Piece { segment, start: 0, range: 0..usize::MAX }).collect();
        let pieces = self.pieces.clone().unwrap_or_else(whole);
        let mut spots: Vec<Spot> = match (&verdict.spots, &verdict.score, self.pieces.as_deref()) {
            (Some(spots), ..) => spots.to_vec(),
            (None, Ok(score), Some([piece])) => vec![Spot::new(&(piece.start..piece.end()), score.value)],
            (None, ..) => Vec::new(),
        };
        spots.sort_by(|a, b| b.score.total_cmp(&a.score));
        let stand = |spot: Spot| {
            let stretch = spot.range();
            let first = pieces.partition_point(|piece| piece.end() <= stretch.start);
            let reached = pieces.iter().enumerate().skip(first).take_while(move |(_, piece)| piece.start < spot.range().end);
            reached.filter_map(move |(number, piece)| Some((number, piece.within(&stretch)?, spot.score)))
        };
        let mut placed: Vec<(usize, Piece, f32)> = spots.into_iter().flat_map(stand).take(MOST).collect();
        placed.sort_by_key(|(number, piece, _)| (*number, piece.start, piece.end()));
        placed.into_iter().map(|(_, Piece { segment, range, .. }, score)| Placed { segment, range, score }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        scan::Which,
        segment::{Score, Target},
    };

    fn windows(count: usize) -> impl Iterator<Item = (Option<Range<usize>>, f32)> {
        (0..count).map(move |at| (Some(at * 10..at * 10 + 15), if at % 2 == 0 { 0.5 } else { 0.25 }))
    }

    fn passage(segments: &[usize], pieces: Option<Vec<Piece>>, scored: Scored) -> (Passage, Verdict) {
        let score = Ok(Score { value: scored.value, threshold: 0.5 });
        let verdict = Verdict { guard: 0, by: Which::First, score, spots: scored.spots };
        let pieces = pieces.map(Arc::from);
        let (language, others) = (None, Vec::new());
        let passage = Passage { target: Target::Prompt, segments: segments.into(), pieces, language, others, verdicts: vec![] };
        (passage, verdict)
    }

    fn told((passage, verdict): &(Passage, Verdict)) -> Vec<(usize, Range<usize>, f32)> {
        passage.windows(verdict).into_iter().map(|Placed { segment, range, score }| (segment, range, score)).collect()
    }

    #[test]
    fn a_verdict_tells_its_worst_windows_in_the_texts_order() {
        assert_eq!(Scored::of([(Some(0..9), 0.5)]), 0.5.into(), "one window is all of the text");
        assert_eq!(Scored::of([(Some(0..9), 0.5), (Some(0..9), 0.75)]), 0.75.into(), "and so are two passes over it");
        assert_eq!(Scored::of([(Some(0..9), 0.5), (None, 0.75)]), 0.75.into(), "nobody can tell where");
        let few = Scored::of(windows(3));
        assert_eq!(told(&passage(&[7], None, few.clone())), [(7, 0..15, 0.5), (7, 10..25, 0.25), (7, 20..35, 0.5)]);
        assert_eq!((few.weight(), Scored::from(0.5).weight()), (2, 1));
        let many = Scored::of(windows(2 * MOST + 2));
        let told = told(&passage(&[0], None, many.clone()));
        assert_eq!((told.len(), many.value), (MOST, 0.5));
        assert!(told.is_sorted_by_key(|(_, range, _)| range.start) && told.iter().all(|(.., score)| *score == 0.5));
        assert!(many.weight() > 10, "the cache is told what they take");
    }

    #[test]
    fn others_are_told_of_a_verdict_in_bytes() {
        for scored in [Scored::from(0.5), Scored::from(1.0), Scored::of(windows(3)), Scored::of(windows(2 * MOST))] {
            assert_eq!(Scored::parse(&scored.bytes()), Some(scored));
        }
        let bytes = Scored::of(windows(2)).bytes();
        assert!((0..bytes.len()).filter(|length| length % 12 != 4).all(|length| Scored::parse(&bytes[..length]).is_none()));
        assert!([f32::NAN, -0.1, 1.5].into_iter().all(|wrong| Scored::parse(&wrong.to_le_bytes()).is_none()));
        let backwards = [0.5_f32.to_le_bytes(), 9_u32.to_le_bytes(), 8_u32.to_le_bytes(), 0.5_f32.to_le_bytes()];
        assert_eq!(Scored::parse(&backwards.concat()), None);
    }

    #[test]
    fn the_form_with_the_worst_window_is_told() {
        let form = |scores: [f32; 2]| Scored::of([(Some(0..5), scores[0]), (Some(4..9), scores[1])]);
        let (undone, written) = (form([0.1, 0.9]), form([0.2, 0.3]));
        assert_eq!(Scored::worst(vec![undone.clone(), written.clone()]), undone);
        let lost = Scored::worst(vec![0.95.into(), undone.clone(), written]);
        assert_eq!((lost.value, lost.spots), (0.95, undone.spots), "the way back from the worst form is lost");
    }

    #[test]
    fn a_window_over_a_seam_stands_in_both_segments() {
        let segments =
            ["12345", "", "678"].map(|text| Segment { target: Target::Prompt, passage: 0, text: text.into(), place: None });
        let pieces = lay(&segments, &[0, 1, 2], 1);
        let scored = || Scored::of([(Some(0..4), 0.25), (Some(3..10), 0.5)]);
        assert_eq!(
            told(&passage(&[0, 1, 2], Some(pieces.clone()), scored())),
            [(0, 0..4, 0.25), (0, 3..5, 0.5), (2, 0..3, 0.5)]
        );
        // The end of the first and the beginning of the last, put together: "345" + "67".
        let turns = splice(&[(pieces.clone(), 2..5), (pieces, 7..9)], 0);
        let scored = Scored::of([(Some(0..4), 0.25), (Some(2..5), 0.5)]);
        let stand = [(0, 2..5, 0.25), (0, 4..5, 0.5), (2, 0..1, 0.25), (2, 0..2, 0.5)];
        assert_eq!(told(&passage(&[0, 1, 2], Some(turns), scored)), stand);
    }

    #[test]
    fn a_streams_check_stands_in_its_channel() {
        let check = || Some(vec![Piece::of_stream(100, 40)]);
        assert_eq!(told(&passage(&[0], check(), 0.5.into())), [(0, 100..140, 0.5)]);
        let scored = Scored::of([(Some(0..30), 0.25), (Some(20..40), 0.5)]);
        assert_eq!(told(&passage(&[0], check(), scored)), [(0, 100..130, 0.25), (0, 120..140, 0.5)]);
        assert!(told(&passage(&[0], None, 0.5.into())).is_empty(), "a short text that came whole has no windows");
    }
}
