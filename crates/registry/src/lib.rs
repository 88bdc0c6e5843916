//! What the verbs mean. Takes a `Passage` (authenticated, authorized) and a body, and carries out create, get, list,
//! watch, update, patch, delete and the virtual resources in upstream's order of steps. Owns the store's only writer.
//! Not here: HTTP and encodings (`apiserver`), who may (`gate`), what an object may look like (`admission`, `api`).

pub mod body;
pub mod bootstrap;
mod companion;
pub mod continue_token;
mod delete;
mod manage;
mod privileged;
pub mod query;
mod rbac;
mod read;
mod scale;
mod service;
mod subresource;
mod target;
mod used_secret;
pub mod virtuals;
mod watch;
pub mod write;

use std::sync::Arc;

use bytes::Bytes;
use document::{Object, Value};
use gate::{Admitted, Gate};
use meta::{Revision, Status};
use store::{Store, Writer};

pub use query::Query;
pub use read::List;
pub use target::Target;
pub use watch::Watch;

/// Settings that change what the verbs do.
pub struct Config {
    /// `--service-cluster-ip-range`.
    pub service_range: (std::net::IpAddr, u8),
    /// `--api-audiences`, the first issuer when not given.
    pub audiences: Vec<String>,
    /// `--allow-privileged`.
    pub allow_privileged: bool,
    pub tokens: TokenPolicy,
}

/// How long tokens of TokenRequest may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenPolicy {
    /// `--service-account-extend-token-expiration`: a kubelet's token for a pod lives a year.
    pub extend: bool,
    /// `--service-account-max-token-expiration` in seconds.
    pub longest: Option<i64>,
}

impl Default for TokenPolicy {
    fn default() -> Self {
        TokenPolicy { extend: true, longest: None }
    }
}

/// One per server.
pub struct Registry {
    pub(crate) config: Config,
    pub(crate) gate: Arc<Gate>,
    pub(crate) store: Store,
    pub(crate) writer: Writer<Admitted>,
    pub(crate) signer: Arc<issuer::TokenSigner>,
    pub(crate) addresses: store::Slot<service::Allocated>,
    /// Writers of Services take turns.
    pub(crate) services: Arc<tokio::sync::Mutex<()>>,
    /// Creators in a namespace with quotas take turns.
    pub(crate) quotas: companion::Turns,
    /// The revision with which a new cluster began; zero for one that was there before.
    pub(crate) begun: std::sync::atomic::AtomicU64,
    /// The server itself.
    pub(crate) system: std::sync::OnceLock<gate::Passage>,
    /// For work that goes on beside a request.
    pub(crate) me: std::sync::Weak<Registry>,
}

/// A body as it arrived: decoded only when the type is known.
#[derive(Clone)]
pub enum Body {
    Json(Bytes),
    Yaml(Bytes),
    Protobuf(Bytes),
    /// From a loop in the same process.
    Value(Value),
}

impl Default for Body {
    fn default() -> Self {
        Body::Json(Bytes::new())
    }
}

/// The encodings of a PATCH body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
    Apply,
}

/// What a call that is no list or watch answers.
pub struct Outcome {
    pub code: u16,
    pub answer: Answer,
    pub warnings: Vec<String>,
}

/// The content of an answer, not yet encoded.
pub enum Answer {
    /// A stored object, in the version of this row.
    Object(Arc<Object>, &'static api::ResourceType),
    /// Anything made for this answer, in normal form with kind and apiVersion.
    Value(Value, &'static document::Type),
    Status(Status),
}

impl Registry {
    pub fn new(
        config: Config,
        gate: Arc<Gate>,
        store: Store,
        writer: Writer<Admitted>,
        signer: Arc<issuer::TokenSigner>,
    ) -> Arc<Self> {
        let addresses = store.observe(service::Addresses);
        let services = Arc::default();
        let system = std::sync::OnceLock::new();
        let begun = std::sync::atomic::AtomicU64::new(0);
        let quotas = companion::Turns::default();
        Arc::new_cyclic(|me| Registry {
            config,
            gate,
            store,
            writer,
            signer,
            addresses,
            services,
            quotas,
            begun,
            system,
            me: me.clone(),
        })
    }

    /// Signs tokens; for the controller of token Secrets.
    pub fn signer(&self) -> &Arc<issuer::TokenSigner> {
        &self.signer
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Nothing can be watched from before this revision: the default objects of a new cluster come at once.
    pub(crate) fn begun(&self) -> Revision {
        Revision(self.begun.load(std::sync::atomic::Ordering::Relaxed))
    }

    /// The newest revision that readers see.
    pub fn revision(&self) -> Revision {
        self.store.revision()
    }
}

impl Outcome {
    pub(crate) fn new(code: u16, answer: Answer) -> Self {
        Outcome { code, answer, warnings: Vec::new() }
    }

    pub(crate) fn value(code: u16, value: Value, type_: &'static document::Type) -> Self {
        Outcome::new(code, Answer::Value(value, type_))
    }
}
