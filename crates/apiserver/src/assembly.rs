//! The API server put together: store, deciders, gate, registry, listeners, default objects. Used by the binary and by
//! `testkit`; takes finished values, reads no flag and no file.

use std::net::IpAddr;
use std::sync::Arc;

use gate::{Gate, Insiders};
use meta::Attributes;
use registry::Registry;
use registry::bootstrap::Published;
use store::{Log, Options, Store};

use crate::config::{Config, IssuerDocuments};
use crate::server::{BindError, Server};

/// Everything that the server is made of.
pub struct Parts {
    pub log: Box<dyn Log>,
    pub store: Options,
    pub authn: authn::Config,
    pub modes: Vec<authz::Mode>,
    pub admission: admission::Config,
    pub signer: issuer::TokenSigner,
    /// `--allow-privileged`.
    pub allow_privileged: bool,
    /// How long tokens may live.
    pub tokens: registry::TokenPolicy,
    /// `--service-cluster-ip-range`.
    pub service_range: (IpAddr, u8),
    pub published: Published,
    /// Takes every decision.
    pub sink: gate::Sink,
    pub server: Config,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] store::OpenError),
    #[error(transparent)]
    Authority(#[from] authn::x509::BadAuthority),
    #[error(transparent)]
    Admission(#[from] admission::UnknownPlugin),
    #[error("cannot make the default objects: {0}")]
    Bootstrap(meta::Status),
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// A server that has its addresses and its default objects; it answers once [`Server::serve`] runs.
pub struct Assembled {
    pub server: Server,
    pub registry: Arc<Registry>,
    pub gate: Arc<Gate>,
    pub store: Store,
    /// The right to be someone without a credential, for the loops of this process.
    pub insiders: Arc<Insiders>,
}

/// Opens the store, builds the chain of deciders, makes the default objects and takes the addresses.
///
/// # Errors
/// Whatever is in the way, with a sentence for people.
pub async fn assemble(parts: Parts) -> Result<Assembled, StartError> {
    let (store, writer) = Store::open(parts.log, Arc::new(api::reseal), parts.store)?;
    let rbac = authz::Rbac::attach(&store);
    let node = authz::NodeAuthorizer::attach(&store);
    let audiences = parts.authn.audiences.clone();
    let (gate, insiders) = Gate::new(gate::Parts {
        authenticators: authn::Chain::new(parts.authn)?,
        authorizers: authz::Chain::of_modes(&parts.modes, node, rbac.clone()),
        rbac,
        admission: admission::Chain::new(&parts.admission)?,
        store: store.clone(),
        sink: parts.sink,
    });
    let gate = Arc::new(gate);
    let config = registry::Config {
        service_range: parts.service_range,
        audiences,
        allow_privileged: parts.allow_privileged,
        tokens: parts.tokens,
    };
    let registry = Registry::new(config, gate.clone(), store.clone(), writer, Arc::new(parts.signer));
    let passage = gate
        .enter(insiders.api_server(), Attributes::resource("create", "", "v1", "namespaces", "", ""))
        .map_err(StartError::Bootstrap)?;
    registry.bootstrap(&passage, &parts.published).await.map_err(StartError::Bootstrap)?;
    registry.act_as(passage);
    let server = Server::bind(parts.server, registry.clone()).await?;
    Ok(Assembled { server, registry, gate, store, insiders: Arc::new(insiders) })
}

/// The issuer's two documents as the server serves them; empty when the issuer is no https URL.
pub fn issuer_documents(discovery: Option<issuer::Discovery>) -> IssuerDocuments {
    discovery.map(|d| IssuerDocuments { configuration: d.configuration, keys: d.keys }).unwrap_or_default()
}
