//! The node's images: content-addressed blobs, unpacked layers for overlayfs, imports and registry pulls.
//!
//! `ImageService` is what the pod lifecycle sees (CRI's name for it); `ImageStore` is our implementation. Whether to pull
//! (imagePullPolicy, back-off) is decided by the caller.

mod archive;
mod config;
mod digest;
mod error;
pub(crate) mod inroot;
mod layer;
pub(crate) mod mount;
mod pull;
mod reference;
mod registry;
mod store;

use std::path::PathBuf;

use futures::future::BoxFuture;

pub use error::ImageError;
pub use reference::Reference;
pub use store::{ImageStore, ImageStoreConfig};

/// Credentials for one pull, out of an imagePullSecret. Not `Debug`: it must not reach a log.
#[derive(Clone)]
pub struct Auth {
    /// User.
    pub username: String,
    /// Password or token.
    pub password: String,
}

/// An image that is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…` of the configuration.
    pub id: String,
    /// Names with tag, normalised, as shown in the node's status (`docker.io/library/busybox:latest`).
    pub tags: Vec<String>,
    /// Names with digest (`docker.io/library/busybox@sha256:…`).
    pub digests: Vec<String>,
    /// Bytes of its blobs.
    pub size: u64,
    /// The configuration's User: empty, `uid`, `name`, `uid:gid` …
    pub user: String,
    /// Env.
    pub env: Vec<(String, String)>,
    /// Entrypoint.
    pub entrypoint: Vec<String>,
    /// Cmd.
    pub cmd: Vec<String>,
    /// WorkingDir.
    pub working_dir: String,
    /// StopSignal, empty is SIGTERM.
    pub stop_signal: String,
}

/// Images as the pod lifecycle sees them.
pub trait ImageService: Send + Sync {
    /// Fetches an image, whatever is here already; answers what is here then.
    fn pull<'a>(&'a self, reference: &'a str, auth: Option<&'a Auth>) -> BoxFuture<'a, Result<Image, ImageError>>;
    /// The image of that reference or id, if present.
    fn status(&self, reference: &str) -> Result<Option<Image>, ImageError>;
    /// All images.
    fn list(&self) -> Vec<Image>;
    /// Removes a name; with the last name, or by id, the image. Refused while a container uses it.
    fn remove(&self, reference: &str) -> Result<(), ImageError>;
    /// Takes the images of a docker-archive or OCI-layout tar (plain, gzip or zstd); answers them.
    fn import(&self, archive: PathBuf) -> BoxFuture<'_, Result<Vec<Image>, ImageError>>;
}
