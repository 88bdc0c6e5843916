//! Cells as upstream printed them.

use document::{Value, doc};
use meta::{GroupVersionKind, Time};

use super::*;

fn check(group: &str, version: &str, object: Value, want: &str) {
    let row = crate::by_kind(&GroupVersionKind::new(group, version, object["kind"].str())).unwrap();
    let cells = cells(row, &object, Time(1_000_000_100), true);
    let got: Vec<String> = cells.iter().map(plain).collect();
    assert_eq!(got.join("|"), want);
    assert_eq!(cells.len(), row.columns.len());
}

fn pod(status: Value) -> Value {
    let created = Time(1_000_000_000).to_string();
    doc!({"kind": "Pod", "metadata": {"name": "p", "creationTimestamp": created}, "spec": {"containers": [{"name": "c"}]}, "status": status})
}

#[test]
fn a_pod_says_in_one_word_how_it_is() {
    let waiting = |reason: &str| doc!({"phase": "Pending", "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": reason}}}]});
    for (status, want) in [
        (doc!({"phase": "Pending"}), "0/1|Pending"),
        (waiting("ContainerCreating"), "0/1|ContainerCreating"),
        (waiting("CrashLoopBackOff"), "0/1|CrashLoopBackOff"),
        (
            doc!({"phase": "Running", "containerStatuses": [{"name": "c", "ready": true, "state": {"running": {}}}]}),
            "1/1|Running",
        ),
        (
            doc!({"phase": "Succeeded", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
            "0/1|Completed",
        ),
        (
            doc!({"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 3}}}]}),
            "0/1|ExitCode:3",
        ),
        (doc!({"phase": "Failed", "reason": "Evicted"}), "0/1|Evicted"),
    ] {
        check("", "v1", pod(status), &format!("p|{want}|0|100s|<none>|<none>|<none>|<none>"));
    }
}

#[test]
fn a_pod_that_is_deleted_terminates() {
    let mut going = pod(doc!({"phase": "Running"}));
    *going.at_mut(["metadata", "deletionTimestamp"]) = "2001-09-09T01:46:40Z".into();
    check("", "v1", going, "p|0/1|Terminating|0|100s|<none>|<none>|<none>|<none>");
}

#[test]
fn restarts_say_when_the_last_one_was() {
    let status = doc!({"phase": "Running", "containerStatuses": [{"restartCount": 2, "ready": true, "state": {"running": {}},
        "lastState": {"terminated": {"finishedAt": "2001-09-09T01:47:40Z"}}}]});
    check("", "v1", pod(status), "p|1/1|Running|2 (40s ago)|100s|<none>|<none>|<none>|<none>");
}

#[test]
fn other_kinds_have_their_own_cells() {
    let meta = doc!({"name": "x"});
    check(
        "",
        "v1",
        doc!({"kind": "Secret", "metadata": meta, "type": "Opaque", "data": {"a": "b"}}),
        "x|Opaque|1|<unknown>",
    );
    let meta = doc!({"name": "x", "creationTimestamp": "2001-09-09T01:46:40Z"});
    check("rbac.authorization.k8s.io", "v1", doc!({"kind": "Role", "metadata": meta}), "x|2001-09-09T01:46:40Z");
    let binding = doc!({"kind": "RoleBinding", "metadata": {"name": "x"}, "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]});
    check("rbac.authorization.k8s.io", "v1", binding, "x|Role/r|<unknown>|u||n/s");
    let service = doc!({"kind": "Service", "metadata": {"name": "x"}, "spec": {"type": "NodePort", "clusterIPs": ["10.0.0.1"],
        "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}], "selector": {"b": "c", "a": "b"}}});
    check("", "v1", service, "x|NodePort|10.0.0.1|<none>|80:30000/TCP|<unknown>|a=b,b=c");
}

#[test]
fn every_kind_has_a_cell_for_each_column() {
    for row in crate::resources().iter().filter(|r| !r.columns.is_empty()) {
        let object = doc!({"kind": (row.kind), "metadata": {"name": "x"}});
        let cells = cells(row, &object, Time(0), false);
        // upstream's IPAddress has one more
        let want = row.columns.len() + usize::from(row.kind == "IPAddress");
        assert_eq!(cells.len(), want, "{}", row.kind);
    }
}
