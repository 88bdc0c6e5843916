//! Lowers a container into an OCI runtime spec and the shim's own orders: pure, so that all of it can be tested.
//!
//! libcontainer is handed a root process with every capability of the host and without seccomp and no_new_privs (it
//! would skip the first and choke on the second); the shim's last step puts on what `Process` says. `cwd` is `/` there
//! for the same reason. Limits are not in the spec: the agent writes them into the cgroup.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{capabilities, contract::Process, users::User};
use crate::{
    image::Image,
    runtime::{
        CgroupMode, ContainerSpec, Mount, NamespaceMode, Propagation, Result, RuntimeError, SandboxSpec, SeccompProfile,
    },
};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything that a container's spec depends on.
pub(super) struct Inputs<'a> {
    pub(super) sandbox: &'a SandboxSpec,
    pub(super) container: &'a ContainerSpec,
    pub(super) image: &'a Image,
    pub(super) user: &'a User,
    /// Capabilities that the agent holds.
    pub(super) host_capabilities: u64,
    pub(super) cgroup_mode: CgroupMode,
    pub(super) cgroup_path: &'a Path,
    pub(super) rootfs: &'a Path,
    pub(super) netns: &'a Path,
    pub(super) ipcns: &'a Path,
    /// The sandbox's folder with resolv.conf, hostname and shm.
    pub(super) shared: &'a Path,
    /// The host's devices, for privileged containers.
    pub(super) devices: &'a [Device],
}

/// A device node of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) path: PathBuf,
    pub(super) block: bool,
    pub(super) major: u64,
    pub(super) minor: u64,
    pub(super) mode: u32,
}

/// What the shim's last step becomes.
pub(super) fn process(inputs: &Inputs<'_>) -> Result<Process> {
    let Inputs { container, image, user, .. } = inputs;
    let security = &container.security;
    let args = arguments(container, image);
    if args.is_empty() {
        return Err(RuntimeError::InvalidSpec("no command specified".into()));
    }
    let cwd = [container.working_dir.as_str(), image.working_dir.as_str(), "/"];
    Ok(Process {
        args,
        env: environment(inputs),
        cwd: cwd.into_iter().find(|cwd| !cwd.is_empty()).unwrap_or("/").into(),
        uid: user.uid,
        gid: user.gid,
        groups: user.groups.clone(),
        capabilities: capabilities::set(security, inputs.host_capabilities)?,
        seccomp: !security.privileged && security.seccomp == SeccompProfile::RuntimeDefault,
        no_new_privs: security.no_new_privs,
    })
}

fn arguments(container: &ContainerSpec, image: &Image) -> Vec<String> {
    let (mut args, rest) = match (container.command.is_empty(), container.args.is_empty()) {
        (false, _) => (container.command.clone(), &container.args),
        (true, false) => (image.entrypoint.clone(), &container.args),
        (true, true) => (image.entrypoint.clone(), &image.cmd),
    };
    args.extend_from_slice(rest);
    args
}

fn environment(inputs: &Inputs<'_>) -> Vec<String> {
    let mut env: Vec<(String, String)> = Vec::new();
    let host = ("HOSTNAME".to_owned(), inputs.sandbox.hostname.clone());
    let given = inputs.image.env.iter().chain([&host]).chain(&inputs.container.env);
    for (name, value) in given {
        match env.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => entry.1.clone_from(value),
            None => env.push((name.clone(), value.clone())),
        }
    }
    if inputs.container.tty && !env.iter().any(|(name, _)| name == "TERM") {
        env.push(("TERM".into(), "xterm".into()));
    }
    let mut out: Vec<_> = env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !out.iter().any(|entry| entry.starts_with("PATH=")) {
        out.insert(0, DEFAULT_PATH.into());
    }
    out
}

/// The OCI `config.json`.
pub(super) fn spec(inputs: &Inputs<'_>) -> Result<Value> {
    let Inputs { sandbox, container, .. } = inputs;
    let security = &container.security;
    let all = capabilities::names(inputs.host_capabilities);
    let mut spec = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": container.tty,
            "user": {"uid": 0, "gid": 0},
            "args": arguments(container, inputs.image),
            "env": [DEFAULT_PATH],
            "cwd": "/",
            "capabilities": {"bounding": all, "effective": all, "permitted": all, "inheritable": [], "ambient": []},
        },
        "root": {"path": inputs.rootfs, "readonly": security.readonly_rootfs},
        "mounts": mounts(inputs)?,
        "linux": {
            "cgroupsPath": Path::new("/").join(inputs.cgroup_path),
            "namespaces": namespaces(inputs),
            "resources": {"devices": device_rules(security.privileged)},
            "rootfsPropagation": root_propagation(&container.mounts),
        },
    });
    if sandbox.network == NamespaceMode::Own {
        spec["hostname"] = json!(sandbox.hostname);
        spec["linux"]["sysctl"] = json!(sandbox.sysctls);
    }
    if security.privileged {
        spec["linux"]["devices"] = inputs.devices.iter().map(device).collect();
    } else {
        spec["linux"]["maskedPaths"] = json!(security.masked_paths);
        spec["linux"]["readonlyPaths"] = json!(security.readonly_paths);
    }
    Ok(spec)
}

fn namespaces(inputs: &Inputs<'_>) -> Vec<Value> {
    let sandbox = inputs.sandbox;
    let mut out = vec![json!({"type": "mount"})];
    if sandbox.pid == NamespaceMode::Own {
        out.push(json!({"type": "pid"}));
    }
    if sandbox.network == NamespaceMode::Own {
        out.push(json!({"type": "network", "path": inputs.netns}));
        out.push(json!({"type": "uts"}));
    }
    if sandbox.ipc == NamespaceMode::Own {
        out.push(json!({"type": "ipc", "path": inputs.ipcns}));
    }
    if inputs.cgroup_mode == CgroupMode::V2 && !inputs.container.security.privileged {
        out.push(json!({"type": "cgroup"}));
    }
    out
}

fn mounts(inputs: &Inputs<'_>) -> Result<Vec<Value>> {
    let container = inputs.container;
    let access = if container.security.privileged { "rw" } else { "ro" };
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    let mut out = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", access]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access]),
    ];
    let readonly = container.security.readonly_rootfs;
    let own = [
        ("/etc/hostname", "hostname", readonly),
        ("/etc/resolv.conf", "resolv.conf", readonly),
        ("/dev/shm", "shm", false),
    ];
    for (target, name, readonly) in own {
        if container.mounts.iter().any(|mount| mount.container_path.trim_end_matches('/') == target) {
            continue;
        }
        let host_path = match (target, inputs.sandbox.ipc) {
            ("/dev/shm", NamespaceMode::Host) => "/dev/shm".into(),
            _ => inputs.shared.join(name),
        };
        out.push(bind(&Mount {
            host_path,
            container_path: target.into(),
            readonly,
            propagation: Propagation::Private,
        })?);
    }
    for mount in &container.mounts {
        out.push(bind(mount)?);
    }
    Ok(out)
}

fn bind(mount: &Mount) -> Result<Value> {
    if !mount.container_path.starts_with('/') {
        return Err(RuntimeError::InvalidSpec(format!("mount path {:?} is not absolute", mount.container_path)));
    }
    let propagation = match mount.propagation {
        Propagation::Private => "rprivate",
        Propagation::HostToContainer => "rslave",
        Propagation::Bidirectional => "rshared",
    };
    let access = if mount.readonly { "ro" } else { "rw" };
    Ok(json!({
        "destination": mount.container_path,
        "type": "bind",
        "source": mount.host_path,
        "options": ["rbind", propagation, access],
    }))
}

/// What a mount wants to see or show, the root must let through.
fn root_propagation(mounts: &[Mount]) -> &'static str {
    let any = |propagation| mounts.iter().any(|mount| mount.propagation == propagation);
    match () {
        () if any(Propagation::Bidirectional) => "shared",
        () if any(Propagation::HostToContainer) => "slave",
        () => "private",
    }
}

fn device_rules(privileged: bool) -> Value {
    if privileged {
        return json!([{"allow": true, "access": "rwm"}]);
    }
    let mut out = vec![
        json!({"allow": false, "access": "rwm"}),
        json!({"allow": true, "type": "c", "access": "m"}),
        json!({"allow": true, "type": "b", "access": "m"}),
        json!({"allow": true, "type": "c", "major": 136, "access": "rwm"}),
    ];
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        out.push(json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm"}));
    }
    json!(out)
}

fn device(device: &Device) -> Value {
    json!({
        "path": device.path,
        "type": if device.block { "b" } else { "c" },
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode & 0o7777,
    })
}

#[cfg(test)]
mod tests;
