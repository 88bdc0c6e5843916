//! What there is and what happened, in CRI's terms.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::SystemTime};

use super::PodRef;

/// Which cgroup layout the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupMode {
    /// Controllers in hierarchies of their own (hybrid included).
    V1,
    /// The unified hierarchy.
    V2,
}

/// What this machine can do.
#[derive(Debug, Clone)]
pub struct RuntimeInfo {
    /// `lanyard`, the scheme of container ids (`lanyard://…`).
    pub name: &'static str,
    /// Our version.
    pub version: &'static str,
    /// cgroup layout.
    pub cgroup: CgroupMode,
    /// Lowest oom_score_adj that may be set.
    pub min_oom_score_adj: i32,
    /// Highest RLIMIT_NOFILE.
    pub max_open_files: u64,
    /// What is missing for running pods, one fragment each; empty is ready.
    pub missing: Vec<String>,
}

/// Whether the sandbox's network is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxState {
    /// Ready.
    Ready,
    /// Stopped, or from before the last boot.
    NotReady,
}

/// A sandbox.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its pod.
    pub pod: PodRef,
    /// Attempt.
    pub attempt: u32,
    /// Ready or not.
    pub state: SandboxState,
    /// Pod addresses, the primary first; empty with the host's network.
    pub ips: Vec<IpAddr>,
    /// When it was made.
    pub created_at: SystemTime,
    /// The spec's notes.
    pub labels: BTreeMap<String, String>,
}

/// State of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Prepared, not started.
    Created,
    /// Runs.
    Running,
    /// Has ended.
    Exited {
        /// Exit code; 128 + n after signal n.
        code: i32,
        /// `Completed`, `Error`, `OOMKilled`, `StartError` or `ContainerStatusUnknown`.
        reason: &'static str,
        /// Why it did not start, else empty.
        message: String,
        /// When.
        finished_at: SystemTime,
    },
}

impl ContainerState {
    /// CRI's word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created => "CONTAINER_CREATED",
            Self::Running => "CONTAINER_RUNNING",
            Self::Exited { .. } => "CONTAINER_EXITED",
        }
    }
}

/// A container.
#[derive(Debug, Clone)]
pub struct ContainerStatus {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its sandbox.
    pub sandbox: String,
    /// Its pod.
    pub pod: PodRef,
    /// Name in the pod.
    pub name: String,
    /// Restart count.
    pub attempt: u32,
    /// State.
    pub state: ContainerState,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it was started.
    pub started_at: Option<SystemTime>,
    /// The reference that it was created with.
    pub image: String,
    /// Image id.
    pub image_id: String,
    /// Process id of its first process while it runs.
    pub pid: Option<u32>,
    /// Its log file.
    pub log_path: PathBuf,
    /// The spec's notes.
    pub labels: BTreeMap<String, String>,
}

/// Use of CPU and memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerStats {
    /// CPU time since the start.
    pub cpu_usage_nanoseconds: u64,
    /// Memory that cannot be given back at once.
    pub memory_working_set_bytes: u64,
    /// All memory.
    pub memory_usage_bytes: u64,
}

/// Everything there is.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Sandboxes.
    pub sandboxes: Vec<Sandbox>,
    /// Containers.
    pub containers: Vec<ContainerStatus>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A container runs.
    Started {
        /// Its pod's uid.
        pod_uid: String,
        /// Its id.
        container: String,
    },
    /// A container has ended.
    Exited {
        /// Its pod's uid.
        pod_uid: String,
        /// Its id.
        container: String,
        /// Exit code.
        code: i32,
        /// Whether the kernel killed it for its memory limit.
        oom: bool,
    },
}
