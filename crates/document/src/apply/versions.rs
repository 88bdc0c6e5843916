//! Entries of `managedFields` and the versions of their kind: each is compared, pruned and brought up to date in the
//! version it was written in; one whose version is served no more is dropped.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::managers::{Entry, Managers};
use super::set::Set;
use super::shape::Shape;
use super::walk::{self, Changes, Empties, compare, fields, named, remove};
use super::{Write, set_of};
use crate::{Type, Value};

/// A version that is served.
#[derive(Clone, Copy)]
pub struct Served {
    pub type_: &'static Type,
    /// Paths that the endpoint of the write resets in this version.
    pub reset: &'static [&'static str],
}

/// What field management asks about the versions of the kind that is written.
pub trait Versions {
    /// `None` when the kind is not served in this apiVersion.
    fn find(&self, version: &str) -> Option<Served>;

    /// An object of one version in another; both are served.
    fn convert(&self, object: &Value, from: &str, to: &str) -> Value;
}

impl Write<'_> {
    fn shape_in(&self, version: &str) -> Option<Shape> {
        if version == self.version {
            return Some(Shape::root(self.type_));
        }
        self.versions.find(version).map(|served| Shape::root(served.type_))
    }

    fn convert(&self, object: Value, from: &str, to: &str) -> Value {
        if from == to { object } else { self.versions.convert(&object, from, to) }
    }
}

/// What differs in one version, put together once: many managers are held against it.
pub(super) struct Compared {
    /// What is new or changed.
    pub(super) touched: Set,
    removed: Set,
    all: OnceCell<Set>,
}

impl Compared {
    /// What is new, changed or gone. A new object has no managers that would ask.
    pub(super) fn all(&self) -> &Set {
        self.all.get_or_init(|| self.removed.clone().union(&self.touched))
    }
}

impl From<Changes> for Compared {
    fn from(changes: Changes) -> Self {
        let touched = match changes.modified.is_empty() {
            true => changes.added,
            false => changes.modified.union(&changes.added),
        };
        Compared { touched, removed: changes.removed, all: OnceCell::new() }
    }
}

/// What differs between two objects, in each version that somebody asks for.
pub(super) struct Comparisons<'a> {
    write: &'a Write<'a>,
    live: &'a Value,
    new: &'a Value,
    own: Compared,
    others: BTreeMap<String, Option<Compared>>,
    empties: Empties,
}

impl<'a> Comparisons<'a> {
    pub(super) fn new(write: &'a Write<'a>, live: &'a Value, new: &'a Value, empties: Empties) -> Self {
        let own = without(compare(live, new, Shape::root(write.type_), empties), write.reset);
        Comparisons { write, live, new, own: own.into(), others: BTreeMap::new(), empties }
    }

    /// What is new or changed, in the version of the write.
    pub(super) fn into_touched(self) -> Set {
        self.own.touched
    }

    /// `None` when the version is not served.
    pub(super) fn of(&mut self, version: &str) -> Option<&Compared> {
        if version == self.write.version {
            return Some(&self.own);
        }
        if !self.others.contains_key(version) {
            let changes = self.compare_in(version);
            self.others.insert(version.to_owned(), changes);
        }
        self.others.get(version)?.as_ref()
    }

    fn compare_in(&self, version: &str) -> Option<Compared> {
        let served = self.write.versions.find(version)?;
        let convert = |object| self.write.versions.convert(object, self.write.version, version);
        let changes = compare(&convert(self.live), &convert(self.new), Shape::root(served.type_), self.empties);
        Some(without(changes, served.reset).into())
    }
}

fn without(changes: Changes, reset: &[&str]) -> Changes {
    if reset.is_empty() {
        return changes;
    }
    let reset = set_of(reset);
    Changes {
        added: changes.added.minus_below(&reset),
        modified: changes.modified.minus_below(&reset),
        removed: changes.removed.minus_below(&reset),
    }
}

/// Fields of a value that is owned as a whole, by its type of today, become the value itself; entries of versions that
/// are served no more go.
pub(super) fn reconcile(write: &Write<'_>, managers: &mut Managers) {
    managers.0.retain(|_, entry| match write.shape_in(&entry.version) {
        Some(shape) => {
            walk::reconcile(&mut entry.set, shape);
            true
        }
        None => false,
    });
}

/// Removes what the manager applied last time and neither it nor anybody else has now.
pub(super) fn prune(write: &Write<'_>, merged: Value, last: &Entry, managers: &Managers) -> Value {
    let Some(shape) = write.shape_in(&last.version) else { return merged };
    let merged = write.convert(merged, write.version, &last.version);
    let last_set = named(&last.set, shape);
    let pruned = remove(&merged, &last_set, shape);
    let pruned = add_back_owned(write, merged.clone(), pruned, &last.version, managers);
    let all = named(&fields(&merged, shape), shape);
    let gone = all.minus(&named(&fields(&pruned, shape), shape)).intersect(&last_set);
    write.convert(remove(&merged, &gone, shape), &last.version, write.version)
}

/// What was pruned though another manager has it; first in the version that was pruned, then in the others.
fn add_back_owned(write: &Write<'_>, merged: Value, pruned: Value, version: &str, managers: &Managers) -> Value {
    let mut managed: BTreeMap<&str, Vec<&Set>> = BTreeMap::new();
    for entry in managers.0.values() {
        managed.entry(&entry.version).or_default().push(&entry.set);
    }
    let first = managed.remove_entry(version);
    let (mut merged, mut pruned, mut now) = (merged, pruned, version);
    for (version, sets) in first.into_iter().chain(managed) {
        let set = Set::of_all(&sets);
        let Some(shape) = write.shape_in(version) else { continue };
        merged = write.convert(merged, now, version);
        pruned = write.convert(pruned, now, version);
        now = version;
        let kept = named(&fields(&pruned, shape), shape).union(&named(&set, shape));
        pruned = remove(&merged, &named(&fields(&merged, shape), shape).minus(&kept), shape);
    }
    write.convert(pruned, now, version)
}
