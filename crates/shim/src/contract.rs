//! What agent and shim tell each other: files of a container's state folder, and the lines of exec.
//!
//! The agent includes this very file as a module, so there is one definition. A shim outlives agents: fields are only
//! ever added, with a default, and a meaning that changes gets a new `VERSION`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Version of this contract.
pub const VERSION: u32 = 1;

/// The shim's configuration, `shim.json` in the state folder.
pub const CONFIG: &str = "shim.json";
/// Folder with the OCI `config.json`.
pub const BUNDLE: &str = "bundle";
/// Locked by the shim while it lives.
pub const LOCK: &str = "lock";
/// `<shim pid> <its start time>`
pub const SHIM_PID: &str = "shim.pid";
/// `<pid> <start time>` of the container's first process.
pub const INIT_PID: &str = "init.pid";
/// What libcontainer said, for the agent's error message.
pub const LOG: &str = "log";
/// `Exit` as JSON; exists once the container has ended.
pub const EXIT: &str = "exit";
/// Socket for `<VERSION> reopen`, `<VERSION> resize <columns> <rows>`; one line, answered by `ok` or `error …`.
pub const CONTROL: &str = "ctl.sock";

/// What a shim runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// `VERSION` of the agent that wrote it.
    pub version: u32,
    /// Container id.
    pub id: String,
    /// CRI log file.
    pub log_path: PathBuf,
    /// Whether the container gets a terminal.
    pub tty: bool,
    /// The first process, as it is after all preparation.
    pub process: Process,
    /// oom_score_adj of the first process.
    pub oom_score_adj: Option<i32>,
    /// File with a line `oom_kill <count>`.
    pub oom_file: Option<PathBuf>,
    /// cgroup v2 folder that gets a device program; none on v1, where libcontainer writes devices.list.
    pub device_cgroup: Option<PathBuf>,
}

/// A process inside a container.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Process {
    /// argv
    pub args: Vec<String>,
    /// `NAME=value`
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Capabilities as a bit set.
    pub capabilities: u64,
    /// Whether it runs under the default seccomp profile.
    pub seccomp: bool,
    /// Whether no_new_privs is set.
    pub no_new_privs: bool,
}

/// How a container ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 + n after signal n.
    pub code: i32,
    /// Whether the kernel killed a process of it for its memory limit.
    pub oom: bool,
    /// Why it did not start, else empty.
    #[serde(default)]
    pub message: String,
    /// Nanoseconds since the epoch.
    pub finished_at: u64,
}

/// What `exec` runs: one line of JSON on the socket that is named, answered there by one line of `Started`, which carries the
/// terminal's master if there is one. The exit status is the process's own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exec {
    /// `VERSION` of the agent.
    pub version: u32,
    /// The container's first process.
    pub pid: i32,
    /// Its start time, against a reused pid.
    pub start_time: u64,
    /// What to run.
    pub process: Process,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// `cgroup.procs` files to join.
    pub cgroup_procs: Vec<PathBuf>,
}

/// Answer to `Exec`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Started {
    /// Why it did not start; none is success.
    pub error: Option<String>,
    /// 126, 127 or 128 with an error.
    #[serde(default)]
    pub code: i32,
    /// Process id.
    #[serde(default)]
    pub pid: i32,
}
