//! What to run, in CRI's terms. Plain data, serializable, since the state folder keeps it for the next agent.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Which pod something belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodRef {
    /// metadata.namespace
    pub namespace: String,
    /// metadata.name
    pub name: String,
    /// metadata.uid
    pub uid: String,
}

/// Whether a namespace is the pod's own or the node's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// Of its own: the pod's for network and IPC, the container's for PID.
    #[default]
    Own,
    /// The node's.
    Host,
}

/// A pod's shared surroundings.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// The pod.
    pub pod: PodRef,
    /// Counts sandboxes of one pod.
    pub attempt: u32,
    /// Host name inside; the node's when the network is the host's.
    pub hostname: String,
    /// hostNetwork
    pub network: NamespaceMode,
    /// hostIPC
    pub ipc: NamespaceMode,
    /// hostPID
    pub pid: NamespaceMode,
    /// The pod's cgroup below the instance's, such as `burstable/pod<uid>`, or `pod<uid>` for Guaranteed.
    pub cgroup: String,
    /// Limits of the whole pod.
    pub resources: Resources,
    /// resolv.conf; none copies the node's.
    pub dns: Option<DnsConfig>,
    /// Namespaced sysctls, set before the first container starts.
    pub sysctls: BTreeMap<String, String>,
    /// The agent's notes, given back by `list`.
    pub labels: BTreeMap<String, String>,
}

/// Content of resolv.conf.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    /// nameserver lines
    pub servers: Vec<String>,
    /// search line
    pub searches: Vec<String>,
    /// options line
    pub options: Vec<String>,
}

/// One container.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Name in the pod.
    pub name: String,
    /// Restart count.
    pub attempt: u32,
    /// Image id (`sha256:…` of its config) or a reference, as `ImageService::status` and `pull` answer it.
    pub image: String,
    /// Replaces the image's Entrypoint (and then its Cmd is dropped too) if not empty.
    pub command: Vec<String>,
    /// Replaces the image's Cmd if not empty.
    pub args: Vec<String>,
    /// Overrides the image's Env by name; later entries win.
    pub env: Vec<(String, String)>,
    /// Replaces the image's WorkingDir if not empty; created when missing.
    pub working_dir: String,
    /// Bind mounts from the host, in this order after the usual ones.
    pub mounts: Vec<Mount>,
    /// Who it runs as and what it may do.
    pub security: SecurityContext,
    /// Its limits.
    pub resources: Resources,
    /// Absolute path of its CRI log file; the folder is made if missing.
    pub log_path: PathBuf,
    /// Whether its stdio is a terminal.
    pub tty: bool,
    /// Whether stdin is kept open for attach (otherwise /dev/null).
    pub stdin: bool,
    /// The agent's notes (a spec hash, say), given back by `list`.
    pub labels: BTreeMap<String, String>,
}

/// A bind mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// File or folder on the host; must exist.
    pub host_path: PathBuf,
    /// Absolute path inside.
    pub container_path: String,
    /// Mounted read-only (mounts below it are not, as upstream's default).
    pub readonly: bool,
    /// mountPropagation
    pub propagation: Propagation,
}

/// How mounts travel between host and container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// None
    #[default]
    Private,
    /// HostToContainer
    HostToContainer,
    /// Bidirectional; privileged containers only.
    Bidirectional,
}

/// seccompProfile
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompProfile {
    /// No filter.
    Unconfined,
    /// The runtime's own profile. CRI's default is Unconfined; ours errs on the safe side.
    #[default]
    RuntimeDefault,
}

/// Who a container runs as and what it may do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SecurityContext {
    /// runAsUser; none takes the image's USER, else 0.
    pub run_as_user: Option<u32>,
    /// runAsGroup; none takes the image's or the user's primary group.
    pub run_as_group: Option<u32>,
    /// supplementalGroups and fsGroup; the image's /etc/group entries of the user are added.
    pub supplemental_groups: Vec<u32>,
    /// privileged
    pub privileged: bool,
    /// capabilities.add, without `CAP_`; `ALL` is all.
    pub add_capabilities: Vec<String>,
    /// capabilities.drop, without `CAP_`; `ALL` is all.
    pub drop_capabilities: Vec<String>,
    /// readOnlyRootFilesystem
    pub readonly_rootfs: bool,
    /// seccompProfile
    pub seccomp: SeccompProfile,
    /// `allowPrivilegeEscalation: false`
    pub no_new_privs: bool,
    /// Paths hidden inside; see `default_masked_paths`. Ignored when privileged.
    pub masked_paths: Vec<String>,
    /// Paths read-only inside; see `default_readonly_paths`. Ignored when privileged.
    pub readonly_paths: Vec<String>,
}

/// Limits, as CRI's LinuxContainerResources; zero or none is unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// cpu.shares (2..262144)
    pub cpu_shares: u64,
    /// cpu.cfs_quota_us
    pub cpu_quota: i64,
    /// cpu.cfs_period_us; 0 is 100000
    pub cpu_period: u64,
    /// Bytes.
    pub memory_limit: i64,
    /// Processes and threads.
    pub pids_limit: i64,
    /// Clamped to what the agent may set.
    pub oom_score_adj: Option<i32>,
}

/// What to run in a running container.
#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    /// argv, not empty.
    pub command: Vec<String>,
    /// Whether it gets a terminal of its own.
    pub tty: bool,
    /// Whether the session has stdin.
    pub stdin: bool,
    /// Whether the session has stdout.
    pub stdout: bool,
    /// Whether the session has stderr.
    pub stderr: bool,
}

/// The paths that upstream's runtimes hide under `procMount: Default`.
pub fn default_masked_paths() -> Vec<String> {
    [
        "/proc/asound",
        "/proc/acpi",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ]
    .map(String::from)
    .to_vec()
}

/// The paths that upstream's runtimes make read-only under `procMount: Default`.
pub fn default_readonly_paths() -> Vec<String> {
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"].map(String::from).to_vec()
}
