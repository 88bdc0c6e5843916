//! The kubelet's HTTPS API: logs, exec, pods, health. Every request is authenticated (client certificate of the cluster,
//! or a token that the API server reviews) and authorized by the API server; nothing is cached, so a revoked right ends
//! at once.

mod auth;
mod exec;
mod logs;
mod respond;
mod route;
mod tls;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use client::Api;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{agent, runtime::PodRuntime};

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How the API is served.
#[derive(Clone)]
pub struct Config {
    pub address: SocketAddr,
    /// PEM: the serving certificate's chain, leaf first.
    pub certificate: Vec<u8>,
    /// PEM: its key.
    pub key: Vec<u8>,
    /// PEM: who may sign client certificates.
    pub client_ca: Vec<u8>,
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("failed to listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("failed to use the {what}: {cause}")]
    Tls { what: &'static str, cause: String },
}

/// A port that is bound, with its TLS.
pub(crate) struct Listener {
    tcp: TcpListener,
    tls: TlsAcceptor,
    port: u16,
}

impl Listener {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// What handlers use.
pub(crate) struct Shared {
    pub node: String,
    pub api: Api,
    pub runtime: Arc<dyn PodRuntime>,
    pub pods: agent::Pods,
}

impl Shared {
    pub(crate) fn new(config: &agent::Config, pods: agent::Pods) -> Arc<Self> {
        Arc::new(Shared { node: config.name.clone(), api: config.api.clone(), runtime: config.runtime.clone(), pods })
    }
}

/// Takes the port.
pub(crate) async fn bind(config: &Config) -> Result<Listener, ServeError> {
    let address = config.address;
    let tls = tls::acceptor(config)?;
    let listen = |source| ServeError::Listen { address, source };
    let tcp = TcpListener::bind(address).await.map_err(listen)?;
    let port = tcp.local_addr().map_err(listen)?.port();
    Ok(Listener { tcp, tls, port })
}

/// Serves until told to stop.
pub(crate) async fn serve(listener: Listener, shared: Arc<Shared>, shutdown: CancellationToken) {
    let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.tcp.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (tls, shared) = (listener.tls.clone(), shared.clone());
                tokio::spawn(async move {
                    connection(stream, tls, shared).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "failed to accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, shared: Arc<Shared>) {
    // small frames of a terminal must not wait for each other
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => return tracing::debug!("TLS handshake took too long"),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certified = certificate.and_then(|c| auth::user_of_certificate(c)).map(Arc::new);
    let service = hyper::service::service_fn(move |request| {
        let (shared, certified) = (shared.clone(), certified.clone());
        async move { Ok::<_, std::convert::Infallible>(route::handle(shared, certified, request).await) }
    });
    let builder = Builder::new(TokioExecutor::new());
    if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

#[cfg(test)]
mod tests;
