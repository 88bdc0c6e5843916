//! Field management: who set which field (`metadata.managedFields`), kept at every update, and server-side apply, which
//! merges along it. Paths follow the type tables. Each entry is compared in its own version (`versions`).

mod element;
mod managers;
mod scale;
mod set;
mod shape;
mod versions;
mod walk;

pub use element::Element;
pub use scale::{to_parent, to_scale};
pub use set::Set;
pub use versions::{Served, Versions};
pub(crate) use walk::{go_syntax, go_type};

use std::sync::LazyLock;

use crate::{Type, Value};
use managers::{Entry, Id, Managers};
use shape::Shape;
use versions::Comparisons;
use walk::{Changes, Empties, check, compare, fields, merge};

/// The annotation of client-side apply.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Who owns what was there before the first apply.
const BEFORE: &str = "before-first-apply";
/// Paths that nobody manages.
static UNMANAGED: LazyLock<Set> = LazyLock::new(|| {
    set_of(&[
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
    ])
});

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
    /// The other versions of the kind.
    pub versions: &'a dyn Versions,
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
    versions::reconcile(write, managers);
    let mut comparisons = Comparisons::new(write, live, new, Empties::Omitted);
    let own = Id::new(write.manager, false, write.version, write.subresource);
    // the manager's own entry loses what the update takes, like every other, and gains it again
    take_over(&mut comparisons, managers, None);
    let set = comparisons.into_touched().minus_below(&set_of(write.reset)).minus(&UNMANAGED);
    if !set.is_empty() {
        let set = match managers.get(&own) {
            Some(before) => set.union(&before.set),
            None => set,
        };
        managers.put(Entry { id: own, version: write.version.to_owned(), set, time: write.now.to_owned() });
    }
    managers.cap();
}

/// Takes changed and removed fields from all managers but one.
fn take_over(comparisons: &mut Comparisons<'_>, managers: &mut Managers, but: Option<&Id>) {
    managers.0.retain(|_, entry| {
        if but == Some(&entry.id) {
            return true;
        }
        let Some(changes) = comparisons.of(&entry.version) else { return false };
        let set = std::mem::take(&mut entry.set);
        entry.set = set.minus(changes.all());
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
    versions::reconcile(write, &mut managers);
    let own = Id::new(write.manager, true, write.version, write.subresource);
    let merged = merge(Some(live), Some(patch), shape).unwrap_or_else(Value::map);
    let last = managers.take(&own);
    let set = fields(patch, shape).minus_below(&set_of(write.reset));
    let time = last.as_ref().map(|e| e.time.clone()).unwrap_or_default();
    managers.put(Entry { id: own.clone(), version: write.version.to_owned(), set, time });
    let mut object = match last {
        Some(last) if !last.set.is_empty() => versions::prune(write, merged, &last, &managers),
        _ => merged,
    };
    let mut comparisons = Comparisons::new(write, live, &object, Empties::Count);
    let conflicts = conflicts(&mut comparisons, &managers, &own);
    if !force && !conflicts.is_empty() {
        return Err(ApplyError::Conflict(conflicts));
    }
    take_over(&mut comparisons, &mut managers, Some(&own));
    let changed = object != *live;
    if let Some(mut entry) = managers.take(&own) {
        entry.set = entry.set.minus(&UNMANAGED);
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

fn conflicts(comparisons: &mut Comparisons<'_>, managers: &Managers, own: &Id) -> Vec<Conflict> {
    let mut all = Vec::new();
    for entry in managers.0.values().filter(|e| e.id != *own) {
        let Some(changes) = comparisons.of(&entry.version) else { continue };
        for path in entry.set.intersect(&changes.touched).paths() {
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
    let Changes { added, modified, removed } = compare(&applied, live, shape, Empties::Count);
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
