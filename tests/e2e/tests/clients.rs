//! In-cluster clients: in a pod, with nothing configured, the libraries that people use find the API server and are
//! told what their account may do.

use crate::identity::{NS, POLICY};
use e2e::cluster::IMAGE;
use e2e::{Cluster, Output};
use std::path::{Path, PathBuf};

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
