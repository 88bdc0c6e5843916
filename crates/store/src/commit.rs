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
    if drain(queue, batch) {
        return true;
    }
    if several && pace.lingers && pace.linger(queue, batch) {
        return true;
    }
    pace.note(batch.len(), Instant::now());
    false
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

/// Learns whether waiting for company pays. Where the processor is what there is too little of, it does; a few writers who
/// wait for each answer only become slower. Nothing in here can tell the two apart, but the throughput can.
struct Pace {
    /// Whether batches wait at the moment.
    lingers: bool,
    /// Transactions per second without and with waiting, as far as known.
    rates: [f64; 2],
    since: Instant,
    came: usize,
    trials: u32,
    last: usize,
}

impl Pace {
    const TRIAL: Duration = Duration::from_millis(50);
    /// The way that was worse is tried again once in so many trials.
    const AGAIN: u32 = 16;
    /// Waiting must be so much better.
    const BETTER: f64 = 1.05;
    const LOOKS: u32 = 4;

    fn new() -> Self {
        Pace { lingers: false, rates: [0.0; 2], since: Instant::now(), came: 0, trials: 0, last: 0 }
    }

    /// Waits for company, but not for more than the writers that were seen: those of the last batch, who have been answered,
    /// and those who came meanwhile. True: stop after it.
    fn linger(&self, queue: &Receiver<Message>, batch: &mut Vec<Pending>) -> bool {
        let all = (self.last + batch.len()).min(BATCH);
        for _ in 0..Self::LOOKS {
            std::thread::sleep(LINGER / Self::LOOKS);
            if drain(queue, batch) {
                return true;
            }
            if batch.len() >= all {
                break;
            }
        }
        false
    }

    fn note(&mut self, came: usize, now: Instant) {
        self.last = came;
        self.came += came;
        let passed = now.duration_since(self.since);
        if passed < Self::TRIAL {
            return;
        }
        if passed > Self::TRIAL * 4 {
            // it was quiet: who writes now may be others
            *self = Pace { since: now, ..Pace::new() };
            return;
        }
        let rate = self.came as f64 / passed.as_secs_f64();
        let known = &mut self.rates[usize::from(self.lingers)];
        *known = if *known == 0.0 { rate } else { *known + (rate - *known) / 4.0 };
        self.trials += 1;
        let better = self.rates[1] > self.rates[0] * Self::BETTER;
        let unknown = self.rates.contains(&0.0);
        self.lingers = if unknown { self.rates[1] == 0.0 } else { better != self.trials.is_multiple_of(Self::AGAIN) };
        (self.since, self.came) = (now, 0);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// How often batches wait in the end, when waiting changes the throughput by so much.
    fn learned(effect: f64) -> usize {
        let (mut pace, mut now) = (Pace::new(), Instant::now());
        pace.since = now;
        let mut lingered = 0;
        for n in 0..2000 {
            now += Duration::from_millis(10);
            pace.note(if pace.lingers { (100.0 * effect) as usize } else { 100 }, now);
            lingered += usize::from(n >= 1000 && pace.lingers);
        }
        lingered
    }

    #[test]
    fn batches_wait_where_that_brings_more() {
        assert!(learned(1.3) > 900, "{}", learned(1.3));
        assert!(learned(0.8) < 100, "{}", learned(0.8));
        assert!(learned(1.0) < 100, "{}", learned(1.0));
    }

    #[test]
    fn what_was_learned_is_forgotten_when_it_is_quiet() {
        let (mut pace, mut now) = (Pace::new(), Instant::now());
        pace.since = now;
        for _ in 0..40 {
            now += Duration::from_millis(20);
            pace.note(if pace.lingers { 20 } else { 10 }, now);
        }
        assert!(pace.lingers);
        pace.note(1, now + Duration::from_secs(1));
        assert!(!pace.lingers && pace.rates == [0.0; 2]);
    }
}
