//! A runtime, an image store and a mounter without a kernel: for tests of the agent and of whoever runs it. Containers
//! "run" until they are told to exit; nothing touches the machine but the agent's own data folder.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::{
    image::{Auth, Image, ImageError, ImageService},
    runtime::{
        CgroupMode, ContainerSpec, ContainerState, ContainerStats, ContainerStatus, Event, ExecControl, ExecSession,
        ExecSpec, PodRef, PodRuntime, Resources, Result, RuntimeError, RuntimeInfo, Sandbox, SandboxSpec, SandboxState,
        Snapshot,
    },
    volumes::Mounter,
};

/// Containers in memory.
pub struct FakeRuntime {
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
}

#[derive(Default)]
struct State {
    snapshot: Snapshot,
    specs: BTreeMap<String, ContainerSpec>,
    next: u32,
    /// Containers whose command starts with this fail to start with the message.
    start_failure: Option<(String, String)>,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        FakeRuntime { state: Mutex::default(), events: broadcast::channel(256).0 }
    }
}

impl FakeRuntime {
    /// The specs of all containers that were created, by id.
    pub fn specs(&self) -> BTreeMap<String, ContainerSpec> {
        self.state.lock().specs.clone()
    }

    /// Ends a running container of that name.
    pub fn exit(&self, name: &str, code: i32) {
        let mut state = self.state.lock();
        let running =
            state.snapshot.containers.iter_mut().find(|c| c.name == name && c.state == ContainerState::Running);
        if let Some(container) = running {
            container.state = exited(code, SystemTime::now());
            let event =
                Event::Exited { pod_uid: container.pod.uid.clone(), container: container.id.clone(), code, oom: false };
            drop(state);
            // without a receiver nobody wants to know
            let _ = self.events.send(event);
        }
    }

    /// Makes the start of containers that run `command` fail.
    pub fn fail_start(&self, command: &str, message: &str) {
        self.state.lock().start_failure = Some((command.into(), message.into()));
    }

    /// Forgets that a sandbox is ready, as after a reboot.
    pub fn lose_sandboxes(&self) {
        for sandbox in &mut self.state.lock().snapshot.sandboxes {
            sandbox.state = SandboxState::NotReady;
        }
    }

    fn with<T>(&self, id: &str, f: impl FnOnce(&mut ContainerStatus) -> T) -> Result<T> {
        let mut state = self.state.lock();
        let found = state.snapshot.containers.iter_mut().find(|c| c.id == id);
        found.map(f).ok_or_else(|| RuntimeError::ContainerNotFound(id.into()))
    }

    fn run(&self, spec: &SandboxSpec) -> Sandbox {
        let mut state = self.state.lock();
        let same = |s: &&mut Sandbox| s.pod.uid == spec.pod.uid && s.attempt == spec.attempt;
        if let Some(found) = state.snapshot.sandboxes.iter_mut().find(same) {
            found.state = SandboxState::Ready;
            return found.clone();
        }
        state.next += 1;
        let mut made = sandbox(&format!("sandbox{}", state.next), spec.attempt, true);
        made.pod = spec.pod.clone();
        made.labels = spec.labels.clone();
        made.created_at = SystemTime::now();
        state.snapshot.sandboxes.push(made.clone());
        made
    }

    fn make(&self, sandbox: &str, spec: &ContainerSpec) -> Result<String> {
        let mut state = self.state.lock();
        let found = state.snapshot.sandboxes.iter().find(|s| s.id == sandbox).cloned();
        let owner = found.ok_or_else(|| RuntimeError::SandboxNotFound(sandbox.into()))?;
        state.next += 1;
        let mut made = container(sandbox, &spec.name, spec.attempt, ContainerState::Created);
        made.id = format!("container{}", state.next);
        made.pod = owner.pod;
        made.labels = spec.labels.clone();
        made.image_id.clone_from(&spec.image);
        made.log_path.clone_from(&spec.log_path);
        made.created_at = SystemTime::now();
        let id = made.id.clone();
        state.specs.insert(id.clone(), spec.clone());
        state.snapshot.containers.push(made);
        Ok(id)
    }

    fn begin(&self, id: &str) -> Result<()> {
        let failure = {
            let state = self.state.lock();
            let command = state.specs.get(id).and_then(|s| s.command.first()).cloned().unwrap_or_default();
            state.start_failure.clone().filter(|(c, _)| *c == command).map(|(_, message)| message)
        };
        if let Some(message) = failure {
            let state = ContainerState::Exited {
                code: 128,
                reason: "StartError",
                message: message.clone(),
                finished_at: SystemTime::now(),
            };
            self.with(id, |c| c.state = state)?;
            return Err(RuntimeError::StartFailed(message));
        }
        let pod_uid = self.with(id, |c| {
            c.state = ContainerState::Running;
            c.started_at = Some(SystemTime::now());
            c.pod.uid.clone()
        })?;
        // without a receiver nobody wants to know
        let _ = self.events.send(Event::Started { pod_uid, container: id.into() });
        Ok(())
    }
}

impl PodRuntime for FakeRuntime {
    fn info(&self) -> RuntimeInfo {
        RuntimeInfo {
            name: "lanyard",
            version: "0",
            cgroup: CgroupMode::V2,
            min_oom_score_adj: -1000,
            max_open_files: 1024,
            missing: Vec::new(),
        }
    }

    fn run_sandbox<'a>(&'a self, spec: &'a SandboxSpec) -> BoxFuture<'a, Result<Sandbox>> {
        async { Ok(self.run(spec)) }.boxed()
    }

    fn stop_sandbox<'a>(&'a self, sandbox: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let mut state = self.state.lock();
            for found in state.snapshot.sandboxes.iter_mut().filter(|s| s.id == sandbox) {
                found.state = SandboxState::NotReady;
            }
            for found in state.snapshot.containers.iter_mut().filter(|c| c.sandbox == sandbox) {
                if found.state == ContainerState::Running {
                    found.state = exited(137, SystemTime::now());
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn remove_sandbox<'a>(&'a self, sandbox: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let mut state = self.state.lock();
            state.snapshot.sandboxes.retain(|s| s.id != sandbox);
            state.snapshot.containers.retain(|c| c.sandbox != sandbox);
            Ok(())
        }
        .boxed()
    }

    fn create<'a>(&'a self, sandbox: &'a str, spec: &'a ContainerSpec) -> BoxFuture<'a, Result<String>> {
        async move { self.make(sandbox, spec) }.boxed()
    }

    fn start<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<()>> {
        async move { self.begin(container) }.boxed()
    }

    fn stop<'a>(&'a self, container: &'a str, _grace: Duration) -> BoxFuture<'a, Result<()>> {
        async move {
            let stopped = self.with(container, |c| {
                let runs = c.state == ContainerState::Running;
                if runs {
                    c.state = exited(143, SystemTime::now());
                }
                runs.then(|| c.pod.uid.clone())
            })?;
            if let Some(pod_uid) = stopped {
                // without a receiver nobody wants to know
                let _ = self.events.send(Event::Exited { pod_uid, container: container.into(), code: 143, oom: false });
            }
            Ok(())
        }
        .boxed()
    }

    fn remove<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            self.state.lock().snapshot.containers.retain(|c| c.id != container);
            Ok(())
        }
        .boxed()
    }

    fn update<'a>(&'a self, container: &'a str, _resources: &'a Resources) -> BoxFuture<'a, Result<()>> {
        async move { self.with(container, |_| ()) }.boxed()
    }

    /// Answers the command on stdout; its exit code is the last argument if that is a number.
    fn exec<'a>(&'a self, container: &'a str, spec: &'a ExecSpec) -> BoxFuture<'a, Result<ExecSession>> {
        async move {
            self.with(container, |_| ())?;
            let code = spec.command.last().and_then(|word| word.parse().ok()).unwrap_or(0);
            let output = spec.command.join(" ") + "\n";
            Ok(ExecSession {
                stdin: spec.stdin.then(|| Box::new(tokio::io::sink()) as _),
                stdout: spec.stdout.then(|| Box::new(std::io::Cursor::new(output.into_bytes())) as _),
                stderr: (spec.stderr && !spec.tty).then(|| Box::new(tokio::io::empty()) as _),
                control: Arc::new(NoControl),
                exit: async move { Ok(code) }.boxed(),
            })
        }
        .boxed()
    }

    fn status<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<ContainerStatus>> {
        async move { self.with(container, |c| c.clone()) }.boxed()
    }

    fn stats<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<ContainerStats>> {
        async move { self.with(container, |_| ContainerStats::default()) }.boxed()
    }

    fn reopen_log<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<()>> {
        async move { self.with(container, |_| ()) }.boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Snapshot>> {
        async { Ok(self.state.lock().snapshot.clone()) }.boxed()
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    fn teardown_all(&self) -> BoxFuture<'_, Result<()>> {
        async {
            *self.state.lock() = State::default();
            Ok(())
        }
        .boxed()
    }
}

struct NoControl;

impl ExecControl for NoControl {
    fn resize(&self, _columns: u16, _rows: u16) -> std::io::Result<()> {
        Ok(())
    }

    fn kill(&self) {}
}

/// Images that are present, and images that a pull would find.
#[derive(Default)]
pub struct FakeImages {
    present: Mutex<BTreeMap<String, Image>>,
    remote: Mutex<BTreeMap<String, Image>>,
}

impl FakeImages {
    /// Makes an image present.
    pub fn add(&self, name: &str) {
        self.present.lock().insert(name.into(), image(name));
    }

    /// Makes an image known to the registry.
    pub fn publish(&self, name: &str) {
        self.remote.lock().insert(name.into(), image(name));
    }
}

impl ImageService for FakeImages {
    fn pull<'a>(
        &'a self,
        reference: &'a str,
        _auth: Option<&'a Auth>,
    ) -> BoxFuture<'a, std::result::Result<Image, ImageError>> {
        async move {
            let found = self.remote.lock().get(reference).cloned();
            let image = found.ok_or_else(|| ImageError::NotFound { image: reference.into() })?;
            self.present.lock().insert(reference.into(), image.clone());
            Ok(image)
        }
        .boxed()
    }

    fn status(&self, reference: &str) -> std::result::Result<Option<Image>, ImageError> {
        crate::image::Reference::parse(reference)?;
        Ok(self.present.lock().get(reference).cloned())
    }

    fn list(&self) -> Vec<Image> {
        self.present.lock().values().cloned().collect()
    }

    fn remove(&self, reference: &str) -> std::result::Result<(), ImageError> {
        let removed = self.present.lock().remove(reference);
        removed.map(drop).ok_or_else(|| ImageError::NotPresent(reference.into()))
    }

    fn import(&self, archive: PathBuf) -> BoxFuture<'_, std::result::Result<Vec<Image>, ImageError>> {
        async move { Err(ImageError::NotPresent(archive.display().to_string())) }.boxed()
    }
}

/// Mounts nothing: a tmpfs is a folder, a bind mount a link.
pub struct FakeMounter;

impl Mounter for FakeMounter {
    fn tmpfs(&self, at: &Path, _options: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(at)
    }

    fn bind(&self, source: &Path, target: &Path) -> std::io::Result<()> {
        let source = std::fs::canonicalize(source)?;
        if target.is_dir() {
            std::fs::remove_dir(target)?
        } else {
            std::fs::remove_file(target)?
        }
        std::os::unix::fs::symlink(source, target)
    }

    fn unmount(&self, at: &Path) -> std::io::Result<()> {
        if at.is_symlink() { std::fs::remove_file(at) } else { Ok(()) }
    }

    fn is_mounted(&self, at: &Path) -> bool {
        at.exists()
    }

    fn own(&self, _path: &Path, _user: Option<u32>, _group: Option<u32>) -> std::io::Result<()> {
        Ok(())
    }
}

fn image(name: &str) -> Image {
    Image {
        id: format!("sha256:{name}"),
        tags: vec![format!("docker.io/library/{name}")],
        digests: vec![format!("docker.io/library/{name}@sha256:0")],
        size: 1000,
        user: String::new(),
        env: Vec::new(),
        entrypoint: Vec::new(),
        cmd: Vec::new(),
        working_dir: String::new(),
        stop_signal: String::new(),
    }
}

/// A sandbox with one address.
pub fn sandbox(id: &str, attempt: u32, ready: bool) -> Sandbox {
    Sandbox {
        id: id.into(),
        pod: PodRef::default(),
        attempt,
        state: if ready { SandboxState::Ready } else { SandboxState::NotReady },
        ips: vec!["10.4.0.9".parse().expect("a literal address")],
        created_at: SystemTime::UNIX_EPOCH,
        labels: BTreeMap::new(),
    }
}

/// A container whose id is made of sandbox, name and attempt.
pub fn container(sandbox: &str, name: &str, attempt: u32, state: ContainerState) -> ContainerStatus {
    let started = state != ContainerState::Created;
    ContainerStatus {
        id: format!("{sandbox}-{name}-{attempt}"),
        sandbox: sandbox.into(),
        pod: PodRef::default(),
        name: name.into(),
        attempt,
        state,
        created_at: SystemTime::UNIX_EPOCH,
        started_at: started.then_some(SystemTime::UNIX_EPOCH),
        image: "sha256:1".into(),
        image_id: "sha256:1".into(),
        pid: None,
        log_path: PathBuf::new(),
        labels: BTreeMap::new(),
    }
}

/// The state of a container that has ended.
pub fn exited(code: i32, at: SystemTime) -> ContainerState {
    let reason = if code == 0 { "Completed" } else { "Error" };
    ContainerState::Exited { code, reason, message: String::new(), finished_at: at }
}
