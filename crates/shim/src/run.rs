//! `run DIR`: start the container, keep its log, answer the control socket, write down how it ended.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{net::UnixListener, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    contract::{self, Config, Exit, VERSION},
    control, errors,
    log::{Lines, Log},
    start::{self, Output, Running},
};

/// A grandchild may hold the pipes open: how long to read after the end of the first process.
const DRAIN: Duration = Duration::from_millis(50);

/// Runs a container to its end.
pub(crate) fn run(folder: PathBuf) -> ExitCode {
    match detach() {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => {}
        Err(error) => return refuse(&folder, &format!("detach: {error}")),
    }
    match prepare(&folder) {
        Ok(shim) => shim.run(),
        Err(message) => refuse(&folder, &message),
    }
}

/// Forks; true in the parent, which ends so that no agent has to reap us. The child leads a session and adopts orphans.
fn detach() -> io::Result<bool> {
    // SAFETY: this process has one thread; plain system calls.
    unsafe {
        match libc::fork() {
            -1 => return Err(io::Error::last_os_error()),
            0 => {}
            _ => return Ok(true),
        }
        libc::setsid();
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
    Ok(false)
}

struct Shim {
    folder: PathBuf,
    config: Config,
    log: Log,
    control: UnixListener,
    signals: File,
    _lock: File,
}

fn prepare(folder: &Path) -> Result<Shim, String> {
    let lock = lock(folder)?;
    let text = fs::read(folder.join(contract::CONFIG)).map_err(step("read shim.json"))?;
    let config: Config = serde_json::from_slice(&text).map_err(|error| format!("read shim.json: {error}"))?;
    if config.version != VERSION {
        return Err(format!("shim.json has version {}, this shim is {VERSION}", config.version));
    }
    errors::install(&folder.join(contract::LOG)).map_err(step("open log"))?;
    let pid = std::process::id() as i32;
    let start_time = start::start_time(pid).unwrap_or_default();
    fs::write(folder.join(contract::SHIM_PID), format!("{pid} {start_time}")).map_err(step("write shim.pid"))?;
    fs::create_dir_all(folder.join("oci")).map_err(step("create oci folder"))?;
    let log = Log::open(&config.log_path).map_err(step("open the container's log file"))?;
    std::env::set_current_dir(folder).map_err(step("enter state folder"))?;
    let _ = fs::remove_file(contract::CONTROL);
    let control = UnixListener::bind(contract::CONTROL).map_err(step("bind control socket"))?;
    let signals = signals().map_err(step("make signalfd"))?;
    Ok(Shim { folder: folder.into(), config, log, control, signals, _lock: lock })
}

fn step(name: &'static str) -> impl FnOnce(io::Error) -> String {
    move |error| format!("{name}: {error}")
}

fn lock(folder: &Path) -> Result<File, String> {
    let file =
        File::options().create(true).append(true).open(folder.join(contract::LOCK)).map_err(step("open lock"))?;
    // SAFETY: a system call without pointers on a descriptor that is open.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(file),
        _ => Err("another shim runs on this folder".into()),
    }
}

/// SIGCHLD as a descriptor; hang-ups and polite ends are ignored, the container decides how long we live.
fn signals() -> io::Result<File> {
    // SAFETY: the set is initialised by sigemptyset; the descriptor is new and ours.
    unsafe {
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGPIPE] {
            libc::signal(signal, libc::SIG_IGN);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(File::from_raw_fd(fd)),
        }
    }
}

impl Shim {
    fn run(mut self) -> ExitCode {
        match start::start(&self.folder, &self.config) {
            Ok(running) => {
                say(&format!("started pid={}", running.pid));
                let code = self.look_after(running);
                let oom = self.config.oom_file.as_deref().is_some_and(oom_killed);
                end(&self.folder, Exit { code, oom, message: String::new(), finished_at: now() });
                ExitCode::SUCCESS
            }
            Err(message) => refuse(&self.folder, &message),
        }
    }

    /// Copies output to the log until the first process has ended; answers its exit code.
    fn look_after(&mut self, running: Running) -> i32 {
        let mut streams = streams(running.output);
        let mut exit: Option<(i32, Instant)> = None;
        loop {
            let timeout = match exit {
                Some((code, since)) if streams.is_empty() || since.elapsed() > DRAIN => {
                    return self.finish(streams, code);
                }
                Some(_) => 10,
                None => -1,
            };
            let ready = self.wait(&streams, timeout);
            if ready.signal {
                let _ = (&self.signals).read(&mut [0; 1024]);
                if let Some(code) = reap(running.pid) {
                    exit = Some((code, Instant::now()));
                }
            }
            if ready.control {
                let terminal = streams.iter().find(|stream| stream.terminal).map(|stream| stream.fd.as_raw_fd());
                control::serve(&self.control, &mut self.log, terminal);
            }
            let mut index = 0;
            streams.retain_mut(|stream| {
                index += 1;
                !ready.streams[index - 1] || stream.copy(&mut self.log)
            });
        }
    }

    fn finish(&mut self, streams: Vec<Stream>, code: i32) -> i32 {
        for mut stream in streams {
            stream.lines.finish(&mut self.log);
        }
        code
    }

    fn wait(&self, streams: &[Stream], timeout: i32) -> Ready {
        let fds = [self.signals.as_raw_fd(), self.control.as_raw_fd()];
        let fds = fds.into_iter().chain(streams.iter().map(|stream| stream.fd.as_raw_fd()));
        let mut polled: Vec<_> = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
        // SAFETY: the array lives through the call.
        unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout) };
        let ready: Vec<_> = polled.iter().map(|fd| fd.revents != 0).collect();
        Ready { signal: ready[0], control: ready[1], streams: ready[2..].to_vec() }
    }
}

struct Ready {
    signal: bool,
    control: bool,
    streams: Vec<bool>,
}

struct Stream {
    fd: File,
    lines: Lines,
    terminal: bool,
}

impl Stream {
    /// False at the end of the stream.
    fn copy(&mut self, log: &mut Log) -> bool {
        let mut buffer = [0; 32 * 1024];
        match self.fd.read(&mut buffer) {
            Ok(0) => {}
            Ok(count) => {
                self.lines.take(log, &buffer[..count]);
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(_) => {} // a terminal whose other end is closed says EIO
        }
        self.lines.finish(log);
        false
    }
}

fn streams(output: Output) -> Vec<Stream> {
    let stream = |fd: OwnedFd, name, terminal| Stream { fd: File::from(fd), lines: Lines::new(name), terminal };
    match output {
        Output::Pipes { stdout, stderr } => vec![stream(stdout, "stdout", false), stream(stderr, "stderr", false)],
        Output::Terminal(master) => vec![stream(master, "stdout", true)],
    }
}

/// Reaps whatever ended; the exit code if `pid` is among it.
fn reap(pid: RawFd) -> Option<i32> {
    let mut found = None;
    loop {
        let mut status = 0;
        // SAFETY: the status lives through the call.
        match unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) } {
            0 | -1 => return found,
            ended if ended == pid => {
                let status = ExitStatus::from_raw(status);
                found = status.code().or(status.signal().map(|signal| 128 + signal));
            }
            _ => {}
        }
    }
}

fn oom_killed(path: &Path) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
}

/// One line for the agent, which may be gone already.
fn say(line: &str) {
    let _ = io::stdout().write_all(format!("{line}\n").as_bytes());
    let _ = io::stdout().flush();
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        // SAFETY: both descriptors are open; the agent's pipe must not be held for the container's life.
        unsafe { libc::dup2(null.as_raw_fd(), 1) };
    }
}

fn refuse(folder: &Path, message: &str) -> ExitCode {
    end(folder, Exit { code: 128, oom: false, message: message.into(), finished_at: now() });
    say(&format!("failed {}", serde_json::Value::from(message)));
    ExitCode::FAILURE
}

/// Written aside and renamed: an agent never reads half of it.
fn end(folder: &Path, exit: Exit) {
    let (aside, path) = (folder.join("exit.new"), folder.join(contract::EXIT));
    let text = serde_json::to_vec(&exit).unwrap_or_default();
    if fs::write(&aside, text).is_ok() {
        let _ = fs::rename(aside, path);
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}
