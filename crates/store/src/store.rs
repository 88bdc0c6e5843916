//! `Store` to read and watch, the one `Writer` to commit, and how both are opened.

use std::collections::HashMap;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use document::Object;
use meta::{Key, ResourceId, Revision};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use crate::commit::{self, Committer, Message, Pending};
use crate::history::{Bounds, History};
use crate::log::{Log, OpenError};
use crate::observer::{Attached, Change, Observer};
use crate::replay;
use crate::view::{State, View};
use crate::{Compacted, Filter, Precondition, Sealed, Slot, Watcher};

/// Makes an object of what the log stored: marks, labels and the like are found again.
pub type Reseal = Arc<dyn Fn(Key, Revision, Bytes) -> Result<Object, String> + Send + Sync>;

#[derive(Clone)]
pub struct Options {
    /// How long a change stays in its resource's history.
    pub history_age: Duration,
    /// How much of one resource's history is kept.
    pub history_bytes: usize,
    /// How often quiet histories are trimmed, and the log is told what nobody needs any more.
    pub tidy_every: Duration,
    /// Called when the log fails for another reason than a full disk: what is on disk is unknown, and the process is
    /// to end. The default says so and exits.
    pub fatal: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Everything that was committed, to read and to watch. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    committer: Arc<Mutex<Committer>>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
    queue: Sender<Message>,
}

/// The only way to change the store; there is one.
pub struct Writer<A: Sealed> {
    queue: Sender<Message>,
    sealed: PhantomData<fn(A)>,
}

/// A transaction that is on disk and in force.
#[derive(Clone, Debug)]
pub struct Committed {
    pub revision: Revision,
    /// Per write: what was put.
    pub objects: Vec<Option<Arc<Object>>>,
    /// Per write: what was removed, under the removal's revision.
    pub removed: Vec<Option<Arc<Object>>>,
}

/// Why nothing was written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    #[error("{key:?} is not as expected ({precondition:?})")]
    Conflict { key: Key, precondition: Precondition, current: Option<Arc<Object>> },
    #[error("no space left to store it: {0}")]
    Full(String),
    #[error("the store is shutting down")]
    Stopped,
}

/// Why a view of another revision cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error(transparent)]
    Compacted(#[from] Compacted),
    /// `wait_for` it first.
    #[error("the requested revision has not happened yet; the newest one is {newest}")]
    Future { newest: Revision },
}

/// What readers, watchers and the commit thread share.
pub(crate) struct Shared {
    state: ArcSwap<State>,
    histories: RwLock<HashMap<ResourceId, Arc<History>>>,
    newest: watch::Sender<Revision>,
    /// Histories hold a batch before it is shown; watchers stop here.
    shown: AtomicU64,
    pub(crate) stopped: AtomicBool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            history_age: Duration::from_secs(300),
            history_bytes: 16 << 20,
            tidy_every: Duration::from_secs(15),
            fatal: Arc::new(|why| {
                tracing::error!("{why}");
                std::process::exit(74);
            }),
        }
    }
}

impl Store {
    /// Opens a log, replays it and starts the commit thread.
    pub fn open<A: Sealed>(
        mut log: Box<dyn Log>,
        reseal: Reseal,
        options: Options,
    ) -> Result<(Store, Writer<A>), OpenError> {
        let replayed = replay::replay(&mut *log, &reseal)?;
        let shared = Arc::new(Shared::new(replayed.state));
        shared.restore(replayed.floors, replayed.changes);
        let dead = replayed.dead;
        let committer = Committer { shared: shared.clone(), log, observers: Vec::new(), options, full: false, dead };
        let committer = Arc::new(Mutex::new(committer));
        let (queue, receiver) = mpsc::channel();
        let own = committer.clone();
        let thread = std::thread::Builder::new()
            .name("commit".into())
            .spawn(move || commit::run(&own, &receiver))
            .map_err(|e| OpenError::Replay(format!("failed to start the commit thread: {e}")))?;
        let writer = Writer { queue: queue.clone(), sealed: PhantomData };
        let thread = Arc::new(Mutex::new(Some(thread)));
        Ok((Store { shared, committer, thread, queue }, writer))
    }

    /// The newest revision.
    pub fn view(&self) -> View {
        self.shared.view()
    }

    /// A view in which `resource` stands as it did at an older revision. Other resources and indices are those of now.
    /// Costs as much as has happened to the resource since.
    pub fn view_at(&self, resource: &ResourceId, revision: Revision) -> Result<View, Unreadable> {
        self.shared.view_at(resource, revision)
    }

    pub fn revision(&self) -> Revision {
        self.shared.state.load().revision
    }

    /// Waits until a revision can be seen.
    pub fn wait_for(&self, revision: Revision) -> impl Future<Output = ()> + Send + use<> {
        let mut newest = self.shared.newest.subscribe();
        async move {
            // the sender lives as long as the store; when it is gone nobody needs the answer
            let _ = newest.wait_for(|r| *r >= revision).await;
        }
    }

    /// Follows a resource from after a revision.
    pub fn watch(&self, resource: &ResourceId, from: Revision, filter: Filter) -> Result<Watcher, Compacted> {
        Watcher::new(self.shared.clone(), resource, from, filter)
    }

    /// Attaches an observer: from here on every view has its index. Waits for the commit that is under way.
    pub fn observe<O: Observer>(&self, observer: O) -> Slot<O::Index> {
        let mut committer = self.committer.lock();
        let attached = Attached::new(observer);
        let view = self.view();
        let mut state = State::clone(&view.0);
        state.indices.push(attached.build(&view));
        let at = state.indices.len() - 1;
        committer.observers.push(Arc::new(attached));
        self.shared.publish(state);
        Slot { at, index: PhantomData }
    }

    /// Commits what waits, then refuses everything and closes all watchers. Does not wait for it.
    pub fn shutdown(&self) {
        // the thread may have ended already
        let _ = self.queue.send(Message::Stop);
    }

    /// `shutdown`, and waits until the log is closed. Blocks.
    pub fn close(&self) {
        self.shutdown();
        if let Some(thread) = self.thread.lock().take() {
            // it has said why, if it panicked
            let _ = thread.join();
        }
    }
}

impl<A: Sealed> Writer<A> {
    /// Commits a sealed transaction. When it returns, the change is on disk, observers have seen it, and every view
    /// that is taken from now on has it.
    pub async fn commit(&self, sealed: A) -> Result<Committed, CommitError> {
        let (answer, outcome) = oneshot::channel();
        let pending = Pending { transaction: sealed.into_transaction(), answer };
        self.queue.send(Message::Commit(pending)).map_err(|_| CommitError::Stopped)?;
        outcome.await.unwrap_or(Err(CommitError::Stopped))
    }
}

impl Shared {
    fn new(state: State) -> Self {
        let newest = watch::Sender::new(state.revision);
        let shown = AtomicU64::new(state.revision.0);
        Shared {
            state: ArcSwap::from_pointee(state),
            histories: RwLock::default(),
            newest,
            shown,
            stopped: AtomicBool::new(false),
        }
    }

    pub(crate) fn view(&self) -> View {
        View(self.state.load_full())
    }

    pub(crate) fn publish(&self, state: State) {
        self.state.store(Arc::new(state));
    }

    pub(crate) fn history(&self, resource: &ResourceId) -> Arc<History> {
        if let Some(history) = self.histories.read().get(resource) {
            return history.clone();
        }
        let mut histories = self.histories.write();
        let new = || Arc::new(History::new(Revision(0), *self.newest.borrow()));
        histories.entry(resource.clone()).or_insert_with(new).clone()
    }

    /// Makes a batch visible: to readers, then to watchers.
    pub(crate) fn show(&self, next: State, changes: Vec<Change>, bounds: Bounds, dead: &mut Vec<(Revision, Key)>) {
        let revision = next.revision;
        // first, so that what a view shows can be taken back
        let touched = self.record(changes, bounds, dead);
        self.publish(next);
        self.shown.store(revision.0, Ordering::Release);
        for history in touched {
            history.changed.notify_waiters();
        }
        self.reached(revision);
    }

    /// Watchers deliver nothing newer.
    pub(crate) fn shown(&self) -> Revision {
        Revision(self.shown.load(Ordering::Acquire))
    }

    fn record(&self, changes: Vec<Change>, bounds: Bounds, dead: &mut Vec<(Revision, Key)>) -> Vec<Arc<History>> {
        let mut by_resource: HashMap<ResourceId, Vec<Change>> = HashMap::new();
        for change in changes {
            by_resource.entry(change.key.resource.clone()).or_default().push(change);
        }
        let now = Instant::now();
        let record = |(resource, changes)| {
            let history = self.history(&resource);
            history.push(commit::entries(changes));
            history.trim(bounds, now, dead);
            history
        };
        by_resource.into_iter().map(record).collect()
    }

    fn reached(&self, revision: Revision) {
        for history in self.histories.read().values() {
            history.complete(revision);
        }
        self.newest.send_replace(revision);
    }

    /// Trims all histories; floors of all that have one.
    pub(crate) fn trim(&self, bounds: Bounds, dead: &mut Vec<(Revision, Key)>) -> Vec<(ResourceId, Revision)> {
        let now = Instant::now();
        let histories = self.histories.read();
        histories
            .iter()
            .map(|(resource, history)| {
                history.trim(bounds, now, dead);
                (resource.clone(), history.read(|entries| entries.floor()))
            })
            .filter(|(_, floor)| *floor > Revision(0))
            .collect()
    }

    fn restore(&self, floors: Vec<(ResourceId, Revision)>, changes: Vec<Change>) {
        let newest = *self.newest.borrow();
        let restored = floors.into_iter().map(|(r, floor)| (r, Arc::new(History::new(floor, newest))));
        self.histories.write().extend(restored);
        for change in changes {
            self.history(&change.key.resource.clone()).push(commit::entries(vec![change]));
        }
        self.reached(newest);
    }

    fn view_at(&self, resource: &ResourceId, revision: Revision) -> Result<View, Unreadable> {
        let view = self.view();
        if revision == view.revision() {
            return Ok(view);
        }
        if revision > view.revision() {
            return Err(Unreadable::Future { newest: view.revision() });
        }
        let mut state = State::clone(&view.0);
        let history = self.history(resource);
        history.read(|entries| {
            if revision < entries.floor() {
                return Err(Compacted { oldest: entries.floor() });
            }
            entries.back_to(revision).filter(|c| c.revision <= view.revision()).for_each(|c| state.undo(c));
            Ok(())
        })?;
        state.revision = revision;
        Ok(View(Arc::new(state)))
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        for history in self.histories.read().values() {
            history.changed.notify_waiters();
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.revision())
    }
}
