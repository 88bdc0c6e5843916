//! A cluster in one process, for tests: API server, and where asked controllers and scheduler, over a store in memory or
//! over a log of the test's. No node: pods are bound and stay as the test writes them. `as_user` gives the API under any
//! identity; `url` and `kubeconfig` let real clients in.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use apiserver::local::Local;
use apiserver::{Assembled, Config, Listener, Parts, Shutdown, StartError, Tls, assemble};
use client::Api;
use issuer::{Names, Pki, TokenSigner};
use meta::UserInfo;
use registry::bootstrap::Published;
use store::Log;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Upstream's issuer under kubeadm.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// How the cluster is made; `Builder::default()` is an API server alone, in memory.
#[derive(Default)]
pub struct Builder {
    controllers: bool,
    scheduler: bool,
    log: Option<Box<dyn Log>>,
    plugins: Vec<String>,
    token_secrets: bool,
    shutdown_delay: Duration,
}

/// A running cluster; ends when dropped.
pub struct Cluster {
    address: SocketAddr,
    pki: Pki,
    registry: Arc<registry::Registry>,
    gate: Arc<gate::Gate>,
    insiders: Arc<gate::Insiders>,
    store: store::Store,
    stop: watch::Sender<bool>,
    shutdown: Shutdown,
    tasks: Vec<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

/// Why a cluster does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to make a folder: {0}")]
    Folder(#[from] std::io::Error),
    #[error(transparent)]
    Pki(#[from] issuer::pki::PkiError),
    #[error(transparent)]
    Keys(#[from] authn::keys::BadKey),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the server has no address")]
    NoAddress,
}

impl Builder {
    /// With the controllers that are built.
    pub fn controllers(mut self) -> Self {
        self.controllers = true;
        self
    }

    /// With the scheduler.
    pub fn scheduler(mut self) -> Self {
        self.scheduler = true;
        self
    }

    /// Over this log instead of memory alone.
    pub fn log(mut self, log: Box<dyn Log>) -> Self {
        self.log = Some(log);
        self
    }

    /// With an admission plugin that is off by default.
    pub fn admission_plugin(mut self, name: &str) -> Self {
        self.plugins.push(name.to_owned());
        self
    }

    /// With the habit before 1.24: every ServiceAccount gets a token Secret (by the controllers).
    pub fn token_secrets(mut self) -> Self {
        self.token_secrets = true;
        self
    }

    /// How long it goes on after it was told to end.
    pub fn shutdown_delay(mut self, delay: Duration) -> Self {
        self.shutdown_delay = delay;
        self
    }

    /// Starts it on a free port of loopback.
    ///
    /// # Errors
    /// What the server says.
    pub async fn start(self) -> Result<Cluster, Error> {
        let folder = tempfile::tempdir()?;
        let names = Names { server: vec!["127.0.0.1".into(), "localhost".into()], ..Names::default() };
        let pki = Pki::ensure(folder.path(), &names)?;
        let mut parts = parts(&pki, folder.path(), self.log, self.plugins)?;
        parts.server.shutdown_delay = self.shutdown_delay;
        let Assembled { server, registry, gate, store, insiders } = assemble(parts).await?;
        let address = server.addresses().first().copied().ok_or(Error::NoAddress)?;
        let (shutdown, ends) = Shutdown::new();
        let (stop, _) = watch::channel(false);
        let mut tasks = vec![tokio::spawn(server.serve(ends))];
        let reach = Reach { registry: registry.clone(), gate: gate.clone(), insiders: insiders.clone() };
        if self.controllers {
            tasks.push(tokio::spawn(run_controllers(
                reach.clone(),
                pki.authority.certificate().into(),
                self.token_secrets,
                stop.subscribe(),
            )));
        }
        if self.scheduler {
            let api = reach.api(scheduler::identity());
            tasks.push(tokio::spawn(scheduler::run(api, stopped(stop.subscribe()))));
        }
        Ok(Cluster { address, pki, registry, gate, insiders, store, stop, shutdown, tasks, _folder: folder })
    }
}

impl Cluster {
    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// PEM of the authority that signed the server's certificate.
    pub fn authority(&self) -> &str {
        self.pki.authority.certificate()
    }

    /// Certificate and key of `kubernetes-admin`, as PEM.
    pub fn admin_identity(&self) -> (&str, &str) {
        (&self.pki.admin.certificate, &self.pki.admin.key)
    }

    /// The API as `kubernetes-admin` of `system:masters`.
    pub fn admin(&self) -> Api {
        self.as_user(UserInfo::new("kubernetes-admin", [meta::user::MASTERS, meta::user::AUTHENTICATED]))
    }

    /// The API as anyone, in process: authorized and admitted like over the network.
    pub fn as_user(&self, user: UserInfo) -> Api {
        Api::new(Local::new(self.gate.clone(), self.registry.clone(), self.insiders.clone(), user))
    }

    /// The API as whoever holds this token, over the network.
    ///
    /// # Errors
    /// The client cannot be made.
    pub fn as_token(&self, token: &str) -> Result<Api, client::http::Error> {
        let credentials = client::http::Credentials::Token(token.to_owned());
        Ok(Api::new(client::http::HttpTransport::new(&self.url(), self.authority().as_bytes(), credentials)?))
    }
}

impl Cluster {
    /// Tells the server to end and does not wait for it.
    pub fn begin_shutdown(&self) {
        self.shutdown.begin();
    }

    /// Ends it in order and gives the log free.
    pub async fn close(mut self) {
        self.stop.send_replace(true);
        self.shutdown.begin();
        for task in std::mem::take(&mut self.tasks) {
            let _ = task.await;
        }
        let store = self.store.clone();
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

#[derive(Clone)]
struct Reach {
    registry: Arc<registry::Registry>,
    gate: Arc<gate::Gate>,
    insiders: Arc<gate::Insiders>,
}

impl Reach {
    fn api(&self, user: UserInfo) -> Api {
        Api::new(Local::new(self.gate.clone(), self.registry.clone(), self.insiders.clone(), user))
    }
}

async fn run_controllers(reach: Reach, root_ca: String, token_secrets: bool, stop: watch::Receiver<bool>) {
    let signer = reach.registry.signer().clone();
    let sign = move |token: controllers::LegacyToken| {
        let account = issuer::Reference { name: token.account, uid: token.account_uid };
        signer.sign_legacy(&token.namespace, &token.secret, &account).ok()
    };
    let config = controllers::Config {
        selection: controllers::Selection::parse(["*"]).unwrap_or_default(),
        root_ca: root_ca.into(),
        sign_legacy_token: Some(Arc::new(sign)),
        automatic_token_secrets: token_secrets,
        legacy_token_clean_up_period: controllers::CLEAN_UP_PERIOD,
        sign_certificate: None,
        certificate_signers: Vec::new().into(),
    };
    let api_for = move |name: &str| reach.api(controllers::identity(name));
    controllers::run(config, api_for, stopped(stop)).await;
}

async fn stopped(mut signal: watch::Receiver<bool>) {
    // a sender that is gone means stop, too
    let _ = signal.wait_for(|stop| *stop).await;
}

fn parts(pki: &Pki, folder: &std::path::Path, log: Option<Box<dyn Log>>, plugins: Vec<String>) -> Result<Parts, Error> {
    let key = issuer::pki::ensure_token_key(folder)?;
    let keys = authn::PublicKeys::from_der([key.public_der()])?;
    let tls = Tls {
        certificate: pki.server.certificate.clone().into(),
        key: pki.server.key.clone().into(),
        client_authorities: vec![pki.authority.certificate().into()],
        min_version: apiserver::TlsVersion::default(),
        cipher_suites: Vec::new(),
    };
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut server = Config::new(tls, "127.0.0.1");
    server.listeners.push(Listener::open((loopback, 0).into()));
    Ok(Parts {
        log: log.unwrap_or_else(|| Box::new(store::log::Null)),
        store: store::Options::default(),
        authn: authn::Config {
            client_authorities: vec![pki.authority.certificate_der()],
            service_accounts: authn::ServiceAccountConfig { issuers: vec![ISSUER.into()], keys },
            audiences: vec![ISSUER.into()],
            anonymous: true,
            ..authn::Config::default()
        },
        modes: vec![authz::Mode::Node, authz::Mode::Rbac],
        admission: admission::Config { enabled: plugins, ..admission::Config::default() },
        signer: TokenSigner::new(ISSUER, key),
        allow_privileged: true,
        tokens: registry::TokenPolicy::default(),
        service_range: (Ipv4Addr::new(10, 0, 0, 0).into(), 24),
        published: Published { client_ca: pki.authority.certificate().into(), request_header: Vec::new(), port: 6443 },
        sink: Arc::new(|_| {}),
        server,
    })
}
