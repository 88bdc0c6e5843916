//! What is kept of a container: its record on disk, its state in memory, and how both are found again.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::watch;

use super::contract::{self, Exit};
use crate::runtime::{ContainerSpec, ContainerState, ContainerStatus, PodRef};

/// `container.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ContainerRecord {
    pub(super) id: String,
    pub(super) sandbox: String,
    pub(super) pod: PodRef,
    pub(super) spec: ContainerSpec,
    pub(super) image_id: String,
    pub(super) stop_signal: i32,
    /// Below the instance's cgroup.
    pub(super) cgroup: String,
    pub(super) created_at: u64,
    pub(super) boot_id: String,
    /// Whether it has a pid namespace of its own, which dies with its first process.
    pub(super) own_pids: bool,
}

/// A process that a reused pid cannot be taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) start_time: u64,
}

/// State of a container in memory.
#[derive(Debug, Clone)]
pub(super) enum State {
    Created,
    Running { process: Process, started_at: SystemTime },
    Exited { exit: Exit, reason: &'static str, started_at: Option<SystemTime> },
}

/// A container.
pub(super) struct ContainerEntry {
    pub(super) record: ContainerRecord,
    pub(super) folder: PathBuf,
    pub(super) state: watch::Sender<State>,
    /// Held by what changes it, so that a start and a remove do not meet.
    pub(super) busy: tokio::sync::Mutex<()>,
}

impl ContainerEntry {
    pub(super) fn new(record: ContainerRecord, folder: PathBuf, state: State) -> Self {
        Self { record, folder, state: watch::Sender::new(state), busy: tokio::sync::Mutex::default() }
    }

    pub(super) fn rootfs(&self) -> PathBuf {
        self.folder.join("rootfs")
    }

    pub(super) fn running(&self) -> Option<Process> {
        match &*self.state.borrow() {
            State::Running { process, .. } => Some(*process),
            _ => None,
        }
    }

    /// Waits until it has exited, or is known never to have run.
    pub(super) async fn exited(&self) {
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| !matches!(state, State::Running { .. })).await;
    }

    pub(super) fn status(&self) -> ContainerStatus {
        let record = &self.record;
        let (state, started_at, pid) = match &*self.state.borrow() {
            State::Created => (ContainerState::Created, None, None),
            State::Running { process, started_at } => {
                (ContainerState::Running, Some(*started_at), u32::try_from(process.pid).ok())
            }
            State::Exited { exit, reason, started_at } => {
                let finished_at = time(exit.finished_at);
                let (code, message) = (exit.code, exit.message.clone());
                (ContainerState::Exited { code, reason, message, finished_at }, *started_at, None)
            }
        };
        ContainerStatus {
            id: record.id.clone(),
            sandbox: record.sandbox.clone(),
            pod: record.pod.clone(),
            name: record.spec.name.clone(),
            attempt: record.spec.attempt,
            state,
            created_at: time(record.created_at),
            started_at,
            image: record.spec.image.clone(),
            image_id: record.image_id.clone(),
            pid,
            log_path: record.spec.log_path.clone(),
            labels: record.spec.labels.clone(),
        }
    }
}

/// What the folder says, and whether a shim is alive that will say more.
pub(super) fn read(folder: &Path, boot_id: &str, record_boot_id: &str) -> (State, bool) {
    let started_at = fs::metadata(folder.join(contract::INIT_PID)).and_then(|meta| meta.modified()).ok();
    if let Some(exit) = read_exit(folder) {
        return (exited(exit, started_at), false);
    }
    let alive = boot_id == record_boot_id && is_locked(&folder.join(contract::LOCK));
    match (read_process(&folder.join(contract::INIT_PID)), started_at, alive) {
        (Some(process), Some(started_at), true) => (State::Running { process, started_at }, true),
        (None, _, true) => (State::Created, true),
        (None, _, false) if !folder.join(contract::SHIM_PID).exists() => (State::Created, false),
        _ => (lost(started_at), false),
    }
}

/// The end as the shim wrote it down.
pub(super) fn read_exit(folder: &Path) -> Option<Exit> {
    serde_json::from_slice(&fs::read(folder.join(contract::EXIT)).ok()?).ok()
}

/// A container that ended; the message is completed to upstream's sentence.
pub(super) fn exited(mut exit: Exit, started_at: Option<SystemTime>) -> State {
    let reason = match (&exit, exit.message.is_empty()) {
        (_, false) => "StartError",
        (Exit { oom: true, .. }, _) => "OOMKilled",
        (Exit { code: 0, .. }, _) => "Completed",
        _ => "Error",
    };
    if !exit.message.is_empty() {
        exit.message = start_error(&exit.message);
    }
    State::Exited { exit, reason, started_at: started_at.filter(|_| reason != "StartError") }
}

/// Its shim vanished without a word.
pub(super) fn lost(started_at: Option<SystemTime>) -> State {
    let exit = Exit { code: 137, oom: false, message: String::new(), finished_at: now() };
    State::Exited { exit, reason: "ContainerStatusUnknown", started_at }
}

/// What upstream's runtimes say when a container does not start.
fn start_error(cause: &str) -> String {
    let step = match cause.starts_with("exec: ") || cause.starts_with("chdir ") {
        true => "unable to start container process: error during container init: ",
        false => "",
    };
    format!("failed to create task: OCI runtime create failed: {step}{cause}")
}

/// `<pid> <start time>`
pub(super) fn read_process(path: &Path) -> Option<Process> {
    let text = fs::read_to_string(path).ok()?;
    let (pid, start_time) = text.trim().split_once(' ')?;
    Some(Process { pid: pid.parse().ok()?, start_time: start_time.parse().ok()? })
}

/// Whether a shim holds the lock.
fn is_locked(path: &Path) -> bool {
    let Ok(file) = fs::File::open(path) else { return false };
    matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
}

/// A folder that only we may enter, with parents.
pub(super) fn private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Written aside and renamed.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    drop(file);
    fs::rename(aside, path)
}

/// Reads what `write_json` wrote.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Nanoseconds since the epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

pub(super) fn time(nanoseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}

/// A signal by number or name, as an image's StopSignal gives it; SIGTERM if it is none.
pub(super) fn signal(name: &str) -> i32 {
    if let Ok(number @ 1..=64) = name.parse() {
        return number;
    }
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    full.parse::<nix::sys::signal::Signal>().map_or(libc::SIGTERM, |signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals_are_read_by_name_and_number() {
        for (name, expected) in [("SIGQUIT", 3), ("quit", 3), ("15", 15), ("", 15), ("nonsense", 15), ("99", 15)] {
            assert_eq!(signal(name), expected, "{name}");
        }
    }

    #[track_caller]
    fn check(code: i32, oom: bool, message: &str, expected: &str) {
        let exit = Exit { code, oom, message: message.into(), finished_at: 0 };
        match exited(exit, None) {
            State::Exited { reason, .. } => assert_eq!(reason, expected),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_end_has_upstreams_reason() {
        check(0, false, "", "Completed");
        check(1, false, "", "Error");
        check(137, true, "", "OOMKilled");
        check(128, false, "exec: \"x\": executable file not found in $PATH", "StartError");
    }

    #[test]
    fn folders_of_another_boot_or_without_lock_are_lost() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path(), "b", "b"), (State::Created, false)));
        fs::write(folder.path().join(contract::SHIM_PID), "1 1").unwrap();
        fs::write(folder.path().join(contract::INIT_PID), "1 1").unwrap();
        let (state, alive) = read(folder.path(), "b", "b");
        assert!(matches!(state, State::Exited { reason: "ContainerStatusUnknown", .. }) && !alive);
        let lock = fs::File::create(folder.path().join(contract::LOCK)).unwrap();
        lock.lock().unwrap();
        assert!(matches!(read(folder.path(), "b", "b"), (State::Running { .. }, true)));
        assert!(matches!(read(folder.path(), "b", "old"), (State::Exited { .. }, false)));
    }
}
