//! Storage that is in use does not go: persistentvolumeclaim-, persistentvolume- and volumeattributesclass-protection-
//! controller. Admission gives each a finalizer; these take it off when nothing uses the object any more, and put it on
//! what was made without it.

mod claim;
mod class;
mod volume;

use client::{Api, Resource};
use document::Value;
use meta::Status;

use crate::command::Command;

pub(crate) use claim::start as start_claims;
pub(crate) use class::start as start_classes;
pub(crate) use volume::start as start_volumes;

/// What the finalizer of an object calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// It stays, and has no finalizer yet.
    Add,
    /// It is to go, when nothing uses it.
    Remove,
}

impl Due {
    fn of(object: &Value, finalizer: &str) -> Due {
        let metadata = &object["metadata"];
        let has = metadata["finalizers"].items().iter().any(|f| f.str() == finalizer);
        match (!metadata["deletionTimestamp"].is_null(), has) {
            (true, true) => Due::Remove,
            (false, false) => Due::Add,
            _ => Due::Nothing,
        }
    }
}

fn add(resource: Resource, mut object: Value, finalizer: &str) -> Command {
    object.entry("metadata").entry("finalizers").make_list().push(finalizer.into());
    Command::Update { resource, subresource: "", object }
}

fn remove(resource: Resource, mut object: Value, finalizer: &str) -> Command {
    object.entry("metadata").entry("finalizers").make_list().retain(|f| f.str() != finalizer);
    Command::Update { resource, subresource: "", object }
}

/// `None`: it is gone.
async fn live(api: &Api, resource: &Resource, namespace: &str, name: &str) -> Result<Option<Value>, Status> {
    match api.get(resource, namespace, name).await {
        Err(error) if error.is_not_found() => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// VolumeAttributesClasses that a claim or a volume has to do with.
fn attributes_classes(object: &Value) -> Vec<String> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let names = [
        &spec["volumeAttributesClassName"],
        &status["currentVolumeAttributesClassName"],
        &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
    ];
    names.into_iter().map(Value::str).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn a_finalizer_goes_on_what_stays_and_off_what_goes() {
        let check = |object: Value, want: Due| assert_eq!(Due::of(&object, "f"), want);
        check(doc!({"metadata": {}}), Due::Add);
        check(doc!({"metadata": {"finalizers": ["f"]}}), Due::Nothing);
        check(doc!({"metadata": {"finalizers": ["f", "g"], "deletionTimestamp": "x"}}), Due::Remove);
        check(doc!({"metadata": {"finalizers": ["g"], "deletionTimestamp": "x"}}), Due::Nothing);
        let Command::Update { object, .. } = remove(client::NODES, doc!({"metadata": {"finalizers": ["f", "g"]}}), "f")
        else {
            panic!("an update")
        };
        assert_eq!(object["metadata"]["finalizers"], doc!(["g"]));
    }
}
