//! From flags to a running control plane: files read or made, the API server assembled, controllers and scheduler
//! started under their own names.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use apiserver::assembly::{Assembled, Parts, assemble};
use apiserver::config::{Config, KubeletClient, Listener};
use apiserver::local::Local;
use client::Api;
use issuer::{Names, Pki, SigningKey, TokenSigner};
use meta::UserInfo;
use registry::bootstrap::first_address;
use tokio::task::JoinHandle;

use crate::files::{self, Files};
use crate::flags::{ServerFlags, Storage};
use crate::kubeconfig::{self, Access};
use crate::reload::{Reloader, Watched};
use crate::signing::Authorities;

/// What `up` adds to a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub name: String,
    /// Addresses that the kubelet's certificate names.
    pub addresses: Vec<String>,
    /// The pods' side of the API server: taken only from these ranges.
    pub pods_listener: Option<Listener>,
}

/// A control plane that serves.
pub(crate) struct Running {
    pub pki: Pki,
    /// `https://host:port` for this machine.
    pub url: String,
    pub dir: PathBuf,
    root_ca: String,
    /// Sign certificates for approved requests.
    authorities: Authorities,
    assembled: Arc<Loops>,
    serving: JoinHandle<()>,
    reloading: JoinHandle<()>,
    loops: Vec<JoinHandle<()>>,
    shutdown: apiserver::server::Shutdown,
    stop_loops: tokio::sync::watch::Sender<bool>,
    /// How long everything goes on once the end has begun.
    delay: Duration,
    _lock: DataLock,
}

/// What the loops need to reach the server in process.
struct Loops {
    registry: Arc<registry::Registry>,
    gate: Arc<gate::Gate>,
    insiders: Arc<gate::Insiders>,
    store: store::Store,
}

impl Loops {
    fn api(&self, user: UserInfo) -> Api {
        Api::new(Local::new(self.gate.clone(), self.registry.clone(), self.insiders.clone(), user))
    }
}

/// Default data folder: the system's for root, the user's otherwise.
pub(crate) fn data_dir(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(dir) = given {
        return Ok(std::path::absolute(dir)?);
    }
    if is_root() {
        return Ok("/var/lib/lanyard".into());
    }
    let home = std::env::var_os("HOME").context("HOME is not set; name a folder with --data-dir")?;
    Ok(Path::new(&home).join(".local/share/lanyard"))
}

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

impl Running {
    /// Starts the control plane; it answers when this returns.
    pub(crate) async fn start(flags: &ServerFlags, node: Node, lock: DataLock) -> anyhow::Result<Running> {
        let dir = data_dir(flags.data.data_dir.as_deref())?;
        log_flags_without_effect(flags);
        let service_range = service_range(flags)?;
        let pki = make_pki(flags, &dir, &node, service_range)?;
        // before the files are read: what changes from here on is noticed
        let watched = Watched::new(flags);
        let signing = files::signing_key(flags, &dir)?;
        let authorities = Authorities::read(flags, &pki)?;
        let files = Files::read(flags, &pki, &signing)?;
        let url = format!("https://{}", host_port(flags.bind_address, flags.secure_port));
        let parts = parts(flags, &node, &dir, &pki, &files, signing, service_range)?;
        let Assembled { server, registry, gate, store, insiders } = assemble(parts).await?;
        let assembled = Arc::new(Loops { registry, gate, insiders, store });
        let (shutdown, ends) = apiserver::server::Shutdown::new();
        let reloader = Reloader {
            flags: flags.clone(),
            dir: dir.clone(),
            pki: pki.clone(),
            registry: assembled.registry.clone(),
            server: server.reload(),
            authorities: authorities.clone(),
            watched,
        };
        let serving = tokio::spawn(server.serve(ends));
        let (stop_loops, _) = tokio::sync::watch::channel(false);
        let mut running = Running {
            pki,
            url,
            dir,
            root_ca: files.root_ca,
            authorities,
            assembled,
            serving,
            reloading: tokio::spawn(reloader.run()),
            loops: Vec::new(),
            shutdown,
            stop_loops,
            delay: flags.shutdown_delay_duration,
            _lock: lock,
        };
        running.write_admin_kubeconfig()?;
        running.start_loops(flags)?;
        Ok(running)
    }

    /// How the administrator of this machine connects.
    pub(crate) fn access(&self) -> Access<'_> {
        Access {
            server: self.url.clone(),
            authority: &self.root_ca,
            certificate: &self.pki.admin.certificate,
            key: &self.pki.admin.key,
        }
    }

    /// Ends in order: `/readyz` fails at once while all goes on for the delay; then loops and requests end, then the store.
    pub(crate) async fn stop(self) {
        self.reloading.abort();
        self.shutdown.begin();
        tokio::time::sleep(self.delay).await;
        self.stop_loops.send_replace(true);
        for task in self.loops {
            let _ = task.await;
        }
        let _ = self.serving.await;
        let store = self.assembled.store.clone();
        // waits until the log is closed
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }

    fn write_admin_kubeconfig(&self) -> anyhow::Result<()> {
        kubeconfig::write(&self.dir.join("admin.kubeconfig"), "lanyard", &self.access())
    }

    /// The authority that signed the certificate which `url` presents.
    pub(crate) fn serving_authority(&self) -> &str {
        &self.root_ca
    }

    fn start_loops(&mut self, flags: &ServerFlags) -> anyhow::Result<()> {
        let signer = self.assembled.registry.signer().clone();
        let sign = move |token: controllers::LegacyToken| {
            let account = issuer::Reference { name: token.account, uid: token.account_uid };
            signer.sign_legacy(&token.namespace, &token.secret, &account).ok()
        };
        let (authorities, signers) = (self.authorities.clone(), self.authorities.signers());
        let most = i64::try_from(flags.cluster_signing_duration.as_secs()).unwrap_or(i64::MAX);
        let sign_certificate = move |wanted: &controllers::CertificateToSign| authorities.sign(wanted, most);
        let config = controllers::Config {
            selection: controllers::Selection::parse(&flags.controllers)?,
            root_ca: self.root_ca.as_str().into(),
            sign_legacy_token: Some(Arc::new(sign)),
            automatic_token_secrets: flags.legacy_service_account_token_auto_generation,
            legacy_token_clean_up_period: flags.legacy_service_account_token_clean_up_period,
            sign_certificate: Some(Arc::new(sign_certificate)),
            certificate_signers: signers.into(),
        };
        let loops = self.assembled.clone();
        let api_for = move |name: &str| loops.api(controllers::identity(name));
        self.loops.push(tokio::spawn(controllers::run(config, api_for, stopped(self.stop_loops.subscribe()))));
        let taints = tokio_util::sync::CancellationToken::new();
        let api = self.assembled.api(controllers::identity("node-controller"));
        self.loops.push(tokio::spawn(node::taints::run(api, taints.clone())));
        let stop = stopped(self.stop_loops.subscribe());
        self.loops.push(tokio::spawn(async move {
            stop.await;
            taints.cancel();
        }));
        if flags.scheduler {
            let api = self.assembled.api(scheduler::identity());
            self.loops.push(tokio::spawn(scheduler::run(api, stopped(self.stop_loops.subscribe()))));
        }
        Ok(())
    }
}

async fn stopped(mut signal: tokio::sync::watch::Receiver<bool>) {
    // a sender that is gone means stop, too
    let _ = signal.wait_for(|stop| *stop).await;
}

pub(crate) fn make_pki(flags: &ServerFlags, dir: &Path, node: &Node, range: (IpAddr, u8)) -> anyhow::Result<Pki> {
    let mut server: Vec<String> = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        "::1",
    ]
    .map(str::to_owned)
    .to_vec();
    server.push(first_address(range.0).to_string());
    server.extend(flags.advertise_address.map(|a| a.to_string()));
    if !flags.bind_address.is_unspecified() {
        server.push(flags.bind_address.to_string());
    }
    server.dedup();
    let names = Names { server, node: node.name.clone(), node_server: node.addresses.clone() };
    Ok(Pki::ensure(&dir.join("pki"), &names)?)
}

pub(crate) fn parts(
    flags: &ServerFlags,
    node: &Node,
    dir: &Path,
    pki: &Pki,
    files: &Files,
    signing: SigningKey,
    range: (IpAddr, u8),
) -> anyhow::Result<Parts> {
    let issuers = files::issuers(flags);
    let first = issuers.first().cloned().unwrap_or_default();
    let audiences = if flags.api_audiences.is_empty() { issuers.clone() } else { flags.api_audiences.clone() };
    let static_tokens = match &flags.token_auth_file {
        Some(path) => authn::StaticTokens::parse(&files::read(path)?).with_context(|| path.display().to_string())?,
        None => Default::default(),
    };
    let authn = authn::Config {
        client_authorities: files.client_authorities(pki),
        request_header: files.request_header(flags),
        static_tokens,
        service_accounts: authn::ServiceAccountConfig { issuers, keys: files.verification_keys()? },
        audiences,
        bootstrap_tokens: flags.enable_bootstrap_token_auth,
        anonymous: flags.anonymous_auth,
    };
    let modes: Result<Vec<authz::Mode>, _> = flags.authorization_mode.iter().map(|m| m.parse()).collect();
    Ok(Parts {
        log: open_log(flags.storage, dir)?,
        store: store::Options::default(),
        authn,
        modes: modes?,
        admission: admission_config(flags, node),
        signer: TokenSigner::new(&first, signing),
        allow_privileged: flags.allow_privileged,
        tokens: token_policy(flags)?,
        service_range: range,
        published: files.published(flags, pki),
        sink: Arc::new(|_| {}),
        server: server_config(flags, node, pki, files),
    })
}

fn token_policy(flags: &ServerFlags) -> anyhow::Result<registry::TokenPolicy> {
    const LEAST: u64 = 3600;
    const MOST: u64 = 1 << 32;
    let longest = match flags.service_account_max_token_expiration.as_secs() {
        0 => None,
        LEAST..=MOST => i64::try_from(flags.service_account_max_token_expiration.as_secs()).ok(),
        _ => bail!("--service-account-max-token-expiration must be between 1 hour and 2^32 seconds"),
    };
    Ok(registry::TokenPolicy { extend: flags.service_account_extend_token_expiration, longest })
}

/// NodeRestriction is on unless it is disabled by name: a node agent is part of every cluster here. (Upstream leaves it
/// to kubeadm to turn it on.)
fn admission_config(flags: &ServerFlags, node: &Node) -> admission::Config {
    const NODE_RESTRICTION: &str = "NodeRestriction";
    let mut enabled = flags.enable_admission_plugins.clone();
    let named = enabled.iter().chain(&flags.disable_admission_plugins).any(|n| n == NODE_RESTRICTION);
    if !named {
        enabled.push(NODE_RESTRICTION.to_owned());
    }
    // `server` has no node of its own: its nodes bring the network that enforces policies
    let own_node = !node.name.is_empty();
    admission::Config { enabled, disabled: flags.disable_admission_plugins.clone(), own_node }
}

fn server_config(flags: &ServerFlags, node: &Node, pki: &Pki, files: &Files) -> Config {
    let own = host_port(flags.advertise_address.unwrap_or(flags.bind_address), flags.secure_port);
    let mut config = Config::new(files.tls(flags, pki), own);
    config.listeners.push(Listener::open((flags.bind_address, flags.secure_port).into()));
    config.listeners.extend(node.pods_listener.clone());
    config.issuer = files.issuer_documents(flags);
    config.max_requests_in_flight = flags.max_requests_inflight;
    config.max_mutating_requests_in_flight = flags.max_mutating_requests_inflight;
    config.request_timeout = flags.request_timeout;
    config.min_watch_timeout = Duration::from_secs(flags.min_request_timeout);
    config.shutdown_delay = flags.shutdown_delay_duration;
    if flags.http2_max_streams_per_connection > 0 {
        config.max_streams = flags.http2_max_streams_per_connection;
    }
    config.flags = flags.shown.clone();
    config.kubelet = Some(Arc::new(KubeletClient {
        certificate: pki.kubelet_client.certificate.clone().into(),
        key: pki.kubelet_client.key.clone().into(),
        authorities: pki.authority.certificate().into(),
    }));
    config
}

fn open_log(storage: Storage, dir: &Path) -> anyhow::Result<Box<dyn store::Log>> {
    Ok(match storage {
        Storage::Memory => Box::new(store::log::Null),
        Storage::Sqlite => Box::new(store::log::Sqlite::open(dir.join("state.db"))?),
    })
}

fn log_flags_without_effect(flags: &ServerFlags) {
    if flags.endpoint_reconciler_type != "none" {
        let kind = &flags.endpoint_reconciler_type;
        tracing::info!(
            "--endpoint-reconciler-type={kind} does nothing yet: the Endpoints of the kubernetes Service are not kept"
        );
    }
}

/// The range of Services: the flag's, else `up`'s default, which stays clear of what homes and clouds use.
pub(crate) fn service_range(flags: &ServerFlags) -> anyhow::Result<(IpAddr, u8)> {
    parse_range(&flags.service_cluster_ip_range)
}

/// The one line on standard output.
#[expect(clippy::print_stdout, reason = "the line that scripts wait for")]
pub(crate) fn say_ready(running: &Running) {
    println!("ready: {} KUBECONFIG={}", running.url, running.dir.join("admin.kubeconfig").display());
}

/// Ctrl-C or SIGTERM.
pub(crate) async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done?,
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping");
    Ok(())
}

fn parse_range(text: &str) -> anyhow::Result<(IpAddr, u8)> {
    let parsed = text.split_once('/').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match parsed {
        Some((address @ IpAddr::V4(_), bits)) if (8..=30).contains(&bits) => Ok((address, bits)),
        Some((address @ IpAddr::V6(_), bits)) if (64..=126).contains(&bits) => Ok((address, bits)),
        _ => bail!("--service-cluster-ip-range: {text:?} is no usable range such as 10.0.0.0/24"),
    }
}

pub(crate) fn host_port(host: IpAddr, port: u16) -> String {
    let host = match host {
        IpAddr::V4(v4) if v4.is_unspecified() => "127.0.0.1".to_owned(),
        IpAddr::V6(v6) if v6.is_unspecified() => "[::1]".to_owned(),
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    format!("{host}:{port}")
}

/// One process for one data folder: held open with a lock as long as it runs.
pub(crate) struct DataLock(#[expect(dead_code, reason = "the lock is held by being open")] std::fs::File);

impl DataLock {
    pub(crate) fn take(dir: &Path) -> anyhow::Result<DataLock> {
        use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("cannot make {}", dir.display()))?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("cannot make {} private", dir.display()))?;
        let path = dir.join("lock");
        let file = std::fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .read(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        if file.try_lock().is_err() {
            bail!(
                "another lanyard already runs on {}; stop it first, or name another folder with --data-dir",
                dir.display()
            );
        }
        Ok(DataLock(file))
    }
}
