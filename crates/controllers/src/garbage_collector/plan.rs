//! What to do with an object whose owners were looked up.

use std::collections::HashMap;

use client::Resource;
use document::{Value, doc};

use super::{FOREGROUND, ORPHAN};
use crate::command::Command;

/// What became of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is there, or it is not known that it is not.
    Solid,
    /// It is there and waits for its dependents.
    Waiting,
    Absent,
}

/// An object as it is now.
pub(super) struct Live {
    pub(super) resource: Resource,
    pub(super) object: Value,
}

impl Live {
    pub(super) fn owners(&self) -> &[Value] {
        self.object["metadata"]["ownerReferences"].items()
    }

    fn text(&self, name: &str) -> String {
        self.object["metadata"][name].str().to_owned()
    }

    fn has_finalizer(&self, finalizer: &str) -> bool {
        self.object["metadata"]["finalizers"].items().iter().any(|f| f.str() == finalizer)
    }

    /// A change of its metadata, of exactly this revision.
    fn patch(&self, member: &'static str, list: Vec<Value>) -> Command {
        let list = if list.is_empty() { Value::Null } else { Value::List(list) };
        let metadata = doc!({
            "uid": (self.text("uid")),
            "resourceVersion": (self.text("resourceVersion")),
            member: list
        });
        Command::MergePatch {
            resource: self.resource.clone(),
            namespace: self.text("namespace"),
            name: self.text("name"),
            patch: doc!({"metadata": metadata}),
        }
    }

    fn delete(&self, propagation: &'static str) -> Command {
        Command::Delete {
            resource: self.resource.clone(),
            namespace: self.text("namespace"),
            name: self.text("name"),
            uid: self.text("uid"),
            propagation,
        }
    }
}

/// Commands for an object that is not being deleted. `findings` by the owner's uid.
pub(super) fn collect(
    live: &Live,
    findings: &HashMap<String, Finding>,
    has_dependents: bool,
    has_foreground_dependent: bool,
) -> Vec<Command> {
    let found = |reference: &Value| findings.get(reference["uid"].str()).copied().unwrap_or(Finding::Solid);
    let any = |finding| live.owners().iter().any(|reference| found(reference) == finding);
    if live.owners().is_empty() {
        return Vec::new();
    }
    if any(Finding::Solid) {
        // owners that went or are about to leave it to the others
        return disown(live, |reference| found(reference) != Finding::Solid).into_iter().collect();
    }
    if any(Finding::Waiting) && has_dependents {
        // a circle: the owner must not wait for it
        let unblock = has_foreground_dependent.then(|| unblock(live)).flatten();
        return unblock.into_iter().chain([live.delete("Foreground")]).collect();
    }
    let propagation = match () {
        () if live.has_finalizer(ORPHAN) => "Orphan",
        () if live.has_finalizer(FOREGROUND) => "Foreground",
        () => "Background",
    };
    vec![live.delete(propagation)]
}

/// Takes references away; `None` when there are none such.
pub(super) fn disown(live: &Live, from: impl Fn(&Value) -> bool) -> Option<Command> {
    let left: Vec<Value> = live.owners().iter().filter(|r| !from(r)).cloned().collect();
    (left.len() < live.owners().len()).then(|| live.patch("ownerReferences", left))
}

/// Takes a finalizer off; `None` when it is not there.
pub(super) fn take_off(live: &Live, finalizer: &str) -> Option<Command> {
    let finalizers = live.object["metadata"]["finalizers"].items();
    let left = finalizers.iter().filter(|f| f.str() != finalizer).cloned().collect();
    live.has_finalizer(finalizer).then(|| live.patch("finalizers", left))
}

fn unblock(live: &Live) -> Option<Command> {
    let mut owners = live.owners().to_vec();
    let blocking: Vec<&mut Value> = owners.iter_mut().filter(|r| r["blockOwnerDeletion"].is_true()).collect();
    if blocking.is_empty() {
        return None;
    }
    blocking.into_iter().for_each(|r| r.set("blockOwnerDeletion", false));
    let mut command = live.patch("ownerReferences", owners);
    if let Command::MergePatch { patch, .. } = &mut command {
        // the deletion that follows is of the next revision
        patch.at_mut(["metadata"]).remove("resourceVersion");
    }
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(owners: &[&str], finalizers: &[&str]) -> Live {
        let owners = Value::list(owners.iter().map(|uid| doc!({"uid": (*uid), "blockOwnerDeletion": true})));
        let finalizers = Value::list(finalizers.iter().copied());
        let object = doc!({"metadata": {"name": "x", "namespace": "n", "uid": "u", "resourceVersion": "7", "ownerReferences": owners, "finalizers": finalizers}});
        Live { resource: client::SECRETS, object }
    }

    fn check(owners: &[(&str, Finding)], finalizers: &[&str], dependents: bool, want: &str) {
        let live = live(&owners.iter().map(|(uid, _)| *uid).collect::<Vec<_>>(), finalizers);
        let findings = owners.iter().map(|(uid, f)| ((*uid).to_owned(), *f)).collect();
        let told: Vec<String> = collect(&live, &findings, dependents, false)
            .into_iter()
            .map(|command| match command {
                Command::Delete { propagation, .. } => propagation.to_owned(),
                Command::MergePatch { patch, .. } => {
                    let left = patch["metadata"]["ownerReferences"].items().iter().map(|r| r["uid"].str());
                    left.collect::<Vec<_>>().join("+")
                }
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(told.join(" "), want);
    }

    #[test]
    fn an_object_goes_when_its_last_owner_went() {
        use Finding::{Absent, Solid, Waiting};
        check(&[], &[], false, "");
        check(&[("a", Solid)], &[], false, "");
        check(&[("a", Absent)], &[], false, "Background");
        check(&[("a", Absent), ("b", Solid)], &[], false, "b");
        check(&[("a", Waiting), ("b", Solid)], &[], false, "b");
        check(&[("a", Waiting), ("b", Absent)], &[], false, "Background");
        check(&[("a", Waiting)], &[], true, "Foreground");
        check(&[("a", Absent)], &[ORPHAN], false, "Orphan");
        check(&[("a", Absent)], &[FOREGROUND], true, "Foreground");
    }

    #[test]
    fn a_circle_is_unblocked_before_it_is_deleted() {
        let findings = HashMap::from([("a".to_owned(), Finding::Waiting)]);
        let commands = collect(&live(&["a"], &[]), &findings, true, true);
        let [Command::MergePatch { patch, .. }, Command::Delete { propagation: "Foreground", .. }] = &commands[..]
        else {
            panic!("{commands:?}")
        };
        assert!(!patch["metadata"]["ownerReferences"][0]["blockOwnerDeletion"].is_true());
    }

    #[test]
    fn the_last_finalizer_leaves_null() {
        let Some(Command::MergePatch { patch, .. }) = take_off(&live(&[], &[ORPHAN]), ORPHAN) else { panic!("due") };
        assert_eq!(patch["metadata"]["finalizers"], Value::Null);
        assert!(take_off(&live(&[], &["a"]), ORPHAN).is_none());
    }
}
