//! What the agent asks of whatever runs containers, in the terms of CRI: sandboxes, containers, exec.
//!
//! `PodRuntime` is the port; `Embedded` is the implementation that brings its own shim. Nothing here knows a Pod
//! object: the pod lifecycle lowers it into `SandboxSpec` and `ContainerSpec`.

mod embedded;
mod error;
mod spec;
mod status;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::sync::broadcast;

pub use embedded::{Embedded, EmbeddedConfig};
pub use error::RuntimeError;
pub use spec::{
    ContainerSpec, DnsConfig, ExecSpec, Mount, NamespaceMode, PodRef, Propagation, Resources, SandboxSpec,
    SeccompProfile, SecurityContext, default_masked_paths, default_readonly_paths,
};
pub use status::{
    CgroupMode, ContainerState, ContainerStats, ContainerStatus, Event, RuntimeInfo, Sandbox, SandboxState, Snapshot,
};

/// Result of a runtime call.
pub type Result<T> = std::result::Result<T, RuntimeError>;

/// The container runtime of a node.
///
/// *Guarantees.* Every call is idempotent where CRI's is: removing what is gone, stopping what is stopped and running a
/// sandbox that runs already succeed. Containers outlive the agent; `list` after a restart shows the same ones.
/// *Assumes.* At most one runtime works on a data folder.
pub trait PodRuntime: Send + Sync {
    /// What this machine can do.
    fn info(&self) -> RuntimeInfo;

    /// Makes network namespace, address, cgroup and shared mounts of a pod. Idempotent by pod uid and attempt.
    fn run_sandbox<'a>(&'a self, spec: &'a SandboxSpec) -> BoxFuture<'a, Result<Sandbox>>;

    /// Kills what still runs in the sandbox and gives its network back. Its containers stay listed.
    fn stop_sandbox<'a>(&'a self, sandbox: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Stops the sandbox if need be and forgets it together with its containers.
    fn remove_sandbox<'a>(&'a self, sandbox: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Prepares a container (root filesystem, bundle) and answers its id; nothing runs yet.
    fn create<'a>(&'a self, sandbox: &'a str, spec: &'a ContainerSpec) -> BoxFuture<'a, Result<String>>;

    /// Starts a created container. On failure the container is Exited with code 128 and reason `StartError`.
    fn start<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Sends the stop signal (the image's, else SIGTERM), after `grace` SIGKILL; returns when the container has exited.
    fn stop<'a>(&'a self, container: &'a str, grace: Duration) -> BoxFuture<'a, Result<()>>;

    /// Removes a container and its root filesystem (its log file stays); kills it if it runs.
    fn remove<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Changes the limits of a running container.
    fn update<'a>(&'a self, container: &'a str, resources: &'a Resources) -> BoxFuture<'a, Result<()>>;

    /// Runs a process in a running container.
    fn exec<'a>(&'a self, container: &'a str, spec: &'a ExecSpec) -> BoxFuture<'a, Result<ExecSession>>;

    /// Status of one container.
    fn status<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<ContainerStatus>>;

    /// CPU and memory of a running container.
    fn stats<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<ContainerStats>>;

    /// Makes the shim open its log file again, after a rotation.
    fn reopen_log<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Everything there is: the only thing that an agent's restart relies on.
    fn list(&self) -> BoxFuture<'_, Result<Snapshot>>;

    /// What happens from now on. A receiver that lags relists.
    fn events(&self) -> broadcast::Receiver<Event>;

    /// Stops and removes every sandbox and all that the runtime changed on the host.
    fn teardown_all(&self) -> BoxFuture<'_, Result<()>>;
}

/// A byte sink of an exec.
pub type BoxWrite = Box<dyn tokio::io::AsyncWrite + Send + Unpin>;
/// A byte source of an exec.
pub type BoxRead = Box<dyn tokio::io::AsyncRead + Send + Unpin>;

/// A process that was started in a running container. With a terminal `stdout` carries both streams and `stderr` is
/// none. Dropping `stdin` closes it; dropping `exit` does not end the process, `control.kill` does.
pub struct ExecSession {
    /// Present if asked for.
    pub stdin: Option<BoxWrite>,
    /// Present if asked for.
    pub stdout: Option<BoxRead>,
    /// Present if asked for and without terminal.
    pub stderr: Option<BoxRead>,
    /// Resize and kill; can be cloned into another task.
    pub control: Arc<dyn ExecControl>,
    /// The exit code: 128 + n after signal n, and 126 or 127 when the command cannot be executed or found.
    pub exit: BoxFuture<'static, Result<i32>>,
}

/// Side channel of an exec.
pub trait ExecControl: Send + Sync {
    /// Sets the terminal's size; without a terminal it does nothing.
    fn resize(&self, columns: u16, rows: u16) -> std::io::Result<()>;
    /// Kills the process, for a client that went away.
    fn kill(&self);
}
