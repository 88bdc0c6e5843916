//! `Agent`: registers the node, follows the pods that are bound to it, gives each a worker, tells workers what the
//! runtime reports, serves the kubelet's API. When it ends, containers go on; the next one finds them by `list`.

mod pods;

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use client::{Api, Informer, Recorder, SERVICES, Scope};
use document::Object;
use tokio_util::sync::CancellationToken;

use crate::{
    convert,
    env::{Service, ServicePort},
    image::ImageService,
    lifecycle::context::Context,
    registration,
    resources::Capacity,
    runtime::{PodRuntime, SeccompProfile},
    server,
    volumes::Mounter,
};

pub use pods::Pods;

/// What the agent is told. It reads no file and no flag but those.
pub struct Config {
    /// metadata.name of the Node.
    pub name: String,
    /// Addresses of the node, the primary first.
    pub node_ips: Vec<IpAddr>,
    /// The client, with the identity `system:node:<name>`.
    pub api: Api,
    pub runtime: Arc<dyn PodRuntime>,
    pub images: Arc<dyn ImageService>,
    pub mounter: Arc<dyn Mounter>,
    /// What the node has; see `Capacity::of_this_machine`.
    pub capacity: Capacity,
    /// The kubelet's HTTPS API; none: not served (tests).
    pub server: Option<server::Config>,
    /// Folder of pods' volumes; mounts are made below.
    pub pods_dir: PathBuf,
    /// Folder of pods' logs: `<namespace>_<name>_<uid>/<container>/<n>.log` below it.
    pub log_dir: PathBuf,
    /// Labels to register with, beside hostname, os and arch.
    pub labels: Vec<(String, String)>,
    /// Profile of containers that name none.
    pub seccomp_default: SeccompProfile,
    /// Processes per container; 0 is unlimited.
    pub pids_limit: i64,
    pub cluster_domain: String,
    /// What nodeInfo.kubeletVersion says.
    pub version: String,
    /// How often ConfigMaps and Secrets of running pods are looked at again.
    pub refresh: Duration,
}

/// Why the agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("failed to make {path}: {source}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("failed to serve the kubelet API: {0}")]
    Server(#[from] server::ServeError),
}

/// The node agent.
pub struct Agent;

impl Agent {
    /// Works until told to stop. Failures of single pods or requests never end it.
    pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), AgentError> {
        for path in [&config.pods_dir, &config.log_dir] {
            std::fs::create_dir_all(path).map_err(|source| AgentError::Folder { path: path.clone(), source })?;
        }
        let context = Arc::new(context(&config));
        let listener = match &config.server {
            Some(server) => Some(server::bind(server).await?),
            None => None,
        };
        let port = listener.as_ref().map_or(0, |l| l.port());
        let registered = registration::Registration::new(&config, port, context.recorder.clone());
        let registering = tokio::spawn(registered.run(shutdown.clone()));
        let pods = Pods::new(context.clone());
        let serving = listener.map(|listener| {
            tokio::spawn(server::serve(listener, server::Shared::new(&config, pods.clone()), shutdown.clone()))
        });
        // a pod that starts before services are known would lack its way to the API
        tokio::select! {
            () = context.services.synced() => {}
            () = shutdown.cancelled() => {}
        }
        pods.run(shutdown.clone()).await;
        registering.abort();
        if let Some(serving) = serving {
            serving.abort();
        }
        Ok(())
    }
}

fn context(config: &Config) -> Context {
    Context {
        node: config.name.clone(),
        api: config.api.clone(),
        runtime: config.runtime.clone(),
        images: config.images.clone(),
        mounter: config.mounter.clone(),
        recorder: Recorder::new(config.api.clone(), "kubelet", config.name.clone()),
        services: Informer::start(&config.api, Scope::all(SERVICES), service),
        host_ips: config.node_ips.iter().map(ToString::to_string).collect(),
        capacity: config.capacity,
        seccomp_default: config.seccomp_default.clone(),
        pids_limit: config.pids_limit,
        cluster_domain: config.cluster_domain.clone(),
        pods_dir: config.pods_dir.clone(),
        log_dir: config.log_dir.clone(),
        refresh: config.refresh,
    }
}

fn service(object: &Arc<Object>) -> Service {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct View {
        spec: Spec,
    }
    #[derive(Default, serde::Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Spec {
        #[serde(rename = "clusterIP")]
        cluster_ip: String,
        ports: Vec<Port>,
    }
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Port {
        name: String,
        protocol: String,
        port: i64,
    }
    let view: View = convert::typed_object(object).unwrap_or_default();
    let ports = view.spec.ports.into_iter();
    Service {
        namespace: object.key.namespace.to_string(),
        name: object.key.name.to_string(),
        cluster_ip: view.spec.cluster_ip,
        ports: ports.map(|p| ServicePort { name: p.name, protocol: p.protocol, port: p.port }).collect(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
