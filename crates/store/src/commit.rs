//! The commit thread: takes all that waits, checks it against memory and against the same batch, appends, shows it to
//! observers, then to readers and watchers, then answers.
//!
//! ```text
//! transactions ─► check, apply to a copy ─► append + sync ─► indices ─► view ─► histories ─► answers
//! ```

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use document::Object;
use meta::{Key, Revision};
use tokio::sync::oneshot;

use crate::history::{self, Bounds};
use crate::log::{Garbage, Log, LogError, Null, Record};
use crate::observer::{AnyObserver, Change};
use crate::store::{CommitError, Committed, Options, Shared};
use crate::view::{State, View};
use crate::{Effect, Precondition, Transaction};

/// A transaction and who waits for it.
pub(crate) struct Pending {
    pub(crate) transaction: Transaction,
    pub(crate) answer: Answer,
}

type Answer = oneshot::Sender<Result<Committed, CommitError>>;

pub(crate) enum Message {
    Commit(Pending),
    Stop,
}

/// What the commit thread owns; attaching an observer locks it for a moment.
pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: Box<dyn Log>,
    pub(crate) observers: Vec<Arc<dyn AnyObserver>>,
    pub(crate) options: Options,
    /// Said already.
    pub(crate) full: bool,
    /// Superseded records that the log has not been told of.
    pub(crate) dead: Vec<(Revision, Key)>,
}

/// The batch as it grows: a copy of the state with everything that was accepted.
struct Batch {
    next: State,
    changes: Vec<Change>,
    records: Vec<Record>,
    outcomes: Vec<(Answer, Result<Committed, CommitError>)>,
}

const BATCH: usize = 512;
/// How long a batch may wait for company. A sync costs about as much processor time whether it is for one or for many.
const LINGER: Duration = Duration::from_micros(500);

/// Runs until it is told to stop or the log fails.
pub(crate) fn run(committer: &parking_lot::Mutex<Committer>, queue: &Receiver<Message>) {
    let work = std::panic::AssertUnwindSafe(|| work(committer, queue));
    if std::panic::catch_unwind(work).is_err() {
        // an observer or the log died in the middle: what is shown may lack what is on disk
        let fatal = committer.lock().options.fatal.clone();
        fatal("the commit thread died; the next start finds what is on disk");
    }
}

fn work(committer: &parking_lot::Mutex<Committer>, queue: &Receiver<Message>) {
    let tidy_every = committer.lock().options.tidy_every;
    let mut tidied = Instant::now();
    let mut pace = Pace::new();
    loop {
        let mut batch = Vec::new();
        let stop = take(queue, tidy_every, &mut pace, &mut batch);
        let mut committer = committer.lock();
        let broken = !batch.is_empty() && committer.commit(batch).is_err();
        if stop || broken {
            committer.shared.stop();
            committer.log = Box::new(Null);
            return;
        }
        if tidied.elapsed() >= tidy_every {
            committer.tidy();
            tidied = Instant::now();
        }
    }
}

/// All that waits, up to a limit. True: stop after it.
fn take(queue: &Receiver<Message>, patience: Duration, pace: &mut Pace, batch: &mut Vec<Pending>) -> bool {
    // what came during the last commit is from several writers
    let (first, several) = match queue.try_recv() {
        Ok(first) => (Ok(first), true),
        Err(TryRecvError::Empty) => (queue.recv_timeout(patience), false),
        Err(TryRecvError::Disconnected) => return true,
    };
    match first {
        Ok(Message::Commit(pending)) => batch.push(pending),
        Err(RecvTimeoutError::Timeout) => return false,
        Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return true,
    }
    if several && pace.brings_more() {
        std::thread::sleep(LINGER);
    }
    let stop = drain(queue, batch);
    pace.note(batch.len());
    stop
}

fn drain(queue: &Receiver<Message>, batch: &mut Vec<Pending>) -> bool {
    while batch.len() < BATCH {
        match queue.try_recv() {
            Ok(Message::Commit(pending)) => batch.push(pending),
            Ok(Message::Stop) => return true,
            Err(_) => break,
        }
    }
    false
}

/// How many transactions come within `LINGER`: waiting for fewer than one or two more makes them slower and saves nothing.
struct Pace {
    expected: f64,
    since: Instant,
}

impl Pace {
    const WORTH_IT: f64 = 1.5;

    fn new() -> Self {
        Pace { expected: 0.0, since: Instant::now() }
    }

    fn brings_more(&self) -> bool {
        self.expected >= Self::WORTH_IT
    }

    fn note(&mut self, came: usize) {
        let now = Instant::now();
        let passed = now.duration_since(self.since).max(LINGER / 10);
        let expected = came as f64 * LINGER.as_secs_f64() / passed.as_secs_f64();
        // the past counts while it is recent
        let weight = (passed.as_secs_f64() / (LINGER.as_secs_f64() * 8.0)).min(1.0);
        self.expected += (expected - self.expected) * weight;
        self.since = now;
    }
}

impl Committer {
    /// `Err`: the log is broken and the process is to end.
    fn commit(&mut self, pending: Vec<Pending>) -> Result<(), Broken> {
        let mut batch = Batch::new(self.shared.view().0.as_ref().clone());
        for Pending { transaction, answer } in pending {
            let outcome = batch.apply(transaction);
            batch.outcomes.push((answer, outcome));
        }
        if !batch.records.is_empty() {
            match self.log.append(&batch.records) {
                Ok(()) => {
                    self.is_full(None);
                    self.show(batch.next, batch.changes);
                }
                Err(LogError::Full(why)) => {
                    self.is_full(Some(&why));
                    refuse(&mut batch.outcomes, || CommitError::Full(why.clone()));
                }
                Err(LogError::Failed(why)) => {
                    refuse(&mut batch.outcomes, || CommitError::Stopped);
                    (self.options.fatal)(&format!("failed to write to the store: {why}"));
                    answer(batch.outcomes);
                    return Err(Broken);
                }
            }
        }
        answer(batch.outcomes);
        Ok(())
    }

    fn is_full(&mut self, why: Option<&str>) {
        match why {
            Some(why) if !self.full => tracing::error!("the store has no space left, writes are refused: {why}"),
            None if self.full => tracing::info!("the store has space again"),
            _ => {}
        }
        self.full = why.is_some();
    }

    fn show(&mut self, mut next: State, changes: Vec<Change>) {
        self.apply_observers(&mut next, &changes);
        self.shared.show(next, changes, self.bounds(), &mut self.dead);
    }

    fn apply_observers(&self, next: &mut State, changes: &[Change]) {
        let view = View(Arc::new(next.clone()));
        for (observer, index) in self.observers.iter().zip(&mut next.indices) {
            if let Some(new) = observer.apply(index, changes, &view) {
                *index = new;
            }
        }
    }

    /// Trims quiet histories and tells the log what nobody needs any more.
    fn tidy(&mut self) {
        let floors = self.shared.trim(self.bounds(), &mut self.dead);
        if !self.dead.is_empty() {
            let dead = std::mem::take(&mut self.dead);
            self.log.compact(Garbage { dead, floors, revision: self.shared.view().revision() });
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds { age: self.options.history_age, bytes: self.options.history_bytes }
    }
}

/// The log failed; said to the fatal hook already.
struct Broken;

impl Batch {
    fn new(next: State) -> Self {
        Batch { next, changes: Vec::new(), records: Vec::new(), outcomes: Vec::new() }
    }

    fn apply(&mut self, transaction: Transaction) -> Result<Committed, CommitError> {
        check(&self.next, &transaction)?;
        let revision = Revision(self.next.revision.0 + 1);
        let mut committed = Committed { revision, objects: Vec::new(), removed: Vec::new() };
        let before = self.changes.len();
        for write in transaction.writes {
            let (object, removed) = self.write(write.effect, revision);
            committed.objects.push(object);
            committed.removed.push(removed);
        }
        if self.changes.len() == before {
            committed.revision = self.next.revision;
        } else {
            self.next.revision = revision;
        }
        Ok(committed)
    }

    fn write(&mut self, effect: Effect, revision: Revision) -> (Option<Arc<Object>>, Option<Arc<Object>>) {
        match effect {
            Effect::Put(mut object) => {
                object.revision = revision;
                let object = Arc::new(object);
                let old = self.next.get(&object.key).cloned();
                self.next.put(object.clone());
                self.note(object.key.clone(), revision, old, Some(object.clone()));
                (Some(object), None)
            }
            Effect::Remove(key) => {
                let Some(old) = self.next.get(&key).cloned() else { return (None, None) };
                self.next.remove(&key);
                let gone = Arc::new(Object { revision, ..(*old).clone() });
                self.note(key, revision, Some(old), None);
                (None, Some(gone))
            }
        }
    }

    fn note(&mut self, key: Key, revision: Revision, old: Option<Arc<Object>>, new: Option<Arc<Object>>) {
        let value = new.as_ref().map(|o| o.bytes.clone());
        self.records.push(Record { revision, key: key.clone(), value });
        self.changes.push(Change { key, revision, old, new });
    }
}

fn check(state: &State, transaction: &Transaction) -> Result<(), CommitError> {
    let writes = transaction.writes.iter().map(|w| (w.effect.key(), w.precondition));
    let reads = transaction.reads.iter().map(|(key, precondition)| (key, *precondition));
    for (key, precondition) in writes.chain(reads) {
        let current = state.get(key);
        let holds = match precondition {
            Precondition::Any => true,
            Precondition::Absent => current.is_none(),
            Precondition::At(revision) => current.is_some_and(|o| o.revision == revision),
            Precondition::Live => current.is_some_and(|o| o.deletion.is_none()),
        };
        if !holds {
            return Err(CommitError::Conflict { key: key.clone(), precondition, current: current.cloned() });
        }
    }
    Ok(())
}

/// Conflicts too: what they were checked against did not happen.
fn refuse(outcomes: &mut [(Answer, Result<Committed, CommitError>)], why: impl Fn() -> CommitError) {
    for (_, outcome) in outcomes {
        *outcome = Err(why());
    }
}

fn answer(outcomes: Vec<(Answer, Result<Committed, CommitError>)>) {
    for (answer, outcome) in outcomes {
        // whoever does not wait any more does not need it
        let _ = answer.send(outcome);
    }
}

/// Makes history entries of changes.
pub(crate) fn entries(changes: Vec<Change>) -> impl Iterator<Item = Arc<history::Entry>> {
    let now = Instant::now();
    changes.into_iter().map(move |change| history::Entry::new(change, now))
}
