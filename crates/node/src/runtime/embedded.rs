//! Our own runtime: one shim per container, overlayfs roots, cgroups and the routed network.
//!
//! ```text
//! DIR/sandboxes/<id>/   sandbox.json resolv.conf hostname shm/ ipc
//! DIR/containers/<id>/  container.json, what the shim reads and writes (contract), rootfs/ scratch/ bundle/
//! ```
//! Memory is a cache of these folders: `open` reads them, asks the locks who lives and watches those shims again.

mod capabilities;
#[allow(unreachable_pub, reason = "the shim includes the same file")]
#[path = "../../../shim/src/contract.rs"]
mod contract;
mod exec;
mod host;
mod lifecycle;
mod oci;
mod sandbox;
mod shim;
mod state;
mod users;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::{
    ContainerSpec, ContainerStats, ContainerStatus, Event, ExecSession, ExecSpec, PodRuntime, Resources, Result,
    RuntimeError, RuntimeInfo, Sandbox, SandboxSpec, Snapshot,
};
use crate::{
    cgroup::{Cgroups, Layout},
    image::ImageStore,
    network::{self, Range, Routed},
};
use host::Host;
use sandbox::SandboxEntry;
use shim::ShimBinary;
use state::ContainerEntry;

/// What the embedded runtime needs to know.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Folder for sandboxes, containers and the network's state; made if missing, 0700.
    pub folder: PathBuf,
    /// Name of this instance on the host, `[a-z0-9]{4,8}`: in interface, cgroup and /run names.
    pub instance: String,
    /// The node's pod range.
    pub pod_range: Range,
    /// MTU of pod interfaces, at most 1400.
    pub mtu: u32,
}

impl EmbeddedConfig {
    /// A name for the instance that works on this data folder: the same every time.
    pub fn instance_of(data_dir: &Path) -> String {
        use std::os::unix::ffi::OsStrExt;
        let bytes = data_dir.as_os_str().as_bytes().iter();
        let hash =
            bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        format!("{:08x}", hash as u32 ^ (hash >> 32) as u32)
    }
}

/// The embedded runtime.
#[derive(Clone)]
pub struct Embedded(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    run: PathBuf,
    host: Host,
    images: ImageStore,
    network: Routed,
    cgroups: Cgroups,
    shim: ShimBinary,
    sandboxes: Mutex<BTreeMap<String, Arc<SandboxEntry>>>,
    containers: Mutex<BTreeMap<String, Arc<ContainerEntry>>>,
    events: broadcast::Sender<Event>,
}

impl Embedded {
    /// Opens the folder, adopts the containers in it and watches them. Must be called inside a tokio runtime.
    pub fn open(config: EmbeddedConfig, images: ImageStore) -> Result<Self> {
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !(4..=8).contains(&config.instance.len()) || !config.instance.chars().all(valid) {
            return Err(RuntimeError::InvalidSpec(format!(
                "instance name {:?} is not [a-z0-9]{{4,8}}",
                config.instance
            )));
        }
        let folder = config.folder;
        for sub in ["sandboxes", "containers", "network"] {
            state::private_folder(&folder.join(sub)).map_err(RuntimeError::io("create runtime folder"))?;
        }
        let run = PathBuf::from(format!("/run/lanyard-{}", config.instance));
        let network = network::Config {
            state: folder.join("network"),
            netns: run.join("netns"),
            instance: config.instance.clone(),
            range: config.pod_range,
            mtu: config.mtu,
        };
        let network = Routed::open(network).map_err(|error| RuntimeError::Unsupported(error.to_string()))?;
        let layout = Layout::detect().map_err(RuntimeError::io("find cgroups"))?;
        let inner = Inner {
            shim: ShimBinary::open(&folder)?,
            folder,
            run,
            host: Host::probe(),
            images,
            network,
            cgroups: Cgroups::new(layout, format!("lanyard-{}", config.instance)),
            sandboxes: Mutex::default(),
            containers: Mutex::default(),
            events: broadcast::channel(1024).0,
        };
        let inner = Arc::new(inner);
        inner.adopt()?;
        Ok(Self(inner))
    }
}

impl Inner {
    fn container(&self, id: &str) -> Result<Arc<ContainerEntry>> {
        self.containers.lock().get(id).cloned().ok_or_else(|| RuntimeError::ContainerNotFound(id.into()))
    }

    fn sandbox(&self, id: &str) -> Result<Arc<SandboxEntry>> {
        self.sandboxes.lock().get(id).cloned().ok_or_else(|| RuntimeError::SandboxNotFound(id.into()))
    }

    fn containers_of(&self, sandbox: &str) -> Vec<Arc<ContainerEntry>> {
        self.containers.lock().values().filter(|entry| entry.record.sandbox == sandbox).cloned().collect()
    }
}

impl PodRuntime for Embedded {
    fn info(&self) -> RuntimeInfo {
        self.0.host.info(self.0.cgroups.mode())
    }

    fn run_sandbox<'a>(&'a self, spec: &'a SandboxSpec) -> BoxFuture<'a, Result<Sandbox>> {
        Box::pin(self.0.run_sandbox(spec))
    }

    fn stop_sandbox<'a>(&'a self, sandbox: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.stop_sandbox(sandbox))
    }

    fn remove_sandbox<'a>(&'a self, sandbox: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.remove_sandbox(sandbox))
    }

    fn create<'a>(&'a self, sandbox: &'a str, spec: &'a ContainerSpec) -> BoxFuture<'a, Result<String>> {
        let (inner, sandbox, spec) = (self.0.clone(), sandbox.to_owned(), spec.clone());
        Box::pin(blocking(move || inner.create(&sandbox, spec)))
    }

    fn start<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.start(container))
    }

    fn stop<'a>(&'a self, container: &'a str, grace: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.stop(container, grace))
    }

    fn remove<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.0.remove(container))
    }

    fn update<'a>(&'a self, container: &'a str, resources: &'a Resources) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let entry = self.0.container(container)?;
            let cgroup = &entry.record.cgroup;
            self.0.cgroups.limit(cgroup, resources).map_err(RuntimeError::io("update the container's cgroup"))
        })
    }

    fn exec<'a>(&'a self, container: &'a str, spec: &'a ExecSpec) -> BoxFuture<'a, Result<ExecSession>> {
        Box::pin(self.0.exec(container, spec))
    }

    fn status<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<ContainerStatus>> {
        Box::pin(async move { Ok(self.0.container(container)?.status()) })
    }

    fn stats<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<ContainerStats>> {
        Box::pin(async move {
            let entry = self.0.container(container)?;
            Ok(self.0.cgroups.stats(&entry.record.cgroup))
        })
    }

    fn reopen_log<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let folder = self.0.container(container)?.folder.clone();
            blocking(move || shim::control(&folder, "reopen").map_err(RuntimeError::io("reopen the log"))).await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Snapshot>> {
        Box::pin(async move {
            let sandboxes = self.0.sandboxes.lock().values().map(|entry| entry.status()).collect();
            let containers = self.0.containers.lock().values().map(|entry| entry.status()).collect();
            Ok(Snapshot { sandboxes, containers })
        })
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.0.events.subscribe()
    }

    fn teardown_all(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.0.teardown_all())
    }
}

/// Runs what touches the file system outside the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(RuntimeError::InvalidSpec(format!("the runtime's work was interrupted: {error}"))),
    }
}

/// 64 hexadecimal digits that nobody else has.
fn new_id() -> Result<String> {
    let mut bytes = [0u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| RuntimeError::Unsupported("no random numbers".into()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
