//! Makes the container with libcontainer and starts it. The only file that knows libcontainer.
//!
//! libcontainer is given a root process with the capabilities that our own last step needs; that step (`process`) then
//! puts on what the container really gets, seccomp included, which libcontainer would skip without its C library.

use std::{
    fs,
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    path::Path,
};

use libcontainer::{
    container::builder::ContainerBuilder,
    oci_spec::runtime::Spec,
    syscall::syscall::SyscallType,
    workload::{Executor, ExecutorError, ExecutorValidationError},
};

use crate::{
    contract::{self, Config, Process},
    devices,
    process::{self, Refusal},
};

/// A container that runs.
pub(crate) struct Running {
    /// Its first process.
    pub(crate) pid: i32,
    /// What it writes: stdout and stderr, or the terminal's master.
    pub(crate) output: Output,
}

/// Where a container's output comes from.
pub(crate) enum Output {
    Pipes { stdout: OwnedFd, stderr: OwnedFd },
    Terminal(OwnedFd),
}

/// Creates and starts; the error is what the container's status will say.
pub(crate) fn start(folder: &Path, config: &Config) -> Result<Running, String> {
    let (error_reader, error_writer) = pipe()?;
    let executor = Own { process: config.process.clone(), error: error_writer.as_raw_fd() };
    let builder = ContainerBuilder::new("c".into(), SyscallType::default())
        .with_root_path(folder.join("oci"))
        .map_err(|error| error.to_string())?
        .with_executor(executor);
    let (builder, pending) = stdio(builder, folder, config)?;
    let built = builder.as_init(folder.join(contract::BUNDLE)).with_systemd(false).with_detach(true).build();
    let mut container = match built {
        Ok(container) => container,
        Err(error) => return Err(why(folder, error_reader, error_writer, &chain(&error))),
    };
    let pid = container.pid().ok_or("the container has no process")?.as_raw();
    let running = Running { pid, output: pending.output()? };
    let prepared = before_start(folder, config, pid);
    if let Err(message) = prepared {
        // SAFETY: a system call without pointers; the process is our child and not reaped yet.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        return Err(message);
    }
    container.start().map_err(|error| chain(&error))?;
    drop(error_writer);
    match read_all(error_reader) {
        message if message.is_empty() => Ok(running),
        message => Err(message),
    }
}

/// What must hold before the first instruction of the container.
fn before_start(folder: &Path, config: &Config, pid: i32) -> Result<(), String> {
    if let Some(adjustment) = config.oom_score_adj {
        let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), adjustment.to_string());
    }
    if let Some(cgroup) = &config.device_cgroup {
        devices::restrict(cgroup).map_err(|error| format!("set device rules: {error}"))?;
    }
    let start_time = start_time(pid).ok_or("the container's process is gone")?;
    fs::write(folder.join(contract::INIT_PID), format!("{pid} {start_time}")).map_err(|error| error.to_string())
}

/// Field 22 of /proc/pid/stat, which with the pid names a process for ever.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

enum Pending {
    Pipes(OwnedFd, OwnedFd),
    Console(UnixListener),
}

impl Pending {
    fn output(self) -> Result<Output, String> {
        match self {
            Self::Pipes(stdout, stderr) => Ok(Output::Pipes { stdout, stderr }),
            Self::Console(listener) => {
                let (stream, _) = listener.accept().map_err(|error| error.to_string())?;
                receive_descriptor(stream.as_raw_fd()).map(Output::Terminal).map_err(|error| error.to_string())
            }
        }
    }
}

fn stdio(builder: ContainerBuilder, folder: &Path, config: &Config) -> Result<(ContainerBuilder, Pending), String> {
    if config.tty {
        let path = folder.join("console.sock");
        std::env::set_current_dir(folder).map_err(|error| error.to_string())?;
        let _ = fs::remove_file("console.sock");
        let listener = UnixListener::bind("console.sock").map_err(|error| error.to_string())?;
        return Ok((builder.with_console_socket(Some(path)), Pending::Console(listener)));
    }
    let null = fs::File::open("/dev/null").map_err(|error| error.to_string())?;
    let (stdout, stdout_writer) = pipe()?;
    let (stderr, stderr_writer) = pipe()?;
    let builder = builder.with_stdin(null).with_stdout(stdout_writer).with_stderr(stderr_writer);
    Ok((builder, Pending::Pipes(stdout, stderr)))
}

/// Our executor's own words are best, then the cause in libcontainer's log, then its error.
fn why(folder: &Path, reader: OwnedFd, writer: OwnedFd, error: &str) -> String {
    drop(writer);
    let own = read_all(reader);
    if !own.is_empty() {
        return own;
    }
    let log = fs::read_to_string(folder.join(contract::LOG)).unwrap_or_default();
    match log.lines().next() {
        Some(first) => format!("{error}: {first}"),
        None => error.to_owned(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !out.ends_with(&text) {
            out = format!("{out}: {text}");
        }
        cause = next.source();
    }
    out
}

fn read_all(fd: OwnedFd) -> String {
    let mut text = String::new();
    let _ = fs::File::from(fd).take(4096).read_to_string(&mut text);
    text
}

pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), String> {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|error| error.to_string())
}

/// The one descriptor that comes over a socket.
pub(crate) fn receive_descriptor(socket: RawFd) -> io::Result<OwnedFd> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let (mut byte, mut space) = ([0u8; 64], nix::cmsg_space!(RawFd));
    let mut buffers = [io::IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(socket, &mut buffers, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let [fd, ..] = fds[..]
        {
            // SAFETY: the kernel has just made this descriptor for us.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Err(io::Error::other("no terminal was sent"))
}

/// Our last step, inside the container.
#[derive(Clone)]
struct Own {
    process: Process,
    error: RawFd,
}

impl Own {
    fn tell(&self, refusal: &Refusal) {
        // SAFETY: the shim keeps the descriptor open until the container has started; ManuallyDrop leaves it so.
        let mut pipe = std::mem::ManuallyDrop::new(unsafe { fs::File::from_raw_fd(self.error) });
        let _ = pipe.write_all(refusal.message.as_bytes());
    }
}

impl Executor for Own {
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        process::prepare(&self.process).map(|_| ()).map_err(|refusal| {
            self.tell(&refusal);
            ExecutorValidationError::ArgValidationError(refusal.message)
        })
    }

    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let refusal = match process::prepare(&self.process) {
            Ok(prepared) => process::become_process(&self.process, &prepared),
            Err(refusal) => refusal,
        };
        self.tell(&refusal);
        Err(ExecutorError::Other(refusal.message))
    }
}
