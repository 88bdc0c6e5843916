//! Step 5: the commands that people type, against a pod that runs.

use crate::identity::pod;
use e2e::cluster::{IMAGE, SOON};
use e2e::machine::read_until;
use e2e::{Cluster, eventually};
use std::process::Stdio;

/// A cluster with a pod `talks` that prints a line every 0.2 s.
fn talking(name: &str) -> Option<Cluster> {
    let cluster = Cluster::up(name)?;
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: talks}}\nspec:\n  containers:\n  - name: main\n    image: {IMAGE}\n    \
         command: [sh, -c, 'i=0; while true; do echo line $i; echo err $i >&2; i=$((i+1)); sleep 0.2; done']\n"
    );
    cluster.apply(&manifest).ok();
    cluster.ready("default", "talks");
    Some(cluster)
}

#[test]
fn logs_are_read_and_followed() {
    let Some(cluster) = talking("logs") else { return };
    let first = |said: &str| said.lines().next().map(str::to_owned);
    let line =
        eventually(SOON, "a line is logged", || first(&cluster.kubectl("logs talks").stdout).ok_or(String::new()));
    assert_eq!(line, "line 0");
    let said = cluster.kubectl("logs talks").ok();
    assert!(said.lines().any(|l| l == "err 0"), "standard error too: {said}");
    assert_eq!(cluster.kubectl("logs talks --tail=1").ok().lines().count(), 1);
    let stamped = cluster.kubectl("logs talks --timestamps --tail=1").ok();
    assert!(stamped.starts_with("20") && stamped.contains('T') && stamped.contains("Z "), "{stamped}");

    let mut follow = cluster.kubectl_command();
    let mut follow = follow.args(["logs", "-f", "--tail=1", "talks"]).stdout(Stdio::piped()).spawn().unwrap();
    let said = read_until(follow.stdout.as_mut().unwrap(), |said| said.lines().count() > 6);
    assert!(said.lines().count() > 6, "{said}");
    let _ = follow.kill();
    let _ = follow.wait();
    let missing = cluster.kubectl("logs talks -c nope").refused();
    assert_eq!(missing, "error: container nope is not valid for pod talks out of: main");
}

#[test]
fn exec_has_standard_input_and_exit_code() {
    let Some(cluster) = talking("exec") else { return };
    assert_eq!(cluster.kubectl_args(&["exec", "-i", "talks", "--", "wc", "-c"], "12345").ok(), "5\n");
    let seven = cluster.exec("default", "talks", &["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((seven.code, seven.stdout.as_str()), (7, "out\n"));
    assert_eq!(seven.stderr, "err\ncommand terminated with exit code 7\n");
    let missing = cluster.exec("default", "talks", &["nope"]);
    assert_ne!(missing.code, 0);
    assert!(missing.stderr.contains("\"nope\"") && missing.stderr.contains("executable file not found"), "{missing:?}");
    let big = cluster.exec("default", "talks", &["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"]).ok();
    assert_eq!(big.len(), 3_000_000);
    let absent = cluster.exec("default", "absent", &["true"]).refused();
    assert_eq!(absent, "Error from server (NotFound): pods \"absent\" not found");
}

#[test]
fn exec_has_a_terminal_that_is_resized() {
    let Some(cluster) = talking("terminal") else { return };
    // `script` gives kubectl a terminal; stty sets its size before and during. The first size, too, arrives after the start.
    let kubeconfig = cluster.dir.join("admin.kubeconfig");
    let watch = "tty; sleep 1.5; stty size; sleep 2.5; stty size";
    let line = format!(
        "export KUBECONFIG={0}; script -qec \"stty rows 24 cols 80; (sleep 3; stty -F /dev/tty rows 37 cols 101) & \
         {1} exec -it talks -- sh -c '{watch}'\" /dev/null",
        kubeconfig.display(),
        e2e::kubectl().display()
    );
    let said = cluster.machine.sh(&line).stdout;
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    assert!(lines.iter().any(|l| l.contains("/dev/pts/")), "{said}");
    assert!(lines.iter().any(|l| l.ends_with("24 80")), "{said}");
    assert!(lines.iter().any(|l| l.ends_with("37 101")), "{said}");
}

#[test]
fn cp_goes_both_ways() {
    let Some(cluster) = talking("cp") else { return };
    let home = &cluster.machine.home;
    let text: String = (0..50_000).map(|i| format!("{i}\n")).collect();
    std::fs::write(home.join("there.txt"), &text).unwrap();
    cluster.kubectl("cp there.txt talks:/tmp/there.txt").ok();
    assert_eq!(cluster.exec("default", "talks", &["wc", "-l", "/tmp/there.txt"]).ok(), "50000 /tmp/there.txt\n");
    cluster.kubectl("cp talks:/tmp/there.txt back.txt").ok();
    assert_eq!(std::fs::read_to_string(home.join("back.txt")).unwrap(), text);
}

#[test]
fn auth_commands_answer_as_upstream() {
    let Some(cluster) = Cluster::up("auth") else { return };
    cluster.namespace("my-namespace");
    cluster.apply(crate::identity::POLICY).ok();
    let admin = cluster.kubectl("auth can-i delete nodes");
    let warning = "Warning: resource 'nodes' is not namespace scoped\n\n";
    assert_eq!((admin.stdout.as_str(), admin.stderr.as_str()), ("yes\n", warning));
    let token = cluster.kubectl("create token my-service-account -n my-namespace").ok();
    let server = cluster.kubectl("config view --minify -o jsonpath={.clusters[0].cluster.server}").ok();
    let ca = cluster.machine.home.join("ca.crt");
    let data = cluster
        .kubectl("config view --raw --minify -o jsonpath={.clusters[0].cluster.certificate-authority-data}")
        .ok();
    cluster.machine.sh(&format!("echo {data} | base64 -d > {}", ca.display())).ok();
    let mine = |line: &str| {
        let mut command = cluster.machine.command(e2e::kubectl());
        command
            .args([
                "--kubeconfig",
                "/dev/null",
                "--server",
                &server,
                "--token",
                token.trim(),
                "-n",
                "my-namespace",
                "--certificate-authority",
            ])
            .arg(&ca);
        e2e::machine::finish(command.args(line.split_whitespace()), "")
    };
    assert_eq!(mine("auth can-i list pods").ok(), "yes\n");
    let no = mine("auth can-i list secrets");
    assert_eq!((no.stdout.as_str(), no.code), ("no\n", 1));
    let list = mine("auth can-i --list").ok();
    let words = |l: &str| l.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(list.lines().next().map(words).as_deref(), Some("Resources Non-Resource URLs Resource Names Verbs"));
    assert!(list.lines().map(words).any(|l| l == "pods [] [] [get watch list]"), "{list}");
    let who = mine("auth whoami").ok();
    let rows: Vec<String> = who.lines().map(words).collect();
    assert_eq!(rows[0], "ATTRIBUTE VALUE");
    assert_eq!(rows[1], "Username system:serviceaccount:my-namespace:my-service-account");
    assert_eq!(rows[3], "Groups [system:serviceaccounts system:serviceaccounts:my-namespace system:authenticated]");
}

#[test]
fn get_prints_every_form_and_watches() {
    let Some(cluster) = talking("get") else { return };
    let wide = cluster.kubectl("get pods -o wide").ok();
    let words = |l: &str| l.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = wide.lines().map(words).collect();
    let head = "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES";
    assert_eq!(rows[0].join(" "), head);
    assert_eq!(rows[1][6], "e2e-node");
    let yaml = cluster.kubectl("get pod talks -o yaml").ok();
    assert!(yaml.starts_with("apiVersion: v1\nkind: Pod\nmetadata:\n"), "{yaml}");
    assert_eq!(cluster.kubectl("get pod talks -o name").ok(), "pod/talks\n");
    assert_eq!(cluster.path("pod/talks", "default", "{.spec.nodeName}"), "e2e-node");

    let mut watch = cluster.kubectl_command();
    let mut watch = watch.args(["get", "pods", "-w", "--no-headers"]).stdout(Stdio::piped()).spawn().unwrap();
    let stream = watch.stdout.as_mut().unwrap();
    assert!(read_until(stream, |said| said.contains("Running")).starts_with("talks"));
    cluster.apply(&pod("second", "default", "")).ok();
    let said = read_until(stream, |said| said.contains("Running"));
    for state in ["Pending", "ContainerCreating", "Running"] {
        assert!(said.lines().any(|l| l.starts_with("second") && l.contains(state)), "{state} in {said}");
    }
    let _ = watch.kill();
    let _ = watch.wait();
}

#[test]
fn describe_shows_the_pods_events() {
    let Some(cluster) = talking("describe") else { return };
    for (reason, holds) in [
        ("Scheduled", "Successfully assigned default/talks to e2e-node"),
        ("Pulled", "already present on machine"),
        ("Created", "Container created"),
        ("Started", "Container started"),
    ] {
        cluster.event("default", "talks", reason, holds);
    }
    let said = cluster.kubectl("describe pod talks").ok();
    for line in [
        "Name:             talks",
        "Service Account:  default",
        "Status:           Running",
        "QoS Class:                   BestEffort",
    ] {
        assert!(said.lines().any(|l| l == line), "{line:?} in\n{said}");
    }
    let events = said.split_once("Events:").expect("it has events").1;
    let rows: Vec<Vec<&str>> = events.lines().skip(1).map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["Type", "Reason", "Age", "From", "Message"]);
    let has = |reason: &str, from: &str| {
        rows.iter().any(|r| r.first() == Some(&"Normal") && r.get(1) == Some(&reason) && r.contains(&from))
    };
    assert!(has("Scheduled", "default-scheduler") && has("Started", "kubelet"), "{events}");
}

#[test]
fn explain_and_api_resources_know_the_types() {
    let Some(cluster) = Cluster::up("explain") else { return };
    let said = cluster.kubectl("explain pod.spec.nodeName").ok();
    assert!(said.starts_with("KIND:       Pod\nVERSION:    v1\n\nFIELD: nodeName <string>\n\n\nDESCRIPTION:\n    NodeName indicates in which node"), "{said}");
    let all = cluster.kubectl("api-resources --no-headers").ok();
    let words = |l: &str| l.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows: Vec<String> = all.lines().map(words).collect();
    for row in [
        "pods po v1 true Pod",
        "nodes no v1 false Node",
        "deployments deploy apps/v1 true Deployment",
        "roles rbac.authorization.k8s.io/v1 true Role",
    ] {
        assert!(rows.iter().any(|r| r == row), "{row} in\n{all}");
    }
}
