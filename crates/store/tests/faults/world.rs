//! A store over a folder, and objects whose content is their text.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use document::Object;
use meta::{Key, ResourceId, Revision};
use store::log::Tidying;
use store::log::sqlite::Sqlite;
use store::{
    CommitError, Committed, Effect, OpenError, Options, Precondition, Sealed, Store, Transaction, Write, Writer,
};

pub(crate) struct Sealing(pub(crate) Transaction);

impl Sealed for Sealing {
    fn into_transaction(self) -> Transaction {
        self.0
    }
}

pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) writer: Writer<Sealing>,
}

pub(crate) const FILE: &str = "state.db";

pub(crate) fn pods() -> ResourceId {
    ResourceId::new("", "pods")
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(pods(), "ns", name)
}

pub(crate) fn reseal(key: Key, revision: Revision, bytes: Bytes) -> Result<Object, String> {
    Ok(Object { revision, ..Object::bare(key, bytes) })
}

pub(crate) fn put(name: &str, text: &[u8], precondition: Precondition) -> Write {
    let object = reseal(key(name), Revision(0), Bytes::copy_from_slice(text)).expect("any text is an object");
    Write { precondition, effect: Effect::Put(object) }
}

pub(crate) fn remove(name: &str, precondition: Precondition) -> Write {
    Write { precondition, effect: Effect::Remove(key(name)) }
}

/// Everything that happens rarely happens soon.
pub(crate) fn hasty() -> (Options, Tidying) {
    let options = Options { history_bytes: 6000, tidy_every: Duration::from_millis(3), ..Options::default() };
    (
        options,
        Tidying { every: Duration::from_millis(2), worth_it: 40 << 10, too_large: 160 << 10, too_long: 200 << 10 },
    )
}

impl Opened {
    pub(crate) fn new(folder: &Path, options: Options, tidying: Tidying) -> Result<Opened, OpenError> {
        let log = unlocked(folder, tidying)?;
        let (store, writer) = Store::open(Box::new(log), Arc::new(reseal), options)?;
        Ok(Opened { store, writer })
    }

    /// As a server opens it.
    pub(crate) fn plain(folder: &Path) -> Result<Opened, OpenError> {
        Opened::new(folder, Options::default(), Tidying::default())
    }

    pub(crate) async fn write(&self, writes: Vec<Write>) -> Result<Committed, CommitError> {
        self.writer.commit(Sealing(Transaction { writes, reads: vec![] })).await
    }

    pub(crate) async fn put(&self, name: &str, text: &str) -> Result<Revision, CommitError> {
        Ok(self.write(vec![put(name, text.as_bytes(), Precondition::Any)]).await?.revision)
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let object = self.store.view().get(&key(name))?;
        Some(String::from_utf8_lossy(&object.bytes).into_owned())
    }
}

/// A process that another test starts holds our lock between its fork and its exec.
fn unlocked(folder: &Path, tidying: Tidying) -> Result<Sqlite, OpenError> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match Sqlite::open_with(folder.join(FILE), tidying) {
            Err(OpenError::InUse(_)) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            opened => return opened,
        }
    }
}

/// Deterministic: a failure comes again.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}
