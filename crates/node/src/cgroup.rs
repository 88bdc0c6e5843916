//! cgroups: a folder per instance, QoS class, pod and container, on v1 (hybrid included) and v2.
//!
//! Limits are written by the agent for pods and containers alike; processes are put in by the shim. A path is relative
//! to the hierarchy, such as `lanyard-a1b2/kubepods/burstable/pod<uid>/<container>`.

mod layout;
mod limits;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

pub use layout::Layout;

use crate::runtime::{CgroupMode, ContainerStats, Resources};

/// The cgroups of one instance.
#[derive(Debug, Clone)]
pub struct Cgroups {
    layout: Layout,
    base: PathBuf,
}

impl Cgroups {
    /// Everything below `base` in this layout.
    pub fn new(layout: Layout, base: impl Into<PathBuf>) -> Self {
        Self { layout, base: base.into() }
    }

    /// v1 or v2.
    pub fn mode(&self) -> CgroupMode {
        self.layout.mode()
    }

    /// The path of a pod's or container's cgroup, for the OCI spec's `cgroupsPath`.
    pub fn path(&self, below: &str) -> PathBuf {
        self.base.join(below)
    }

    /// Makes the cgroup with its parents and writes its limits.
    pub fn create(&self, below: &str, resources: &Resources) -> io::Result<()> {
        let path = self.path(below);
        match &self.layout {
            Layout::V1(_) => {
                for controller in ["memory", "cpu", "cpuacct", "pids"] {
                    if let Some(mount) = self.layout.v1_mount(controller) {
                        fs::create_dir_all(mount.join(&path))?;
                    }
                }
            }
            Layout::V2(mount) => create_v2(mount, &path)?,
        }
        self.limit(below, resources)
    }

    /// Writes the limits of a cgroup that exists.
    pub fn limit(&self, below: &str, resources: &Resources) -> io::Result<()> {
        let path = self.path(below);
        for (controller, file, value) in limits::files(self.mode(), resources) {
            let Some(folder) = self.layout.folder(controller, &path) else { continue };
            match fs::write(folder.join(file), &value) {
                Err(error) if limits::is_optional(file) => tracing::debug!(file, %error, "cgroup file not written"),
                done => {
                    done.map_err(|error| io::Error::new(error.kind(), format!("write {value} to {file}: {error}")))?
                }
            }
        }
        Ok(())
    }

    /// `cgroup.procs` of every hierarchy in which the cgroup exists.
    pub fn procs(&self, below: &str) -> Vec<PathBuf> {
        let files = self.folders(below).into_iter().map(|folder| folder.join("cgroup.procs"));
        files.filter(|file| file.exists()).collect()
    }

    /// The file that counts OOM kills in a line `oom_kill <n>`.
    pub fn oom_file(&self, below: &str) -> Option<PathBuf> {
        let file = match self.mode() {
            CgroupMode::V1 => "memory.oom_control",
            CgroupMode::V2 => "memory.events",
        };
        Some(self.layout.folder("memory", &self.path(below))?.join(file))
    }

    /// The v2 folder; none on v1.
    pub fn unified(&self, below: &str) -> Option<PathBuf> {
        match &self.layout {
            Layout::V2(mount) => Some(mount.join(self.path(below))),
            Layout::V1(_) => None,
        }
    }

    /// What the cgroup has used.
    pub fn stats(&self, below: &str) -> ContainerStats {
        limits::stats(&self.layout, &self.path(below))
    }

    /// Kills whatever is left in the cgroup and below.
    pub fn kill(&self, below: &str) {
        for folder in self.folders(below) {
            for pid in pids(&folder) {
                // SAFETY: a system call without pointers.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
    }

    /// Removes the cgroup and all below it, killing what is in there.
    pub fn remove(&self, below: &str) -> io::Result<()> {
        self.folders(below).iter().try_for_each(|folder| remove_tree(folder))
    }

    /// Removes everything of this instance.
    pub fn remove_all(&self) -> io::Result<()> {
        self.remove("")
    }

    fn folders(&self, below: &str) -> Vec<PathBuf> {
        let path = self.path(below);
        self.layout.mounts().map(|mount| mount.join(&path)).filter(|folder| folder.is_dir()).collect()
    }
}

/// On v2 a controller works in a folder only if every parent hands it down.
fn create_v2(mount: &Path, path: &Path) -> io::Result<()> {
    let mut folder = mount.to_path_buf();
    for part in path {
        let available = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
        let wanted = ["cpu", "memory", "pids", "cpuset", "io"].into_iter();
        for controller in wanted.filter(|name| available.split_whitespace().any(|there| there == *name)) {
            fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"))?;
        }
        folder.push(part);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn pids(folder: &Path) -> Vec<i32> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path())?;
    }
    for attempt in 0..100 {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if attempt == 99 => return Err(error),
            Err(_) => {}
        }
        for pid in pids(folder) {
            // SAFETY: a system call without pointers.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        std::thread::sleep(Duration::from_millis(if attempt < 10 { 1 } else { 10 }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2() -> (tempfile::TempDir, Cgroups) {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpuset cpu io memory pids").unwrap();
        let cgroups = Cgroups::new(Layout::V2(root.path().into()), "lanyard-x");
        (root, cgroups)
    }

    #[test]
    fn on_v2_a_cgroup_is_made_with_its_limits_and_its_parents_hand_down() {
        let (root, cgroups) = v2();
        let resources = Resources {
            cpu_shares: 1024,
            cpu_quota: 50_000,
            memory_limit: 64 << 20,
            pids_limit: 100,
            ..Resources::default()
        };
        cgroups.create("kubepods/podx", &resources).unwrap();
        let pod = root.path().join("lanyard-x/kubepods/podx");
        let read = |name: &str| fs::read_to_string(pod.join(name)).unwrap();
        assert_eq!(read("cpu.max"), "50000 100000");
        assert_eq!(read("cpu.weight"), "39");
        assert_eq!(read("memory.max"), (64 << 20).to_string());
        assert_eq!(read("pids.max"), "100");
        assert!(root.path().join("cgroup.subtree_control").exists());
        assert_eq!(cgroups.oom_file("kubepods/podx").unwrap(), pod.join("memory.events"));
        assert_eq!(cgroups.unified("kubepods/podx").unwrap(), pod);
    }

    #[test]
    fn on_v1_each_controller_has_its_own_folder() {
        let root = tempfile::tempdir().unwrap();
        let mounts = ["cpu", "memory", "pids"].map(|name| (vec![name.to_owned()], root.path().join(name)));
        let cgroups = Cgroups::new(Layout::V1(mounts.to_vec()), "lanyard-x");
        let resources = Resources { cpu_shares: 2, memory_limit: 1 << 20, ..Resources::default() };
        cgroups.create("podx", &resources).unwrap();
        let read = |name: &str| fs::read_to_string(root.path().join(name)).unwrap();
        assert_eq!(read("cpu/lanyard-x/podx/cpu.shares"), "2");
        assert_eq!(read("memory/lanyard-x/podx/memory.limit_in_bytes"), (1 << 20).to_string());
        assert_eq!(cgroups.unified("podx"), None);
    }
}
