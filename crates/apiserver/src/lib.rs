//! HTTP: connections, routes, discovery, OpenAPI, negotiation, streaming, tunnels, and errors as `Status`. What the verbs
//! mean is `registry`'s, who may is `gate`'s; nothing here decides.
//!
//! Reading order: `server` (connections), `handler` (one request), `path` and `route` (what is asked), `resource` (the
//! verbs), `negotiate` and `shape` (the form of an answer), `list` and `watch` (streams).

pub mod assembly;
mod body;
pub mod config;
mod counted;
mod discovery;
mod ending;
mod frames;
mod handler;
mod health;
mod index;
mod kubelet;
mod leftover;
mod limits;
mod list;
pub mod local;
mod metrics;
mod negotiate;
mod openapi;
pub mod path;
mod resource;
mod respond;
mod route;
pub mod server;
mod shape;
mod socket;
mod tls;
mod tunnel;
mod watch;
mod zpages;

pub use assembly::{Assembled, Parts, StartError, assemble, issuer_documents};
pub use config::{Config, IssuerDocuments, KubeletClient, Listener, Range, Tls, TlsVersion};
pub use server::{BindError, ReadyTls, Reload, Server, Shutdown};
pub use tls::TlsError;
