//! A machine of its own for a test: network, mount, process and host name spaces, a home folder, an empty `/run`.
//!
//! Everything that runs in it ends with it, however the test ends: its first process is the parent of all, and dies when
//! the test does. Only control groups are the host's; what a cluster leaves there is swept.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How the first process sets the machine up. As the parent of orphans it reaps them, as a shell does.
const INIT: &str = "set -e; hostname e2e-node; ip link set lo up; mount -t tmpfs tmpfs /run; mkdir -p /run/lock; \
                    echo up; while :; do sleep 86400 & wait $! || true; done";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Namespaces of its own, and a folder.
pub struct Machine {
    /// Its folder, which is also HOME.
    pub home: PathBuf,
    unshare: Child,
    init: u32,
}

/// What a command said, and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command, for messages.
    pub line: String,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Its exit code; 128 and the signal's number when a signal ended it.
    pub code: i32,
}

impl Machine {
    /// A new machine, or `None`, said loudly, where the tests may not make namespaces.
    ///
    /// # Panics
    /// When the machine cannot be set up although namespaces can be made.
    pub fn new(name: &str) -> Option<Self> {
        if let Err(reason) = possible() {
            eprintln!("SKIPPED {name}: {reason}");
            println!("SKIPPED {name}: {reason}");
            return None;
        }
        let home = folder(name);
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["--propagation", "private", "bash", "-c", INIT]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).env("HOME", &home).current_dir("/");
        end_with_us(&mut command);
        let mut unshare = command.spawn().expect("unshare starts");
        let mut line = String::new();
        let said = unshare.stdout.take().expect("its output is piped");
        BufReader::new(said).read_line(&mut line).expect("its output can be read");
        assert_eq!(line, "up\n", "the machine was not set up");
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let children = std::fs::read_to_string(children).expect("unshare has a child");
        let init = children.trim().parse().expect("one child");
        Some(Self { home, unshare, init })
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--net", "--mount", "--pid", "--uts", "--ipc", "--"]);
        // Entering a mount namespace goes to its root; env goes home again.
        command.args(["env", "-C"]).arg(&self.home).arg(program);
        command.env("HOME", &self.home).env_remove("KUBECONFIG");
        command.stdin(Stdio::null());
        end_with_us(&mut command);
        command
    }

    /// Runs a command inside, to its end.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, program: impl AsRef<std::ffi::OsStr>, args: &[S]) -> Output {
        finish(self.command(program).args(args), "")
    }

    /// Runs a line of bash inside.
    pub fn sh(&self, line: &str) -> Output {
        self.run("bash", &["-c", line])
    }

    /// Starts a service inside that lives as long as the machine; its output goes to `NAME.log` in the home folder.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self, name: &str, command: &mut Command) -> Child {
        let log = std::fs::File::create(self.home.join(format!("{name}.log"))).expect("a log file can be made");
        let other = log.try_clone().expect("a file can be cloned");
        command.stdout(log).stderr(other).spawn().unwrap_or_else(|e| panic!("{name} does not start: {e}"))
    }

    /// What a service has said so far.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.join(format!("{name}.log"))).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        let gone = format!("/proc/{}", self.init);
        let end = Instant::now() + Duration::from_secs(10);
        while Path::new(&gone).exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        if std::env::var_os("LANYARD_E2E_KEEP").is_some() {
            eprintln!("kept: {}", self.home.display());
            return;
        }
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

impl Output {
    /// Its standard output, when it ended well.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}\nstdout: {}\nstderr: {}", self.line, self.stdout, self.stderr);
        self.stdout
    }

    /// Its standard error without the last line break, when it ended with 1.
    ///
    /// # Panics
    /// When it ended well, or with another code.
    #[track_caller]
    pub fn refused(self) -> String {
        assert_eq!(self.code, 1, "{}\nstdout: {}\nstderr: {}", self.line, self.stdout, self.stderr);
        self.stderr.trim_end_matches('\n').to_owned()
    }
}

/// Runs a command to its end with something on its standard input.
///
/// # Panics
/// When it cannot be started.
pub fn finish(command: &mut Command, stdin: &str) -> Output {
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|w| w.to_string_lossy());
    let line = words.collect::<Vec<_>>().join(" ");
    let line = line.split_once(" -- ").map_or(line.clone(), |(_, l)| l.to_owned());
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = piped.unwrap_or_else(|e| panic!("{line}: {e}"));
    let mut input = child.stdin.take().expect("piped");
    let text = stdin.to_owned();
    let feed = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let out = child.wait_with_output().expect("a started command can be waited for");
    let _ = feed.join();
    let code = out.status.code().or(out.status.signal().map(|s| 128 + s)).unwrap_or(-1);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Output { line, stdout: text(out.stdout), stderr: text(out.stderr), code }
}

/// Reads what is there, up to a line that satisfies; for commands that go on (`logs -f`, `get -w`).
pub fn read_until(stream: &mut impl Read, mut enough: impl FnMut(&str) -> bool) -> String {
    let (mut said, mut piece) = (String::new(), [0; 4096]);
    while !enough(&said) {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(n) => said.push_str(&String::from_utf8_lossy(&piece[..n])),
        }
    }
    said
}

/// A new empty folder.
///
/// # Panics
/// When it cannot be made.
pub fn folder(name: &str) -> PathBuf {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let home = std::env::temp_dir().join(format!("lanyard-e2e-{}-{number}-{name}", std::process::id()));
    std::fs::create_dir_all(&home).expect("a folder can be made");
    home
}

fn possible() -> Result<(), String> {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return Err("not root".into());
    }
    let try_it =
        ["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--mount-proc", "ip", "link", "set", "lo", "up"];
    match Command::new("unshare").args(try_it).output() {
        Ok(out) if out.status.success() => Ok(()),
        Ok(out) => Err(format!("no namespaces here: {}", String::from_utf8_lossy(&out.stderr).trim())),
        Err(e) => Err(format!("unshare does not start: {e}")),
    }
}

/// The command gets SIGKILL when the thread that started it ends.
fn end_with_us(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe and touches only the child.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
}
