//! `exec`: a process in a container that runs, under the same cgroup, namespaces, filter, ids and capabilities.
//!
//! This process stays outside and becomes the exit code; its child joins: cgroup (by our hand), all namespaces of the
//! container's first process (by pidfd, so that a reused pid cannot fool us), then `process`.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, BufRead, BufReader, IoSlice, Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    process::{ExitCode, ExitStatus},
};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::{
    contract::{Exec, Started, VERSION},
    process::{self, Refusal, describe},
    start,
};

const NAMESPACES: libc::c_int =
    libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;

/// Takes its orders on this descriptor and exits with the command's code.
pub(crate) fn exec(fd: &OsStr) -> ExitCode {
    let Some(fd @ 3..) = fd.to_str().and_then(|fd| fd.parse::<RawFd>().ok()) else { return ExitCode::from(2) };
    // SAFETY: the agent passes this socket; nobody else here uses the number.
    let socket = unsafe {
        libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        UnixStream::from_raw_fd(fd)
    };
    match read_orders(&socket).and_then(|orders| launch(&socket, &orders)) {
        Ok(pid) => wait(pid),
        Err(refusal) => {
            answer(&socket, &Started { error: Some(refusal.message), code: refusal.code, pid: 0 }, None);
            ExitCode::from(refusal.code as u8)
        }
    }
}

fn refuse(message: impl Into<String>) -> Refusal {
    Refusal { code: 126, message: message.into() }
}

fn read_orders(socket: &UnixStream) -> Result<Exec, Refusal> {
    let mut line = String::new();
    BufReader::new(socket.take(4 << 20)).read_line(&mut line).map_err(|error| refuse(error.to_string()))?;
    let orders: Exec = serde_json::from_str(&line).map_err(|error| refuse(format!("read orders: {error}")))?;
    match orders.version {
        VERSION => Ok(orders),
        version => Err(refuse(format!("orders have version {version}, this shim is {VERSION}"))),
    }
}

fn launch(socket: &UnixStream, orders: &Exec) -> Result<i32, Refusal> {
    let pidfd = pidfd(orders)?;
    let cgroups = open_cgroups(orders)?;
    let (error_reader, error_writer) = start::pipe().map_err(refuse)?;
    let (go_reader, go_writer) = start::pipe().map_err(refuse)?;
    let (terminal, terminal_for_child) = UnixStream::pair().map_err(|error| refuse(error.to_string()))?;
    // SAFETY: plain system calls; this process has one thread, so the child may do what it likes after the fork.
    let pid = unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0); // nobody in the container may look at us while we join
        if libc::setns(pidfd.as_raw_fd(), libc::CLONE_NEWPID) != 0 {
            return Err(refuse(format!("join pid namespace: {}", io::Error::last_os_error())));
        }
        libc::fork()
    };
    match pid {
        -1 => Err(refuse(format!("fork: {}", describe(&io::Error::last_os_error())))),
        0 => {
            drop((error_reader, go_writer, terminal));
            let refusal = inside(orders, &pidfd, go_reader, &terminal_for_child);
            let text = format!("{} {}", refusal.code, refusal.message);
            let _ = File::from(error_writer).write_all(text.as_bytes());
            // SAFETY: ends the child without running the parent's destructors.
            unsafe { libc::_exit(refusal.code) }
        }
        pid => {
            drop((error_writer, go_reader, terminal_for_child));
            join_cgroups(&cgroups, pid)?;
            let _ = File::from(go_writer).write_all(b"g");
            let master = if orders.tty { receive(&terminal) } else { None };
            match started(error_reader) {
                Some(refusal) => Err(refusal),
                None => {
                    answer(socket, &Started { error: None, code: 0, pid }, master.as_ref());
                    Ok(pid)
                }
            }
        }
    }
}

fn pidfd(orders: &Exec) -> Result<OwnedFd, Refusal> {
    // SAFETY: the descriptor is new and ours.
    let fd = unsafe {
        match libc::syscall(libc::SYS_pidfd_open, orders.pid, 0) {
            fd if fd < 0 => return Err(refuse("container is not running")),
            fd => OwnedFd::from_raw_fd(fd as RawFd),
        }
    };
    // the pid is now held: if it is the right one, it stays the right one
    match start::start_time(orders.pid) {
        Some(time) if time == orders.start_time => Ok(fd),
        _ => Err(refuse("container is not running")),
    }
}

fn open_cgroups(orders: &Exec) -> Result<Vec<File>, Refusal> {
    let open = |path| File::options().write(true).open(path);
    let opened = orders.cgroup_procs.iter().map(|path| open(path).map_err(|e| refuse(format!("open {path:?}: {e}"))));
    opened.collect()
}

fn join_cgroups(cgroups: &[File], pid: i32) -> Result<(), Refusal> {
    for mut cgroup in cgroups {
        cgroup.write_all(pid.to_string().as_bytes()).map_err(|error| {
            // SAFETY: our own child, not reaped.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            refuse(format!("join cgroup: {}", describe(&error)))
        })?;
    }
    Ok(())
}

/// The child: returns only on failure.
fn inside(orders: &Exec, pidfd: &OwnedFd, go: OwnedFd, terminal: &UnixStream) -> Refusal {
    if File::from(go).read(&mut [0]).unwrap_or_default() != 1 {
        return refuse("the agent gave up");
    }
    match join(orders, pidfd, terminal).and_then(|()| process::prepare(&orders.process)) {
        Ok(prepared) => process::become_process(&orders.process, &prepared),
        Err(refusal) => refusal,
    }
}

fn join(orders: &Exec, pidfd: &OwnedFd, terminal: &UnixStream) -> Result<(), Refusal> {
    let failed = |step: &str| refuse(format!("{step}: {}", describe(&io::Error::last_os_error())));
    // SAFETY: plain system calls.
    unsafe {
        if libc::setns(pidfd.as_raw_fd(), NAMESPACES) != 0 {
            return Err(failed("join namespaces"));
        }
        // setns to a mount namespace moves root and cwd to its root
        libc::setsid();
    }
    if orders.tty { open_terminal(terminal) } else { Ok(()) }
}

/// A pair from the container's own devpts: the master goes out, the other end becomes stdio and controlling terminal.
fn open_terminal(out: &UnixStream) -> Result<(), Refusal> {
    let failed = |step: &str, error: io::Error| refuse(format!("{step}: {}", describe(&error)));
    let pair = nix::pty::openpty(None, None).map_err(|error| failed("open terminal", error.into()))?;
    verify(&pair.master).map_err(|error| failed("open terminal", error))?;
    send(out, pair.master.as_raw_fd()).map_err(|error| failed("send terminal", error))?;
    // SAFETY: both descriptors are open.
    unsafe {
        if libc::ioctl(pair.slave.as_raw_fd(), libc::TIOCSCTTY, 0) != 0 {
            return Err(failed("set controlling terminal", io::Error::last_os_error()));
        }
        for stdio in 0..3 {
            libc::dup2(pair.slave.as_raw_fd(), stdio);
        }
    }
    Ok(())
}

/// The container could have put something else at /dev/ptmx.
fn verify(master: &OwnedFd) -> io::Result<()> {
    let kind = nix::sys::statfs::fstatfs(master)?.filesystem_type();
    match kind {
        nix::sys::statfs::FsType(0x1cd1) => Ok(()),
        _ => Err(io::Error::other("/dev/ptmx is not a terminal multiplexer")),
    }
}

fn send(socket: &UnixStream, fd: RawFd) -> io::Result<()> {
    let fds = [fd];
    let rights = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(b"t")], &rights, MsgFlags::empty(), None)?;
    Ok(())
}

fn receive(socket: &UnixStream) -> Option<OwnedFd> {
    start::receive_descriptor(socket.as_raw_fd()).ok()
}

/// Waits for execve, which closes the pipe, or for what went wrong before it.
fn started(errors: OwnedFd) -> Option<Refusal> {
    let mut text = String::new();
    let _ = File::from(errors).take(4096).read_to_string(&mut text);
    let (code, message) = text.split_once(' ')?;
    Some(Refusal { code: code.parse().unwrap_or(126), message: message.into() })
}

fn answer(socket: &UnixStream, started: &Started, master: Option<&OwnedFd>) {
    let mut line = serde_json::to_vec(started).unwrap_or_default();
    line.push(b'\n');
    let fds: Vec<_> = master.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let rights = if fds.is_empty() { &[][..] } else { &rights[..] };
    let _ = sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&line)], rights, MsgFlags::empty(), None);
}

/// Becomes the exit code. Stdio is closed first: its readers wait for the command, not for us.
fn wait(pid: i32) -> ExitCode {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        for stdio in 0..3 {
            // SAFETY: both descriptors are open.
            unsafe { libc::dup2(null.as_raw_fd(), stdio) };
        }
    }
    let mut status = 0;
    // SAFETY: the status lives through the call.
    while unsafe { libc::waitpid(pid, &mut status, 0) } < 0 {
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return ExitCode::from(255);
        }
    }
    let status = ExitStatus::from_raw(status);
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    ExitCode::from(code as u8)
}
