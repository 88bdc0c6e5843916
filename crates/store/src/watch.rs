//! `Watcher`: a cursor into its resource's history, not a queue. One that is too slow falls off the end and is closed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use document::Object;
use meta::{ResourceId, Revision, fields, labels};

use crate::history::{Entry, History};
use crate::store::Shared;

/// The revision asked for is not kept any more: 410.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the requested revision has been compacted; the oldest one that can be resumed from is {oldest}")]
pub struct Compacted {
    /// The oldest revision that a watch may start from.
    pub oldest: Revision,
}

/// What a watcher wants to see of its resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub labels: labels::Selector,
    pub fields: fields::Selector,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

/// One step of a watch.
#[derive(Clone, Debug)]
pub struct Event {
    pub kind: EventKind,
    /// For `Deleted` the last object under the deletion's revision.
    pub object: Arc<Object>,
    pub revision: Revision,
}

/// Follows one resource. Every change after the starting revision is seen once and in order, or the watcher is closed.
pub struct Watcher {
    shared: Arc<Shared>,
    pub(crate) history: Arc<History>,
    filter: Filter,
    cursor: u64,
    /// Where it started, possibly in the future.
    from: Revision,
    seen: Revision,
}

impl Filter {
    pub fn is_everything(&self) -> bool {
        self.namespace.is_none() && self.name.is_none() && self.labels.is_everything() && self.fields.is_everything()
    }

    pub fn matches(&self, object: &Object) -> bool {
        self.namespace.as_deref().is_none_or(|n| n == &*object.key.namespace)
            && self.name.as_deref().is_none_or(|n| n == &*object.key.name)
            && self.labels.matches(&object.labels)
            && self.fields.matches(|field| object.field(field))
    }

    /// What a change means to those who see only what matches.
    fn event(&self, entry: &Entry) -> Option<Event> {
        let (old, new) = (entry.change.old.as_ref(), entry.change.new.as_ref());
        let (before, after) = (old.is_some_and(|o| self.matches(o)), new.is_some_and(|o| self.matches(o)));
        let (kind, object) = match (before, after) {
            (false, false) => return None,
            (false, true) => (EventKind::Added, new?),
            (true, true) => (EventKind::Modified, new?),
            (true, false) => (EventKind::Deleted, entry.gone()?),
        };
        Some(Event { kind, object: object.clone(), revision: entry.change.revision })
    }
}

impl Watcher {
    pub(crate) fn new(
        shared: Arc<Shared>,
        resource: &ResourceId,
        from: Revision,
        filter: Filter,
    ) -> Result<Watcher, Compacted> {
        let history = shared.history(resource);
        let cursor = history.read(|entries| match entries.floor() {
            floor if from < floor => Err(Compacted { oldest: floor }),
            _ => Ok(entries.position_after(from)),
        })?;
        Ok(Watcher { shared, history, filter, cursor, from, seen: from })
    }

    /// The next event; waits for it. `None`: closed, because it fell off the history or the store shut down.
    /// Nothing is lost when the future is dropped before it is ready.
    pub async fn next(&mut self) -> Option<Event> {
        let history = self.history.clone();
        loop {
            let mut changed = std::pin::pin!(history.changed.notified());
            // asks to be woken before it looks, so that nothing falls between the two
            let step = std::future::poll_fn(|cx| {
                let woken = changed.as_mut().poll(cx).is_ready();
                match self.poll() {
                    Step::Wait if !woken => Poll::Pending,
                    step => Poll::Ready(step),
                }
            });
            match step.await {
                Step::Event(event) => return Some(event),
                Step::Closed => return None,
                Step::Wait => {}
            }
        }
    }

    /// The next event if it has happened already.
    pub fn try_next(&mut self) -> Option<Event> {
        match self.poll() {
            Step::Event(event) => Some(event),
            Step::Closed | Step::Wait => None,
        }
    }

    /// Everything up to here has been delivered or does not match: what a bookmark says. It moves on while the
    /// resource is quiet.
    pub fn revision(&mut self) -> Revision {
        let shown = self.shared.shown();
        self.seen = self.history.read(|entries| match entries.at(self.cursor) {
            Ok(None) => self.seen.max(entries.completed()),
            // it is recorded and not shown yet; whatever was before it has been delivered
            Ok(Some(next)) => self.seen.max(shown.min(Revision(next.change.revision.0 - 1))),
            Err(_) => self.seen,
        });
        self.seen
    }

    fn poll(&mut self) -> Step {
        const AT_ONCE: u32 = 1024;
        if self.shared.stopped.load(Ordering::Acquire) {
            return Step::Closed;
        }
        if self.history.ends_at(self.cursor) {
            return Step::Wait;
        }
        let history = self.history.clone();
        let shown = self.shared.shown();
        loop {
            let step = history.read(|entries| {
                for _ in 0..AT_ONCE {
                    match entries.at(self.cursor) {
                        Err(_) => return Some(Step::Closed),
                        Ok(None) => return Some(Step::Wait),
                        Ok(Some(entry)) if entry.change.revision > shown => return Some(Step::Wait),
                        Ok(Some(entry)) => {
                            if let Some(event) = self.pass(entry) {
                                return Some(Step::Event(event));
                            }
                        }
                    }
                }
                None
            });
            if let Some(step) = step {
                return step;
            }
        }
    }

    fn pass(&mut self, entry: &Entry) -> Option<Event> {
        self.cursor += 1;
        let revision = entry.change.revision;
        if revision <= self.from {
            return None;
        }
        // another change of the same revision may follow
        self.seen = self.seen.max(Revision(revision.0 - 1));
        self.filter.event(entry)
    }
}

enum Step {
    Event(Event),
    Closed,
    Wait,
}
