//! Field management: who set which field (`metadata.managedFields`), kept at every update, and server-side apply, which
//! merges along it. Paths follow the type tables. Objects of other versions are compared in the version of the request.

mod element;
mod managers;
mod set;
mod shape;
mod walk;

pub use element::Element;
pub use set::Set;

use crate::{Type, Value};
use managers::{Entry, Id, Managers};
use shape::Shape;
use walk::{Changes, check, compare, fields, merge, named, remove};

/// The annotation of client-side apply.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Who owns what was there before the first apply.
const BEFORE: &str = "before-first-apply";
/// Paths that nobody manages.
const UNMANAGED: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "metadata.name",
    "metadata.namespace",
    "metadata.creationTimestamp",
    "metadata.selfLink",
    "metadata.uid",
    "metadata.clusterName",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.resourceVersion",
];

/// One write, as field management sees it.
pub struct Write<'a> {
    pub type_: &'static Type,
    /// apiVersion of the request.
    pub version: &'a str,
    pub subresource: &'a str,
    pub manager: &'a str,
    /// The time of new entries.
    pub now: &'a str,
    /// Paths that this endpoint resets: nobody manages them by it.
    pub reset: &'a [&'a str],
    /// Is this apiVersion served for the kind?
    pub serves: &'a dyn Fn(&str) -> bool,
}

/// Why an apply is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// 400 with this message.
    #[error("{0}")]
    BadRequest(String),
    /// 500 with this message and no reason.
    #[error("{0}")]
    Internal(String),
    /// 409.
    #[error("{}", conflict_text(.0))]
    Conflict(Vec<Conflict>),
}

/// A field that another manager has set to something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// `"name" using v1`
    pub manager: String,
    /// `.data.x`
    pub field: String,
    path: Vec<Element>,
}

fn conflict_text(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", one.manager, one.field);
    }
    let mut lines = Vec::new();
    for (n, conflict) in conflicts.iter().enumerate() {
        if n == 0 || conflicts[n - 1].manager != conflict.manager {
            lines.push(format!("conflicts with {}:", conflict.manager));
        }
        lines.push(format!("- {}", conflict.field));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

/// Writes managedFields into a new object that is no result of an apply. `live` is absent when the object is created.
pub fn update(write: &Write<'_>, live: Option<&Value>, new: &mut Value) {
    let given = new.entry("metadata").remove("managedFields").unwrap_or_default();
    let kept = || Managers::decode(&live.unwrap_or(&Value::Null)["metadata"]["managedFields"]).unwrap_or_default();
    let mut managers = if !write.subresource.is_empty() {
        kept()
    } else if is_reset(&given) {
        Managers::default()
    } else {
        Managers::decode(&given).ok().filter(|m| !m.0.is_empty()).unwrap_or_else(kept)
    };
    if !managers.0.is_empty() || live.is_none() {
        match live {
            Some(live) => track(write, live, new, &mut managers),
            None => track(write, &empty(write.type_), new, &mut managers),
        }
    }
    set_managers(new, managers);
}

/// A list that says: forget who manages what.
fn is_reset(given: &Value) -> bool {
    match given.as_list() {
        Some([]) => true,
        Some([one]) => one.is_empty(),
        _ => false,
    }
}

fn empty(type_: &'static Type) -> Value {
    let mut value = Value::map();
    crate::normalize(&mut value, type_);
    value
}

fn set_managers(object: &mut Value, managers: Managers) {
    match managers.encode() {
        Some(list) => object.entry("metadata").set("managedFields", list),
        None => drop(object.entry("metadata").remove("managedFields")),
    }
}

fn set_of(paths: &[&str]) -> Set {
    let mut set = Set::default();
    for path in paths {
        set.insert_fields(&path.split('.').collect::<Vec<_>>());
    }
    set
}

/// Who set what, after an update; the entry of the manager grows by what is new or changed.
fn track(write: &Write<'_>, live: &Value, new: &Value, managers: &mut Managers) {
    let reset = set_of(write.reset);
    let changes = changes(write, live, new, &reset);
    let own = Id::new(write.manager, false, write.version, write.subresource);
    // the manager's own entry loses what the update takes, like every other, and gains it again
    take_over(write, &changes, managers, None);
    let set = changes.modified.union(&changes.added).minus_below(&reset).minus(&set_of(UNMANAGED));
    if !set.is_empty() {
        let set = match managers.get(&own) {
            Some(before) => set.union(&before.set),
            None => set,
        };
        managers.put(Entry { id: own, version: write.version.to_owned(), set, time: write.now.to_owned() });
    }
    managers.cap();
}

fn changes(write: &Write<'_>, live: &Value, new: &Value, reset: &Set) -> Changes {
    let Changes { added, modified, removed } = compare(live, new, Shape::root(write.type_));
    Changes {
        added: added.minus_below(reset),
        modified: modified.minus_below(reset),
        removed: removed.minus_below(reset),
    }
}

/// Takes changed and removed fields from all managers but one.
fn take_over(write: &Write<'_>, changes: &Changes, managers: &mut Managers, but: Option<&Id>) {
    managers.0.retain_mut(|entry| {
        if but == Some(&entry.id) {
            return true;
        }
        if entry.version != write.version && !(write.serves)(&entry.version) {
            return false;
        }
        let set = std::mem::take(&mut entry.set);
        entry.set = set.minus(&changes.modified).minus(&changes.added).minus(&changes.removed);
        !entry.set.is_empty()
    });
}

/// Applies a configuration to an object; `live` is absent when the object is created. The answer has managedFields and
/// still has to be converted along its type.
///
/// # Errors
/// Whatever upstream refuses.
pub fn apply(write: &Write<'_>, live: Option<&Value>, patch: &Value, force: bool) -> Result<Value, ApplyError> {
    let new_object;
    let live = match live {
        Some(live) => live,
        None => {
            new_object = empty(write.type_);
            &new_object
        }
    };
    if !patch["metadata"]["managedFields"].is_null() {
        return Err(ApplyError::BadRequest("metadata.managedFields must be nil".into()));
    }
    let shape = Shape::root(write.type_);
    check(patch, shape).map_err(|why| {
        ApplyError::Internal(format!("failed to create typed patch object ({}): {why}", shown(patch)))
    })?;
    let mut managers = Managers::decode(&live["metadata"]["managedFields"])
        .map_err(|why| ApplyError::Internal(format!("failed to decode managed fields: {why}")))?;
    if managers.0.is_empty() {
        let before = Write { manager: BEFORE, subresource: write.subresource, ..*write };
        track(&before, &empty(write.type_), live, &mut managers);
    }
    let kubectl = write.manager == "kubectl";
    let mut object = match merge_managed(write, live, patch, managers.clone(), force) {
        Err(ApplyError::Conflict(conflicts)) if kubectl => {
            let left = not_last_applied(write, live, conflicts);
            if !left.is_empty() {
                return Err(ApplyError::Conflict(left));
            }
            merge_managed(write, live, patch, managers, true)?
        }
        other => other?,
    };
    if kubectl && !object["metadata"]["annotations"][LAST_APPLIED].str().is_empty() {
        object.entry("metadata").entry("annotations").set(LAST_APPLIED, last_applied(patch));
    }
    Ok(object)
}

/// `namespace/name; group/version, Kind=kind`.
fn shown(patch: &Value) -> String {
    let version = patch["apiVersion"].str();
    let version = if version.contains('/') { version.to_owned() } else { format!("/{version}") };
    let meta = &patch["metadata"];
    format!("{}/{}; {version}, Kind={}", meta["namespace"].str(), meta["name"].str(), patch["kind"].str())
}

fn merge_managed(
    write: &Write<'_>,
    live: &Value,
    patch: &Value,
    mut managers: Managers,
    force: bool,
) -> Result<Value, ApplyError> {
    let shape = Shape::root(write.type_);
    let reset = set_of(write.reset);
    let own = Id::new(write.manager, true, write.version, write.subresource);
    let merged = merge(Some(live), Some(patch), shape).unwrap_or_else(Value::map);
    let last = managers.take(&own);
    let set = fields(patch, shape).minus_below(&reset);
    let time = last.as_ref().map(|e| e.time.clone()).unwrap_or_default();
    managers.put(Entry { id: own.clone(), version: write.version.to_owned(), set, time });
    let mut object = match last {
        Some(last) if !last.set.is_empty() => prune(merged, &last.set, &managers, shape),
        _ => merged,
    };
    let changes = changes(write, live, &object, &reset);
    let conflicts = conflicts(write, &changes, &managers, &own);
    if !force && !conflicts.is_empty() {
        return Err(ApplyError::Conflict(conflicts));
    }
    take_over(write, &changes, &mut managers, Some(&own));
    let changed = object != *live;
    if let Some(mut entry) = managers.take(&own) {
        entry.set = entry.set.minus(&set_of(UNMANAGED));
        if changed {
            entry.time = write.now.to_owned();
        }
        if !entry.set.is_empty() {
            managers.put(entry);
        }
    }
    set_managers(&mut object, managers);
    Ok(object)
}

/// Removes what the manager applied last time and neither it nor anybody else has now.
fn prune(merged: Value, last: &Set, managers: &Managers, shape: Shape) -> Value {
    let last = named(last, shape);
    let all = named(&fields(&merged, shape), shape);
    let managed = managers.0.iter().fold(Set::default(), |all, entry| all.union(&entry.set));
    let cut = remove(&merged, &last, shape);
    let kept = named(&fields(&cut, shape), shape).union(&named(&managed, shape));
    let cut = remove(&merged, &all.clone().minus(&kept), shape);
    let gone = all.minus(&named(&fields(&cut, shape), shape)).intersect(&last);
    remove(&merged, &gone, shape)
}

fn conflicts(write: &Write<'_>, changes: &Changes, managers: &Managers, own: &Id) -> Vec<Conflict> {
    let touched = changes.modified.clone().union(&changes.added);
    let mut others: Vec<&Entry> = managers.0.iter().filter(|e| e.id != *own).collect();
    others.sort_by(|a, b| a.id.cmp(&b.id));
    let mut all = Vec::new();
    for entry in others {
        if entry.version != write.version && !(write.serves)(&entry.version) {
            continue;
        }
        for path in entry.set.intersect(&touched).paths() {
            let field = path.iter().map(Element::to_string).collect();
            all.push(Conflict { manager: entry.id.shown(), field, path });
        }
    }
    all
}

/// Conflicts over fields that client-side apply did not set to what they are now.
fn not_last_applied(write: &Write<'_>, live: &Value, conflicts: Vec<Conflict>) -> Vec<Conflict> {
    let text = live["metadata"]["annotations"][LAST_APPLIED].str();
    let shape = Shape::root(write.type_);
    let applied = match crate::json::parse(text.as_bytes()) {
        Ok(applied) if applied["apiVersion"].str() == write.version && check(&applied, shape).is_ok() => applied,
        _ => return conflicts,
    };
    let Changes { added, modified, removed } = compare(&applied, live, shape);
    let own = fields(&applied, shape).minus(&modified).minus(&added).minus(&removed);
    conflicts.into_iter().filter(|c| !own.has(&c.path)).collect()
}

/// The annotation's new value: the configuration without the annotation, keys sorted.
fn last_applied(patch: &Value) -> String {
    let mut patch = patch.clone();
    if let Some(annotations) = patch.entry("metadata").get_mut("annotations") {
        annotations.remove(LAST_APPLIED);
    }
    sort(&mut patch);
    format!("{}\n", crate::json::to_string(&patch))
}

fn sort(value: &mut Value) {
    match value {
        Value::Map(map) => {
            map.sort();
            map.iter_mut().for_each(|(_, v)| sort(v));
        }
        Value::List(list) => list.iter_mut().for_each(sort),
        _ => {}
    }
}

/// If nothing but the times of managedFields changed, they are what they were. True when the objects are the same then.
pub fn settle(new: &mut Value, old: &Value) -> bool {
    if new["metadata"]["managedFields"] != old["metadata"]["managedFields"] {
        let timeless = |object: &Value| -> Vec<Value> {
            let entries = object["metadata"]["managedFields"].items().iter().cloned();
            entries
                .map(|mut e| {
                    e.remove("time");
                    e
                })
                .collect()
        };
        if timeless(new) != timeless(old) {
            return false;
        }
        let Some(given) = new.entry("metadata").remove("managedFields") else { return false };
        let kept = old["metadata"]["managedFields"].clone();
        new.entry("metadata").set("managedFields", kept);
        if new != old {
            new.entry("metadata").set("managedFields", given);
            return false;
        }
        return true;
    }
    new == old
}
