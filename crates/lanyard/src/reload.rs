//! Files that change while the server runs: token keys, authorities of clients, serving and signing certificates. They are
//! looked at every few seconds; when one has changed all are read, and all or none of what follows from them changes.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apiserver::{IssuerDocuments, ReadyTls, Reload};
use authn::{Believed, PublicKeys};
use issuer::{Pki, SigningKey};
use registry::bootstrap::Published;

use crate::files::{self, Files};
use crate::flags::ServerFlags;
use crate::signing::{self, Authorities, BySigner};

const INTERVAL: Duration = Duration::from_secs(2);

/// What is changed.
pub(crate) struct Reloader {
    pub flags: ServerFlags,
    pub dir: PathBuf,
    pub pki: Pki,
    pub registry: Arc<registry::Registry>,
    pub server: Reload,
    pub authorities: Authorities,
    pub watched: Watched,
}

/// The files and what was seen of them.
pub(crate) struct Watched {
    paths: Vec<PathBuf>,
    /// What was there before the files were read that are in use. `None` after a change that could not be used: whatever
    /// comes then is read, even if it looks like what was there before.
    used: Option<Vec<Stamp>>,
    /// What could not be used: said once.
    refused: Option<Vec<Stamp>>,
    /// In use but not published yet.
    unpublished: Option<Published>,
}

/// Which file it is, when it was last changed in content and in name, and its length; `None`: it cannot be seen.
type Stamp = Option<(u64, u64, [(i64, i64); 2], u64)>;

impl Watched {
    /// To be made before the files are read for the first time.
    pub(crate) fn new(flags: &ServerFlags) -> Self {
        let paths = files::watched(flags);
        let used = Some(stamps(&paths));
        Watched { paths, used, refused: None, unpublished: None }
    }
}

/// Everything that follows from the files, ready to be used.
struct Batch {
    tls: ReadyTls,
    believed: Believed,
    keys: PublicKeys,
    documents: IssuerDocuments,
    signing: SigningKey,
    by_signer: BySigner,
    published: Published,
}

impl Reloader {
    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) {
        while !self.watched.paths.is_empty() {
            tokio::time::sleep(INTERVAL).await;
            self.look().await;
        }
    }

    /// One look at the files.
    async fn look(&mut self) {
        let now = stamps(&self.watched.paths);
        if self.watched.used.as_ref() != Some(&now) {
            match self.read() {
                Ok(batch) => {
                    self.watched.unpublished = Some(self.apply(batch));
                    (self.watched.used, self.watched.refused) = (Some(now), None);
                    tracing::info!("keys and certificates were read again");
                }
                // half written, or wrong: said once, tried again
                Err(error) => {
                    if self.watched.refused.as_ref() != Some(&now) {
                        tracing::warn!("changed keys or certificates cannot be used: {error:#}");
                    }
                    (self.watched.used, self.watched.refused) = (None, Some(now));
                }
            }
        }
        self.publish().await;
    }

    /// Changes nothing.
    fn read(&self) -> anyhow::Result<Batch> {
        let (flags, pki) = (&self.flags, &self.pki);
        let signing = files::signing_key(flags, &self.dir)?;
        let files = Files::read(flags, pki, &signing)?;
        Ok(Batch {
            tls: ReadyTls::new(&files.tls(flags, pki))?,
            believed: Believed::new(files.client_authorities(pki), files.request_header(flags))?,
            keys: files.verification_keys()?,
            documents: files.issuer_documents(flags),
            by_signer: signing::by_signer(flags, pki)?,
            published: files.published(flags, pki),
            signing,
        })
    }

    /// Cannot fail. Answers what is left to be published.
    fn apply(&self, batch: Batch) -> Published {
        let authenticators = self.registry.gate().authenticators();
        authenticators.replace_authorities(batch.believed);
        self.server.tls(batch.tls);
        // a key is accepted before anything is signed with it
        authenticators.replace_keys(batch.keys);
        self.server.issuer(batch.documents);
        self.registry.signer().replace_key(batch.signing);
        self.authorities.replace(batch.by_signer);
        batch.published
    }

    /// Tells the cluster what is in use; tried again until it works.
    async fn publish(&mut self) {
        let Some(published) = &self.watched.unpublished else { return };
        match self.registry.publish(published).await {
            Ok(()) => self.watched.unpublished = None,
            Err(status) => tracing::warn!("extension-apiserver-authentication is not up to date: {}", status.message),
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let data = std::fs::metadata(path).ok()?;
        let times = [(data.mtime(), data.mtime_nsec()), (data.ctime(), data.ctime_nsec())];
        Some((data.dev(), data.ino(), times, data.len()))
    };
    paths.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests;
