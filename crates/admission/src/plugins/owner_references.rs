//! OwnerReferencesPermissionEnforcement (off by default): who changes owners must be allowed to delete the object, and
//! who lets it block an owner's deletion must be allowed to set that owner's finalizers.

use document::Value;
use meta::{Attributes, GroupVersion, Status};

use crate::{Operation, Plugin, Review};

pub struct OwnerReferencesPermissionEnforcement;

impl Plugin for OwnerReferencesPermissionEnforcement {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        if !writes || review.is_sub("", "pods", "status") || owners(review.new_object()) == owners(review.old_object())
        {
            return Ok(());
        }
        if review.operation == Operation::Update && !(review.may)(deletion(review)) {
            return Err(review.forbidden("cannot set an ownerRef on a resource you can't delete: , <nil>"));
        }
        let blocking = newly_blocking(review);
        if blocking.is_empty() || (review.may)(finalizers("*", "*", "*", "", "*")) {
            return Ok(());
        }
        blocking.iter().try_for_each(|owner| may_finalize(review, owner))
    }
}

fn owners(object: &Value) -> &[Value] {
    object["metadata"]["ownerReferences"].items()
}

fn deletion(review: &Review<'_>) -> Attributes {
    Attributes { verb: "delete".into(), name: review.name.to_owned(), ..review.attributes.clone() }
}

/// Owners that this write makes wait for the object.
fn newly_blocking(review: &Review<'_>) -> Vec<Value> {
    let blocks = |owner: &&Value| owner["blockOwnerDeletion"].is_true();
    let before = owners(review.old_object());
    let known = |owner: &Value| before.iter().any(|o| o["uid"] == owner["uid"] && o["blockOwnerDeletion"].is_true());
    owners(review.new_object()).iter().filter(blocks).filter(|owner| !known(owner)).cloned().collect()
}

fn finalizers(group: &str, version: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
    let attributes = Attributes::resource("update", group, version, resource, namespace, name);
    Attributes { subresource: "finalizers".into(), ..attributes }
}

fn may_finalize(review: &Review<'_>, owner: &Value) -> Result<(), Status> {
    let (api_version, kind) = (owner["apiVersion"].str(), owner["kind"].str());
    let row = GroupVersion::parse(api_version).and_then(|version| api::by_kind(&version.with_kind(kind)));
    let Some(row) = row else {
        return Err(review.forbidden(&format!(
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {api_version} Kind {kind}: no matches for kind {kind:?} in version {api_version:?}"
        )));
    };
    let namespace = if row.namespaced { review.namespace } else { "" };
    if (review.may)(finalizers(row.group, row.version, row.plural, namespace, owner["name"].str())) {
        return Ok(());
    }
    Err(review.forbidden(
        "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>",
    ))
}
