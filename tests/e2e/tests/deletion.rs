//! Step 6: what ends when a pod or its account is deleted, and in which order.

use crate::identity::{NS, POLICY, pod};
use e2e::cluster::{IMAGE, SOON};
use e2e::{Cluster, eventually};
use std::time::{Duration, Instant};

const UNAUTHORIZED: &str = "error: You must be logged in to the server (Unauthorized)";

/// kubectl with nothing but a token.
fn with_token(cluster: &Cluster, token: &str, line: &str) -> e2e::Output {
    let server = cluster.kubectl("config view --minify -o jsonpath={.clusters[0].cluster.server}").ok();
    let mut command = cluster.machine.command(e2e::kubectl());
    command.args(["--kubeconfig", "/dev/null", "--insecure-skip-tls-verify", "--server", &server, "--token", token]);
    e2e::machine::finish(command.args(line.split_whitespace()), "")
}

#[test]
fn a_deleted_pods_process_ends_within_its_grace_period_and_its_token_is_refused_at_once() {
    let Some(cluster) = Cluster::up("delete") else { return };
    // PID 1 of a container that does not handle SIGTERM ignores it: only the end of the grace period ends it.
    cluster.apply(&pod("stubborn", "default", "  terminationGracePeriodSeconds: 3\n")).ok();
    cluster.ready("default", "stubborn");
    let token = cluster.exec("default", "stubborn", &["cat", "/run/secrets/kubernetes.io/serviceaccount/token"]).ok();
    let who = with_token(&cluster, &token, "auth whoami -o jsonpath={.status.userInfo.username}").ok();
    assert_eq!(who, "system:serviceaccount:default:default");

    let begin = Instant::now();
    cluster.kubectl("delete pod stubborn --wait=false").ok();
    assert_ne!(cluster.path("pod/stubborn", "default", "{.metadata.deletionTimestamp}"), "", "it is being deleted");
    assert_ne!(cluster.machine.sh("pgrep -f '^sleep 604800'").stdout, "", "the object goes last");
    cluster.kubectl("wait --for=delete pod/stubborn --timeout=30s").ok();
    assert_eq!(with_token(&cluster, &token, "auth whoami").refused(), UNAUTHORIZED);
    let took = begin.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(15), "{took:?}");
    assert_eq!(cluster.machine.sh("pgrep -f '^sleep 604800'").stdout, "", "no process is left");
    assert_eq!(
        cluster.kubectl("get pod stubborn").refused(),
        "Error from server (NotFound): pods \"stubborn\" not found"
    );
}

#[test]
fn a_process_that_handles_sigterm_ends_early() {
    let Some(cluster) = Cluster::up("graceful") else { return };
    let script = "trap 'echo bye; exit 0' TERM; while true; do sleep 0.1; done";
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: polite}}\nspec:\n  containers:\n  - name: main\n    image: {IMAGE}\n    \
         command: [sh, -c, \"{script}\"]\n"
    );
    cluster.apply(&manifest).ok();
    cluster.ready("default", "polite");
    let begin = Instant::now();
    cluster.kubectl("delete pod polite --timeout=25s").ok();
    assert!(begin.elapsed() < Duration::from_secs(10), "30 s of grace were not needed: {:?}", begin.elapsed());
}

#[test]
fn a_deleted_account_ends_all_its_tokens() {
    let Some(cluster) = Cluster::up("account") else { return };
    cluster.namespace("my-namespace");
    cluster.apply(POLICY).ok();
    let token = |_: i32| cluster.kubectl("create token my-service-account -n my-namespace").ok().trim().to_owned();
    let tokens: Vec<String> = (0..2).map(token).collect();
    for token in &tokens {
        with_token(&cluster, token, "get pods -n my-namespace").ok();
    }
    cluster.kubectl("delete serviceaccount my-service-account -n my-namespace").ok();
    for token in &tokens {
        assert_eq!(with_token(&cluster, token, "get pods -n my-namespace").refused(), UNAUTHORIZED);
    }
    // The same name again is another account.
    cluster.apply(POLICY).ok();
    assert_eq!(with_token(&cluster, &tokens[0], "get pods -n my-namespace").refused(), UNAUTHORIZED);
}

#[test]
fn a_deleted_namespace_takes_its_pods_along() {
    let Some(cluster) = Cluster::up("namespace") else { return };
    cluster.namespace("my-namespace");
    cluster.apply(&pod("inside", NS, "  terminationGracePeriodSeconds: 1\n")).ok();
    cluster.ready(NS, "inside");
    cluster.kubectl("delete namespace my-namespace --timeout=60s").ok();
    assert_eq!(cluster.machine.sh("pgrep -f '^sleep 604800'").stdout, "");
}

#[test]
fn secrets_and_config_maps_reach_running_pods_and_follow_changes() {
    let Some(cluster) = Cluster::up("volumes") else { return };
    let config = |value: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{key: {value}}}\n")
    };
    cluster.apply(&config("one")).ok();
    cluster.kubectl("create secret generic hidden --from-literal=word=xyzzy").ok();
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: reads, labels: {{tier: test}}}}\nspec:\n  containers:\n  - name: main\n    image: {IMAGE}\n    \
         command: [sleep, '604800']\n    env:\n    - {{name: WORD, valueFrom: {{secretKeyRef: {{name: hidden, key: word}}}}}}\n    \
         - {{name: NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}\n    envFrom: [{{configMapRef: {{name: settings}}}}]\n    \
         volumeMounts: [{{name: c, mountPath: /c}}, {{name: s, mountPath: /s}}, {{name: d, mountPath: /d}}, {{name: e, mountPath: /e}}]\n  \
         volumes:\n  - {{name: c, configMap: {{name: settings}}}}\n  - {{name: s, secret: {{secretName: hidden}}}}\n  \
         - {{name: d, downwardAPI: {{items: [{{path: labels, fieldRef: {{fieldPath: metadata.labels}}}}]}}}}\n  - {{name: e, emptyDir: {{}}}}\n"
    );
    cluster.apply(&manifest).ok();
    cluster.ready("default", "reads");
    let inside = |line: &str| cluster.exec("default", "reads", &["sh", "-c", line]).ok();
    assert_eq!(inside("echo $WORD $NAME $key; cat /c/key /s/word /d/labels"), "xyzzy reads one\nonexyzzytier=\"test\"");
    assert_eq!(inside("echo kept > /e/file; cat /e/file"), "kept\n");
    cluster.apply(&config("two")).ok();
    eventually(2 * SOON, "the changed ConfigMap is seen", || match inside("cat /c/key").as_str() {
        "two" => Ok(()),
        other => Err(other.into()),
    });
}
