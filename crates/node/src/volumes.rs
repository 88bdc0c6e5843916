//! The volumes of one pod on this host: folders, tmpfs, files made of API objects. Nothing here talks to the API server;
//! what it says is handed in as `Sources`.
//!
//! ```text
//! PODS/<uid>/volumes/kubernetes.io~projected/<name>/   tmpfs: ..data ▶ ..2026_…/, token ▶ ..data/token
//!           /volume-subpaths/<volume>/<container>/<n>  bind mount of what a subPath names
//!           /etc-hosts, /containers/<name>/<id>        files that are mounted into containers
//! ```

mod atomic;
mod host_path;
mod mounter;
mod payload;
mod sub_path;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    env,
    pod::{Container, Pod, Volume},
    resources::{self, Capacity},
    runtime::{Mount, Propagation},
    sources::Sources,
};

pub use mounter::{HostMounter, Mounter};

/// The volumes of one pod.
pub struct PodVolumes {
    dir: PathBuf,
    mounter: Arc<dyn Mounter>,
}

/// What the content of files is made of, beside the API's objects.
pub struct Facts<'a> {
    pub host_ips: &'a [String],
    pub pod_ips: &'a [String],
    pub capacity: Capacity,
}

impl PodVolumes {
    /// For the pod of that uid below the folder of all pods.
    pub fn new(pods: &Path, uid: &str, mounter: Arc<dyn Mounter>) -> Self {
        PodVolumes { dir: pods.join(uid), mounter }
    }

    /// The pod's own folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Brings every volume into being and its files up to date. The error is upstream's event text.
    pub fn set_up(&self, pod: &Pod, sources: &Sources, facts: &Facts<'_>) -> Result<(), String> {
        std::fs::create_dir_all(&self.dir).map_err(|e| format!("error making pod data directories: {e}"))?;
        for volume in &pod.spec.volumes {
            self.set_up_one(pod, volume, sources, facts)
                .map_err(|cause| format!("MountVolume.SetUp failed for volume {:?} : {cause}", volume.name))?;
        }
        Ok(())
    }

    fn set_up_one(&self, pod: &Pod, volume: &Volume, sources: &Sources, facts: &Facts<'_>) -> Result<(), String> {
        if let Some(host) = &volume.host_path {
            return host_path::check(host);
        }
        let path = self.path(volume);
        let fs_group = pod.spec.security_context.fs_group.and_then(|g| u32::try_from(g).ok());
        let owner = Owner { user: pod.common_run_as_user(), group: fs_group };
        if let Some(empty) = &volume.empty_dir {
            return self
                .empty_dir(pod, &path, empty.medium == "Memory", empty.size_limit.as_deref(), fs_group, facts)
                .map_err(text);
        }
        let content = payload::of(pod, volume, sources, facts, &owner)?;
        if volume.config_map.is_some() {
            std::fs::create_dir_all(&path).map_err(text)?;
        } else {
            self.ensure_tmpfs(&path, memory_size(pod, None, facts)).map_err(text)?;
        }
        atomic::write(&path, &content, &owner, &*self.mounter).map_err(text)
    }

    fn empty_dir(
        &self,
        pod: &Pod,
        path: &Path,
        memory: bool,
        limit: Option<&str>,
        fs_group: Option<u32>,
        facts: &Facts<'_>,
    ) -> io::Result<()> {
        let fresh = !path.exists();
        if memory {
            self.ensure_tmpfs(path, memory_size(pod, limit, facts))?;
        } else {
            std::fs::create_dir_all(path)?;
        }
        if fresh {
            set_mode(path, 0o777)?;
            if let Some(group) = fs_group {
                self.mounter.own(path, None, Some(group))?;
                set_mode(path, 0o2777)?;
            }
        }
        Ok(())
    }

    fn ensure_tmpfs(&self, path: &Path, size: i64) -> io::Result<()> {
        std::fs::create_dir_all(path)?;
        if self.mounter.is_mounted(path) {
            return Ok(());
        }
        let options = if size > 0 { format!("size={size},mode=0755") } else { "mode=0755".to_owned() };
        self.mounter.tmpfs(path, &options)
    }

    /// The folder of a volume on the host.
    pub fn path(&self, volume: &Volume) -> PathBuf {
        if let Some(host) = &volume.host_path {
            return PathBuf::from(&host.path);
        }
        let plugin = match volume {
            v if v.config_map.is_some() => "kubernetes.io~configmap",
            v if v.secret.is_some() => "kubernetes.io~secret",
            v if v.downward_api.is_some() => "kubernetes.io~downward-api",
            v if v.projected.is_some() => "kubernetes.io~projected",
            _ => "kubernetes.io~empty-dir",
        };
        self.dir.join("volumes").join(plugin).join(&volume.name)
    }

    /// The mounts of a container, subPaths resolved.
    pub fn mounts(&self, pod: &Pod, container: &Container, vars: &[(String, String)]) -> Result<Vec<Mount>, String> {
        let mut mounts = Vec::new();
        for (n, wanted) in container.volume_mounts.iter().enumerate() {
            let volume = pod.spec.volumes.iter().find(|v| v.name == wanted.name);
            let volume = volume.ok_or_else(|| {
                format!("cannot find volume {:?} to mount into container {:?}", wanted.name, container.name)
            })?;
            let sub_path = match wanted.sub_path_expr.as_str() {
                "" => wanted.sub_path.clone(),
                expression => env::expand_sub_path(expression, vars)?,
            };
            let mut host_path = self.path(volume);
            if !sub_path.is_empty() {
                let target =
                    self.dir.join("volume-subpaths").join(&volume.name).join(&container.name).join(n.to_string());
                sub_path::check(&sub_path)?;
                sub_path::bind(&host_path, &sub_path, &target, &*self.mounter).map_err(|error| {
                    tracing::warn!(%error, volume = volume.name, "failed to prepare a subPath");
                    format!(
                        "failed to prepare subPath for volumeMount {:?} of container {:?}",
                        wanted.name, container.name
                    )
                })?;
                host_path = target;
            }
            let generated = !(volume.empty_dir.is_some() || volume.host_path.is_some());
            mounts.push(Mount {
                host_path,
                container_path: absolute(&wanted.mount_path),
                readonly: wanted.read_only || generated,
                propagation: match wanted.mount_propagation.as_deref() {
                    Some("HostToContainer") => Propagation::HostToContainer,
                    Some("Bidirectional") => Propagation::Bidirectional,
                    _ => Propagation::Private,
                },
            });
        }
        Ok(mounts)
    }

    /// Takes the volumes away; termination logs stay. Can be repeated.
    pub fn tear_down(&self) -> io::Result<()> {
        self.unmount()?;
        for target in three_levels(&self.dir.join("volume-subpaths")) {
            // never recursive: what was mounted here may be the host's
            if target.is_dir() { std::fs::remove_dir(&target)? } else { remove_file(&target)? }
        }
        remove_tree(&self.dir.join("volume-subpaths"))?;
        remove_tree(&self.dir.join("volumes"))
    }

    /// Takes the mounts away, files on disk stay.
    fn unmount(&self) -> io::Result<()> {
        for target in three_levels(&self.dir.join("volume-subpaths")) {
            self.mounter.unmount(&target)?;
        }
        for plugin in entries(&self.dir.join("volumes")) {
            for volume in entries(&plugin) {
                self.mounter.unmount(&volume)?;
            }
        }
        // a container may have mounted something into its volume (Bidirectional): nothing of the host's may be deleted
        for point in self.mounter.mounted_below(&self.dir) {
            self.mounter.unmount(&point)?;
        }
        Ok(())
    }

    /// Takes everything of the pod away. Can be repeated.
    pub fn remove(&self) -> io::Result<()> {
        self.tear_down()?;
        remove_tree(&self.dir)
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes away what pods below that folder have mounted on the host; nothing of them may run any more. What emptyDirs
/// have on disk stays.
pub fn unmount_all(pods: &Path) -> io::Result<()> {
    for dir in entries(pods) {
        PodVolumes { dir, mounter: Arc::new(HostMounter) }.unmount()?;
    }
    Ok(())
}

/// What is still mounted below a folder.
pub fn mounted_below(dir: &Path) -> Vec<PathBuf> {
    HostMounter.mounted_below(dir)
}

/// Who generated files belong to.
pub(crate) struct Owner {
    /// The one runAsUser of all containers.
    pub user: Option<u32>,
    /// fsGroup
    pub group: Option<u32>,
}

/// The largest that a tmpfs may get: its own limit, the pod's memory limits, the node's memory.
fn memory_size(pod: &Pod, limit: Option<&str>, facts: &Facts<'_>) -> i64 {
    let pod_limit = resources::of_pod(pod).memory_limit;
    let own = limit.and_then(|l| resources::scaled(l, 0)).unwrap_or(0);
    [own, pod_limit, facts.capacity.memory].into_iter().filter(|n| *n > 0).min().unwrap_or(0)
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).map(|all| all.flatten().map(|e| e.path()).collect()).unwrap_or_default()
}

fn three_levels(dir: &Path) -> Vec<PathBuf> {
    entries(dir).iter().flat_map(|a| entries(a)).flat_map(|b| entries(&b)).collect()
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Names of the objects that a pod's volumes and variables need.
pub fn wanted(pod: &Pod) -> crate::sources::Wanted {
    let mut wanted = crate::sources::Wanted::default();
    for volume in &pod.spec.volumes {
        wanted.config_maps.extend(volume.config_map.iter().map(|c| c.name.clone()));
        wanted.secrets.extend(volume.secret.iter().map(|s| s.secret_name.clone()));
        for source in volume.projected.iter().flat_map(|p| &p.sources) {
            wanted.config_maps.extend(source.config_map.iter().map(|c| c.name.clone()));
            wanted.secrets.extend(source.secret.iter().map(|s| s.secret_name.clone()));
            wanted.tokens.extend(source.service_account_token.clone());
        }
    }
    wanted
}

#[cfg(test)]
mod tests;
