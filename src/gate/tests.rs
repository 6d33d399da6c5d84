use proptest::prelude::*;

use super::*;
use crate::segment::Place;

const ANSWER: Channel = Channel { choice: 0, part: Part::Content };

fn settings() -> Stream {
    Stream { mode: StreamMode::Hold, first_chars: 4, step_chars: 8, sentence_chars: 3, idle_ms: 0, lookback_chars: 6 }
}

fn delta(channel: Channel, text: &str) -> Delta {
    Delta { channel, text: text.into(), place: Some(Place(0..0)) }
}

#[test]
fn nothing_leaves_uncovered() {
    let mut gate = Gate::new(settings(), false);
    gate.push(0, vec![], &[]);
    gate.push(1, vec![delta(ANSWER, "ab")], &[]);
    assert_eq!(gate.release().len(), 1, "an event without text needs no verdict");
    assert!(gate.due().is_empty());
    gate.push(2, vec![delta(ANSWER, "cdef")], &[]);
    let check = gate.due().remove(0);
    assert_eq!((check.text.as_str(), check.from, check.last), ("abcdef", 0, false));
    gate.push(3, vec![delta(ANSWER, "a sentence.")], &[]);
    assert!(gate.due().is_empty(), "one check of a channel at a time");
    assert!(gate.release().is_empty());
    assert!(gate.cover(ANSWER, 4, vec![]));
    assert_eq!(gate.release().into_iter().map(|r| r.event).collect::<Vec<_>>(), [1]);
    assert_eq!(gate.due().remove(0).text, "abcdefa sentence.");
    assert!(gate.cover(ANSWER, 17, vec![]));
    assert_eq!(gate.release().len(), 2);
    gate.push(4, vec![delta(ANSWER, "x")], &[]);
    assert!(gate.due().is_empty());
    gate.idle();
    let check = gate.due().remove(0);
    assert_eq!(check.settled, 17);
    assert_eq!(check.judged, "tence.x", "the guard reads only a little of what was judged again");
    assert!(gate.cover(ANSWER, 17, vec![]));
    gate.end();
    assert!(gate.due().remove(0).last && !gate.is_done());
    assert!(gate.cover(ANSWER, 18, vec![]));
    assert_eq!(gate.release().len(), 1);
    assert!(gate.is_done());
}

#[test]
fn a_guard_of_whole_answers_reads_on_from_a_place_that_stays() {
    let mut gate = Gate::new(settings(), true);
    let mut begins = Vec::new();
    for event in 0..80 {
        gate.push(event, vec![delta(ANSWER, &"สวัส. ".repeat(64))], &[]);
        let check = gate.due().remove(0);
        let size = gate.size();
        assert!(check.judged.len() <= WHOLE && check.judged.ends_with("สวัส. "));
        begins.push(size - check.judged.len());
        assert!(check.text.len() < 2 * LEAD, "detectors read no more than before");
        assert!(gate.cover(ANSWER, size, vec![]));
    }
    begins.dedup();
    assert!(begins[0] == 0 && begins.windows(2).all(|pair| pair[1] - pair[0] >= WHOLE / 2 - 4), "{begins:?}");
    assert!((3..=5).contains(&begins.len()), "{begins:?}");
}

#[test]
fn an_edit_spans_deltas() {
    let mut gate = Gate::new(settings(), false);
    for (event, text) in ["no 41", "11 2", "2 ok"].into_iter().enumerate() {
        gate.push(event, vec![delta(ANSWER, text)], &[]);
    }
    gate.end();
    assert_eq!(gate.due().len(), 1);
    assert!(gate.cover(ANSWER, 13, vec![Edit { range: 3..10, with: "[x]".into() }]));
    let texts: Vec<_> = gate.release().into_iter().map(|r| r.edited.map(|texts| texts.concat())).collect();
    assert_eq!(texts, [Some("no [x]".into()), Some(String::new()), Some(" ok".into())]);
}

#[test]
fn a_part_that_is_over_is_not_held_for_what_may_follow() {
    let thought = Channel { choice: 0, part: Part::Reasoning };
    let mut gate = Gate::new(settings(), false);
    gate.push(0, vec![delta(thought, "hm")], &[]);
    assert!(gate.due().is_empty());
    gate.push(1, vec![delta(ANSWER, "a")], &[]);
    let check = gate.due().remove(0);
    assert!(check.channel == thought && check.last);
    assert!(gate.cover(thought, 2, vec![]));
    assert_eq!(gate.release().len(), 1);
    gate.push(2, vec![], &[0]);
    assert!(gate.due().remove(0).last, "the choice has ended");
    assert!(gate.cover(ANSWER, 1, vec![]));
    assert_eq!(gate.release().len(), 2);
    // Text that goes on after all is judged with what came before, and what has left cannot be edited any more.
    gate.push(3, vec![delta(thought, " 4111")], &[0]);
    let check = gate.due().remove(0);
    assert_eq!((check.text.as_str(), check.settled), ("hm 4111", 0), "what was found final was so only as the end");
    assert!(!gate.cover(thought, 7, vec![Edit { range: 1..7, with: "[x]".into() }]));
}

#[test]
fn lag_lets_text_go_and_holds_the_end() {
    let mut gate = Gate::new(Stream { mode: StreamMode::Lag, ..settings() }, false);
    gate.push(0, vec![delta(ANSWER, "abcdefgh")], &[]);
    assert_eq!(gate.release().len(), 1);
    let check = gate.due().remove(0);
    gate.push(1, vec![], &[]);
    assert!(gate.release().is_empty(), "the end waits for the verdict");
    assert!(gate.cover(check.channel, 8, vec![]));
    assert_eq!(gate.release().len(), 1);
    gate.push(2, vec![delta(ANSWER, " 4111")], &[]);
    assert_eq!(gate.release().len(), 1);
    gate.end();
    assert_eq!(gate.due().len(), 1);
    assert!(!gate.cover(ANSWER, 13, vec![Edit { range: 9..13, with: "[x]".into() }]), "it has left unedited");
}

#[test]
fn buffer_holds_all_until_all_is_judged() {
    let mut gate = Gate::new(Stream { mode: StreamMode::Buffer, ..settings() }, false);
    gate.push(0, vec![], &[]);
    gate.push(1, vec![delta(ANSWER, "a sentence. And more of it.")], &[]);
    assert!(gate.due().is_empty() && gate.release().is_empty());
    gate.end();
    let check = gate.due().remove(0);
    assert!(check.last && gate.release().is_empty());
    assert!(gate.cover(ANSWER, check.text.len(), vec![]));
    assert_eq!(gate.release().len(), 2);
    assert!(gate.is_done());
}

proptest! {
    /// Whatever arrives in whatever pieces, and however late verdicts come: what leaves is always covered, in order, whole.
    #[test]
    fn all_leaves_in_order_and_never_early(
        pieces in prop::collection::vec(("[a-c. ก]{0,6}", 0u64..2, any::<bool>(), 0usize..12), 1..40),
    ) {
        let mut gate = Gate::new(settings(), false);
        let mut covered = BTreeMap::new();
        let mut sent = BTreeMap::<Channel, usize>::new();
        let mut left = Vec::new();
        let mut pending = Vec::new();
        let total = pieces.len();
        for (index, (text, choice, answer, back)) in pieces.into_iter().enumerate() {
            gate.push(index, vec![delta(Channel { choice, part: Part::Content }, &text)], &[]);
            if index + 1 == total { gate.end(); }
            pending.extend(gate.due());
            if answer && !pending.is_empty() {
                let check: Check = pending.remove(0);
                let end = check.from + check.text.len();
                let settled = check.text.floor_char_boundary(check.text.len().saturating_sub(if check.last { 0 } else { back })) + check.from;
                assert!(gate.cover(check.channel, settled, vec![]));
                let most: &mut usize = covered.entry(check.channel).or_default();
                *most = (*most).max(settled.min(end));
            }
            left.extend(gate.release());
            for (channel, length) in &sent { prop_assert!(length <= covered.get(channel).unwrap_or(&0)); }
            sent.clear();
            for released in &left {
                for delta in &released.deltas { *sent.entry(delta.channel).or_default() += delta.text.len(); }
            }
        }
        for check in pending { prop_assert!(gate.cover(check.channel, check.from + check.text.len(), vec![])); }
        for check in gate.due() { prop_assert!(gate.cover(check.channel, check.from + check.text.len(), vec![])); }
        left.extend(gate.release());
        prop_assert!(gate.is_done());
        prop_assert!(left.iter().map(|r| r.event).eq(0..total));
        prop_assert!(left.iter().all(|r| r.edited.is_none()));
    }
}

#[test]
fn what_may_yet_give_way_waits_in_every_mode() {
    for mode in [StreamMode::Hold, StreamMode::Lag] {
        let mut gate = Gate::new(Stream { mode, ..settings() }, false);
        let mut leave = |text: &str, swaps: Vec<Edit>, settled: usize, over: &[u64]| {
            gate.push((), vec![delta(ANSWER, text)], over);
            gate.swap(ANSWER, swaps, settled);
            gate.idle();
            for check in gate.due() {
                assert!(gate.cover(ANSWER, check.from + check.text.len(), vec![]));
            }
            gate.release().into_iter().map(|r| r.edited.map_or(r.deltas[0].text.clone(), |texts| texts.concat())).collect()
        };
        let swap = |range| vec![Edit { range, with: "value".into() }];
        let none: [&str; 0] = [];
        let left: Vec<String> = leave("to [A", vec![], 3, &[]);
        assert_eq!(left, none, "{mode:?}");
        assert_eq!(leave("_", vec![], 3, &[]), none, "{mode:?}");
        assert_eq!(leave("1] [", swap(3..8), 9, &[]), ["to value", ""], "{mode:?}: the third piece ends in what may be one");
        assert_eq!(leave(" x [A", vec![], 13, &[]), [" ["], "{mode:?}");
        assert_eq!(leave("_", vec![], 13, &[0]), [" x [A", "_"], "{mode:?}: nothing follows");
        assert_eq!(leave("1]", swap(13..18), 18, &[]), ["1]"], "{mode:?}: what has begun to leave stays as it is");
    }
}

#[test]
fn a_verdicts_edits_stand_before_swaps() {
    let ends = |verdict: Range<usize>| {
        let mut gate = Gate::new(settings(), false);
        gate.push(0, vec![delta(ANSWER, "x [A] [A]")], &[]);
        gate.swap(ANSWER, [2..5, 6..9].map(|range| Edit { range, with: "value".into() }).into(), 9);
        gate.end();
        assert_eq!(gate.due().len(), 1);
        assert!(gate.cover(ANSWER, 9, vec![Edit { range: verdict, with: "*".into() }]));
        gate.release().remove(0).edited.unwrap().concat()
    };
    assert_eq!([ends(0..1), ends(4..6), ends(0..9)], ["* value value", "x [A*value", "*"]);
}

#[test]
fn a_fields_name_gives_way_to_nothing() {
    let mut gate = Gate::new(settings(), false);
    gate.push(0, vec![Delta { place: None, ..delta(ANSWER, "[A]") }, delta(ANSWER, "[A]")], &[]);
    gate.swap(ANSWER, [0..3, 3..6].map(|range| Edit { range, with: "value".into() }).into(), 6);
    gate.end();
    assert_eq!(gate.due().len(), 1);
    assert!(gate.cover(ANSWER, 6, vec![]));
    assert_eq!(gate.release().remove(0).edited.unwrap(), ["[A]", "value"]);
}
