//! The power goes at every single write of a random workload: what was not synced is lost, or reached the disk in part and
//! in any order. Afterwards every acknowledged write is there, no transaction is half there, and revisions go on rising.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use meta::Revision;
use store::{CommitError, Effect, Precondition, Transaction, Write};

use crate::disk::{Disk, Operation};
use crate::world::{Dice, FILE, Opened, Sealing, hasty, key, pods, put, remove};

/// What stands under which name, with the revision it was written at.
type State = BTreeMap<String, (u64, Vec<u8>)>;
/// What the transaction of a revision wrote; `None` removed it.
type Transactions = BTreeMap<u64, Vec<(String, Option<Vec<u8>>)>>;

const WRITERS: u64 = 4;
const SECTOR: usize = 512;

/// One writer's life: creates, updates at a revision, companion writes, removals, and preconditions that fail.
async fn write(opened: Arc<Opened>, disk: Arc<Disk>, seed: u64, rounds: u64, done: Arc<Mutex<Transactions>>) {
    let mut dice = Dice(seed);
    for _ in 0..rounds {
        let name = format!("n{}", dice.roll(12));
        let text = vec![b'a' + dice.roll(26) as u8; 10 + dice.roll(3000) as usize];
        let current = opened.store.view().get(&key(&name)).map(|o| o.revision);
        let writes = match (dice.roll(6), current) {
            (0, _) => vec![remove(&name, Precondition::Any)],
            (1, Some(at)) => vec![remove(&name, Precondition::At(at)), put("usage", &text, Precondition::Any)],
            (2, _) => (0..3).map(|n| put(&format!("{name}-{n}"), &text, Precondition::Any)).collect(),
            (3, _) => vec![put("usage", &text, Precondition::Any), put(&name, &text, Precondition::At(Revision(1)))],
            (_, Some(at)) => vec![put(&name, &text, Precondition::At(at))],
            (_, None) => vec![put(&name, &text, Precondition::Absent), put("usage", &text, Precondition::Any)],
        };
        let wrote: Vec<_> = writes.iter().map(content).collect();
        let before = opened.store.revision();
        match opened.writer.commit(Sealing(Transaction { writes, reads: vec![] })).await {
            Ok(committed) => {
                let effective = committed.objects.iter().chain(&committed.removed).any(Option::is_some);
                if effective {
                    assert!(committed.revision > before);
                    disk.acknowledged(committed.revision.0);
                    assert!(done.lock().unwrap().insert(committed.revision.0, wrote).is_none(), "a revision twice");
                }
            }
            Err(CommitError::Conflict { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        if dice.roll(8) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(dice.roll(6))).await;
        }
    }
}

fn content(write: &Write) -> (String, Option<Vec<u8>>) {
    match &write.effect {
        Effect::Put(object) => (object.key.name.to_string(), Some(object.bytes.to_vec())),
        Effect::Remove(key) => (key.name.to_string(), None),
    }
}

/// The state after every revision.
fn states(transactions: &Transactions) -> HashMap<u64, State> {
    let mut state = State::new();
    let mut all = HashMap::from([(1, state.clone())]);
    for (revision, writes) in transactions {
        for (name, text) in writes {
            match text {
                Some(text) => drop(state.insert(name.clone(), (*revision, text.clone()))),
                None => drop(state.remove(name)),
            }
        }
        all.insert(*revision, state.clone());
    }
    all
}

/// A file as it is on disk, and what has not been synced yet.
#[derive(Default)]
struct File {
    synced: Vec<u8>,
    pending: Vec<Operation>,
}

fn carry_out(bytes: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Write { at, bytes: new, .. } => {
            let end = at + new.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*at..end].copy_from_slice(new);
        }
        Operation::Truncate { size, .. } => bytes.truncate(*size),
        _ => {}
    }
}

/// The part of a write up to a sector's end: disks write whole sectors.
fn torn(operation: &Operation, dice: &mut Dice) -> Operation {
    let Operation::Write { file, at, bytes } = operation else { return operation.clone() };
    let first = SECTOR - at % SECTOR;
    let whole = (bytes.len().saturating_sub(first)) / SECTOR;
    let length = match dice.roll(whole as u64 + 2) as usize {
        0 => 0,
        n if n > whole => bytes.len(),
        n => (first + (n - 1) * SECTOR).min(bytes.len()),
    };
    Operation::Write { file: file.clone(), at: *at, bytes: bytes[..length].to_vec() }
}

/// How much of what was not synced is there after the power is back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Left {
    Nothing,
    /// All, the last write in part.
    AllButTheEnd,
    Some,
}

impl File {
    fn image(&self, left: Left, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        for (n, operation) in self.pending.iter().enumerate() {
            let last = n + 1 == self.pending.len();
            match left {
                Left::Nothing => {}
                Left::AllButTheEnd if last => carry_out(&mut bytes, &torn(operation, dice)),
                Left::AllButTheEnd => carry_out(&mut bytes, operation),
                Left::Some if dice.roll(2) == 0 => carry_out(&mut bytes, &torn(operation, dice)),
                Left::Some => {}
            }
        }
        bytes
    }
}

/// The disk as the operations went by.
#[derive(Default)]
struct Replay {
    files: BTreeMap<String, File>,
    acknowledged: u64,
    cuts: usize,
}

impl Replay {
    fn step(&mut self, operation: &Operation) {
        match operation {
            Operation::Write { file, .. } | Operation::Truncate { file, .. } => {
                self.files.entry(file.clone()).or_default().pending.push(operation.clone());
            }
            Operation::Sync { file } => {
                let file = self.files.entry(file.clone()).or_default();
                for operation in std::mem::take(&mut file.pending) {
                    carry_out(&mut file.synced, &operation);
                }
            }
            Operation::Delete { file } => drop(self.files.remove(file)),
            Operation::Acknowledged(revision) => self.acknowledged = self.acknowledged.max(*revision),
        }
    }

    /// The power goes here.
    fn cut(&mut self, left: Left, dice: &mut Dice, states: &HashMap<u64, State>) {
        self.cuts += 1;
        let folder = tempfile::tempdir().unwrap();
        let _disk = Disk::new(folder.path());
        for (name, file) in &self.files {
            std::fs::write(folder.path().join(name), file.image(left, dice)).unwrap();
        }
        check(folder.path(), self.acknowledged, states, &format!("cut {}, {left:?} left", self.cuts));
    }
}

fn check(folder: &Path, acknowledged: u64, states: &HashMap<u64, State>, place: &str) {
    let opened = Opened::plain(folder).unwrap_or_else(|e| panic!("{place}: {e}"));
    let view = opened.store.view();
    let at = view.revision().0;
    assert!(at >= acknowledged, "{place}: revision {acknowledged} was acknowledged, {at} is the newest");
    let found: State =
        view.list(&pods(), None).map(|o| (o.key.name.to_string(), (o.revision.0, o.bytes.to_vec()))).collect();
    assert!(Some(&found) == states.get(&at), "{place}: not what stood there at revision {at}");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(opened.put("next", "")).unwrap(), Revision(at + 1), "{place}");
    opened.store.close();
}

fn run(seed: u64, rounds: u64) {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::new(folder.path()));
    let (options, tidying) = hasty();
    let opened = Arc::new(Opened::new(folder.path(), options, tidying).unwrap());
    let done = Arc::new(Mutex::new(Transactions::new()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..WRITERS)
            .map(|n| tokio::spawn(write(opened.clone(), disk.clone(), seed * 31 + n + 1, rounds, done.clone())))
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let operations = disk.operations();
    opened.store.close();
    let transactions = done.lock().unwrap().clone();
    let newest = *transactions.keys().last().unwrap();
    assert_eq!(transactions.len() as u64 + 1, newest, "every revision is one transaction's");
    assert!(operations.iter().any(|o| matches!(o, Operation::Write { file, .. } if file == FILE)), "no checkpoint");
    let states = states(&transactions);
    let (mut replay, mut dice) = (Replay::default(), Dice(seed + 7));
    for operation in &operations {
        replay.step(operation);
        match operation {
            Operation::Write { .. } | Operation::Truncate { .. } => {
                let left = if dice.roll(2) == 0 { Left::Some } else { Left::AllButTheEnd };
                replay.cut(left, &mut dice, &states);
            }
            // what is lost when all is lost changes here only
            Operation::Acknowledged(_) => replay.cut(Left::Nothing, &mut dice, &states),
            Operation::Sync { .. } | Operation::Delete { .. } => {}
        }
    }
    eprintln!("seed {seed}: {newest} revisions, {} cuts", replay.cuts);
}

/// `LANYARD_CUTS=n` tries n workloads instead of one.
#[test]
fn the_power_may_go_at_any_write() {
    let workloads = std::env::var("LANYARD_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for seed in 1..=workloads {
        run(seed, 25);
    }
}
