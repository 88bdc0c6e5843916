//! Where cgroup hierarchies are mounted.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::runtime::CgroupMode;

/// The hierarchies of this machine.
#[derive(Debug, Clone)]
pub enum Layout {
    /// Controllers and mount point of each v1 hierarchy; hybrid machines count as v1.
    V1(Vec<(Vec<String>, PathBuf)>),
    /// The unified mount point, or the delegated folder in it.
    V2(PathBuf),
}

impl Layout {
    /// Looks at this process's mounts.
    pub fn detect() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/self/mountinfo")?;
        Self::parse(&text).ok_or_else(|| io::Error::other("no cgroup hierarchy is mounted"))
    }

    fn parse(mountinfo: &str) -> Option<Self> {
        let (mut v1, mut v2) = (Vec::new(), None);
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(point) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut right = right.split(' ');
            match (right.next(), right.nth(1)) {
                (Some("cgroup"), Some(options)) => v1.push((controllers(options), point)),
                (Some("cgroup2"), _) if v2.is_none() => v2 = Some(point),
                _ => {}
            }
        }
        if v1.iter().any(|(names, _)| names.iter().any(|name| name == "memory" || name == "cpu")) {
            return Some(Self::V1(v1));
        }
        v2.map(Self::V2)
    }

    /// v1 or v2.
    pub fn mode(&self) -> CgroupMode {
        match self {
            Self::V1(_) => CgroupMode::V1,
            Self::V2(_) => CgroupMode::V2,
        }
    }

    /// Mount points.
    pub(super) fn mounts(&self) -> Box<dyn Iterator<Item = &Path> + '_> {
        match self {
            Self::V1(mounts) => Box::new(mounts.iter().map(|(_, point)| point.as_path())),
            Self::V2(point) => Box::new(std::iter::once(point.as_path())),
        }
    }

    pub(super) fn v1_mount(&self, controller: &str) -> Option<&Path> {
        match self {
            Self::V1(mounts) => {
                let mut found = mounts.iter().filter(|(names, _)| names.iter().any(|name| name == controller));
                found.next().map(|(_, point)| point.as_path())
            }
            Self::V2(_) => None,
        }
    }

    /// Where a controller's files of the cgroup are; none if this machine does not have the controller.
    pub(super) fn folder(&self, controller: &str, path: &Path) -> Option<PathBuf> {
        match self {
            Self::V1(_) => self.v1_mount(controller).map(|mount| mount.join(path)),
            Self::V2(mount) => Some(mount.join(path)),
        }
    }
}

fn controllers(options: &str) -> Vec<String> {
    options.split(',').filter(|option| *option != "rw" && *option != "ro").map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    #[test]
    fn a_hybrid_machine_counts_as_v1() {
        let layout = Layout::parse(HYBRID).unwrap();
        assert_eq!(layout.mode(), CgroupMode::V1);
        assert_eq!(layout.folder("memory", Path::new("a")).unwrap(), Path::new("/sys/fs/cgroup/memory/a"));
        assert_eq!(layout.folder("pids", Path::new("a")), None);
    }

    #[test]
    fn only_a_unified_mount_is_v2() {
        let layout = Layout::parse("35 24 0:31 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate").unwrap();
        assert_eq!(layout.mode(), CgroupMode::V2);
        assert!(Layout::parse("1 1 0:1 / / rw - ext4 /dev/x rw").is_none());
    }
}
