//! Files that change while the server runs: token keys, authorities of clients, serving and signing certificates. They are
//! looked at every few seconds; when one has changed all are read, and all or none of what follows from them changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use apiserver::Reload;
use issuer::Pki;

use crate::files::{self, Files};
use crate::flags::ServerFlags;
use crate::signing::Authorities;

const INTERVAL: Duration = Duration::from_secs(2);

/// What is changed.
pub(crate) struct Reloader {
    pub flags: ServerFlags,
    pub dir: PathBuf,
    pub pki: Pki,
    pub registry: Arc<registry::Registry>,
    pub server: Reload,
    pub authorities: Authorities,
}

/// When a file was written, and how long it is; `None`: it cannot be seen.
type Stamp = Option<(SystemTime, u64)>;

impl Reloader {
    /// Runs until it is dropped.
    pub(crate) async fn run(self) {
        let paths = files::watched(&self.flags);
        if paths.is_empty() {
            return;
        }
        let mut seen = stamps(&paths);
        let mut failed = None;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let now = stamps(&paths);
            if now == seen {
                continue;
            }
            match self.apply().await {
                Ok(()) => {
                    tracing::info!("keys and certificates were read again");
                    (seen, failed) = (now, None);
                }
                // half written, or wrong: said once, tried again
                Err(error) if failed.as_ref() != Some(&now) => {
                    tracing::warn!("changed keys or certificates cannot be used: {error:#}");
                    failed = Some(now);
                }
                Err(_) => {}
            }
        }
    }

    async fn apply(&self) -> anyhow::Result<()> {
        let signing = files::signing_key(&self.flags, &self.dir)?;
        let files = Files::read(&self.flags, &self.pki, &signing)?;
        let keys = files.verification_keys()?;
        let authenticators = self.registry.gate().authenticators();
        self.server.tls(&files.tls(&self.flags, &self.pki))?;
        self.authorities.reread(&self.flags, &self.pki)?;
        authenticators.replace_authorities(&files.client_authorities(&self.pki), files.request_header(&self.flags))?;
        // a key is accepted before anything is signed with it
        authenticators.replace_keys(keys);
        self.server.issuer(files.issuer_documents(&self.flags));
        self.registry.signer().replace_key(signing);
        let published = self.registry.publish(&files.published(&self.flags, &self.pki)).await;
        published.map_err(|status| anyhow::anyhow!("extension-apiserver-authentication: {}", status.message))
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.modified().ok()?, data.len()))
    };
    paths.iter().map(stamp).collect()
}
