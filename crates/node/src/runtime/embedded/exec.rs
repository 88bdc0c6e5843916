//! Exec: a shim process per command, which becomes its exit code; a terminal's master comes back over a socket.

use std::{
    io::{self, IoSliceMut, Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    pin::Pin,
    process::Stdio,
    sync::Arc,
    task::{Context, Poll, ready},
};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd},
    process::Child,
};

use super::{
    Inner, blocking,
    contract::{self, Exec, Started},
    shim, state,
    state::ContainerEntry,
};
use crate::runtime::{BoxRead, BoxWrite, ExecControl, ExecSession, ExecSpec, Result, RuntimeError};

impl Inner {
    pub(super) async fn exec(self: &Arc<Self>, id: &str, spec: &ExecSpec) -> Result<ExecSession> {
        let entry = self.container(id)?;
        let orders = self.orders(&entry, spec)?;
        let (ours, theirs) = UnixStream::pair().map_err(RuntimeError::io("make a socket for exec"))?;
        let mut child = self.spawn(&theirs, spec)?;
        drop(theirs);
        let (started, terminal) = blocking(move || converse(ours, &orders)).await?;
        if let Some(cause) = started.error {
            let _ = child.wait().await;
            return Err(RuntimeError::StartFailed(exec_error(&cause)));
        }
        session(child, started.pid, terminal, spec)
    }

    fn orders(&self, entry: &ContainerEntry, spec: &ExecSpec) -> Result<Exec> {
        let running = entry.running().ok_or_else(|| RuntimeError::NotRunning {
            id: entry.record.id.clone(),
            state: entry.status().state.name(),
        })?;
        let config: contract::Config = state::read_json(&entry.folder.join(contract::CONFIG))
            .map_err(RuntimeError::io("read the container's configuration"))?;
        let mut process = config.process;
        process.args.clone_from(&spec.command);
        if spec.tty && !process.env.iter().any(|entry| entry.starts_with("TERM=")) {
            process.env.push("TERM=xterm".into());
        }
        Ok(Exec {
            version: contract::VERSION,
            pid: running.pid,
            start_time: running.start_time,
            process,
            tty: spec.tty,
            cgroup_procs: self.exec_cgroups(entry),
        })
    }

    fn spawn(&self, socket: &UnixStream, spec: &ExecSpec) -> Result<Child> {
        let stdio = |wanted: bool| if wanted && !spec.tty { Stdio::piped() } else { Stdio::null() };
        let fd = socket.as_raw_fd();
        let mut command = self.shim.command();
        command.arg("exec").arg(fd.to_string());
        command.stdin(stdio(spec.stdin)).stdout(stdio(spec.stdout)).stderr(stdio(spec.stderr));
        // SAFETY: between fork and exec only one system call is made: the socket stays open in the child.
        unsafe {
            command.pre_exec(move || match libc::fcntl(fd, libc::F_SETFD, 0) {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        command.spawn().map_err(RuntimeError::io("start the exec's shim"))
    }
}

fn exec_error(cause: &str) -> String {
    format!(
        "failed to exec in container: OCI runtime exec failed: exec failed: unable to start container process: {cause}"
    )
}

/// Gives the orders and hears how it went; blocking.
fn converse(mut socket: UnixStream, orders: &Exec) -> Result<(Started, Option<OwnedFd>)> {
    let failed = || RuntimeError::io("talk to the exec's shim");
    let mut line = serde_json::to_vec(orders).map_err(io::Error::from).map_err(failed())?;
    line.push(b'\n');
    socket.write_all(&line).map_err(failed())?;
    let (mut text, terminal) = receive(&socket).map_err(failed())?;
    if !text.ends_with(b"\n") {
        socket.read_to_end(&mut text).map_err(failed())?;
    }
    let started = serde_json::from_slice(&text).map_err(io::Error::from).map_err(failed())?;
    Ok((started, terminal))
}

fn receive(socket: &UnixStream) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let (mut text, mut space) = (vec![0u8; 16 << 10], nix::cmsg_space!(RawFd));
    let mut buffers = [IoSliceMut::new(&mut text)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut terminal = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: the kernel has just made these descriptors for us.
            terminal = fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).next_back();
        }
    }
    let length = message.bytes;
    text.truncate(length);
    Ok((text, terminal))
}

fn session(mut child: Child, pid: i32, terminal: Option<OwnedFd>, spec: &ExecSpec) -> Result<ExecSession> {
    let process = shim::process(pid);
    let master = terminal.map(Terminal::new).transpose().map_err(RuntimeError::io("open the terminal"))?;
    let control = Arc::new(Control { process, terminal: master.clone() });
    let stdin: Option<BoxWrite> = match &master {
        Some(terminal) if spec.stdin => Some(Box::new(terminal.clone())),
        _ => child.stdin.take().map(|stdin| Box::new(stdin) as BoxWrite),
    };
    let stdout: Option<BoxRead> = match master {
        Some(terminal) => Some(Box::new(terminal)),
        None => child.stdout.take().map(|stdout| Box::new(stdout) as BoxRead),
    };
    let stderr = child.stderr.take().map(|stderr| Box::new(stderr) as BoxRead);
    let exit = Box::pin(async move {
        let status = child.wait().await.map_err(RuntimeError::io("wait for the exec"))?;
        Ok(status.code().unwrap_or(137))
    });
    Ok(ExecSession { stdin, stdout, stderr, control, exit })
}

struct Control {
    process: Option<state::Process>,
    terminal: Option<Terminal>,
}

impl ExecControl for Control {
    fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the pointer is to a winsize that lives through the call.
        match unsafe { libc::ioctl(terminal.0.as_raw_fd(), libc::TIOCSWINSZ, &size) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn kill(&self) {
        if let Some(process) = self.process {
            shim::send(process, libc::SIGKILL);
        }
    }
}

/// A terminal's master, both ways.
#[derive(Clone)]
struct Terminal(Arc<AsyncFd<OwnedFd>>);

impl Terminal {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: system calls without pointers on a descriptor that is open.
        unsafe {
            let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
            if flags < 0 || libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: an OwnedFd is one descriptor for as long as it lives.
        Ok(Self(Arc::new(unsafe { AsyncFd::register(fd) }?)))
    }
}

impl AsyncRead for Terminal {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            let space = buffer.initialize_unfilled();
            match guard.try_io(|fd| Ok(nix::unistd::read(fd.get_ref(), space)?)) {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // nobody holds the other end any more
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(context))?;
            if let Ok(done) = guard.try_io(|fd| Ok(nix::unistd::write(fd.get_ref(), bytes)?)) {
                return Poll::Ready(done);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// A terminal has no half-close; end of file is the user's ^D.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
