//! Wrong input along the way gets upstream's answer.

use crate::identity::{POLICY, pod};
use e2e::cluster::{IMAGE, SOON, TOKEN};
use e2e::https::Https;
use e2e::{Cluster, Server, eventually};

#[track_caller]
fn check(server: &Server, yaml: &str, sentence: &str) {
    assert_eq!(server.kubectl(&["apply", "-f", "-"], yaml).refused(), sentence);
}

#[test]
fn wrong_manifests_get_upstreams_sentences() {
    let server = Server::start("manifests");
    server.kubectl(&["create", "namespace", "my-namespace"], "").ok();
    server.kubectl(&["apply", "-f", "-"], POLICY).ok();
    check(
        &server,
        "apiVersion: v1\nkind: Foo\nmetadata: {name: x}\n",
        "error: resource mapping not found for name: \"x\" namespace: \"\" from \"STDIN\": no matches for kind \"Foo\" in version \"v1\"\nensure CRDs are installed first",
    );
    check(
        &server,
        "apiVersion: v1\nkind: Pod\n  metadata: {name: x}\n",
        "error: error parsing STDIN: error converting YAML to JSON: yaml: line 3: mapping values are not allowed in this context",
    );
    check(
        &server,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {serviceAccountName: nope, containers: [{name: a, image: b}]}\n",
        "Error from server (Forbidden): error when creating \"STDIN\": pods \"x\" is forbidden: error looking up service account default/nope: serviceaccount \"nope\" not found",
    );
    let role_ref = |name: &str, namespace: &str, kind: &str| {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {kind}, name: view}}\n"
        )
    };
    check(
        &server,
        &role_ref("x", "default", "Rule"),
        "The RoleBinding \"x\" is invalid: roleRef.kind: Unsupported value: \"Rule\": supported values: \"Role\", \"ClusterRole\"",
    );
    check(
        &server,
        &role_ref("my-pod-reader", "my-namespace", "ClusterRole"),
        "The RoleBinding \"my-pod-reader\" is invalid: roleRef: Invalid value: {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"ClusterRole\",\"Name\":\"view\"}: field is immutable",
    );
    let name = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    check(
        &server,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: X_y}\nspec: {containers: []}\n",
        &format!(
            "The Pod \"X_y\" is invalid: \n* metadata.name: Invalid value: \"X_y\": {name}\n* spec.containers: Required value"
        ),
    );
    check(
        &server,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: a, image: b, comand: [x]}]}\n",
        "Error from server (BadRequest): error when creating \"STDIN\": Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.containers[0].comand\"",
    );
    let get = |args: &[&str]| server.kubectl(args, "").refused();
    assert_eq!(get(&["get", "foos"]), "error: the server doesn't have a resource type \"foos\"");
    assert_eq!(get(&["get", "pods", "nope"]), "Error from server (NotFound): pods \"nope\" not found");
    assert_eq!(get(&["delete", "pod", "nope"]), "Error from server (NotFound): pods \"nope\" not found");
    let unauthorized = get(&[
        "get",
        "pods",
        "--token",
        "nonsense",
        "--kubeconfig",
        "/dev/null",
        "--insecure-skip-tls-verify",
        "--server",
        &format!("https://127.0.0.1:{}", server.port),
    ]);
    assert_eq!(unauthorized, "error: You must be logged in to the server (Unauthorized)");
}

const NETWORK_POLICY: &str =
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny}\nspec: {podSelector: {}}\n";

#[test]
fn what_promises_protection_and_is_not_enforced_is_refused() {
    let server = Server::start("promises");
    let policy = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: p}\nspec: {validations: [{expression: 'true'}]}\n";
    let said = server.kubectl(&["create", "-f", "-"], policy).refused();
    assert!(said.to_lowercase().contains("validatingadmissionpolicy"), "{said}");
    // nodes that join a server bring the network that enforces it
    server.kubectl(&["create", "-f", "-"], NETWORK_POLICY).ok();
}

#[test]
fn a_network_policy_is_refused_beside_our_own_node() {
    let Some(cluster) = Cluster::up("network-policy") else { return };
    let said = cluster.apply(NETWORK_POLICY).refused();
    assert!(said.contains("NetworkPolicy is not enforced yet by the node agent"), "{said}");
}

#[test]
fn an_image_that_does_not_exist_is_err_image_pull_then_back_off() {
    let Some(cluster) = Cluster::up_with("no-image", &["--registry-mirror=docker.io=http://127.0.0.1:1"]) else {
        return;
    };
    cluster.apply(&crate::identity::pod_of("nope:1", "no-image", "default", "")).ok();
    let state = |field: &str| {
        cluster.path("pod/no-image", "default", &format!("{{.status.containerStatuses[0].state.waiting.{field}}}"))
    };
    cluster.event("default", "no-image", "Pulling", "Pulling image \"nope:1\"");
    cluster.event("default", "no-image", "Failed", "Failed to pull image \"nope:1\": ");
    cluster.event("default", "no-image", "Failed", "Error: ErrImagePull");
    cluster.event("default", "no-image", "BackOff", "Back-off pulling image \"nope:1\"");
    cluster.event("default", "no-image", "Failed", "Error: ImagePullBackOff");
    cluster.until("pod/no-image", "default", "{.status.containerStatuses[0].state.waiting.reason}", "ImagePullBackOff");
    let message = state("message");
    assert!(message.starts_with("Back-off pulling image \"nope:1\": ErrImagePull: "), "{message}");
    assert_eq!(cluster.path("pod/no-image", "default", "{.status.phase}"), "Pending");
}

#[test]
fn a_command_that_does_not_exist_is_a_status_and_an_event() {
    let Some(cluster) = Cluster::up("no-command") else { return };
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: no-command}}\nspec: {{restartPolicy: Never, containers: [{{name: main, image: '{IMAGE}', command: [nope]}}]}}\n"
    );
    cluster.apply(&manifest).ok();
    let message = cluster.event("default", "no-command", "Failed", "Error: ");
    assert!(message.contains("exec: \"nope\": executable file not found in $PATH"), "{message}");
    let state = "{.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}";
    cluster.until("pod/no-command", "default", state, "StartError 128");
    cluster.until("pod/no-command", "default", "{.status.phase}", "Failed");
}

#[test]
fn a_crash_is_backed_off_as_upstream_does() {
    let Some(cluster) = Cluster::up("crash") else { return };
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: crash}}\nspec: {{containers: [{{name: main, image: '{IMAGE}', command: [sh, -c, 'echo last words; exit 3']}}]}}\n"
    );
    cluster.apply(&manifest).ok();
    cluster.until("pod/crash", "default", "{.status.containerStatuses[0].state.waiting.reason}", "CrashLoopBackOff");
    let uid = cluster.path("pod/crash", "default", "{.metadata.uid}");
    let back_off =
        |seconds: u32| format!("back-off {seconds}s restarting failed container=main pod=crash_default({uid})");
    let message = || cluster.path("pod/crash", "default", "{.status.containerStatuses[0].state.waiting.message}");
    eventually(SOON, "it backs off 10 s", || (message() == back_off(10)).then_some(()).ok_or(message()));
    assert_eq!(
        cluster.path("pod/crash", "default", "{.status.containerStatuses[0].lastState.terminated.exitCode}"),
        "3"
    );
    cluster.event(
        "default",
        "crash",
        "BackOff",
        &format!("Back-off restarting failed container main in pod crash_default({uid})"),
    );
    assert_eq!(cluster.kubectl("logs crash --previous").ok(), "last words\n");
    eventually(SOON, "then 20 s", || (message() == back_off(20)).then_some(()).ok_or(message()));
    assert_eq!(cluster.path("pod/crash", "default", "{.status.phase}"), "Running");
}

#[test]
fn what_the_node_cannot_do_yet_does_not_start_and_says_why() {
    let Some(cluster) = Cluster::up("not-yet") else { return };
    let probe = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: probed}}\nspec: {{containers: [{{name: main, image: '{IMAGE}', command: [sleep, '9'], livenessProbe: {{exec: {{command: ['true']}}}}}}]}}\n"
    );
    cluster.apply(&probe).ok();
    cluster.apply(&pod("fine", "default", "")).ok();
    cluster.ready("default", "fine");
    let selector = "involvedObject.name=probed,type=Warning";
    eventually(SOON, "a warning says why", || {
        let said = cluster
            .kubectl_args(&["get", "events", "--field-selector", selector, "-o", "jsonpath={.items[*].message}"], "")
            .stdout;
        if said.to_lowercase().contains("probe") { Ok(()) } else { Err(said) }
    });
    assert_ne!(cluster.path("pod/probed", "default", "{.status.conditions[?(@.type=='Ready')].status}"), "True");
}

#[test]
fn a_refused_body_does_not_cost_the_connection() {
    let server = Server::start("refused-body");
    let mut https = Https::connect(server.port, &server.ca(), TOKEN).unwrap();
    let maps = "/api/v1/namespaces/default/configmaps";
    let body = "x".repeat(100_000);
    for _ in 0..20 {
        for (method, path, refusal) in [("PUT", maps, 405), ("POST", "/nowhere", 404), ("PATCH", maps, 405)] {
            let (status, said) = https.send(method, path, &body).unwrap();
            assert_eq!(status, refusal, "{method} {path}: {said}");
            let next = https.send("GET", "/version", "").unwrap_or_else(|e| panic!("after {method} {path}: {e}"));
            assert_eq!(next.0, 200);
        }
    }
}
