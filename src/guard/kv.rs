//! What a decoder guard keeps of texts that grow: the keys and values of their beginnings, found by their token ids.
//!
//! Pure: it knows no graph, and what it keeps may lie on any device.

use std::cmp::Reverse;

/// Values by the ids that they were computed from. Bounded in tokens; what was not used for longest goes first.
#[derive(Debug)]
pub(super) struct Store<V> {
    entries: Vec<Entry<V>>,
    /// Most tokens kept.
    room: usize,
    /// Tokens at the end of a text that another may lose when it takes its place: those that close the template, and those
    /// that come out otherwise when text follows.
    slack: usize,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Entry<V> {
    ids: Vec<u32>,
    values: V,
    /// Tokens that the values have room for, used or not.
    size: usize,
    used: u64,
    pinned: bool,
}

impl<V> Store<V> {
    pub(super) fn new(room: usize, slack: usize) -> Self {
        Self { entries: Vec::new(), room, slack, clock: 0 }
    }

    /// The values that hold most of the beginning of `ids`, and how many of its tokens they hold: all but the last at most,
    /// since a graph must be fed something.
    pub(super) fn longest(&mut self, ids: &[u32]) -> (usize, Option<&V>) {
        self.clock += 1;
        let (common, at) = self.find(ids);
        let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) else { return (0, None) };
        entry.used = self.clock;
        (common, Some(&entry.values))
    }

    /// How many tokens of the beginning of `ids` need not be computed.
    pub(super) fn held(&self, ids: &[u32]) -> usize {
        self.find(ids).0
    }

    fn find(&self, ids: &[u32]) -> (usize, Option<usize>) {
        let most = ids.len().saturating_sub(1);
        // Values keep their size when they are cut back, so a short text must not go on from a far longer one.
        let fits = |(_, entry): &(usize, &Entry<V>)| entry.size <= 2 * ids.len();
        let candidates = self.entries.iter().enumerate().filter(fits);
        let candidates = candidates.map(|(at, entry)| (common(&entry.ids, ids).min(most), Reverse(entry.size), at));
        candidates.max().filter(|(common, ..)| *common > 0).map_or((0, None), |(common, _, at)| (common, Some(at)))
    }

    /// The same beginnings without their values.
    pub(super) fn outline(&self) -> Store<()> {
        let entry = |entry: &Entry<V>| Entry {
            ids: entry.ids.clone(),
            values: (),
            size: entry.size,
            used: entry.used,
            pinned: entry.pinned,
        };
        let entries = self.entries.iter().map(entry).collect();
        Store { entries, room: self.room, slack: self.slack, clock: self.clock }
    }

    /// Keeps values in place of those that they go on from. What is larger than the room for all is not kept.
    pub(super) fn keep(&mut self, ids: Vec<u32>, values: V, size: usize) {
        let slack = self.slack;
        self.entries.retain(|entry| entry.pinned || entry.ids.len() > common(&entry.ids, &ids) + slack);
        let pinned: usize = self.entries.iter().filter(|entry| entry.pinned).map(|entry| entry.size).sum();
        if pinned + size > self.room {
            return;
        }
        while self.size() + size > self.room {
            let unpinned = self.entries.iter().enumerate().filter(|(_, entry)| !entry.pinned);
            let Some((oldest, _)) = unpinned.min_by_key(|(_, entry)| entry.used) else { return };
            self.entries.swap_remove(oldest);
        }
        self.entries.push(Entry { ids, values, size, used: self.clock, pinned: false });
    }

    /// Keeps values for good.
    pub(super) fn pin(&mut self, ids: Vec<u32>, values: V, size: usize) {
        self.entries.push(Entry { ids, values, size, used: self.clock, pinned: true });
    }

    /// Lets go of everything that is not kept for good.
    pub(super) fn clear(&mut self) {
        self.entries.retain(|entry| entry.pinned);
    }

    /// Tokens kept, those that are cut back included.
    pub(super) fn size(&self) -> usize {
        self.entries.iter().map(|entry| entry.size).sum()
    }
}

/// How many ids two sequences begin with alike.
fn common(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps a sequence as a graph would: from the longest beginning there is, whose name comes back.
    fn feed(store: &mut Store<&'static str>, name: &'static str, ids: &[u32]) -> (usize, Option<&'static str>) {
        let (common, values) = store.longest(ids);
        let found = (common, values.copied());
        store.keep(ids.to_vec(), name, ids.len());
        found
    }

    #[test]
    fn a_text_that_grows_takes_its_own_place_and_leaves_others_theirs() {
        let mut store = Store::new(40, 2);
        store.pin(vec![1, 2, 3], "template", 3);
        assert_eq!(feed(&mut store, "a", &[1, 2, 3, 10, 11, 8, 9]), (3, Some("template")));
        assert_eq!(feed(&mut store, "b", &[1, 2, 3, 20, 21, 8, 9]), (3, Some("template")), "the shorter of two alike");
        assert_eq!(feed(&mut store, "a2", &[1, 2, 3, 10, 11, 12, 13, 8, 9]), (5, Some("a")), "the closing is rolled back");
        assert_eq!(store.size(), 3 + 7 + 9, "it took the place of `a`");
        assert_eq!(feed(&mut store, "b2", &[1, 2, 3, 20, 21, 22, 8, 9]), (5, Some("b")));
        assert_eq!(store.longest(&[1, 2, 3, 10, 11, 12, 13, 8, 9]), (8, Some(&"a2")), "something is left to be fed");
        assert_eq!(store.longest(&[1, 2, 5]), (2, Some(&"template")), "not from values that are far longer");
        assert_eq!(store.longest(&[7, 7]), (0, None));
    }

    #[test]
    fn the_room_is_never_exceeded() {
        let mut store = Store::new(10, 0);
        store.pin(vec![1], "template", 1);
        feed(&mut store, "a", &[1, 2, 2, 2]);
        feed(&mut store, "b", &[1, 3, 3, 3]);
        assert_eq!(store.longest(&[1, 2, 2, 2, 2]), (4, Some(&"a")));
        feed(&mut store, "c", &[1, 4, 4, 4]);
        assert_eq!(store.longest(&[1, 3, 3, 3, 3]), (1, Some(&"template")), "`b` was not used for longest");
        assert_eq!(store.longest(&[1, 2, 2, 2, 2]), (4, Some(&"a")));
        store.keep(vec![5; 10], "too large", 10);
        assert_eq!(store.longest(&[5; 11]), (0, None));
        assert_eq!(store.size(), 9, "and nothing had to go for it");
        store.clear();
        assert_eq!(store.longest(&[1, 4]), (1, Some(&"template")));
        assert_eq!(store.size(), 1);
    }
}
