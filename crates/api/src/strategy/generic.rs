//! What the rows of the tables say: status on create, fields that an endpoint does not write, generation, and the
//! metadata that an update can never change.

use document::Value;

use crate::ResourceType;
use crate::resource::StatusOnCreate;

/// What `metadata` as a whole means for an endpoint that may not write it (upstream's ResetObjectMetaForStatus).
const META_RESET: [&str; 6] =
    ["deletionTimestamp", "generation", "labels", "annotations", "finalizers", "ownerReferences"];

pub(super) fn create(resource: &ResourceType, object: &mut Value) {
    let meta = object.entry("metadata");
    for name in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        meta.remove(name);
    }
    if let Some(generation) = resource.strategy.generation {
        set_generation(meta, generation.create);
    }
    if resource.strategy.status_on_create == StatusOnCreate::Cleared {
        object.remove("status");
    }
}

/// Puts back what this endpoint does not write.
pub(super) fn reset(resource: &ResourceType, subresource: &str, new: &mut Value, old: &Value) {
    let fields = resource.strategy.reset_fields.iter().find(|(endpoint, _)| *endpoint == subresource);
    for path in fields.map(|(_, f)| *f).unwrap_or_default() {
        match path.split_once('.') {
            None if *path == "metadata" => keep_metadata(new, old),
            None => match old.get(path) {
                Some(value) => new.set(*path, value.clone()),
                None => drop(new.remove(path)),
            },
            Some((parent, member)) => put_back(new, old, parent, member),
        }
    }
}

/// The metadata of an endpoint that does not write it.
pub(super) fn keep_metadata(new: &mut Value, old: &Value) {
    META_RESET.iter().for_each(|m| put_back(new, old, "metadata", m));
}

fn put_back(new: &mut Value, old: &Value, parent: &'static str, member: &'static str) {
    match old[parent].get(member) {
        Some(value) => new.entry(parent).set(member, value.clone()),
        None => drop(new.get_mut(parent).and_then(|p| p.remove(member))),
    }
}

/// Metadata that an update cannot change, and the generation.
pub(super) fn update(resource: &ResourceType, new: &mut Value, old: &Value) {
    let old_meta = &old["metadata"];
    let meta = new.entry("metadata");
    if meta["uid"].str().is_empty() {
        keep(meta, old_meta, "uid");
    }
    keep(meta, old_meta, "creationTimestamp");
    if !old_meta["deletionTimestamp"].is_null() {
        keep(meta, old_meta, "deletionTimestamp");
    }
    if !old_meta["deletionGracePeriodSeconds"].is_null() && meta["deletionGracePeriodSeconds"].is_null() {
        keep(meta, old_meta, "deletionGracePeriodSeconds");
    }
    let bump = resource.strategy.generation.map(|g| g.bump).unwrap_or_default();
    let counts = bump.iter().any(|part| changed(part, new, old));
    let number = old_meta["generation"].as_i64().unwrap_or_default() + i64::from(counts);
    set_generation(new.entry("metadata"), number);
}

fn keep(meta: &mut Value, old: &Value, member: &'static str) {
    if let Some(value) = old.get(member) {
        meta.set(member, value.clone());
    }
}

fn set_generation(meta: &mut Value, number: i64) {
    if number == 0 {
        meta.remove("generation");
    } else {
        meta.set("generation", number);
    }
}

fn changed(part: &str, new: &Value, old: &Value) -> bool {
    match part {
        "*" => {
            let names = new.members().chain(old.members()).map(|(n, _)| n);
            names.filter(|n| !["metadata", "kind", "apiVersion"].contains(n)).any(|n| !same(&new[n], &old[n]))
        }
        _ => !same(new.at(part.split('.')), old.at(part.split('.'))),
    }
}

/// Equal, unset and empty being the same.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    a == b || (a.is_empty() && b.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::{Context, prepare_create, prepare_update};
    use document::{Value, doc};
    use meta::{Time, UserInfo};

    fn update(plural: &str, subresource: &str, mut new: Value, old: &Value) -> Value {
        let user = UserInfo::anonymous();
        let context = Context { user: &user, now: Time(0) };
        let group = if plural == "deployments" { "apps" } else { "" };
        prepare_update(crate::find(group, "v1", plural).unwrap(), subresource, &mut new, old, &context);
        new
    }

    #[test]
    fn generation_counts_changes_of_the_parts_that_count() {
        let old = doc!({"metadata": {"name": "d", "uid": "u", "generation": 3}, "spec": {"replicas": 1}, "status": {"replicas": 1}});
        let check = |subresource: &str, new: Value, generation: i64| {
            assert_eq!(
                update("deployments", subresource, new, &old)["metadata"]["generation"].as_i64(),
                Some(generation)
            );
        };
        check("", doc!({"metadata": {"name": "d"}, "spec": {"replicas": 2}}), 4);
        check("", doc!({"metadata": {"name": "d", "labels": {"a": "b"}}, "spec": {"replicas": 1}}), 3);
        check("", doc!({"metadata": {"name": "d", "annotations": {"a": "b"}}, "spec": {"replicas": 1}}), 4);
        check("status", doc!({"metadata": {"name": "d"}, "spec": {"replicas": 9}, "status": {"replicas": 9}}), 3);
    }

    #[test]
    fn each_endpoint_writes_its_own_part() {
        let old = doc!({"metadata": {"name": "d", "uid": "u"}, "spec": {"replicas": 1}, "status": {"replicas": 1}});
        let new = doc!({"metadata": {"name": "d"}, "spec": {"replicas": 9}, "status": {"replicas": 9}});
        let main = update("deployments", "", new.clone(), &old);
        assert_eq!((main["spec"]["replicas"].as_i64(), main["status"]["replicas"].as_i64()), (Some(9), Some(1)));
        let status = update("deployments", "status", new, &old);
        assert_eq!((status["spec"]["replicas"].as_i64(), status["status"]["replicas"].as_i64()), (Some(1), Some(9)));
        assert_eq!(status["metadata"]["uid"].str(), "u");
    }

    #[test]
    fn a_new_object_has_no_status_and_generation_one() {
        let user = UserInfo::anonymous();
        let mut object = doc!({"metadata": {"name": "d", "generation": 7}, "spec": {}, "status": {"replicas": 1}});
        let context = Context { user: &user, now: Time(0) };
        prepare_create(crate::find("apps", "v1", "deployments").unwrap(), &mut object, &context);
        assert!(object["status"].is_null());
        assert_eq!(object["metadata"]["generation"].as_i64(), Some(1));
    }
}
