//! NodeRestriction: what a node agent may write: its own node, its own pods' status, its lease, tokens for pods that
//! run on it. Everything about which objects it may reach is the Node authorizer's.

mod node;
mod pod;
mod token;

use meta::{Status, user};

use crate::{Operation, Plugin, Review};

pub struct NodeRestriction;

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let Some(me) = identity(review) else { return Ok(()) };
        if me.is_empty() {
            return refuse(review, format!("could not determine node from user {:?}", review.user.name));
        }
        admit(&me, review)
    }
}

/// The node's name when the user is a node; empty when it says so but does not name one.
fn identity(review: &Review<'_>) -> Option<String> {
    let name = review.user.name.strip_prefix(user::NODE_PREFIX)?;
    review.user.in_group(user::NODES).then(|| name.to_owned())
}

fn admit(me: &str, review: &Review<'_>) -> Result<(), Status> {
    let (group, plural, sub) = (review.resource.group, review.resource.plural, review.subresource);
    match (group, plural, sub) {
        ("", "pods", "") => pod::admit(me, review),
        ("", "pods", "status") => pod::status(me, review),
        ("", "pods", "eviction") => pod::eviction(me, review),
        ("", "pods", sub) => {
            refuse(review, format!("unexpected pod subresource {sub:?}, only 'status' and 'eviction' are allowed"))
        }
        ("", "nodes", _) => node::admit(me, review),
        ("", "persistentvolumeclaims", "status") => claim_status(me, review),
        ("", "persistentvolumeclaims", _) => refuse(review, "may only update PVC status"),
        ("", "serviceaccounts", "token") if review.operation == Operation::Create => token::admit(me, review),
        ("certificates.k8s.io", "podcertificaterequests", _) => pod::certificate(me, review),
        ("certificates.k8s.io", "certificatesigningrequests", "") if review.operation == Operation::Create => {
            signing_request(me, review)
        }
        ("coordination.k8s.io", "leases", _) => lease(me, review),
        ("storage.k8s.io", "csinodes", _) => csi_node(me, review),
        ("resource.k8s.io", "resourceslices", _) => resource_slice(me, review),
        _ => Ok(()),
    }
}

fn refuse(review: &Review<'_>, why: impl AsRef<str>) -> Result<(), Status> {
    Err(review.forbidden(why.as_ref()))
}

fn require(holds: bool, review: &Review<'_>, why: impl FnOnce() -> String) -> Result<(), Status> {
    if holds { Ok(()) } else { refuse(review, why()) }
}

fn unexpected(review: &Review<'_>) -> Result<(), Status> {
    refuse(review, format!("unexpected operation {:?}", review.operation.as_str()))
}

fn claim_status(me: &str, review: &Review<'_>) -> Result<(), Status> {
    if review.operation != Operation::Update {
        return unexpected(review);
    }
    let stripped = |object: &document::Value| {
        let mut object = object.clone();
        for field in ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"] {
            object.entry("status").remove(field);
        }
        for field in ["resourceVersion", "managedFields"] {
            object.entry("metadata").remove(field);
        }
        for field in ["kind", "apiVersion"] {
            object.remove(field);
        }
        object
    };
    let (new, old) = (stripped(review.new_object()), stripped(review.old_object()));
    require(new == old, review, || {
        let changes = api::validation::internal_diff(&old, &new, "io.k8s.api.core.v1.PersistentVolumeClaim");
        format!(
            "node {me:?} is not allowed to update fields other than status.quantity and status.conditions: {changes}"
        )
    })
}

fn lease(me: &str, review: &Review<'_>) -> Result<(), Status> {
    require(review.namespace == "kube-node-lease", review, || {
        "can only access leases in the \"kube-node-lease\" system namespace".into()
    })?;
    require(own_name(review) == me, review, || {
        "can only access node lease with the same name as the requesting node".into()
    })
}

fn csi_node(me: &str, review: &Review<'_>) -> Result<(), Status> {
    require(own_name(review) == me, review, || {
        "can only access CSINode with the same name as the requesting node".into()
    })?;
    require(review.subresource.is_empty(), review, || "CSIVolumeHealth feature gate is disabled".into())
}

/// On create the object's name, which the URL does not have.
fn own_name<'a>(review: &'a Review<'_>) -> &'a str {
    if review.operation == Operation::Create { review.new_object()["metadata"]["name"].str() } else { review.name }
}

fn resource_slice(me: &str, review: &Review<'_>) -> Result<(), Status> {
    let (object, verb) = match review.operation {
        Operation::Create => (review.new_object(), "create"),
        Operation::Delete => (review.old_object(), "delete"),
        _ => return Ok(()),
    };
    require(object["spec"]["nodeName"].str() == me, review, || {
        format!("can only {verb} ResourceSlice with the same NodeName as the requesting node")
    })
}

fn signing_request(me: &str, review: &Review<'_>) -> Result<(), Status> {
    let spec = &review.new_object()["spec"];
    let signers = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
    if !signers.contains(&spec["signerName"].str()) {
        return Ok(());
    }
    let subject = match super::csr::subject(spec["request"].str()) {
        Ok(subject) => subject,
        Err(why) => return refuse(review, format!("unable to parse csr: {why}")),
    };
    require(subject.common_name == format!("system:node:{me}"), review, || {
        format!("can only create a node CSR with CN=system:node:{me}")
    })
}
