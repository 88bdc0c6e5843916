//! What this machine lets us do.

use std::fs;

use crate::runtime::{CgroupMode, RuntimeInfo};

const CAP_NET_ADMIN: u64 = 1 << 12;
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_SYS_RESOURCE: u64 = 1 << 24;

/// Facts about the host, read once.
pub(super) struct Host {
    /// Permitted capabilities.
    pub(super) capabilities: u64,
    /// Lowest oom_score_adj that a child may get.
    pub(super) min_oom_score_adj: i32,
    /// Distinguishes this boot from others.
    pub(super) boot_id: String,
    max_open_files: u64,
    missing: Vec<String>,
}

impl Host {
    pub(super) fn probe() -> Self {
        let capabilities = permitted();
        let own = fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok());
        let raises = capabilities & CAP_SYS_RESOURCE != 0;
        Self {
            capabilities,
            min_oom_score_adj: if raises { -1000 } else { own.unwrap_or(0) },
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().into(),
            max_open_files: max_open_files(),
            missing: missing(capabilities),
        }
    }

    pub(super) fn info(&self, cgroup: CgroupMode) -> RuntimeInfo {
        RuntimeInfo {
            name: "lanyard",
            version: env!("CARGO_PKG_VERSION"),
            cgroup,
            min_oom_score_adj: self.min_oom_score_adj,
            max_open_files: self.max_open_files,
            missing: self.missing.clone(),
        }
    }
}

fn permitted() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or_default()
}

fn max_open_files() -> u64 {
    nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_or(1024, |(_, hard)| hard)
}

fn missing(capabilities: u64) -> Vec<String> {
    let mut out = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        out.push("it is not run as root".to_owned());
    }
    for (name, bit) in [("CAP_SYS_ADMIN", CAP_SYS_ADMIN), ("CAP_NET_ADMIN", CAP_NET_ADMIN)] {
        if capabilities & bit == 0 {
            out.push(format!("the capability {name} is not held"));
        }
    }
    for (name, path) in [("seccomp filters", "/proc/sys/kernel/seccomp"), ("network namespaces", "/proc/self/ns/net")] {
        if fs::metadata(path).is_err() {
            out.push(format!("the kernel has no {name}"));
        }
    }
    if !fs::read_to_string("/proc/filesystems").unwrap_or_default().contains("overlay") {
        out.push("the kernel has no overlayfs".to_owned());
    }
    out
}
