//! Whether this host can run pods at all, in words for people.

use std::path::Path;

/// What this host lacks to run pods, in one sentence; `None` when nothing is missing.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("running pods needs root".into());
    }
    if !Path::new("/proc/self/ns/net").exists() || !Path::new("/proc/self/ns/pid").exists() {
        return Some("this kernel has no network or process namespaces".into());
    }
    if !Path::new("/sys/fs/cgroup").join("cgroup.controllers").exists() && !Path::new("/sys/fs/cgroup/memory").exists()
    {
        return Some("no cgroup hierarchy is mounted at /sys/fs/cgroup".into());
    }
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems.lines().any(|l| l.ends_with("overlay")) {
        return Some("this kernel has no overlayfs".into());
    }
    match std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET | nix::sched::CloneFlags::CLONE_NEWNS)
    })
    .join()
    {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("this process may not make namespaces ({error})")),
        Err(_) => Some("this process may not make namespaces".into()),
    }
}
