//! What is written: effects with preconditions, all or nothing.

use document::Object;
use meta::{Key, Revision};

/// A value that may be committed. Implemented by `gate::Admitted` alone; tests of this crate have their own.
pub trait Sealed: Send + 'static {
    fn into_transaction(self) -> Transaction;
}

/// Commits wholly or not at all, at one revision.
#[derive(Debug, Default)]
pub struct Transaction {
    pub writes: Vec<Write>,
    /// Preconditions on keys that are not written (the namespace lives, the quota is unchanged).
    pub reads: Vec<(Key, Precondition)>,
}

#[derive(Debug)]
pub struct Write {
    pub precondition: Precondition,
    pub effect: Effect,
}

/// What must be true of a key when the transaction is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    Any,
    /// No such object.
    Absent,
    /// The object exists and its newest revision is this one.
    At(Revision),
    /// The object exists and has no deletionTimestamp.
    Live,
}

#[derive(Debug)]
pub enum Effect {
    /// Replaces or creates; the draft's revision is set at commit.
    Put(Object),
    Remove(Key),
}

impl Effect {
    pub fn key(&self) -> &Key {
        match self {
            Effect::Put(object) => &object.key,
            Effect::Remove(key) => key,
        }
    }
}
