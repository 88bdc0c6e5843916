//! `Shelf`: the objects of one resource at one revision, ordered by namespace and name. Persistent: a copy costs a
//! pointer, a change copies one path.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use document::Object;
use equivalent::{Comparable, Equivalent};
use imbl::OrdSet;

/// The objects of one resource.
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    objects: OrdSet<Entry>,
}

/// An object, ordered by where it stands.
#[derive(Clone)]
struct Entry(Arc<Object>);

/// Where an object stands on its shelf.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

impl Shelf {
    pub(crate) fn get(&self, place: Place<'_>) -> Option<&Arc<Object>> {
        self.objects.get(&place).map(|e| &e.0)
    }

    pub(crate) fn put(&mut self, object: Arc<Object>) {
        self.objects.insert(Entry(object));
    }

    pub(crate) fn remove(&mut self, place: Place<'_>) {
        self.objects.remove(&place);
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// The objects after a place, of one namespace or of all.
    pub(crate) fn range<'a>(
        &'a self,
        namespace: Option<&'a str>,
        after: Option<Place<'a>>,
    ) -> impl Iterator<Item = &'a Arc<Object>> + 'a {
        let first = Place { namespace: namespace.unwrap_or_default(), name: "" };
        let start = match after {
            Some(after) if after >= first => Bound::Excluded(after),
            _ => Bound::Included(first),
        };
        self.objects
            .range::<_, Place<'_>>((start, Bound::Unbounded))
            .map(|e| &e.0)
            .take_while(move |o| namespace.is_none_or(|n| &*o.key.namespace == n))
    }
}

impl Entry {
    fn place(&self) -> Place<'_> {
        Place { namespace: &self.0.key.namespace, name: &self.0.key.name }
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl Equivalent<Entry> for Place<'_> {
    fn equivalent(&self, entry: &Entry) -> bool {
        *self == entry.place()
    }
}

impl Comparable<Entry> for Place<'_> {
    fn compare(&self, entry: &Entry) -> Ordering {
        self.cmp(&entry.place())
    }
}
