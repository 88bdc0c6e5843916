//! A node's pods: it creates mirror pods of its own, deletes and evicts what runs on it, and writes their status.

use document::Value;
use meta::{GroupResource, Status};

use super::{refuse, require, unexpected};
use crate::plugins::pods;
use crate::{Operation, Review};

pub(super) fn admit(me: &str, review: &Review<'_>) -> Result<(), Status> {
    match review.operation {
        Operation::Create => create(me, review),
        Operation::Delete => {
            let pod = existing(review, review.name)?;
            require(pod["spec"]["nodeName"].str() == me, review, || {
                format!("node {me:?} can only delete pods with spec.nodeName set to itself")
            })
        }
        operation => {
            let operation = operation.as_str();
            refuse(
                review,
                format!("unexpected operation {operation:?}, node {me:?} can only create and delete mirror pods"),
            )
        }
    }
}

/// The stored pod, or upstream's 404.
pub(super) fn existing(review: &Review<'_>, name: &str) -> Result<Value, Status> {
    let found = review.world.read(&review.key("pods", name));
    found.ok_or_else(|| Status::not_found(&GroupResource::new("", "pod"), name))
}

fn create(me: &str, review: &Review<'_>) -> Result<(), Status> {
    let pod = review.new_object();
    require(pods::is_mirror(pod), review, || {
        format!("pod does not have {:?} annotation, node {me:?} can only create mirror pods", pods::MIRROR)
    })?;
    require(pod["spec"]["nodeName"].str() == me, review, || {
        format!("node {me:?} can only create pods with spec.nodeName set to itself")
    })?;
    owner(me, review, pod["metadata"]["ownerReferences"].items())?;
    match pods::api_reference(pod) {
        None => Ok(()),
        Some(resource) => refuse(review, format!("node {me:?} can not create pods that reference {resource}")),
    }
}

fn owner(me: &str, review: &Review<'_>, owners: &[Value]) -> Result<(), Status> {
    let [owner] = owners else {
        let what = if owners.is_empty() { "an owner reference" } else { "a single owner reference" };
        return refuse(review, format!("node {me:?} can only create pods with {what} set to itself"));
    };
    let itself = owner["apiVersion"].str() == "v1" && owner["kind"].str() == "Node" && owner["name"].str() == me;
    require(itself, review, || format!("node {me:?} can only create pods with an owner reference set to itself"))?;
    require(owner["controller"].is_true(), review, || {
        format!("node {me:?} can only create pods with a controller owner reference set to itself")
    })?;
    require(!owner["blockOwnerDeletion"].is_true(), review, || {
        format!("node {me:?} must not set blockOwnerDeletion on an owner reference")
    })?;
    let node = node(review, me).ok_or_else(|| Status::not_found(&GroupResource::new("", "node"), me))?;
    let (expected, got) = (owner["uid"].str(), node["metadata"]["uid"].str());
    require(expected == got, review, || format!("node {me} UID mismatch: expected {expected} got {got}"))
}

fn node(review: &Review<'_>, name: &str) -> Option<Value> {
    review.world.read(&meta::Key::new(meta::ResourceId::from_text("nodes"), "", name))
}

pub(super) fn status(me: &str, review: &Review<'_>) -> Result<(), Status> {
    if review.operation != Operation::Update {
        return unexpected(review);
    }
    let (new, old) = (review.new_object(), review.old_object());
    let same = |a: &Value, b: &Value| a == b || (a.is_empty() && b.is_empty());
    require(old["spec"]["nodeName"].str() == me, review, || {
        format!("node {me:?} can only update pod status for pods with spec.nodeName set to itself")
    })?;
    require(same(&new["metadata"]["labels"], &old["metadata"]["labels"]), review, || {
        format!("node {me:?} cannot update labels through pod status")
    })?;
    let fields = [
        ("resourceClaimStatuses", "resource claim statues"),
        ("extendedResourceClaimStatus", "extended resource claim status"),
        ("nodeAllocatableResourceClaimStatuses", "node allocatable resource claim statuses"),
    ];
    for (field, what) in fields {
        require(same(&new["status"][field], &old["status"][field]), review, || {
            format!("node {me:?} cannot update {what}")
        })?;
    }
    Ok(())
}

pub(super) fn eviction(me: &str, review: &Review<'_>) -> Result<(), Status> {
    if review.operation != Operation::Create {
        return refuse(review, format!("unexpected operation {}", review.operation.as_str()));
    }
    let named = if review.name.is_empty() { review.new_object()["metadata"]["name"].str() } else { review.name };
    require(!named.is_empty(), review, || "could not determine pod from request data".into())?;
    let pod = existing(review, named)?;
    require(pod["spec"]["nodeName"].str() == me, review, || {
        format!("node {me} can only evict pods with spec.nodeName set to itself")
    })
}

/// A certificate for a pod that runs here, for its own account, by a signer that the pod mounts.
pub(super) fn certificate(me: &str, review: &Review<'_>) -> Result<(), Status> {
    if review.operation != Operation::Create {
        return refuse(review, format!("unexpected operation {}", review.operation.as_str()));
    }
    require(review.subresource.is_empty(), review, || format!("unexpected subresource {}", review.subresource))?;
    let spec = &review.new_object()["spec"];
    let node_name = spec["nodeName"].str();
    require(node_name == me, review, || {
        format!("PodCertificateRequest.Spec.NodeName={node_name:?}, which is not the requesting node {me:?}")
    })?;
    let full = format!("{}/{}", review.namespace, spec["podName"].str());
    check_uids(me, review, spec, &full)?;
    let pod = existing(review, spec["podName"].str())?;
    require(pod["spec"]["nodeName"].str() == node_name, review, || {
        format!("pod {full:?} is not running on node {node_name:?} named in the PodCertificateRequest")
    })?;
    require(!pods::is_mirror(&pod), review, || format!("pod {full:?} is a mirror pod"))?;
    let (asked, running) = (spec["serviceAccountName"].str(), pod["spec"]["serviceAccountName"].str());
    require(asked == running, review, || {
        format!(
            "PodCertificateRequest for pod {full:?} contains serviceAccountName ({asked:?}) that differs from running pod ({running:?})"
        )
    })?;
    signer(review, spec, &pod, &full)
}

/// Nothing here is a refusal for good: upstream's caches may lag, so it answers 500 and the node tries again.
fn check_uids(me: &str, review: &Review<'_>, spec: &Value, full: &str) -> Result<(), Status> {
    let missing = |what: &str, resource: &str, name: &str, shown: &str| {
        let gone = Status::not_found(&GroupResource::new("", resource), name);
        Status::unclassified(format!("while retrieving {what} {shown:?} named in the PodCertificateRequest: {gone}"))
    };
    let node = node(review, me).ok_or_else(|| missing("node", "node", me, me))?;
    let (asked, is) = (spec["nodeUID"].str(), node["metadata"]["uid"].str());
    if asked != is {
        return Err(Status::unclassified(format!(
            "PodCertificateRequest for pod {full:?} names node UID {asked:?}, inconsistent with the running node ({is:?})"
        )));
    }
    let pod_name = spec["podName"].str();
    let pod = existing(review, pod_name).map_err(|_| missing("pod", "pod", pod_name, full))?;
    let (asked, is) = (spec["podUID"].str(), pod["metadata"]["uid"].str());
    if asked != is {
        return Err(Status::unclassified(format!(
            "PodCertificateRequest for pod {full:?} contains pod UID ({asked:?}) which differs from running pod {is:?}"
        )));
    }
    Ok(())
}

fn signer(review: &Review<'_>, spec: &Value, pod: &Value, full: &str) -> Result<(), Status> {
    let name = spec["serviceAccountName"].str();
    let shown = format!("{}/{name}", review.namespace);
    let account = review.world.read(&review.key("serviceaccounts", name)).ok_or_else(|| {
        let gone = Status::not_found(&GroupResource::new("", "serviceaccount"), name);
        Status::unclassified(format!(
            "while retrieving service account {shown:?} named in the PodCertificateRequest: {gone}"
        ))
    })?;
    let (asked, is) = (spec["serviceAccountUID"].str(), account["metadata"]["uid"].str());
    if asked != is {
        return Err(Status::unclassified(format!(
            "PodCertificateRequest for pod {full:?} names service account UID {asked:?}, which differs from the running service account ({is:?})"
        )));
    }
    let signer = spec["signerName"].str();
    let mut sources = pod["spec"]["volumes"].items().iter().flat_map(|v| v["projected"]["sources"].items());
    if sources.any(|s| s.get("podCertificate").is_some_and(|p| p["signerName"].str() == signer)) {
        return Ok(());
    }
    let munged = signer.replace('/', ":");
    let allowed = super::token::may(review, "request-serviceaccounts-podcertificate-signer", &munged, name);
    require(allowed, review, || {
        format!("pod {full:?} does not mount a podCertificate projected volume for signer {signer:?}")
    })
}
