//! Steps 2 to 4: what admission adds to a pod, the process that comes of it, and the pod's own calls.

use e2e::cluster::KUBECTL_IMAGE;
use e2e::{Cluster, Output};

/// The namespace of the story.
pub(crate) const NS: &str = "my-namespace";

/// What the story applies before its pods.
pub(crate) const POLICY: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: my-service-account, namespace: my-namespace}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: my-pod-reader, namespace: my-namespace}
rules:
- {apiGroups: [""], resources: [pods], verbs: [get, watch, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: my-pod-reader, namespace: my-namespace}
subjects:
- {kind: ServiceAccount, name: my-service-account, namespace: my-namespace}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: my-pod-reader}
"#;

/// A pod that sleeps; `more` are lines of its spec.
pub(crate) fn pod(name: &str, namespace: &str, more: &str) -> String {
    pod_of(e2e::cluster::IMAGE, name, namespace, more)
}

/// The same of another image.
pub(crate) fn pod_of(image: &str, name: &str, namespace: &str, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  \
         containers:\n  - {{name: main, image: \"{image}\", command: [sleep, \"604800\"]}}\n{more}"
    )
}

/// The namespace, policy and two pods with kubectl in them: `as-default` and `as-mine`.
fn story(name: &str) -> Option<Cluster> {
    let cluster = Cluster::up(name)?;
    cluster.import_kubectl();
    cluster.namespace("my-namespace");
    cluster.apply(POLICY).ok();
    cluster.apply(&pod_of(KUBECTL_IMAGE, "as-default", NS, "")).ok();
    cluster.apply(&pod_of(KUBECTL_IMAGE, "as-mine", NS, "  serviceAccountName: my-service-account\n")).ok();
    cluster.ready(NS, "as-default");
    cluster.ready(NS, "as-mine");
    Some(cluster)
}

fn forbidden(account: &str, resource: &str, namespace: &str) -> String {
    format!(
        "Error from server (Forbidden): {resource} is forbidden: User \"system:serviceaccount:{NS}:{account}\" cannot \
         list resource \"{resource}\" in API group \"\" in the namespace \"{namespace}\""
    )
}

/// kubectl in a pod, with nothing configured. `exec` adds a line with the command's exit code to standard error.
fn inside(cluster: &Cluster, pod: &str, line: &str) -> Output {
    let words: Vec<&str> = std::iter::once("kubectl").chain(line.split_whitespace()).collect();
    cluster.exec(NS, pod, &words)
}

#[track_caller]
fn refused(output: Output, sentence: &str) {
    let want = format!("{sentence}\ncommand terminated with exit code 1");
    assert_eq!(output.refused(), want);
}

#[test]
fn admission_adds_account_token_volume_tolerations_and_qos() {
    let Some(cluster) = Cluster::up("admission") else { return };
    cluster.namespace("my-namespace");
    cluster.apply(&pod("my-pod", NS, "")).ok();
    let said = cluster.kubectl("get pod -n my-namespace my-pod -o json").ok();
    let pod: serde_json::Value = serde_json::from_str(&said).unwrap();
    let spec = &pod["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["serviceAccount"], "default");
    assert_eq!(pod["status"]["qosClass"], "BestEffort");

    let volume = &spec["volumes"][0];
    let name = volume["name"].as_str().unwrap();
    let suffix = name.strip_prefix("kube-api-access-").unwrap_or_else(|| panic!("{name}"));
    assert_eq!(suffix.len(), 5, "{name}");
    let sources = serde_json::json!([
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
        {"downwardAPI": {"items": [{"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}, "path": "namespace"}]}},
    ]);
    assert_eq!(volume["projected"], serde_json::json!({"defaultMode": 420, "sources": sources}));
    let mount = &spec["containers"][0]["volumeMounts"][0];
    let path = "/var/run/secrets/kubernetes.io/serviceaccount";
    assert_eq!(*mount, serde_json::json!({"mountPath": path, "name": name, "readOnly": true}));
    let toleration = |what: &str| {
        let key = format!("node.kubernetes.io/{what}");
        serde_json::json!({"effect": "NoExecute", "key": key, "operator": "Exists", "tolerationSeconds": 300})
    };
    assert_eq!(spec["tolerations"], serde_json::json!([toleration("not-ready"), toleration("unreachable")]));
    assert_eq!(spec["priority"], 0);
    assert_eq!(spec["preemptionPolicy"], "PreemptLowerPriority");
    assert_eq!(spec["dnsPolicy"], "ClusterFirst");
    assert_eq!(spec["terminationGracePeriodSeconds"], 30);
}

#[test]
fn a_pod_is_a_process_in_namespaces_and_a_root_of_its_own() {
    let Some(cluster) = Cluster::up("process") else { return };
    let limits = "  hostname: my-host\n";
    cluster.apply(&pod("my-pod", "default", limits)).ok();
    cluster.ready("default", "my-pod");
    assert_eq!(cluster.path("pod/my-pod", "default", "{.status.phase}"), "Running");
    let inside = |line: &str| cluster.exec("default", "my-pod", &["sh", "-c", line]).ok();

    assert_eq!(inside("cat /proc/1/cmdline | tr '\\0' ' '"), "sleep 604800 ");
    assert_eq!(inside("hostname"), "my-host\n");
    assert_eq!(inside("ls /").split_whitespace().filter(|d| *d == "work").count(), 0, "a root of its own");
    for kind in ["net", "mnt", "pid", "uts", "ipc"] {
        let own = inside(&format!("readlink /proc/1/ns/{kind}"));
        let host = cluster.machine.sh(&format!("readlink /proc/self/ns/{kind}")).ok();
        assert_ne!(own, host, "{kind}");
    }
    assert_ne!(inside("cat /proc/1/cgroup"), cluster.machine.sh("cat /proc/self/cgroup").ok());
    assert!(inside("grep Seccomp: /proc/1/status").contains('0'), "unconfined unless asked for, as upstream");
    let address = cluster.path("pod/my-pod", "default", "{.status.podIP}");
    assert!(inside("ip -o -4 addr show").contains(&format!(" {address}/")));
    assert_ne!(address, cluster.path("pod/my-pod", "default", "{.status.hostIP}"));
}

#[test]
fn the_account_volume_is_a_tmpfs_and_the_environment_leads_to_the_server() {
    let Some(cluster) = Cluster::up("volume") else { return };
    cluster.apply(&pod("my-pod", "default", "")).ok();
    cluster.ready("default", "my-pod");
    let inside = |line: &str| cluster.exec("default", "my-pod", &["sh", "-c", line]).ok();

    let path = "/run/secrets/kubernetes.io/serviceaccount";
    let mounted = inside("df -h").lines().find(|l| l.ends_with(path)).map(str::to_owned);
    assert!(mounted.as_deref().is_some_and(|l| l.starts_with("tmpfs ")), "{mounted:?}");
    assert_eq!(inside(&format!("ls {path}")), "ca.crt\nnamespace\ntoken\n");
    assert_eq!(inside(&format!("cat {path}/namespace")), "default");
    assert_eq!(inside(&format!("cat /var{path}/token")).split('.').count(), 3, "a JWT");
    let write = cluster.exec("default", "my-pod", &["touch", &format!("{path}/x")]);
    assert!(write.stderr.contains("Read-only file system"), "{write:?}");

    let host = cluster.path("service/kubernetes", "default", "{.spec.clusterIP}");
    assert_eq!(inside("echo $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT"), format!("{host} 443\n"));
    let connect = "nc -w 3 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT </dev/null && echo reached";
    assert_eq!(inside(connect), "reached\n");
}

#[test]
fn an_unbound_account_is_refused_with_upstreams_sentence() {
    let Some(cluster) = story("default-account") else { return };
    refused(inside(&cluster, "as-default", "get pods"), &forbidden("default", "pods", NS));
    refused(inside(&cluster, "as-default", "get secrets"), &forbidden("default", "secrets", NS));
    let who = inside(&cluster, "as-default", "auth whoami -o jsonpath={.status.userInfo.username}").ok();
    assert_eq!(who, "system:serviceaccount:my-namespace:default");
}

#[test]
fn a_bound_account_reads_pods_and_a_new_binding_holds_at_the_next_request() {
    let Some(cluster) = story("bound-account") else { return };
    let table = inside(&cluster, "as-mine", "get pods").ok();
    let rows: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    assert_eq!(rows[1][..4], ["as-default", "1/1", "Running", "0"]);
    assert_eq!(rows[2][..4], ["as-mine", "1/1", "Running", "0"]);
    refused(inside(&cluster, "as-mine", "get secrets"), &forbidden("my-service-account", "secrets", NS));

    // What the token says of where it came from reaches the server.
    let who = inside(&cluster, "as-mine", "auth whoami -o json").ok();
    let who: serde_json::Value = serde_json::from_str(&who).unwrap();
    let extra = &who["status"]["userInfo"]["extra"];
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], serde_json::json!(["as-mine"]));
    assert_eq!(extra["authentication.kubernetes.io/node-name"], serde_json::json!(["e2e-node"]));

    let elsewhere = "get pods -n default";
    refused(inside(&cluster, "as-mine", elsewhere), &forbidden("my-service-account", "pods", "default"));
    let grant = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: pod-reader}
rules:
- {apiGroups: [""], resources: [pods], verbs: [get, watch, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: pod-reader}
subjects:
- {kind: ServiceAccount, name: my-service-account, namespace: my-namespace}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: pod-reader}
"#;
    cluster.apply(grant).ok();
    assert_eq!(inside(&cluster, "as-mine", elsewhere).ok(), "", "allowed at the very next request");
    cluster.kubectl("delete clusterrolebinding pod-reader").ok();
    refused(inside(&cluster, "as-mine", elsewhere), &forbidden("my-service-account", "pods", "default"));
}
