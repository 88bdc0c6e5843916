//! Containers: create, start, stop, remove, and finding them again after a restart.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    Inner, blocking,
    contract::{self, Config},
    new_id, oci,
    sandbox::{self, SandboxEntry, remove_folder},
    shim,
    state::{self, ContainerEntry, ContainerRecord, Process, State},
    users,
};
use crate::{
    image::{inroot, mount::unmount},
    network::PodNetwork,
    runtime::{CgroupMode, ContainerSpec, Event, NamespaceMode, Result, RuntimeError},
};

impl Inner {
    /// Prepares everything but the process; blocking.
    pub(super) fn create(&self, sandbox: &str, spec: ContainerSpec) -> Result<String> {
        let sandbox = self.sandbox(sandbox)?;
        let image = self.images.find(&spec.image)?;
        let id = new_id()?;
        let sandbox_spec = sandbox.spec();
        let record = ContainerRecord {
            id: id.clone(),
            sandbox: sandbox.record.lock().id.clone(),
            pod: sandbox_spec.pod.clone(),
            image_id: image.id.clone(),
            stop_signal: state::signal(&image.stop_signal),
            cgroup: format!("{}/{id}", sandbox::cgroup(&sandbox_spec)),
            created_at: state::now(),
            boot_id: self.host.boot_id.clone(),
            own_pids: sandbox_spec.pid == NamespaceMode::Own,
            spec,
        };
        let folder = self.folder.join("containers").join(&id);
        let entry = ContainerEntry::new(record, folder, State::Created);
        if let Err(error) = self.lay_out(&sandbox, &entry, &image) {
            self.clear(&entry)?;
            return Err(error);
        }
        self.containers.lock().insert(id.clone(), Arc::new(entry));
        Ok(id)
    }

    fn lay_out(&self, sandbox: &SandboxEntry, entry: &ContainerEntry, image: &crate::image::Image) -> Result<()> {
        let (folder, rootfs, record) = (&entry.folder, entry.rootfs(), &entry.record);
        let bundle = folder.join(contract::BUNDLE);
        state::private_folder(&bundle).map_err(RuntimeError::io("create the container's folder"))?;
        self.images.mount_rootfs(&image.id, &record.id, &rootfs, &folder.join("scratch"))?;
        let security = &record.spec.security;
        let sandbox_spec = sandbox.spec();
        let cgroup_path = self.cgroups.path(&record.cgroup);
        let inputs = oci::Inputs {
            sandbox: &sandbox_spec,
            container: &record.spec,
            image,
            user: &users::resolve(&rootfs, &image.user, security)?,
            host_capabilities: self.host.capabilities,
            cgroup_mode: self.cgroups.mode(),
            cgroup_path: &cgroup_path,
            rootfs: &rootfs,
            netns: &self.network.netns(&record.pod.uid),
            ipcns: &sandbox.folder.join("ipc"),
            shared: &sandbox.folder,
            devices: &if security.privileged { devices(Path::new("/dev")) } else { Vec::new() },
        };
        let process = oci::process(&inputs)?;
        let spec = oci::spec(&inputs)?;
        make_mount_points(&rootfs, &record.spec);
        // a volume may cover it, and then it is not needed
        let _ = inroot::create_dirs(&rootfs, &process.cwd);
        let config = Config {
            version: contract::VERSION,
            id: record.id.clone(),
            log_path: record.spec.log_path.clone(),
            tty: record.spec.tty,
            process,
            oom_score_adj: record.spec.resources.oom_score_adj.map(|value| value.max(self.host.min_oom_score_adj)),
            oom_file: self.cgroups.oom_file(&record.cgroup),
            device_cgroup: self.cgroups.unified(&record.cgroup).filter(|_| !security.privileged),
        };
        let written = state::write_json(&bundle.join("config.json"), &spec)
            .and_then(|()| state::write_json(&folder.join(contract::CONFIG), &config))
            .and_then(|()| state::write_json(&folder.join("container.json"), record));
        written.map_err(RuntimeError::io("write the container's state"))
    }

    pub(super) async fn start(self: &Arc<Self>, id: &str) -> Result<()> {
        let entry = self.container(id)?;
        let _busy = entry.busy.lock().await;
        if !matches!(*entry.state.borrow(), State::Created) {
            let state = entry.status().state.name();
            return Err(RuntimeError::StartFailed(format!(
                "container {id:?} is in state {state}, not CONTAINER_CREATED"
            )));
        }
        let (inner, for_cgroup) = (self.clone(), entry.clone());
        blocking(move || {
            let record = &for_cgroup.record;
            let created = inner.cgroups.create(&record.cgroup, &record.spec.resources);
            created.map_err(RuntimeError::io("create the container's cgroup"))
        })
        .await?;
        match self.shim.run(&entry.folder).await? {
            Ok(process) => {
                self.has_started(&entry, process);
                Ok(())
            }
            Err(message) => {
                let exit = state::read_exit(&entry.folder).unwrap_or_else(|| contract::Exit {
                    code: 128,
                    oom: false,
                    message,
                    finished_at: state::now(),
                });
                self.has_ended(&entry, state::exited(exit, None));
                match &*entry.state.borrow() {
                    State::Exited { exit, .. } => Err(RuntimeError::StartFailed(exit.message.clone())),
                    _ => Ok(()),
                }
            }
        }
    }

    fn has_started(self: &Arc<Self>, entry: &Arc<ContainerEntry>, process: Process) {
        entry.state.send_replace(State::Running { process, started_at: SystemTime::now() });
        let (pod_uid, container) = (entry.record.pod.uid.clone(), entry.record.id.clone());
        // before anybody can see it end
        let _ = self.events.send(Event::Started { pod_uid, container });
        self.watch(entry);
    }

    fn has_ended(&self, entry: &ContainerEntry, state: State) {
        let (code, oom) = match &state {
            State::Exited { exit, .. } => (exit.code, exit.oom),
            _ => return,
        };
        entry.state.send_replace(state);
        let (pod_uid, container) = (entry.record.pod.uid.clone(), entry.record.id.clone());
        let _ = self.events.send(Event::Exited { pod_uid, container, code, oom });
    }

    /// Notices the end of a shim. What the shim did not write down is lost, and what it left running is killed.
    fn watch(self: &Arc<Self>, entry: &Arc<ContainerEntry>) {
        let (inner, entry) = (self.clone(), entry.clone());
        tokio::spawn(async move {
            if let Some(shim) = state::read_process(&entry.folder.join(contract::SHIM_PID)) {
                shim::wait(shim).await;
            }
            let (folder, boot_id) = (entry.folder.clone(), entry.record.boot_id.clone());
            let (state, _) = state::read(&folder, &boot_id, &boot_id);
            let state = match state {
                ended @ State::Exited { .. } => ended,
                _ => state::lost(None),
            };
            if !entry.record.own_pids || matches!(state, State::Exited { reason: "ContainerStatusUnknown", .. }) {
                inner.cgroups.kill(&entry.record.cgroup);
            }
            inner.has_ended(&entry, state);
        });
    }

    pub(super) async fn stop(self: &Arc<Self>, id: &str, grace: Duration) -> Result<()> {
        let Ok(entry) = self.container(id) else { return Ok(()) };
        let Some(process) = entry.running() else { return Ok(()) };
        if !grace.is_zero() {
            shim::send(process, entry.record.stop_signal);
            if tokio::time::timeout(grace, entry.exited()).await.is_ok() {
                return Ok(());
            }
        }
        shim::send(process, libc::SIGKILL);
        let killed = tokio::time::timeout(Duration::from_secs(10), entry.exited()).await;
        killed.map_err(|_| RuntimeError::NotRunning { id: id.into(), state: "being killed for more than 10 s" })
    }

    pub(super) async fn remove(self: &Arc<Self>, id: &str) -> Result<()> {
        let Ok(entry) = self.container(id) else { return Ok(()) };
        self.stop(id, Duration::ZERO).await?;
        let _busy = entry.busy.lock().await;
        let (inner, removed) = (self.clone(), entry.clone());
        blocking(move || inner.clear(&removed)).await?;
        self.containers.lock().remove(id);
        Ok(())
    }

    /// Takes away what a container has on the host.
    fn clear(&self, entry: &ContainerEntry) -> Result<()> {
        self.cgroups.remove(&entry.record.cgroup).map_err(RuntimeError::io("remove the container's cgroup"))?;
        unmount(&entry.rootfs());
        self.images.release(&entry.record.id)?;
        remove_folder(&entry.folder)
    }

    /// Reads the state folders; what cannot be read is left alone and told.
    pub(super) fn adopt(self: &Arc<Self>) -> Result<()> {
        for folder in folders(&self.folder.join("sandboxes"))? {
            match state::read_json::<sandbox::SandboxRecord>(&folder.join("sandbox.json")) {
                Ok(mut record) => {
                    record.ready &= record.boot_id == self.host.boot_id;
                    let id = record.id.clone();
                    let entry = SandboxEntry { folder, record: parking_lot::Mutex::new(record) };
                    self.sandboxes.lock().insert(id, Arc::new(entry));
                }
                Err(error) => tracing::warn!(folder = %folder.display(), %error, "sandbox cannot be adopted"),
            }
        }
        for folder in folders(&self.folder.join("containers"))? {
            match state::read_json::<ContainerRecord>(&folder.join("container.json")) {
                Ok(record) => self.adopt_container(folder, record),
                Err(error) => {
                    // an agent that died in `create`: nobody has seen this container
                    tracing::warn!(folder = %folder.display(), %error, "a half-made container is removed");
                    unmount(&folder.join("rootfs"));
                    remove_folder(&folder)?;
                }
            }
        }
        let containers = self.containers.lock();
        let users = containers.values().map(|entry| (entry.record.id.clone(), entry.record.image_id.clone()));
        Ok(self.images.retain(users.collect())?)
    }

    fn adopt_container(self: &Arc<Self>, folder: PathBuf, record: ContainerRecord) {
        let (state, alive) = state::read(&folder, &self.host.boot_id, &record.boot_id);
        let id = record.id.clone();
        let entry = Arc::new(ContainerEntry::new(record, folder, state));
        self.containers.lock().insert(id, entry.clone());
        if alive {
            self.adopt_living(entry);
        }
    }

    /// A shim is alive. If it has not started its container yet (the agent died while it waited), it is waited for.
    fn adopt_living(self: &Arc<Self>, entry: Arc<ContainerEntry>) {
        if entry.running().is_some() {
            self.watch(&entry);
            return;
        }
        let inner = self.clone();
        tokio::spawn(async move {
            let _busy = entry.busy.lock().await;
            for _ in 0..600 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if let Some(process) = state::read_process(&entry.folder.join(contract::INIT_PID)) {
                    return inner.has_started(&entry, process);
                }
                if let Some(exit) = state::read_exit(&entry.folder) {
                    return inner.has_ended(&entry, state::exited(exit, None));
                }
            }
            inner.has_ended(&entry, state::lost(None));
        });
    }

    /// `cgroup.procs` files for an exec.
    pub(super) fn exec_cgroups(&self, entry: &ContainerEntry) -> Vec<PathBuf> {
        match self.cgroups.mode() {
            CgroupMode::V1 | CgroupMode::V2 => self.cgroups.procs(&entry.record.cgroup),
        }
    }
}

/// Where mounts go in the image's own file system. Inside a volume libcontainer makes them; what fails here it reports.
fn make_mount_points(rootfs: &Path, spec: &ContainerSpec) {
    for mount in &spec.mounts {
        let _ = match mount.host_path.is_dir() {
            true => inroot::create_dirs(rootfs, &mount.container_path),
            false => inroot::create_file(rootfs, &mount.container_path),
        };
    }
}

fn folders(parent: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(parent).map_err(RuntimeError::io("read state folders"))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

/// Every device node of the host, for privileged containers; what the container mounts itself is left out.
fn devices(folder: &Path) -> Vec<oci::Device> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, Ok(meta)) = (entry.path(), entry.metadata()) else { continue };
        let name = entry.file_name();
        let own = ["pts", "shm", "mqueue", "fd", "console", "ptmx", "null", "zero", "full", "random", "urandom", "tty"];
        if own.iter().any(|own| name == *own) {
            continue;
        }
        let kind = meta.file_type();
        if kind.is_dir() {
            out.extend(devices(&path));
        } else if kind.is_block_device() || kind.is_char_device() {
            let rdev = meta.rdev();
            let (major, minor) = (nix::sys::stat::major(rdev), nix::sys::stat::minor(rdev));
            out.push(oci::Device { path, block: kind.is_block_device(), major, minor, mode: meta.mode() });
        }
    }
    out
}
