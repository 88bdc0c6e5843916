//! Lanyard running: `Cluster` is `lanyard up` on a machine of its own, `Server` is `lanyard server` on this host's loopback.

use crate::image::{Image, Packing};
use crate::machine::{Machine, Output, finish, folder};
use crate::{eventually, kubectl, lanyard};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a debug build on two busy cores may take to become ready.
const READY: Duration = Duration::from_secs(30);
/// What a pod may take from creation to the state that is waited for.
pub const SOON: Duration = Duration::from_secs(60);
/// The image that every cluster has.
pub const IMAGE: &str = "docker.io/library/busybox:1";
/// The same with kubectl in it; imported by those tests that need it.
pub const KUBECTL_IMAGE: &str = "docker.io/library/kubectl:1.37";

/// `lanyard up`, with the image [`IMAGE`] in `DIR/images`.
pub struct Cluster {
    /// Where it runs.
    pub machine: Machine,
    /// Its data folder.
    pub dir: PathBuf,
    binary: PathBuf,
    flags: Vec<String>,
    process: Option<Child>,
}

impl Cluster {
    /// A running cluster; `None`, said loudly, where it cannot run.
    #[track_caller]
    pub fn up(name: &str) -> Option<Self> {
        Self::up_with(name, &[])
    }

    /// The same with more flags.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn up_with(name: &str, flags: &[&str]) -> Option<Self> {
        let mut cluster = Self::prepared(name, flags)?;
        cluster.start();
        Some(cluster)
    }

    /// Its machine and folder, not started yet.
    ///
    /// # Panics
    /// When the folder cannot be made.
    pub fn prepared(name: &str, flags: &[&str]) -> Option<Self> {
        let machine = Machine::new(name)?;
        let dir = machine.home.join("data");
        let images = dir.join("images");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&images).expect("the folder can be made");
        Image::busybox(IMAGE).docker_archive(&images.join("busybox.tar"), Packing::Plain);
        let flags = flags.iter().map(|&f| f.to_owned()).collect();
        Some(Self { machine, dir, binary: lanyard(), flags, process: None })
    }

    /// Starts `lanyard up` and waits for its line `ready: …`.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn start(&mut self) {
        let mut command = self.machine.command(&self.binary);
        command.arg("up").args(&self.flags).arg("--data-dir").arg(&self.dir);
        let mut process = self.machine.start("up", &mut command);
        let end = Instant::now() + READY;
        while !self.machine.log("up").lines().any(|l| l.starts_with("ready:")) {
            let ended = process.try_wait().expect("a child can be asked");
            let late = Instant::now() > end;
            assert!(ended.is_none() && !late, "lanyard up is not ready ({ended:?}):\n{}", self.machine.log("up"));
            std::thread::sleep(Duration::from_millis(20));
        }
        self.process = Some(process);
        self.account("default");
    }

    /// A new namespace, with its account `default`, which pods need.
    #[track_caller]
    pub fn namespace(&self, name: &str) {
        self.kubectl(&format!("create namespace {name}")).ok();
        self.account(name);
    }

    /// A controller makes the account soon after the namespace; upstream refuses pods until then.
    #[track_caller]
    fn account(&self, namespace: &str) {
        let name = || self.path("serviceaccount/default", namespace, "{.metadata.name}");
        eventually(SOON, "the account default exists", || (name() == "default").then_some(()).ok_or(String::new()));
    }

    /// Ctrl-C, and its exit code.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn interrupt(&mut self) -> i32 {
        self.signal(libc::SIGINT);
        let mut process = self.process.take().expect("it was started");
        eventually(Duration::from_secs(30), "lanyard up ends", || match process.try_wait() {
            Ok(Some(status)) => Ok(status.code().unwrap_or(-1)),
            other => Err(format!("{other:?}\n{}", self.machine.log("up"))),
        })
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        if let Some(mut process) = self.process.take() {
            let _ = process.wait();
        }
    }

    fn signal(&self, signal: i32) {
        let Some(process) = &self.process else { return };
        // The child is nsenter; Lanyard is its child.
        let children = format!("/proc/{0}/task/{0}/children", process.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|p| p.parse().ok()) {
            // SAFETY: kill has no memory preconditions; the process is our grandchild and not reaped yet.
            unsafe { libc::kill(pid, signal) };
        }
    }

    /// A subcommand of the binary, on this cluster's folder.
    pub fn lanyard(&self, args: &[&str]) -> Output {
        finish(self.machine.command(&self.binary).args(args).arg("--data-dir").arg(&self.dir), "")
    }

    /// kubectl as the cluster's admin; words are split at spaces.
    pub fn kubectl(&self, line: &str) -> Output {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.kubectl_args(&words, "")
    }

    /// kubectl with arguments as given and something on standard input.
    pub fn kubectl_args(&self, args: &[&str], stdin: &str) -> Output {
        finish(self.kubectl_command().args(args), stdin)
    }

    /// kubectl, to be run by the caller.
    pub fn kubectl_command(&self) -> Command {
        let mut command = self.machine.command(kubectl());
        command.env("KUBECONFIG", self.dir.join("admin.kubeconfig")).env("TZ", "UTC");
        command
    }

    /// `kubectl apply -f -`.
    pub fn apply(&self, yaml: &str) -> Output {
        self.kubectl_args(&["apply", "-f", "-"], yaml)
    }

    /// Runs a command in a pod.
    pub fn exec(&self, namespace: &str, pod: &str, command: &[&str]) -> Output {
        let args = [&["exec", "-n", namespace, pod, "--"][..], command].concat();
        self.kubectl_args(&args, "")
    }

    /// What `-o jsonpath` says of an object; empty when it is not there.
    pub fn path(&self, object: &str, namespace: &str, path: &str) -> String {
        let jsonpath = format!("jsonpath={path}");
        self.kubectl_args(&["get", object, "-n", namespace, "-o", &jsonpath], "").stdout
    }

    /// Waits until `-o jsonpath` says so.
    #[track_caller]
    pub fn until(&self, object: &str, namespace: &str, path: &str, wanted: &str) {
        eventually(SOON, &format!("{object} {path} is {wanted}"), || match self.path(object, namespace, path) {
            found if found == wanted => Ok(()),
            found => Err(format!("{found:?}\n{}", self.kubectl(&format!("describe {object} -n {namespace}")).stdout)),
        });
    }

    /// Waits until a pod is Ready.
    #[track_caller]
    pub fn ready(&self, namespace: &str, pod: &str) {
        self.until(&format!("pod/{pod}"), namespace, "{.status.conditions[?(@.type=='Ready')].status}", "True");
    }

    /// Waits until an event about an object has this reason; returns its message.
    #[track_caller]
    pub fn event(&self, namespace: &str, pod: &str, reason: &str, holds: &str) -> String {
        let selector = format!("involvedObject.name={pod},reason={reason}");
        let args = ["get", "events", "-n", namespace, "--field-selector", &selector, "-o"];
        let args = [&args[..], &["jsonpath={range .items[*]}{.message}{'\\n'}{end}"]].concat();
        eventually(SOON, &format!("event {reason} of {pod} with {holds:?}"), || {
            let said = self.kubectl_args(&args, "").stdout;
            said.lines().find(|l| l.contains(holds)).map(str::to_owned).ok_or(said.clone())
        })
    }

    /// Imports the busybox image with kubectl in it as [`KUBECTL_IMAGE`].
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn import_kubectl(&self) {
        let tar = self.machine.home.join("kubectl.tar");
        let image = Image::busybox(KUBECTL_IMAGE).with_program("usr/bin/kubectl", &kubectl());
        image.docker_archive(&tar, Packing::Plain);
        self.lanyard(&["image", "import", &tar.to_string_lossy()]).ok();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- lanyard up said:\n{}", last_lines(&self.machine.log("up"), 60));
        }
        self.signal(libc::SIGTERM);
        if let Some(mut process) = self.process.take() {
            let end = Instant::now() + Duration::from_secs(15);
            while matches!(process.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        // Takes away what is the host's and not the machine's: control groups.
        let mut down = self.machine.command("timeout");
        down.args(["30", &self.binary.to_string_lossy(), "down", "--purge", "--data-dir"]).arg(&self.dir);
        let _ = finish(&mut down, "");
    }
}

/// `lanyard server` on this host, with its port, folder and a static token of an administrator.
pub struct Server {
    /// Its folder: `data`, `server.log`.
    pub home: PathBuf,
    /// Where it listens.
    pub port: u16,
    process: Option<Child>,
}

/// The token of [`Server`]'s administrator.
pub const TOKEN: &str = "e2e-admin-token";

impl Server {
    /// A new server on an empty folder, ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn start(name: &str) -> Self {
        Self::start_on(name, |_| ())
    }

    /// The same; its data folder is made by the test.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn start_on(name: &str, prepare: impl FnOnce(&Path)) -> Self {
        let home = folder(name);
        prepare(&home.join("data"));
        let tokens = format!("{TOKEN},admin,uid-admin,system:masters\n");
        std::fs::write(home.join("tokens.csv"), tokens).expect("a file can be written");
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port is free");
        let mut server = Self { home, port: free.port(), process: None };
        server.again();
        let account = ["get", "serviceaccount", "default", "-n", "default"];
        eventually(SOON, "the account default exists", || match server.kubectl(&account, "") {
            found if found.code == 0 => Ok(()),
            missing => Err(missing.stderr),
        });
        server
    }

    /// Starts it again on the same folder; returns how long it took to be ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn again(&mut self) -> Duration {
        let log = std::fs::File::create(self.home.join("server.log")).expect("a log file can be made");
        let mut command = Command::new(lanyard());
        command.arg("server").arg(format!("--secure-port={}", self.port)).args(["--bind-address=127.0.0.1"]);
        command.arg("--data-dir").arg(self.home.join("data"));
        command.arg("--token-auth-file").arg(self.home.join("tokens.csv")).env("HOME", &self.home);
        let other = log.try_clone().expect("a file can be cloned");
        let begin = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(log).stderr(other).spawn().expect("lanyard starts");
        let child = self.process.insert(child);
        loop {
            let said = std::fs::read_to_string(self.home.join("server.log")).unwrap_or_default();
            if said.lines().any(|l| l.starts_with("ready:")) {
                return begin.elapsed();
            }
            let ended = child.try_wait().expect("a child can be asked");
            assert!(ended.is_none() && begin.elapsed() < READY, "lanyard server is not ready ({ended:?}):\n{said}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// The authority that its certificate is signed by.
    pub fn ca(&self) -> PathBuf {
        self.home.join("data/pki/ca.crt")
    }

    /// kubectl as its admin.
    pub fn kubectl(&self, args: &[&str], stdin: &str) -> Output {
        let mut command = Command::new(kubectl());
        command
            .env("KUBECONFIG", self.home.join("data/admin.kubeconfig"))
            .env("HOME", &self.home)
            .current_dir(&self.home);
        finish(command.args(args), stdin)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = std::fs::read_to_string(self.home.join("server.log")).unwrap_or_default();
            eprintln!("--- lanyard server said:\n{}", last_lines(&said, 60));
        }
        self.kill();
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// The end of a log.
fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The certificate authority in a kubeconfig's folder, for HTTPS by hand.
pub fn ca_of(dir: &Path) -> PathBuf {
    dir.join("pki/ca.crt")
}
