//! The lowering, field by field.

use super::*;
use crate::runtime::SecurityContext;

struct Case {
    sandbox: SandboxSpec,
    container: ContainerSpec,
    image: Image,
}

fn case() -> Case {
    Case {
        sandbox: SandboxSpec { hostname: "pod".into(), ..Default::default() },
        container: ContainerSpec::default(),
        image: Image {
            id: "sha256:x".into(),
            tags: vec![],
            digests: vec![],
            size: 0,
            user: String::new(),
            env: vec![("A".into(), "image".into())],
            entrypoint: vec!["/entry".into()],
            cmd: vec!["cmd".into()],
            working_dir: "/work".into(),
            stop_signal: String::new(),
        },
    }
}

impl Case {
    fn with<T>(&self, act: impl FnOnce(&Inputs<'_>) -> T) -> T {
        act(&Inputs {
            sandbox: &self.sandbox,
            container: &self.container,
            image: &self.image,
            user: &User { uid: 7, gid: 8, groups: vec![9] },
            host_capabilities: u64::MAX >> 23,
            cgroup_mode: CgroupMode::V1,
            cgroup_path: Path::new("lanyard-x/pod/c"),
            rootfs: Path::new("/state/rootfs"),
            netns: Path::new("/run/netns/u"),
            ipcns: Path::new("/state/ipc"),
            shared: Path::new("/state/sandbox"),
            devices: &[Device { path: "/dev/kvm".into(), block: false, major: 10, minor: 232, mode: 0o666 }],
        })
    }

    fn spec(&self) -> Value {
        self.with(|inputs| spec(inputs).unwrap())
    }

    fn process(&self) -> Process {
        self.with(|inputs| process(inputs).unwrap())
    }

    fn mount(&self, target: &str) -> Option<Value> {
        self.spec()["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == target).cloned()
    }
}

#[track_caller]
fn check_args(command: &[&str], args: &[&str], expected: &[&str]) {
    let mut case = case();
    case.container.command = command.iter().map(|arg| (*arg).to_owned()).collect();
    case.container.args = args.iter().map(|arg| (*arg).to_owned()).collect();
    assert_eq!(case.process().args, expected);
}

#[test]
fn command_replaces_entrypoint_and_args_replace_cmd() {
    check_args(&[], &[], &["/entry", "cmd"]);
    check_args(&[], &["a"], &["/entry", "a"]);
    check_args(&["c"], &[], &["c"]);
    check_args(&["c"], &["a"], &["c", "a"]);
}

#[test]
fn a_container_without_any_command_is_refused() {
    let mut case = case();
    (case.image.entrypoint, case.image.cmd) = (vec![], vec![]);
    let error = case.with(|inputs| process(inputs).unwrap_err()).to_string();
    assert_eq!(error, "no command specified");
}

#[test]
fn environment_has_a_path_and_later_entries_win() {
    let mut case = case();
    case.container.env = vec![("A".into(), "pod".into()), ("B".into(), "$x".into())];
    case.container.tty = true;
    assert_eq!(case.process().env, [DEFAULT_PATH, "A=pod", "HOSTNAME=pod", "B=$x", "TERM=xterm"]);
    case.image.env.push(("PATH".into(), "/bin".into()));
    assert!(!case.process().env.contains(&DEFAULT_PATH.to_owned()));
}

#[test]
fn the_last_step_gets_ids_capabilities_and_the_profile() {
    let mut case = case();
    let process = case.process();
    assert_eq!((process.uid, process.gid, process.groups.as_slice(), process.cwd.as_str()), (7, 8, &[9][..], "/work"));
    assert!(process.seccomp && !process.no_new_privs);
    assert_eq!(process.capabilities, 0xa804_25fb);
    case.container.security.seccomp = SeccompProfile::Unconfined;
    case.container.working_dir = "/other".into();
    assert!(!case.process().seccomp);
    assert_eq!(case.process().cwd, "/other");
}

#[test]
fn libcontainer_is_told_nothing_that_it_gets_wrong() {
    let mut case = case();
    case.container.security.no_new_privs = true;
    let spec = case.spec();
    assert!(spec["process"].get("noNewPrivileges").is_none());
    assert!(spec["linux"].get("seccomp").is_none());
    assert!(spec["process"].get("oomScoreAdj").is_none());
    assert_eq!(spec["process"]["user"]["uid"], 0);
    assert_eq!(spec["linux"]["cgroupsPath"], "/lanyard-x/pod/c");
}

#[test]
fn namespaces_are_the_pods_or_the_hosts() {
    let mut case = case();
    let kinds = |case: &Case| -> Vec<String> {
        let spec = case.spec();
        let list = spec["linux"]["namespaces"].as_array().unwrap().clone();
        list.iter()
            .map(|ns| format!("{} {}", ns["type"].as_str().unwrap(), ns["path"].as_str().unwrap_or("")))
            .collect()
    };
    assert_eq!(kinds(&case), ["mount ", "pid ", "network /run/netns/u", "uts ", "ipc /state/ipc"]);
    case.sandbox.network = NamespaceMode::Host;
    case.sandbox.pid = NamespaceMode::Host;
    case.sandbox.ipc = NamespaceMode::Host;
    assert_eq!(kinds(&case), ["mount "]);
    assert!(case.spec().get("hostname").is_none());
    assert_eq!(case.mount("/dev/shm").unwrap()["source"], "/dev/shm");
}

#[test]
fn mounts_are_bound_with_their_propagation_and_replace_ours() {
    let mut case = case();
    case.container.mounts = vec![
        Mount {
            host_path: "/h".into(),
            container_path: "/etc/resolv.conf".into(),
            readonly: true,
            ..Default::default()
        },
        Mount {
            host_path: "/g".into(),
            container_path: "/data".into(),
            propagation: Propagation::HostToContainer,
            ..Default::default()
        },
    ];
    let spec = case.spec();
    assert_eq!(case.mount("/etc/resolv.conf").unwrap()["source"], "/h");
    assert_eq!(case.mount("/data").unwrap()["options"], json!(["rbind", "rslave", "rw"]));
    assert_eq!(spec["linux"]["rootfsPropagation"], "slave");
    case.container.mounts[0].container_path = "etc".into();
    assert!(case.with(|inputs| super::spec(inputs).is_err()));
}

#[test]
fn privileged_is_unmasked_with_the_hosts_devices() {
    let mut case = case();
    case.container.security =
        SecurityContext { masked_paths: vec!["/proc/kcore".into()], ..SecurityContext::default() };
    assert_eq!(case.spec()["linux"]["maskedPaths"], json!(["/proc/kcore"]));
    assert_eq!(case.mount("/sys").unwrap()["options"][3], "ro");
    case.container.security.privileged = true;
    let spec = case.spec();
    assert!(spec["linux"].get("maskedPaths").is_none());
    assert_eq!(spec["linux"]["devices"][0]["path"], "/dev/kvm");
    assert_eq!(spec["linux"]["resources"]["devices"], json!([{"allow": true, "access": "rwm"}]));
    assert!(!case.process().seccomp);
    assert_eq!(case.mount("/sys").unwrap()["options"][3], "rw");
}
