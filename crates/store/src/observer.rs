//! Observers: indices that belong to a view. They see each commit before any reader and before its writer does.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use document::Object;
use meta::{Key, ResourceId, Revision};

use crate::View;

/// What happened to one key in one commit. Neither old nor new: never handed over.
#[derive(Clone, Debug)]
pub struct Change {
    pub key: Key,
    pub revision: Revision,
    pub old: Option<Arc<Object>>,
    pub new: Option<Arc<Object>>,
}

/// Keeps an index that hangs on every view. Runs on the commit thread: it must be quick and must not wait.
pub trait Observer: Send + Sync + 'static {
    /// Immutable once made: views of older revisions still hold theirs.
    type Index: Send + Sync + 'static;

    /// Only changes of these resources are handed over.
    fn resources(&self) -> Vec<ResourceId>;

    /// The index of a whole view, when the observer is attached.
    fn build(&self, view: &View) -> Self::Index;

    /// The index after some changes, oldest first. A key may occur more than once. `view` holds all of them already
    /// (its own indices are those of before); share structure with the old index.
    fn apply(&self, index: &Self::Index, changes: &[Change], view: &View) -> Self::Index;
}

/// Where an observer's index is found in a view.
pub struct Slot<T> {
    pub(crate) at: usize,
    pub(crate) index: PhantomData<fn() -> T>,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slot<T> {}

impl<T> std::fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot({})", self.at)
    }
}

/// An index of any type.
pub(crate) type AnyIndex = Arc<dyn Any + Send + Sync>;

/// An observer without its index type.
pub(crate) trait AnyObserver: Send + Sync {
    /// `None`: nothing of interest changed.
    fn apply(&self, index: &AnyIndex, changes: &[Change], view: &View) -> Option<AnyIndex>;
}

pub(crate) struct Attached<O: Observer> {
    observer: O,
    resources: Vec<ResourceId>,
}

impl<O: Observer> Attached<O> {
    pub(crate) fn new(observer: O) -> Self {
        Attached { resources: observer.resources(), observer }
    }

    pub(crate) fn build(&self, view: &View) -> AnyIndex {
        Arc::new(self.observer.build(view))
    }
}

impl<O: Observer> AnyObserver for Attached<O> {
    fn apply(&self, index: &AnyIndex, changes: &[Change], view: &View) -> Option<AnyIndex> {
        let mine: Vec<Change> = changes.iter().filter(|c| self.resources.contains(&c.key.resource)).cloned().collect();
        if mine.is_empty() {
            return None;
        }
        let index = index.downcast_ref::<O::Index>().expect("a slot holds what its observer built");
        Some(Arc::new(self.observer.apply(index, &mine, view)))
    }
}
