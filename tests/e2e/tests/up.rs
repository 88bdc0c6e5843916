//! Step 1: one command, and what it leaves and takes away.

use e2e::cluster::SOON;
use e2e::{Cluster, eventually};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o777
}

#[test]
fn up_tells_how_to_reach_it_and_makes_its_context_current() {
    let Some(cluster) = Cluster::up("context") else { return };
    assert_eq!(mode(&cluster.dir), 0o700);
    assert_eq!(mode(&cluster.dir.join("admin.kubeconfig")), 0o600);
    let said = cluster.machine.log("up");
    assert!(said.contains("admin.kubeconfig"), "it says how to reach the cluster:\n{said}");

    // With nothing configured, kubectl finds the context in HOME/.kube/config.
    let plain = |line: &str| {
        let mut command = cluster.machine.command(e2e::kubectl());
        e2e::machine::finish(command.args(line.split_whitespace()), "")
    };
    assert_eq!(plain("config current-context").ok(), "lanyard\n");
    assert_eq!(plain("auth whoami -o jsonpath={.status.userInfo.groups[0]}").ok(), "system:masters");
    let version = plain("version -o json").ok();
    let version: serde_json::Value = serde_json::from_str(&version).unwrap();
    let git = version["serverVersion"]["gitVersion"].as_str().unwrap_or_default();
    assert!(git.starts_with("v1.37.2+lanyard."), "{git}");

    eventually(SOON, "the node is Ready", || {
        let nodes = plain("get nodes --no-headers").stdout;
        nodes.contains(" Ready ").then_some(()).ok_or(nodes)
    });
    assert!(cluster.lanyard(&["status"]).ok().contains("running"), "lanyard status says what runs");
}

#[test]
fn no_context_leaves_the_users_kubeconfig_alone() {
    let Some(cluster) = Cluster::up_with("no-context", &["--no-context"]) else { return };
    assert!(!cluster.machine.home.join(".kube/config").exists());
    assert!(cluster.dir.join("admin.kubeconfig").exists());
}

#[test]
fn it_listens_on_loopback_and_the_pods_side_only() {
    let Some(cluster) = Cluster::up("listens") else { return };
    let listening = cluster.machine.sh("ss -Hltn | awk '{print $4}'").ok();
    let service = cluster.path("service/kubernetes", "default", "{.spec.clusterIP}");
    // The node's address is one of the pods' side: it is on no other network.
    let node = cluster.path("node/e2e-node", "default", "{.status.addresses[?(@.type=='InternalIP')].address}");
    let fine = |address: &str| ["127.0.0.1", &service, &node].iter().any(|a| address.starts_with(&format!("{a}:")));
    let open: Vec<&str> = listening.lines().filter(|a| !fine(a)).collect();
    assert!(open.is_empty(), "listens on {open:?} too; the kubernetes service is {service}, the node {node}");
}

#[test]
fn a_taken_port_a_second_up_and_a_newer_folder_are_one_clear_sentence_each() {
    let Some(mut cluster) = Cluster::up("refusals") else { return };
    let sentence = |output: e2e::Output, about: &str| {
        assert_ne!(output.code, 0, "{output:?}");
        let said: Vec<&str> = output.stderr.lines().filter(|l| !l.trim().is_empty()).collect();
        let last = said.last().copied().unwrap_or_default();
        assert!(last.to_lowercase().contains(about), "{about:?} in {said:?}");
        assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    };
    sentence(cluster.lanyard(&["up", "--no-context"]), "already");
    let other = cluster.machine.home.join("other");
    let port = cluster.kubectl("config view --minify -o jsonpath={.clusters[0].cluster.server}").ok();
    let port = port.rsplit(':').next().unwrap_or_default();
    let lanyard = e2e::lanyard();
    let args = ["server", &format!("--secure-port={port}"), "--data-dir", &other.to_string_lossy()].map(str::to_owned);
    sentence(cluster.machine.run(&lanyard, &args), "in use");

    assert_eq!(cluster.interrupt(), 0, "Ctrl-C ends it in order");
    let newer = "PRAGMA user_version = 999999";
    let changed = cluster.machine.sh(&format!("python3 - <<'E'\nimport glob, sqlite3\nfor f in glob.glob('{0}/*.db') + glob.glob('{0}/*.sqlite*') + glob.glob('{0}/*/*.db'):\n  c = sqlite3.connect(f); c.execute('{newer}'); c.commit(); print(f)\nE", cluster.dir.display())).ok();
    assert!(!changed.is_empty(), "a database was found");
    sentence(cluster.lanyard(&["up", "--no-context"]), "newer");
}

#[test]
fn pods_go_on_while_it_is_stopped_and_are_adopted_again() {
    let Some(mut cluster) = Cluster::up("adopt") else { return };
    cluster.apply(&crate::identity::pod("keeps", "default", "")).ok();
    cluster.ready("default", "keeps");
    let id = cluster.path("pod/keeps", "default", "{.status.containerStatuses[0].containerID}");
    let process = || cluster.machine.sh("pgrep -f '^sleep 604800'").stdout;
    let before = process();
    assert!(!before.is_empty(), "the container's process is seen");

    assert_eq!(cluster.interrupt(), 0, "Ctrl-C ends it in order");
    let alive = cluster.machine.sh("pgrep -f '^sleep 604800'").stdout;
    assert_eq!(alive, before, "the pod goes on");
    cluster.start();
    cluster.ready("default", "keeps");
    assert_eq!(cluster.path("pod/keeps", "default", "{.status.containerStatuses[0].containerID}"), id);
    assert_eq!(cluster.path("pod/keeps", "default", "{.status.containerStatuses[0].restartCount}"), "0");
    assert_eq!(cluster.exec("default", "keeps", &["echo", "again"]).ok(), "again\n");

    cluster.kill();
    cluster.start();
    cluster.ready("default", "keeps");
    assert_eq!(cluster.path("pod/keeps", "default", "{.status.containerStatuses[0].containerID}"), id);
    assert_eq!(cluster.machine.sh("pgrep -f '^sleep 604800'").stdout, before, "the same process after a crash");
}

#[test]
fn down_takes_away_what_up_changed_and_purge_the_folder_too() {
    let Some(mut cluster) = Cluster::prepared("down", &[]) else { return };
    let facts = "ip -o addr; ip -o link | wc -l; findmnt -rno TARGET; cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding; ls /run; pgrep -c .";
    let before = cluster.machine.sh(facts).stdout;
    cluster.start();
    cluster.apply(&crate::identity::pod("gone", "default", "")).ok();
    cluster.ready("default", "gone");
    // Its name is the same in /run and among the host's control groups, which other clusters share.
    let instance = cluster.machine.sh("basename /run/lanyard-*").ok();
    let groups = format!("find /sys/fs/cgroup -type d -name {}", instance.trim());
    assert_ne!(cluster.machine.sh(&groups).stdout, "", "its pods have control groups");
    assert_eq!(cluster.interrupt(), 0);
    cluster.lanyard(&["down"]).ok();
    eventually(SOON, "the machine is as it was", || {
        let now = cluster.machine.sh(facts).stdout;
        if now == before { Ok(()) } else { Err(format!("before:\n{before}\nnow:\n{now}")) }
    });
    assert_eq!(cluster.machine.sh(&groups).stdout, "", "no control group is left");
    assert!(cluster.dir.exists(), "down alone keeps the folder");
    cluster.lanyard(&["down", "--purge"]).ok();
    assert!(!cluster.dir.exists(), "--purge takes it");
}

#[test]
fn without_privilege_up_says_what_is_missing_and_server_works() {
    let Some(cluster) = Cluster::prepared("unprivileged", &[]) else { return };
    let home = cluster.machine.home.join("nobody");
    let lanyard = cluster.machine.home.join("lanyard");
    std::fs::create_dir(&home).unwrap();
    std::fs::copy(e2e::lanyard(), &lanyard).unwrap();
    let nobody = |line: &str| {
        let line = format!(
            "chmod 755 ~; chown nobody {0}; HOME={0} setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all {1}",
            home.display(),
            line
        );
        cluster.machine.sh(&line)
    };
    let refused = nobody(&format!("{} up --data-dir {}/data", lanyard.display(), home.display()));
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("lanyard server"), "it says how to go on: {}", refused.stderr);
    let served = nobody(&format!("timeout 5 {} server --data-dir {}/data", lanyard.display(), home.display()));
    assert!(served.stdout.lines().any(|l| l.starts_with("ready:")), "{served:?}");
}
