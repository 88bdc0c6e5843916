//! A node's own Node object: no taints, no owners, and only labels that nodes may give themselves.

use std::collections::BTreeSet;

use document::Value;
use meta::Status;

use super::{refuse, require};
use crate::{Operation, Review};

const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

pub(super) fn admit(me: &str, review: &Review<'_>) -> Result<(), Status> {
    let asked = review.name;
    require(asked == me, review, || format!("node {me:?} is not allowed to modify node {asked:?}"))?;
    let (new, old) = (review.new_object(), review.old_object());
    match review.operation {
        Operation::Create => {
            require(new["spec"]["configSource"].is_null(), review, || {
                format!("node {me:?} is not allowed to create pods with a non-nil configSource")
            })?;
            let forbidden = forbidden_labels(new, &Value::Null);
            require(forbidden.is_empty(), review, || {
                format!("node {me:?} is not allowed to set the following labels: {forbidden}")
            })
        }
        Operation::Update => update(me, review, new, old),
        _ => Ok(()),
    }
}

fn update(me: &str, review: &Review<'_>, new: &Value, old: &Value) -> Result<(), Status> {
    let same = |a: &Value, b: &Value| a == b || (a.is_empty() && b.is_empty());
    let source = &new["spec"]["configSource"];
    require(source.is_null() || source == &old["spec"]["configSource"], review, || {
        format!("node {me:?} is not allowed to update configSource to a new non-nil configSource")
    })?;
    require(same(&new["spec"]["taints"], &old["spec"]["taints"]), review, || {
        format!("node {me:?} is not allowed to modify taints")
    })?;
    require(same(&new["metadata"]["ownerReferences"], &old["metadata"]["ownerReferences"]), review, || {
        format!("node {me:?} is not allowed to modify ownerReferences")
    })?;
    let forbidden = forbidden_labels(new, old);
    if forbidden.is_empty() { Ok(()) } else { refuse(review, format!("is not allowed to modify labels: {forbidden}")) }
}

/// Changed label keys that a node may not change, sorted, as one text.
fn forbidden_labels(new: &Value, old: &Value) -> String {
    let (new, old) = (&new["metadata"]["labels"], &old["metadata"]["labels"]);
    let keys: BTreeSet<&str> = new.members().chain(old.members()).map(|(k, _)| k).collect();
    let changed = keys.into_iter().filter(|k| new.get(k) != old.get(k));
    changed.filter(|k| is_forbidden(k)).collect::<Vec<_>>().join(", ")
}

fn is_forbidden(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(d, _)| d);
    let within = |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|d| d.ends_with('.'));
    if within("node-restriction.kubernetes.io") {
        return true;
    }
    let own = OWN_LABELS.contains(&key) || OWN_DOMAINS.iter().any(|d| within(d));
    (within("kubernetes.io") || within("k8s.io")) && !own
}

#[cfg(test)]
mod tests {
    use super::is_forbidden;

    #[test]
    fn a_node_may_set_its_own_labels_only() {
        for key in
            ["foo", "example.com/x", "kubernetes.io/hostname", "node.kubernetes.io/x", "a.kubelet.kubernetes.io/x"]
        {
            assert!(!is_forbidden(key), "{key}");
        }
        for key in
            ["kubernetes.io/x", "node-restriction.kubernetes.io/x", "a.k8s.io/y", "x.node-restriction.kubernetes.io/z"]
        {
            assert!(is_forbidden(key), "{key}");
        }
    }
}
