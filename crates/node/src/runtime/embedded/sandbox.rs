//! Sandboxes: what the containers of a pod share.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Inner, blocking, new_id, state};
use crate::{
    image::mount::unmount,
    network::PodNetwork,
    runtime::{DnsConfig, NamespaceMode, Result, RuntimeError, Sandbox, SandboxSpec, SandboxState},
};

/// `sandbox.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SandboxRecord {
    pub(super) id: String,
    pub(super) spec: SandboxSpec,
    pub(super) ips: Vec<IpAddr>,
    pub(super) created_at: u64,
    pub(super) boot_id: String,
    pub(super) ready: bool,
}

/// A sandbox.
pub(super) struct SandboxEntry {
    pub(super) folder: PathBuf,
    pub(super) record: Mutex<SandboxRecord>,
}

impl SandboxEntry {
    pub(super) fn status(&self) -> Sandbox {
        let record = self.record.lock();
        Sandbox {
            id: record.id.clone(),
            pod: record.spec.pod.clone(),
            attempt: record.spec.attempt,
            state: if record.ready { SandboxState::Ready } else { SandboxState::NotReady },
            ips: record.ips.clone(),
            created_at: state::time(record.created_at),
            labels: record.spec.labels.clone(),
        }
    }

    pub(super) fn spec(&self) -> SandboxSpec {
        self.record.lock().spec.clone()
    }

    fn save(&self) -> io::Result<()> {
        let record = self.record.lock().clone();
        state::write_json(&self.folder.join("sandbox.json"), &record)
    }
}

/// Upstream's safe sysctls: of the pod's own namespaces. Any other may be the whole host's (`kernel.core_pattern` is a
/// command that the host's root runs), so it is refused.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// A pod's cgroup below the instance's.
pub(super) fn cgroup(spec: &SandboxSpec) -> String {
    format!("kubepods/{}", spec.cgroup)
}

fn check(spec: &SandboxSpec) -> Result<()> {
    let part = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    if !spec.cgroup.split('/').all(part) {
        return Err(RuntimeError::InvalidSpec(format!("cgroup {:?} is not a relative path", spec.cgroup)));
    }
    if !part(&spec.pod.uid) || spec.pod.uid.contains('/') {
        return Err(RuntimeError::InvalidSpec(format!("pod uid {:?} cannot be a file name", spec.pod.uid)));
    }
    match spec.sysctls.keys().find(|name| !SAFE_SYSCTLS.contains(&name.replace('/', ".").as_str())) {
        Some(name) => Err(RuntimeError::InvalidSpec(format!("forbidden sysctl: {name:?} not allowlisted"))),
        None => Ok(()),
    }
}

impl Inner {
    pub(super) async fn run_sandbox(self: &Arc<Self>, spec: &SandboxSpec) -> Result<Sandbox> {
        check(spec)?;
        let same = |entry: &&Arc<SandboxEntry>| {
            let record = entry.record.lock();
            record.ready && record.spec.pod.uid == spec.pod.uid && record.spec.attempt == spec.attempt
        };
        if let Some(entry) = self.sandboxes.lock().values().find(same) {
            return Ok(entry.status());
        }
        let record = SandboxRecord {
            id: new_id()?,
            spec: spec.clone(),
            ips: Vec::new(),
            created_at: state::now(),
            boot_id: self.host.boot_id.clone(),
            ready: false,
        };
        let folder = self.folder.join("sandboxes").join(&record.id);
        let entry = Arc::new(SandboxEntry { folder, record: Mutex::new(record) });
        let id = entry.record.lock().id.clone();
        self.sandboxes.lock().insert(id.clone(), entry.clone());
        match self.set_up(&entry, spec).await {
            Ok(()) => Ok(entry.status()),
            Err(error) => {
                let _ = self.remove_sandbox(&id).await;
                Err(error)
            }
        }
    }

    async fn set_up(self: &Arc<Self>, entry: &Arc<SandboxEntry>, spec: &SandboxSpec) -> Result<()> {
        let (inner, prepared) = (self.clone(), entry.clone());
        blocking(move || inner.prepare(&prepared)).await?;
        if spec.network == NamespaceMode::Own {
            let attached = self.network.add(&spec.pod.uid).await.map_err(|error| RuntimeError::Network {
                sandbox: entry.record.lock().id.clone(),
                cause: error.to_string(),
            })?;
            entry.record.lock().ips = attached.ips;
        }
        entry.record.lock().ready = true;
        entry.save().map_err(RuntimeError::io("write sandbox.json"))
    }

    fn prepare(&self, entry: &SandboxEntry) -> Result<()> {
        let (folder, spec) = (&entry.folder, entry.spec());
        state::private_folder(folder).map_err(RuntimeError::io("create the sandbox's folder"))?;
        entry.save().map_err(RuntimeError::io("write sandbox.json"))?;
        let resolv = spec.dns.as_ref().map_or_else(host_resolv_conf, resolv_conf);
        fs::write(folder.join("resolv.conf"), resolv).map_err(RuntimeError::io("write resolv.conf"))?;
        let hostname = format!("{}\n", spec.hostname);
        fs::write(folder.join("hostname"), hostname).map_err(RuntimeError::io("write hostname"))?;
        if spec.ipc == NamespaceMode::Own {
            shared_memory(&folder.join("shm")).map_err(RuntimeError::io("mount /dev/shm"))?;
            pin_ipc(&folder.join("ipc")).map_err(RuntimeError::io("create the pod's ipc namespace"))?;
        }
        let created = self.cgroups.create(&cgroup(&spec), &spec.resources);
        created.map_err(RuntimeError::io("create the pod's cgroup"))
    }

    pub(super) async fn stop_sandbox(self: &Arc<Self>, id: &str) -> Result<()> {
        let Ok(entry) = self.sandbox(id) else { return Ok(()) };
        let stops = self.containers_of(id).into_iter().map(|container| {
            let inner = self.clone();
            async move { inner.stop(&container.record.id, Duration::ZERO).await }
        });
        futures::future::try_join_all(stops).await?;
        let spec = entry.spec();
        let was_ready = std::mem::replace(&mut entry.record.lock().ready, false);
        let others = self.sandboxes.lock().values().any(|other| {
            let record = other.record.lock();
            record.ready && record.spec.pod.uid == spec.pod.uid
        });
        if spec.network == NamespaceMode::Own && !others {
            self.network
                .del(&spec.pod.uid)
                .await
                .map_err(|error| RuntimeError::Network { sandbox: id.into(), cause: error.to_string() })?;
        }
        match was_ready {
            true => entry.save().map_err(RuntimeError::io("write sandbox.json")),
            false => Ok(()),
        }
    }

    pub(super) async fn remove_sandbox(self: &Arc<Self>, id: &str) -> Result<()> {
        let Ok(entry) = self.sandbox(id) else { return Ok(()) };
        self.stop_sandbox(id).await?;
        for container in self.containers_of(id) {
            self.remove(&container.record.id).await?;
        }
        let (inner, removed) = (self.clone(), entry.clone());
        blocking(move || inner.dissolve(&removed)).await?;
        self.sandboxes.lock().remove(id);
        Ok(())
    }

    fn dissolve(&self, entry: &SandboxEntry) -> Result<()> {
        unmount(&entry.folder.join("shm"));
        unmount(&entry.folder.join("ipc"));
        let spec = entry.spec();
        let shared = self.sandboxes.lock().values().filter(|other| other.spec().pod.uid == spec.pod.uid).count() > 1;
        if !shared {
            self.cgroups.remove(&cgroup(&spec)).map_err(RuntimeError::io("remove the pod's cgroup"))?;
        }
        remove_folder(&entry.folder)
    }

    pub(super) async fn teardown_all(self: &Arc<Self>) -> Result<()> {
        let ids: Vec<_> = self.sandboxes.lock().keys().cloned().collect();
        let removals = ids.iter().map(|id| self.remove_sandbox(id));
        futures::future::try_join_all(removals).await?;
        let torn = self.network.teardown_all().await;
        torn.map_err(|error| RuntimeError::Network { sandbox: "all".into(), cause: error.to_string() })?;
        let inner = self.clone();
        blocking(move || {
            let _ = fs::remove_dir(&inner.run);
            inner.cgroups.remove_all().map_err(RuntimeError::io("remove cgroups"))
        })
        .await
    }
}

/// Removes a state folder; gone is fine.
pub(super) fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RuntimeError::io("remove a state folder")(error)),
        _ => Ok(()),
    }
}

fn host_resolv_conf() -> String {
    fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
}

fn resolv_conf(dns: &DnsConfig) -> String {
    let mut out = String::new();
    if !dns.searches.is_empty() {
        out.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        out.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        out.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    out
}

fn shared_memory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("shm"), path, Some("tmpfs"), flags, Some("mode=1777,size=65536k"))?)
}

/// An IPC namespace that lives as long as the bind mount on `path`.
fn pin_ipc(path: &Path) -> io::Result<()> {
    fs::File::create(path)?;
    let path = path.to_owned();
    let thread = std::thread::spawn(move || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWIPC)?;
        Ok(mount(Some("/proc/thread-self/ns/ipc"), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
    });
    thread.join().map_err(|_| io::Error::other("the thread died"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_has_upstreams_order() {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        let dns = DnsConfig { servers: list(&["1.1.1.1"]), searches: list(&["a", "b"]), options: list(&["ndots:5"]) };
        assert_eq!(resolv_conf(&dns), "search a b\nnameserver 1.1.1.1\noptions ndots:5\n");
        assert_eq!(resolv_conf(&DnsConfig::default()), "");
    }

    #[test]
    fn a_cgroup_may_not_lead_elsewhere() {
        let spec = |cgroup: &str, uid: &str| {
            let mut spec = SandboxSpec { cgroup: cgroup.into(), ..Default::default() };
            spec.pod.uid = uid.into();
            check(&spec).is_ok()
        };
        assert!(spec("burstable/podx", "x"));
        for (cgroup, uid) in [("", "x"), ("../x", "x"), ("/x", "x"), ("a//b", "x"), ("a", ""), ("a", "../x")] {
            assert!(!spec(cgroup, uid), "{cgroup} {uid}");
        }
    }
}
