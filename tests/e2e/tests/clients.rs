//! Clients as people use them, with their default settings. In a pod, with nothing configured, they find the API server
//! and are told what their account may do. From outside, each plays scenarios: informers, leader election, controllers,
//! apply, pages, watches that go on after the server was killed, and all kinds in protobuf.

use crate::identity::{NS, POLICY};
use e2e::cluster::IMAGE;
use e2e::machine::finish;
use e2e::{Cluster, Output, Server};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const REFUSED: &str = "403: secrets is forbidden: User \"system:serviceaccount:my-namespace:my-service-account\" cannot list \
                       resource \"secrets\" in API group \"\" in the namespace \"my-namespace\"";

/// What `cargo xtask test` has built, and where.
struct Built {
    programs: PathBuf,
    python: PathBuf,
    sources: PathBuf,
}

fn built(name: &str) -> Option<Built> {
    let set = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let (Some(programs), Some(python)) = (set("LANYARD_E2E_PROGRAMS"), set("LANYARD_E2E_PYTHON")) else {
        eprintln!("SKIPPED {name}: the clients are built by `cargo xtask test`");
        return None;
    };
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    Some(Built { programs, python, sources })
}

/// A pod `client` of the account that may read pods, with the host's programs in it, read-only and at their own places.
fn cluster(name: &str, built: &Built) -> Option<Cluster> {
    let cluster = Cluster::up(name)?;
    cluster.namespace("my-namespace");
    cluster.apply(POLICY).ok();
    let usr = Path::new("/usr");
    let places = [
        (usr, usr),
        (Path::new("/usr/lib"), Path::new("/lib")),
        (Path::new("/usr/lib64"), Path::new("/lib64")),
        (&built.programs, Path::new("/programs")),
        (&built.sources, Path::new("/sources")),
        (&built.python, &built.python),
    ];
    let (mut mounts, mut volumes) = (String::new(), String::new());
    for (number, (host, pod)) in places.iter().enumerate() {
        let mount = format!("    - {{name: v{number}, mountPath: {}, readOnly: true}}\n", pod.display());
        let volume = format!("  - {{name: v{number}, hostPath: {{path: {}, type: Directory}}}}\n", host.display());
        mounts += &mount;
        volumes += &volume;
    }
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: client, namespace: {NS}}}\nspec:\n  serviceAccountName: my-service-account\n  \
         containers:\n  - name: main\n    image: {IMAGE}\n    command: [/bin/sleep, '604800']\n    \
         env: [{{name: HOME, value: /tmp}}, {{name: LC_ALL, value: C.UTF-8}}]\n    volumeMounts:\n{mounts}  volumes:\n{volumes}"
    );
    cluster.apply(&manifest).ok();
    cluster.ready(NS, "client");
    Some(cluster)
}

fn run(cluster: &Cluster, command: &[&str]) -> Output {
    cluster.exec(NS, "client", command)
}

#[test]
fn kube_rs_lists_watches_and_is_refused() {
    let Some(built) = built("kube-rs") else { return };
    let Some(cluster) = cluster("kube-rs", &built) else { return };
    let said = run(&cluster, &["/programs/kube-rs-client"]).ok();
    assert_eq!(said, format!("pod client Running\nadded client\n{REFUSED}\n"));
}

#[test]
fn client_go_lists_informs_and_is_refused() {
    let Some(built) = built("client-go") else { return };
    let Some(cluster) = cluster("client-go", &built) else { return };
    let said = run(&cluster, &["/programs/client-go"]).ok();
    assert_eq!(said, format!("pod client Running\ninformer 1\n{REFUSED}\n"));
}

#[test]
fn the_python_client_lists_watches_and_is_refused() {
    let Some(built) = built("python") else { return };
    let Some(cluster) = cluster("python", &built) else { return };
    let python = built.python.join("bin/python3");
    let said = run(&cluster, &[&python.to_string_lossy(), "/sources/python/client.py"]).ok();
    assert_eq!(said, format!("pod client Running\nadded client\n{REFUSED}\n"));

    let shell = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: shell, namespace: default}}\nspec:\n  containers:\n  \
         - {{name: main, image: {IMAGE}, command: [/bin/sh, -c, 'echo begun; exec sleep 604800']}}\n"
    );
    cluster.apply(&shell).ok();
    cluster.ready("default", "shell");
    let mut command = cluster.machine.command(&python);
    command.arg(built.sources.join("python/scenarios.py")).arg("exec");
    let said = finish(command.env("KUBECONFIG", cluster.dir.join("admin.kubeconfig")), "").ok();
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn an_ansible_playbook_looks_up_the_pods_of_its_own_namespace() {
    let Some(built) = built("ansible") else { return };
    let Some(cluster) = cluster("ansible", &built) else { return };
    let playbook = built.python.join("bin/ansible-playbook");
    let said = run(&cluster, &[&playbook.to_string_lossy(), "/sources/ansible/pods.yml"]).ok();
    assert!(said.contains("\"msg\": \"pods client\""), "{said}");
    assert!(said.contains("\"msg\": \"found 1\""), "{said}");
    assert!(said.contains("failed=0"), "{said}");
}

/// Plays a scenario of a client against a server of its own. At the line RESTART the server is killed and started again on
/// the same data, and the client is told so by a line.
#[track_caller]
fn play(name: &str, program: impl FnOnce(&Built) -> Command) {
    let Some(built) = built(name) else { return };
    let mut server = Server::start(name);
    let mut command = program(&built);
    command.env("KUBECONFIG", server.home.join("data/admin.kubeconfig")).env("HOME", &server.home);
    let errors = server.home.join("client.log");
    let log = std::fs::File::create(&errors).unwrap();
    let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let (mut input, output) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    let mut said = String::new();
    for line in BufReader::new(output).lines() {
        let line = line.unwrap();
        if line == "RESTART" {
            server.kill();
            server.again();
            input.write_all(b"\n").unwrap();
        }
        said += &(line + "\n");
    }
    let ended = client.wait().unwrap();
    let log = std::fs::read_to_string(errors).unwrap();
    let last: Vec<&str> = log.lines().rev().take(60).collect();
    let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
    assert!(ended.success() && said.ends_with("done\n"), "{name} {ended}\n{said}\n{last}");
}

#[track_caller]
fn client_go(scenario: &str) {
    play(scenario, |built| {
        let mut command = Command::new(built.programs.join("client-go"));
        command.arg(scenario);
        if let Ok(cases) =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fidelity/cases/kinds").canonicalize()
        {
            command.env("LANYARD_CASES", cases);
        }
        command
    });
}

#[track_caller]
fn kube_rs(scenario: &str) {
    play(scenario, |built| {
        let mut command = Command::new(built.programs.join("kube-rs-client"));
        command.arg(scenario);
        command
    });
}

#[track_caller]
fn python(scenario: &str) {
    play(scenario, |built| {
        let mut command = Command::new(built.python.join("bin/python3"));
        command.arg(built.sources.join("python/scenarios.py")).arg(scenario);
        command
    });
}

#[test]
fn client_go_informers_see_every_change_once_over_restarts() {
    client_go("informers");
}

#[test]
fn client_go_elects_one_leader_at_a_time() {
    client_go("leader-election");
}

#[test]
fn client_go_retries_patches_deletes_and_tells_errors_apart() {
    client_go("writes");
}

#[test]
fn client_go_applies_with_typed_configurations() {
    client_go("apply");
}

#[test]
fn client_go_reads_pages_of_one_moment_and_resumes_watches() {
    client_go("pages");
}

#[test]
fn client_go_records_and_counts_events() {
    client_go("events");
}

#[test]
fn client_go_discovers_maps_and_speaks_without_types() {
    client_go("discovery");
}

#[test]
fn controller_runtime_reconciles_over_restarts_and_changes_of_leaders() {
    client_go("controller-runtime");
}

#[test]
fn every_kind_is_the_same_in_json_and_protobuf() {
    client_go("encodings");
}

#[test]
fn kube_rs_watchers_see_everything_over_restarts() {
    kube_rs("watcher");
}

#[test]
fn kube_rs_applies_locks_and_pages() {
    kube_rs("apply");
}

#[test]
fn a_kube_rs_controller_owns_and_finalizes() {
    kube_rs("controller");
}

#[test]
fn the_python_client_creates_patches_and_deletes() {
    python("crud");
}

#[test]
fn the_python_client_applies() {
    python("apply");
}

#[test]
fn the_python_client_reads_pages_over_a_restart() {
    python("pages");
}

#[test]
fn the_python_client_resumes_a_watch_after_restarts() {
    python("watch");
}

#[test]
fn the_python_client_leads_by_a_lease() {
    python("lead");
}
