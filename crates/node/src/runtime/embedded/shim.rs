//! Starts shims and talks to them.
//!
//! The binary is executed from a sealed memory file: nothing inside a container can write to it, and all shims share
//! its pages. Where the kernel forbids that, a file in our folder is used.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{fs::PermissionsExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Interest, unix::AsyncFd},
    process::Command,
};

use super::{
    contract,
    state::{self, Process},
};
use crate::runtime::{Result, RuntimeError};

static SHIM: &[u8] = include_bytes!(env!("LANYARD_SHIM"));

/// How long a shim may take to start its container.
const PATIENCE: Duration = Duration::from_secs(60);

/// The embedded shim, ready to be executed.
pub(super) struct ShimBinary {
    path: PathBuf,
    _memory: Option<OwnedFd>,
}

impl ShimBinary {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        if SHIM.is_empty() {
            return Err(RuntimeError::Unsupported("this build carries no shim (LANYARD_SKIP_SHIM was set)".into()));
        }
        if let Ok(memory) = sealed(SHIM) {
            let path = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
            return Ok(Self { path, _memory: Some(memory) });
        }
        let path = folder.join("lanyard-shim");
        in_file(&path).map_err(RuntimeError::io("write the shim"))?;
        Ok(Self { path, _memory: None })
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.arg0("lanyard-shim").env_clear().current_dir("/");
        command
    }

    /// Starts the container of a state folder; answers its first process. The inner error is the shim's own.
    pub(super) async fn run(&self, folder: &Path) -> Result<std::result::Result<Process, String>> {
        let failed = RuntimeError::io("start the shim");
        let log = File::options().create(true).append(true).open(folder.join(contract::LOG));
        let log = log.map_err(RuntimeError::io("open the shim's log"))?;
        let mut command = self.command();
        command.arg("run").arg(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(failed)?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let mut reader = BufReader::new(stdout);
            let read = tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await;
            read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
                .and_then(|read| read)
                .map_err(RuntimeError::io("hear from the shim"))?;
        }
        let _ = child.wait().await; // the shim itself has gone to the background
        Ok(answer(folder, line.trim()))
    }
}

fn answer(folder: &Path, line: &str) -> std::result::Result<Process, String> {
    match line.split_once(' ') {
        Some(("started", _)) => {
            state::read_process(&folder.join(contract::INIT_PID)).ok_or_else(|| "init.pid is missing".to_owned())
        }
        Some(("failed", text)) => Err(serde_json::from_str(text).unwrap_or_else(|_| text.to_owned())),
        _ => {
            let log = fs::read_to_string(folder.join(contract::LOG)).unwrap_or_default();
            Err(format!("the shim ended without a word: {}", log.lines().last().unwrap_or_default()))
        }
    }
}

fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    const MFD_EXEC: libc::c_uint = 0x10;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name lives through the calls; a descriptor that comes back is new and ours.
    let fd = unsafe {
        let name = c"lanyard-shim".as_ptr();
        match libc::memfd_create(name, flags | MFD_EXEC) {
            -1 => libc::memfd_create(name, flags), // a kernel from before that flag
            fd => fd,
        }
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(bytes)?;
    file.set_permissions(fs::Permissions::from_mode(0o700))?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: a system call without pointers.
    if unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let runs = std::process::Command::new(format!("/proc/self/fd/{fd}")).stderr(Stdio::null()).status()?;
    match runs.code() {
        Some(2) => Ok(file.into()), // its usage
        _ => Err(io::Error::other("memory files cannot be executed")),
    }
}

fn in_file(path: &Path) -> io::Result<()> {
    if fs::read(path).is_ok_and(|found| found == SHIM) {
        return Ok(());
    }
    let aside = path.with_extension("new");
    fs::write(&aside, SHIM)?;
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o700))?;
    fs::rename(aside, path)
}

/// Asks a shim for something; blocking, but no longer than a second.
pub(super) fn control(folder: &Path, request: &str) -> io::Result<()> {
    // a socket's path may have 107 bytes: go by a descriptor of the folder
    let folder = File::open(folder)?;
    let path = format!("/proc/self/fd/{}/{}", folder.as_raw_fd(), contract::CONTROL);
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(format!("{} {request}\n", contract::VERSION).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.trim() {
        "ok" => Ok(()),
        other => Err(io::Error::other(other.to_owned())),
    }
}

/// A descriptor for a process; none if it is gone or another has its pid.
pub(super) fn pidfd(process: Process) -> Option<OwnedFd> {
    // SAFETY: a descriptor that comes back is new and ours.
    let fd = unsafe {
        match libc::syscall(libc::SYS_pidfd_open, process.pid, 0) {
            fd if fd < 0 => return None,
            fd => OwnedFd::from_raw_fd(fd as i32),
        }
    };
    (start_time(process.pid) == Some(process.start_time)).then_some(fd)
}

/// Field 22 of /proc/pid/stat.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Sends a signal; to what is gone it is none.
pub(super) fn send(process: Process, signal: i32) {
    if let Some(fd) = pidfd(process) {
        // SAFETY: no pointers but null.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal, std::ptr::null::<u8>(), 0) };
    }
}

/// Waits for the end of a process.
pub(super) async fn wait(process: Process) {
    let Some(fd) = pidfd(process) else { return };
    // SAFETY: an OwnedFd is one descriptor for as long as it lives.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    if let Ok(fd) = registered {
        let _ = fd.readable().await;
    }
}

/// The process that has this pid now.
pub(super) fn process(pid: i32) -> Option<Process> {
    start_time(pid).map(|start_time| Process { pid, start_time })
}
