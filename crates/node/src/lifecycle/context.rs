//! What every worker shares: the ports to API, runtime and images, and what the node is.

use std::{path::PathBuf, sync::Arc};

use client::{Api, Informer, Recorder, events::Reference};

use crate::{
    env::Service,
    image::ImageService,
    pod::{ContainerKind, Pod},
    resources::Capacity,
    runtime::{PodRuntime, SeccompProfile},
    volumes::Mounter,
};

/// Shared by all workers.
pub(crate) struct Context {
    pub node: String,
    pub api: Api,
    pub runtime: Arc<dyn PodRuntime>,
    pub images: Arc<dyn ImageService>,
    pub mounter: Arc<dyn Mounter>,
    pub recorder: Recorder,
    pub services: Informer<Service>,
    pub host_ips: Vec<String>,
    pub capacity: Capacity,
    pub seccomp_default: SeccompProfile,
    pub pids_limit: i64,
    pub cluster_domain: String,
    /// Folder of pods' volumes.
    pub pods_dir: PathBuf,
    /// Folder of pods' logs.
    pub log_dir: PathBuf,
    /// How often ConfigMaps and Secrets of running pods are looked at again.
    pub refresh: std::time::Duration,
}

impl Context {
    /// An event about the pod.
    pub(crate) fn pod_event(&self, pod: &Pod, warning: bool, reason: &str, message: impl Into<String>) {
        self.event(&reference(pod), warning, reason, message.into());
    }

    /// An event about one container.
    pub(crate) fn container_event(
        &self,
        pod: &Pod,
        kind: ContainerKind,
        name: &str,
        warning: bool,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.event(&reference(pod).at(kind.field_path(name)), warning, reason, message.into());
    }

    fn event(&self, about: &Reference, warning: bool, reason: &str, message: String) {
        if warning {
            self.recorder.warning(about, reason, message);
        } else {
            self.recorder.normal(about, reason, message);
        }
    }
}

fn reference(pod: &Pod) -> Reference {
    Reference {
        kind: "Pod".into(),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        api_version: "v1".into(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: String::new(),
    }
}
