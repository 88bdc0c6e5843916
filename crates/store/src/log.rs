//! `Log`: what makes commits durable. `null` keeps nothing, `sqlite` one file; one contract suite for all.
//! (A log that several servers share will add `follow`, through which alone memory then changes.)

pub mod null;
pub mod sqlite;
mod wal;

use bytes::Bytes;
use meta::{Key, ResourceId, Revision};

pub use null::Null;
pub use sqlite::{Sqlite, Tidying};

/// One key at one revision; no value: removed.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    pub revision: Revision,
    pub key: Key,
    pub value: Option<Bytes>,
}

/// What a log knows besides its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The newest revision that was ever appended; 0: nothing yet.
    pub revision: Revision,
    /// Up to which revision records of a resource may be missing.
    pub floors: Vec<(ResourceId, Revision)>,
}

/// Records that nobody needs any more.
#[derive(Debug, Default)]
pub struct Garbage {
    pub dead: Vec<(Revision, Key)>,
    pub floors: Vec<(ResourceId, Revision)>,
    /// Must be remembered, since the record that says so may be dead.
    pub revision: Revision,
}

/// Where commits go. All calls come from one thread.
pub trait Log: Send + 'static {
    /// Hands over all records, oldest first. Called once, before anything else.
    fn replay(&mut self, each: &mut dyn FnMut(Record)) -> Result<Replayed, LogError>;

    /// All or none of the records; durable on return.
    ///
    /// # Errors
    /// `Full`: nothing was written. Anything else: what is on disk is unknown.
    fn append(&mut self, records: &[Record]) -> Result<(), LogError>;

    /// Forgets records, now or later. May fail without harm: what is left is found again at the next start.
    fn compact(&mut self, garbage: Garbage);
}

/// Why a log could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No space is left; nothing was written.
    #[error("no space left: {0}")]
    Full(String),
    #[error("{0}")]
    Failed(String),
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{0} is in use by another process")]
    InUse(String),
    #[error("{path} was written by a newer version (format {found}; this version knows formats up to {known})")]
    Newer { path: String, found: i64, known: i64 },
    #[error("{path} is not a store of this program: {why}")]
    Foreign { path: String, why: String },
    /// What is missing had been acknowledged: going on would lose it in silence.
    #[error("{path} is damaged: {why}; restore it from a backup, or move it away to go on without what it held")]
    Damaged { path: String, why: String },
    #[error("failed to open {path}: {why}")]
    Failed { path: String, why: String },
    #[error("failed to replay the log: {0}")]
    Replay(String),
    /// A stored object that this version cannot read.
    #[error("failed to read {key:?} at revision {revision}: {why}")]
    Unreadable { key: Key, revision: Revision, why: String },
}

/// Never prints the value: it may be a Secret.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.value.as_ref().map_or(0, Bytes::len);
        write!(f, "Record({:?}@{}, {bytes} bytes)", self.key, self.revision)
    }
}
