//! What happened to one resource lately: the changes that watchers walk along and that take a view back to an older
//! revision. Bounded by age and bytes; what falls off is compacted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use document::Object;
use meta::{Key, Revision};
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::observer::Change;

/// The history of one resource.
pub(crate) struct History {
    entries: RwLock<Entries>,
    /// The sequence number that the next entry will have: most watchers are there, and see so without the lock.
    end: AtomicU64,
    pub(crate) changed: Notify,
}

pub(crate) struct Entries {
    list: VecDeque<Arc<Entry>>,
    /// Sequence number of the first entry in `list`.
    first: u64,
    /// Changes up to here may be missing.
    floor: Revision,
    /// All changes up to here are present: of the whole store, so a quiet resource moves on too.
    complete: Revision,
    bytes: usize,
}

pub(crate) struct Entry {
    pub(crate) change: Change,
    since: Instant,
    /// The old object under the change's revision: what a deletion shows.
    gone: OnceLock<Arc<Object>>,
}

/// What a history may keep.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) age: Duration,
    pub(crate) bytes: usize,
}

impl Entry {
    pub(crate) fn new(change: Change, since: Instant) -> Arc<Entry> {
        Arc::new(Entry { change, since, gone: OnceLock::new() })
    }

    /// The old object as of this change; `None` when there was none.
    pub(crate) fn gone(&self) -> Option<&Arc<Object>> {
        let old = self.change.old.as_ref()?;
        Some(self.gone.get_or_init(|| Arc::new(Object { revision: self.change.revision, ..(**old).clone() })))
    }

    fn bytes(&self) -> usize {
        const OVERHEAD: usize = 512;
        self.change.new.as_ref().or(self.change.old.as_ref()).map_or(0, |o| o.bytes.len()) + OVERHEAD
    }
}

impl History {
    pub(crate) fn new(floor: Revision, complete: Revision) -> Self {
        let entries = Entries { list: VecDeque::new(), first: 0, floor, complete, bytes: 0 };
        History { entries: RwLock::new(entries), end: AtomicU64::new(0), changed: Notify::new() }
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&Entries) -> T) -> T {
        read(&self.entries.read())
    }

    /// Adds changes. Wakes nobody: they are not shown yet.
    pub(crate) fn push(&self, new: impl IntoIterator<Item = Arc<Entry>>) {
        let mut entries = self.entries.write();
        for entry in new {
            entries.bytes += entry.bytes();
            entries.complete = entry.change.revision;
            entries.list.push_back(entry);
        }
        self.end.store(entries.first + entries.list.len() as u64, Ordering::Release);
    }

    /// Whether nothing has happened yet at a sequence number.
    pub(crate) fn ends_at(&self, sequence: u64) -> bool {
        self.end.load(Ordering::Acquire) == sequence
    }

    /// Says that nothing is missing up to a revision. Wakes nobody.
    pub(crate) fn complete(&self, revision: Revision) {
        let mut entries = self.entries.write();
        entries.complete = entries.complete.max(revision);
    }

    /// Drops what is too old or too much. What the log need not keep any more is added to `dead`.
    pub(crate) fn trim(&self, bounds: Bounds, now: Instant, dead: &mut Vec<(Revision, Key)>) -> Option<Revision> {
        let mut entries = self.entries.write();
        let before = entries.floor;
        while entries
            .list
            .front()
            .is_some_and(|e| entries.bytes > bounds.bytes || now.saturating_duration_since(e.since) > bounds.age)
        {
            entries.pop(dead);
        }
        (entries.floor != before).then_some(entries.floor)
    }
}

impl Entries {
    pub(crate) fn floor(&self) -> Revision {
        self.floor
    }

    pub(crate) fn completed(&self) -> Revision {
        self.complete
    }

    /// The sequence number of the first entry after a revision. Revisions never fall along the list.
    pub(crate) fn position_after(&self, revision: Revision) -> u64 {
        self.first + self.list.partition_point(|e| e.change.revision <= revision) as u64
    }

    /// The entry at a sequence number: `Err` when it fell off, `None` when it has not happened yet.
    pub(crate) fn at(&self, sequence: u64) -> Result<Option<&Arc<Entry>>, FellOff> {
        let n = sequence.checked_sub(self.first).ok_or(FellOff)?;
        Ok(self.list.get(n as usize))
    }

    /// Changes after a revision, newest first.
    pub(crate) fn back_to(&self, revision: Revision) -> impl Iterator<Item = &Change> {
        self.list.iter().rev().map(|e| &e.change).take_while(move |c| c.revision > revision)
    }

    fn pop(&mut self, dead: &mut Vec<(Revision, Key)>) {
        let Some(entry) = self.list.pop_front() else { return };
        self.bytes -= entry.bytes();
        self.first += 1;
        let change = &entry.change;
        // all changes of one transaction fall together
        self.floor = self.floor.max(change.revision);
        if let Some(old) = &change.old {
            dead.push((old.revision, change.key.clone()));
        }
        if change.new.is_none() {
            dead.push((change.revision, change.key.clone()));
        }
    }
}

/// The position is not kept any more.
#[derive(Debug)]
pub(crate) struct FellOff;
