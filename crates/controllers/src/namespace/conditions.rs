//! What a namespace's conditions say about its deletion: five of them, in this order, always all.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::Resource;
use document::{Object, Value, doc};
use meta::{Status, Time};

/// What is left in a namespace.
#[derive(Default)]
pub(super) struct Remaining {
    /// `secrets.` or `deployments.apps`, and how many.
    pub(super) resources: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
    pub(super) errors: Vec<Status>,
}

pub(super) struct Condition {
    type_: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Remaining {
    pub(super) fn note(&mut self, resource: &Resource, left: &[Arc<Object>]) {
        if left.is_empty() {
            return;
        }
        self.resources.insert(format!("{}.{}", resource.plural, resource.group), left.len());
        for object in left.iter().filter(|o| o.has_finalizers) {
            for finalizer in client::object::item(object)["metadata"]["finalizers"].items() {
                *self.finalizers.entry(finalizer.str().to_owned()).or_default() += 1;
            }
        }
    }
}

pub(super) fn of(remaining: &Remaining) -> [Condition; 5] {
    let fine = |type_, reason, message: &str| Condition { type_, holds: false, reason, message: message.to_owned() };
    let bad = |type_, reason, message| Condition { type_, holds: true, reason, message };
    let content = match remaining.errors.as_slice() {
        [] => fine(
            "NamespaceDeletionContentFailure",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        errors => {
            let mut texts: Vec<&str> = errors.iter().map(|e| &*e.message).collect();
            texts.sort_unstable();
            let message =
                format!("Failed to delete all resource types, {} remaining: {}", errors.len(), texts.join(", "));
            bad("NamespaceDeletionContentFailure", "ContentDeletionFailed", message)
        }
    };
    let left = |counts: &BTreeMap<String, usize>, verb: &str| {
        let texts: Vec<String> =
            counts.iter().map(|(name, n)| format!("{name} {verb} {n} resource instances")).collect();
        texts.join(", ")
    };
    let resources = match left(&remaining.resources, "has") {
        text if text.is_empty() => {
            fine("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed")
        }
        text => {
            bad("NamespaceContentRemaining", "SomeResourcesRemain", format!("Some resources are remaining: {text}"))
        }
    };
    let finalizers = match left(&remaining.finalizers, "in") {
        text if text.is_empty() => {
            fine("NamespaceFinalizersRemaining", "ContentRemoved", "All content successfully removed")
        }
        text => bad(
            "NamespaceFinalizersRemaining",
            "SomeFinalizersRemain",
            format!("Some content in the namespace has finalizers remaining: {text}"),
        ),
    };
    [
        fine("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
        fine(
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        content,
        resources,
        finalizers,
    ]
}

/// Brings the list up to date; false: nothing changed.
pub(super) fn update(list: &mut Value, conditions: impl IntoIterator<Item = Condition>) -> bool {
    let list = list.make_list();
    let mut changed = false;
    for condition in conditions {
        let status = if condition.holds { "True" } else { "False" };
        let now = Time::now().to_string();
        let Some(old) = list.iter_mut().find(|c| c["type"].str() == condition.type_) else {
            list.push(doc!({
                "type": (condition.type_),
                "status": status,
                "lastTransitionTime": now,
                "reason": (condition.reason),
                "message": (condition.message)
            }));
            changed = true;
            continue;
        };
        let same = old["status"].str() == status
            && old["reason"].str() == condition.reason
            && old["message"].str() == condition.message;
        if same {
            continue;
        }
        if old["status"].str() != status {
            old.set("lastTransitionTime", now);
        }
        old.set("status", status);
        old.set("reason", condition.reason);
        old.set("message", condition.message);
        changed = true;
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_is_left_and_change_only_when_that_changes() {
        let mut remaining = Remaining::default();
        remaining.resources.insert("configmaps.".into(), 1);
        remaining.finalizers.insert("example.com/hold".into(), 1);
        let mut list = Value::Null;
        assert!(update(&mut list, of(&remaining)));
        assert!(!update(&mut list, of(&remaining)));
        assert_eq!(list[3]["message"].str(), "Some resources are remaining: configmaps. has 1 resource instances");
        assert_eq!(
            list[4]["message"].str(),
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        );
        assert!(update(&mut list, of(&Remaining::default())));
        assert_eq!((list[4]["status"].str(), list[4]["reason"].str()), ("False", "ContentRemoved"));
    }
}
