use std::sync::Arc;

use document::{Object, json};
use store::Change;

use super::graph::Graph;
use crate::rbac::tests::object;

fn pod(name: &str, node: &str, spec: &str) -> Object {
    let mut object = object("pods", "ns", name, &format!("\"spec\":{spec}"));
    object.fields = Box::new([("spec.nodeName".into(), node.into())]);
    object
}

fn put(graph: &Graph, new: Object) -> Graph {
    let change = Change { key: new.key.clone(), revision: new.revision, old: None, new: Some(Arc::new(new)) };
    graph.after(&[change])
}

#[test]
fn a_pods_references_of_every_kind_lead_to_its_node() {
    let spec = r#"{"serviceAccountName":"sa","imagePullSecrets":[{"name":"pull"}],
        "initContainers":[{"env":[{"valueFrom":{"secretKeyRef":{"name":"env"}}}]}],
        "containers":[{"envFrom":[{"configMapRef":{"name":"from"}}]}],
        "volumes":[{"name":"s","secret":{"secretName":"volume"}},{"name":"d","persistentVolumeClaim":{"claimName":"disk"}},
          {"name":"e","ephemeral":{}},{"name":"p","projected":{"sources":[{"configMap":{"name":"projected"}}]}}]}"#;
    json::parse(spec.as_bytes()).unwrap();
    let graph = put(&Graph::default(), pod("p", "n", spec));
    let check = |resource: &str, name: &str, want: bool| {
        assert_eq!(graph.uses("n", resource, "ns", name), want, "{resource} {name}")
    };
    for (resource, name) in [
        ("serviceaccounts", "sa"),
        ("secrets", "pull"),
        ("secrets", "env"),
        ("secrets", "volume"),
        ("configmaps", "from"),
        ("configmaps", "projected"),
        ("persistentvolumeclaims", "disk"),
        ("persistentvolumeclaims", "p-e"),
    ] {
        check(resource, name, true);
        assert!(!graph.uses("m", resource, "ns", name), "another node");
        assert!(!graph.uses("n", resource, "other", name), "another namespace");
    }
    check("secrets", "from", false);
    assert!(graph.has_pod("n", "ns", "p") && !graph.has_pod("m", "ns", "p"));
}

#[test]
fn a_secret_of_a_volume_counts_while_a_pod_uses_its_claim() {
    let spec = r#"{"volumes":[{"name":"d","persistentVolumeClaim":{"claimName":"disk"}}]}"#;
    let volume = object(
        "persistentvolumes",
        "",
        "pv",
        r#""spec":{"claimRef":{"namespace":"ns","name":"disk"},"csi":{"nodeStageSecretRef":{"name":"s","namespace":"vault"},"controllerPublishSecretRef":{"name":"c","namespace":"vault"}}}"#,
    );
    let before = put(&Graph::default(), volume);
    assert!(!before.uses_volume("n", "pv"));
    let graph = put(&before, pod("p", "n", spec));
    assert!(graph.uses_volume("n", "pv"));
    assert!(graph.uses("n", "secrets", "vault", "s"));
    assert!(!graph.uses("n", "secrets", "vault", "c"), "the controller's secret is not the node's");
}

#[test]
fn a_pod_that_goes_takes_its_rights_with_it() {
    let first = pod("p", "n", r#"{"serviceAccountName":"sa"}"#);
    let graph = put(&Graph::default(), first.clone());
    let gone = Change { key: first.key.clone(), revision: first.revision, old: Some(Arc::new(first)), new: None };
    let after = graph.after(&[gone]);
    assert!(graph.uses("n", "serviceaccounts", "ns", "sa"), "an older view keeps its graph");
    assert!(!after.uses("n", "serviceaccounts", "ns", "sa"));
    assert!(!after.has_pod("n", "ns", "p"));
}
