//! `View`: everything as it stands at one revision. Immutable, cheap to clone, readable as long as it is held.

use std::collections::HashMap;
use std::sync::Arc;

use document::Object;
use meta::{Key, ResourceId, Revision};

use crate::Slot;
use crate::observer::{AnyIndex, Change};
use crate::shelf::{Place, Shelf};

/// One revision of the store.
#[derive(Clone)]
pub struct View(pub(crate) Arc<State>);

#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) revision: Revision,
    pub(crate) shelves: HashMap<ResourceId, Shelf>,
    pub(crate) indices: Vec<AnyIndex>,
}

impl View {
    pub fn revision(&self) -> Revision {
        self.0.revision
    }

    pub fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.0.get(key).cloned()
    }

    /// In key order, of one namespace or of all.
    pub fn list<'a>(
        &'a self,
        resource: &ResourceId,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = Arc<Object>> + use<'a> {
        self.range(resource, namespace, None)
    }

    /// As `list`, from after a key that need not exist any more.
    pub fn list_from<'a>(
        &'a self,
        resource: &ResourceId,
        namespace: Option<&'a str>,
        after: Option<&'a Key>,
    ) -> impl Iterator<Item = Arc<Object>> + use<'a> {
        self.range(resource, namespace, after.map(place))
    }

    pub fn count(&self, resource: &ResourceId) -> usize {
        self.0.shelves.get(resource).map_or(0, Shelf::len)
    }

    /// All resources of which there has been an object.
    pub fn resources(&self) -> impl Iterator<Item = &ResourceId> {
        self.0.shelves.keys()
    }

    /// The index that belongs to exactly this view.
    pub fn index<T: Send + Sync + 'static>(&self, slot: &Slot<T>) -> Arc<T> {
        let index = self.0.indices.get(slot.at).expect("views that are taken after `observe` have its index");
        index.clone().downcast().expect("a slot holds what its observer built")
    }

    fn range<'a>(
        &'a self,
        resource: &ResourceId,
        namespace: Option<&'a str>,
        after: Option<Place<'a>>,
    ) -> impl Iterator<Item = Arc<Object>> + use<'a> {
        self.0.shelves.get(resource).into_iter().flat_map(move |s| s.range(namespace, after)).cloned()
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "View({})", self.revision())
    }
}

impl State {
    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.shelves.get(&key.resource)?.get(place(key))
    }

    pub(crate) fn put(&mut self, object: Arc<Object>) {
        match self.shelves.get_mut(&object.key.resource) {
            Some(shelf) => shelf.put(object),
            None => self.shelves.entry(object.key.resource.clone()).or_default().put(object),
        }
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        if let Some(shelf) = self.shelves.get_mut(&key.resource) {
            shelf.remove(place(key));
        }
    }

    /// Takes one change back.
    pub(crate) fn undo(&mut self, change: &Change) {
        match &change.old {
            Some(old) => self.put(old.clone()),
            None => self.remove(&change.key),
        }
    }
}

pub(crate) fn place(key: &Key) -> Place<'_> {
    Place { namespace: &key.namespace, name: &key.name }
}
