//! From flags to a running control plane: files read or made, the API server assembled, controllers and scheduler
//! started under their own names.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use apiserver::assembly::{Assembled, Parts, assemble, issuer_documents};
use apiserver::config::{Config, KubeletClient, Listener, Tls};
use apiserver::local::Local;
use client::Api;
use issuer::{CertificateAuthority, Names, Pki, SigningKey, TokenSigner};
use meta::UserInfo;
use registry::bootstrap::{Published, first_address};
use tokio::task::JoinHandle;

use crate::flags::{ServerFlags, Storage};
use crate::kubeconfig::{self, Access};

/// Upstream's issuer under kubeadm.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

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
    /// Signs certificates for approved requests.
    signing_authority: CertificateAuthority,
    assembled: Arc<Loops>,
    serving: JoinHandle<()>,
    loops: Vec<JoinHandle<()>>,
    shutdown: apiserver::server::Shutdown,
    stop_loops: tokio::sync::watch::Sender<bool>,
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
        let signing = signing_key(flags, &dir)?;
        let signing_authority = signing_authority(flags, &pki)?;
        let files = Files::read(flags, &pki, &signing)?;
        let url = format!("https://{}", host_port(flags.bind_address, flags.secure_port));
        let parts = parts(flags, &node, &dir, &pki, &files, signing, service_range)?;
        let Assembled { server, registry, gate, store, insiders } = assemble(parts).await?;
        let assembled = Arc::new(Loops { registry, gate, insiders, store });
        let (shutdown, ends) = apiserver::server::Shutdown::new();
        let serving = tokio::spawn(server.serve(ends));
        let (stop_loops, _) = tokio::sync::watch::channel(false);
        let mut running = Running {
            pki,
            url,
            dir,
            root_ca: files.root_ca,
            signing_authority,
            assembled,
            serving,
            loops: Vec::new(),
            shutdown,
            stop_loops,
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

    /// Ends in order: loops first, then the server, then the store.
    pub(crate) async fn stop(self) {
        self.stop_loops.send_replace(true);
        for task in self.loops {
            let _ = task.await;
        }
        self.shutdown.begin();
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
        let authority = self.signing_authority.clone();
        let sign_certificate = move |wanted: &controllers::CertificateToSign| {
            let (request, usages) = (&*wanted.request, &*wanted.usages);
            let request = issuer::CertificateRequest { request, usages, seconds: wanted.seconds };
            authority.sign_request(&request).map_err(|e| e.to_string())
        };
        let config = controllers::Config {
            selection: controllers::Selection::parse(&flags.controllers)?,
            root_ca: self.root_ca.as_str().into(),
            sign_legacy_token: Some(Arc::new(sign)),
            sign_certificate: Some(Arc::new(sign_certificate)),
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

/// Keys, certificates and tokens from the files that flags name.
struct Files {
    root_ca: String,
    client_ca: Option<String>,
    request_ca: Option<String>,
    tokens: authn::StaticTokens,
    /// DER of all keys that tokens are accepted from.
    verification: Vec<Vec<u8>>,
    tls: (String, String),
}

impl Files {
    fn read(flags: &ServerFlags, pki: &Pki, signing: &SigningKey) -> anyhow::Result<Files> {
        let mut verification = vec![signing.public_der().to_vec()];
        for path in &flags.service_account_key_file {
            let keys = issuer::keys::public_keys_from_pem(&read(path)?).with_context(|| path.display().to_string())?;
            verification.extend(keys);
        }
        verification.dedup();
        let tokens = match &flags.token_auth_file {
            Some(path) => authn::StaticTokens::parse(&read(path)?).with_context(|| path.display().to_string())?,
            None => Default::default(),
        };
        let tls = match (&flags.tls_cert_file, &flags.tls_private_key_file) {
            (Some(certificate), Some(key)) => (read(certificate)?, read(key)?),
            _ => (pki.server.certificate.clone(), pki.server.key.clone()),
        };
        Ok(Files {
            root_ca: match &flags.root_ca_file {
                Some(path) => read(path)?,
                None => pki.authority.certificate().to_owned(),
            },
            client_ca: flags.client_ca_file.as_deref().map(read).transpose()?,
            request_ca: flags.requestheader_client_ca_file.as_deref().map(read).transpose()?,
            tokens,
            verification,
            tls,
        })
    }
}

fn signing_key(flags: &ServerFlags, dir: &Path) -> anyhow::Result<SigningKey> {
    match &flags.service_account_signing_key_file {
        Some(path) => SigningKey::from_pem(&read(path)?).with_context(|| path.display().to_string()),
        None => Ok(issuer::pki::ensure_token_key(&dir.join("pki"))?),
    }
}

fn make_pki(flags: &ServerFlags, dir: &Path, node: &Node, range: (IpAddr, u8)) -> anyhow::Result<Pki> {
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

fn parts(
    flags: &ServerFlags,
    node: &Node,
    dir: &Path,
    pki: &Pki,
    files: &Files,
    signing: SigningKey,
    range: (IpAddr, u8),
) -> anyhow::Result<Parts> {
    let issuers = if flags.service_account_issuer.is_empty() {
        vec![ISSUER.to_owned()]
    } else {
        flags.service_account_issuer.clone()
    };
    let first = issuers.first().cloned().unwrap_or_default();
    let audiences = if flags.api_audiences.is_empty() { vec![first.clone()] } else { flags.api_audiences.clone() };
    let keys = files.verification.iter().map(Vec::as_slice);
    let authn = authn::Config {
        client_authorities: client_authorities(pki, files),
        request_header: request_header(flags, files),
        static_tokens: files.tokens.clone(),
        service_accounts: authn::ServiceAccountConfig { issuers, keys: authn::PublicKeys::from_der(keys.clone())? },
        audiences,
        bootstrap_tokens: flags.enable_bootstrap_token_auth,
        anonymous: flags.anonymous_auth,
    };
    let keys_uri = format!(
        "https://{}/openid/v1/jwks",
        host_port(flags.advertise_address.unwrap_or(flags.bind_address), flags.secure_port)
    );
    let documents = issuer_documents(issuer::Discovery::new(&first, &keys_uri, keys));
    let modes: Result<Vec<authz::Mode>, _> = flags.authorization_mode.iter().map(|m| m.parse()).collect();
    Ok(Parts {
        log: open_log(flags.storage, dir)?,
        store: store::Options::default(),
        authn,
        modes: modes?,
        admission: admission_config(flags, node),
        signer: TokenSigner::new(&first, signing),
        allow_privileged: flags.allow_privileged,
        service_range: range,
        published: published(flags, pki, files),
        sink: Arc::new(|_| {}),
        server: server_config(flags, node, pki, files, documents),
    })
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

fn server_config(
    flags: &ServerFlags,
    node: &Node,
    pki: &Pki,
    files: &Files,
    issuer: apiserver::config::IssuerDocuments,
) -> Config {
    let mut authorities: Vec<Vec<u8>> = vec![pki.authority.certificate().into()];
    authorities.extend(files.client_ca.iter().chain(&files.request_ca).map(|pem| pem.clone().into_bytes()));
    let tls = Tls {
        certificate: files.tls.0.clone().into(),
        key: files.tls.1.clone().into(),
        client_authorities: authorities,
    };
    let mut config =
        Config::new(tls, host_port(flags.advertise_address.unwrap_or(flags.bind_address), flags.secure_port));
    config.listeners.push(Listener::open((flags.bind_address, flags.secure_port).into()));
    config.listeners.extend(node.pods_listener.clone());
    config.issuer = issuer;
    config.kubelet = Some(Arc::new(KubeletClient {
        certificate: pki.kubelet_client.certificate.clone().into(),
        key: pki.kubelet_client.key.clone().into(),
        authorities: pki.authority.certificate().into(),
    }));
    config
}

fn client_authorities(pki: &Pki, files: &Files) -> Vec<Vec<u8>> {
    let mut list = vec![pki.authority.certificate_der()];
    for pem in files.client_ca.iter() {
        list.extend(issuer::authority::certificates_from_pem(pem));
    }
    list
}

fn request_header(flags: &ServerFlags, files: &Files) -> Option<authn::RequestHeader> {
    let authorities = issuer::authority::certificates_from_pem(files.request_ca.as_deref()?);
    Some(authn::RequestHeader {
        authorities,
        allowed_names: flags.requestheader_allowed_names.clone(),
        username_headers: flags.requestheader_username_headers.clone(),
        uid_headers: flags.requestheader_uid_headers.clone(),
        group_headers: flags.requestheader_group_headers.clone(),
        extra_prefixes: flags.requestheader_extra_headers_prefix.clone(),
    })
}

fn published(flags: &ServerFlags, pki: &Pki, files: &Files) -> Published {
    let client_ca = files.client_ca.clone().unwrap_or_else(|| pki.authority.certificate().to_owned());
    let mut request_header = Vec::new();
    if let Some(pem) = &files.request_ca {
        request_header.push(("requestheader-client-ca-file", pem.clone()));
        for (key, names) in [
            ("requestheader-allowed-names", &flags.requestheader_allowed_names),
            ("requestheader-username-headers", &flags.requestheader_username_headers),
            ("requestheader-uid-headers", &flags.requestheader_uid_headers),
            ("requestheader-group-headers", &flags.requestheader_group_headers),
            ("requestheader-extra-headers-prefix", &flags.requestheader_extra_headers_prefix),
        ] {
            if !names.is_empty() || key != "requestheader-uid-headers" {
                request_header
                    .push((key, document::json::to_string(&document::Value::list(names.iter().map(String::as_str)))));
            }
        }
    }
    Published { client_ca, request_header, port: flags.secure_port }
}

fn open_log(storage: Storage, dir: &Path) -> anyhow::Result<Box<dyn store::Log>> {
    Ok(match storage {
        Storage::Memory => Box::new(store::log::Null),
        Storage::Sqlite => Box::new(store::log::Sqlite::open(dir.join("state.db"))?),
    })
}

/// The authority of the flags, else our own.
fn signing_authority(flags: &ServerFlags, pki: &Pki) -> anyhow::Result<CertificateAuthority> {
    let (certificate, key) = match (&flags.cluster_signing_cert_file, &flags.cluster_signing_key_file) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return Ok(pki.authority.clone()),
        _ => anyhow::bail!("--cluster-signing-cert-file and --cluster-signing-key-file go together"),
    };
    let identity = issuer::Identity { certificate: read(certificate)?, key: read(key)? };
    CertificateAuthority::load(&identity).with_context(|| certificate.display().to_string())
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

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
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
