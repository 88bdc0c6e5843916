//! `up`: a control plane and the agent of this machine's node in one process; `down` takes away what `up` left behind.
//! The agent is a client over HTTPS with the node's own certificate, as on any other machine.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use apiserver::config::{Listener, Range};
use client::Api;
use client::http::{Credentials, HttpTransport};
use node::image::{ImageService as _, ImageStore, ImageStoreConfig};
use node::runtime::{Embedded, EmbeddedConfig, PodRuntime, SeccompProfile};
use node::{Agent, volumes::HostMounter};
use registry::bootstrap::first_address;
use tokio_util::sync::CancellationToken;

use crate::flags::{Down, Up};
use crate::server::{DataLock, Node, Running, data_dir};
use crate::{kubeconfig, server};

const CONTEXT: &str = "lanyard";

/// Runs until Ctrl-C or SIGTERM. Pods go on when this ends.
pub(crate) async fn up(flags: &Up) -> anyhow::Result<()> {
    if let Some(missing) = node::host::missing() {
        bail!("{missing}; `lanyard server` starts the control plane alone and needs no privilege");
    }
    if flags.oci_runtime.is_some() {
        bail!("--oci-runtime is not built yet: containers run in the embedded runtime");
    }
    let plan = Plan::of(flags)?;
    let dir = data_dir(flags.server.data.data_dir.as_deref())?;
    let lock = DataLock::take(&dir)?;
    let addresses: Vec<String> = plan.addresses().iter().map(ToString::to_string).collect();
    std::fs::write(dir.join("addresses"), addresses.join("\n"))
        .with_context(|| format!("cannot write below {}", dir.display()))?;
    std::fs::write(dir.join("pod-cidr"), &flags.pod_cidr)
        .with_context(|| format!("cannot write below {}", dir.display()))?;
    node::network::loopback::add(&plan.addresses())?;
    let kubelet = std::net::SocketAddr::from((plan.node_ip, flags.kubelet_port));
    // the agent takes it for good; a port that is taken is said before anything else starts
    drop(
        std::net::TcpListener::bind(kubelet)
            .with_context(|| format!("cannot listen on {kubelet} for the kubelet's API"))?,
    );
    let running = Running::start(&flags.server, plan.node(), lock).await?;
    let shutdown = CancellationToken::new();
    let agent = start_agent(flags, &plan, &running, shutdown.clone()).await?;
    if !flags.no_context {
        let path = kubeconfig::merge_into_users(CONTEXT, &running.access())?;
        tracing::info!("context {CONTEXT} is current in {}", path.display());
    }
    server::say_ready(&running);
    server::wait_for_signal().await?;
    shutdown.cancel();
    let _ = agent.await;
    running.stop().await;
    Ok(())
}

/// Addresses and names, decided before anything is changed.
struct Plan {
    service: IpAddr,
    node_ip: IpAddr,
    node_name: String,
    pods: node::network::Range,
    pod_range: Range,
}

impl Plan {
    fn of(flags: &Up) -> anyhow::Result<Plan> {
        let pods = node::network::Range::parse(&flags.pod_cidr)
            .with_context(|| format!("--pod-cidr: {:?} is no usable range such as 198.18.0.0/24", flags.pod_cidr))?;
        let pod_range = Range::parse(&flags.pod_cidr).context("--pod-cidr: no range")?;
        let (base, _) = server::service_range(&flags.server)?;
        let own = match pod_range.address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4) + 1)),
            v6 => v6,
        };
        let node_name = match &flags.node_name {
            Some(name) => name.clone(),
            None => std::fs::read_to_string("/proc/sys/kernel/hostname")
                .context("cannot read the host name")?
                .trim()
                .to_lowercase(),
        };
        if let Some(wrong) = meta::names::dns1123_subdomain(&node_name).first() {
            bail!("--node-name: {node_name:?}: {wrong}");
        }
        Ok(Plan { service: first_address(base), node_ip: flags.node_ip.unwrap_or(own), node_name, pods, pod_range })
    }

    fn addresses(&self) -> Vec<IpAddr> {
        vec![self.service, self.node_ip]
    }

    fn node(&self) -> Node {
        let sources = vec![
            self.pod_range,
            Range::host(self.service),
            Range::host(self.node_ip),
            Range::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8),
        ];
        Node {
            name: self.node_name.clone(),
            addresses: vec![self.node_name.clone(), self.node_ip.to_string(), "127.0.0.1".into()],
            pods_listener: Some(Listener { address: (self.service, 443).into(), sources: Some(sources) }),
        }
    }
}

async fn start_agent(
    flags: &Up,
    plan: &Plan,
    running: &Running,
    shutdown: CancellationToken,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let dir = &running.dir;
    let images = image_store(dir, &flags.registry_mirror)?;
    import_folder(&images, &dir.join("images")).await;
    let runtime = runtime(dir, plan.pods, images.clone())?;
    let (Some(client), Some(serving)) = (&running.pki.node_client, &running.pki.node_server) else {
        bail!("the node has no certificate");
    };
    let authority = running.pki.authority.certificate();
    let credentials =
        Credentials::Certificate { chain: client.certificate.clone().into(), key: client.key.clone().into() };
    let api = Api::new(HttpTransport::new(&running.url, running.serving_authority().as_bytes(), credentials)?);
    let config = node::Config {
        name: plan.node_name.clone(),
        node_ips: vec![plan.node_ip],
        api,
        runtime: Arc::new(runtime),
        images: Arc::new(images),
        mounter: Arc::new(HostMounter),
        capacity: node::resources::Capacity::of_this_machine(dir),
        server: Some(node::server::Config {
            address: (plan.node_ip, flags.kubelet_port).into(),
            certificate: serving.certificate.clone().into(),
            key: serving.key.clone().into(),
            client_ca: authority.into(),
        }),
        pods_dir: dir.join("pods"),
        log_dir: dir.join("logs/pods"),
        labels: Vec::new(),
        seccomp_default: SeccompProfile::Unconfined,
        pids_limit: 0,
        cluster_domain: "cluster.local".into(),
        version: format!("v1.37.2+lanyard.{}", env!("CARGO_PKG_VERSION")),
        refresh: Duration::from_secs(30),
    };
    Ok(tokio::spawn(async move {
        if let Err(error) = Agent::run(config, shutdown).await {
            tracing::error!("the node agent ended: {error}");
        }
    }))
}

pub(crate) fn image_store(dir: &Path, mirrors: &[String]) -> anyhow::Result<ImageStore> {
    let mut map = std::collections::BTreeMap::new();
    for mirror in mirrors {
        let (name, url) =
            mirror.split_once('=').with_context(|| format!("--registry-mirror: {mirror:?} is not NAME=URL"))?;
        map.insert(name.to_owned(), url.to_owned());
    }
    Ok(ImageStore::open(ImageStoreConfig { folder: dir.join("images"), mirrors: map })?)
}

/// Imports `DIR/images/*.tar`; a broken archive is logged and left.
async fn import_folder(images: &ImageStore, dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|x| x == "tar")) {
        match images.import(path.clone()).await {
            Ok(done) => tracing::info!(images = done.len(), "imported {}", path.display()),
            Err(error) => tracing::warn!("cannot import {}: {error}", path.display()),
        }
    }
}

fn runtime(dir: &Path, pods: node::network::Range, images: ImageStore) -> anyhow::Result<Embedded> {
    let config = EmbeddedConfig {
        folder: dir.join("runtime"),
        instance: EmbeddedConfig::instance_of(dir),
        pod_range: pods,
        mtu: 1400,
    };
    Ok(Embedded::open(config, images)?)
}

/// Stops the pods and takes away what `up` changed; with `purge` also the folder.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) async fn down(flags: &Down) -> anyhow::Result<()> {
    let dir = data_dir(flags.data.data_dir.as_deref())?;
    if !dir.exists() {
        println!("nothing to take down: {} does not exist", dir.display());
        return Ok(());
    }
    let lock = DataLock::take(&dir)?;
    if server::is_root() && dir.join("runtime").exists() {
        let pods = pod_range(&dir)?;
        runtime(&dir, pods, image_store(&dir, &[])?)?.teardown_all().await?;
    }
    if server::is_root() {
        node::volumes::unmount_all(&dir.join("pods"))?;
        node::network::loopback::remove(&host_addresses(&dir))?;
    }
    kubeconfig::remove_from_users(CONTEXT)?;
    drop(lock);
    if let Some(point) = node::volumes::mounted_below(&dir).first().filter(|_| flags.purge) {
        bail!("{} is still mounted: unmount it before the folder is deleted", point.display());
    }
    if flags.purge {
        std::fs::remove_dir_all(&dir).with_context(|| format!("cannot delete {}", dir.display()))?;
    }
    Ok(())
}

/// The pod range that `up` wrote down; an older folder without it had the default.
fn pod_range(dir: &Path) -> anyhow::Result<node::network::Range> {
    let text = std::fs::read_to_string(dir.join("pod-cidr")).unwrap_or_default();
    node::network::Range::parse(text.trim())
        .or_else(|| node::network::Range::parse("198.18.0.0/24"))
        .context("no pod range is known")
}

/// What `up` wrote down of the addresses it put on `lo`.
fn host_addresses(dir: &Path) -> Vec<IpAddr> {
    let text = std::fs::read_to_string(dir.join("addresses")).unwrap_or_default();
    text.lines().filter_map(|l| l.trim().parse().ok()).collect()
}

/// How many containers the node's folder knows.
pub(crate) fn count_containers(dir: &Path) -> anyhow::Result<usize> {
    let folder = dir.join("runtime/containers");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.count())
}
