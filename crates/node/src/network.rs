//! The pod network: one network namespace per pod, a routed veth pair, addresses out of the node's pod range.
//!
//! No bridge, no pause process, no packet filter. What it makes carries the instance's name and can be taken away whole.

mod addresses;
pub mod loopback;
mod netlink;
mod routed;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use futures::future::BoxFuture;

pub use addresses::Range;
pub use routed::{Config, Routed};

/// Failure of the pod network; says the step.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The pod range is used up.
    #[error("no IP addresses available in range set: {0}")]
    Exhausted(String),
    /// A step failed.
    #[error("failed to {step}: {cause}")]
    Step {
        /// The step, as a verb phrase.
        step: String,
        /// Why.
        cause: String,
    },
}

/// A pod's place in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Addresses, the primary first.
    pub ips: Vec<IpAddr>,
    /// File that holds the network namespace.
    pub netns: PathBuf,
}

/// Gives pods a network namespace with an address.
pub trait PodNetwork: Send + Sync {
    /// Makes, or finds again, the namespace of a pod.
    fn add<'a>(&'a self, pod_uid: &'a str) -> BoxFuture<'a, Result<Attachment, NetworkError>>;
    /// Takes it away; of what is gone already it says nothing.
    fn del<'a>(&'a self, pod_uid: &'a str) -> BoxFuture<'a, Result<(), NetworkError>>;
    /// Where the namespace of a pod is held.
    fn netns(&self, pod_uid: &str) -> PathBuf;
    /// Folder of the namespaces.
    fn folder(&self) -> &Path;
    /// Takes away everything of this instance.
    fn teardown_all(&self) -> BoxFuture<'_, Result<(), NetworkError>>;
}
