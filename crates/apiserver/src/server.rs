//! Listeners, connections and the end of both: TLS, h2 and HTTP/1.1 with upgrades, a bound on connections and
//! handshakes, and a shutdown in order (not ready, no new connections, watches end, requests finish).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use nix::sys::socket::{setsockopt, sockopt};
use parking_lot::RwLock;
use registry::Registry;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::body::Body;
use crate::config::{Config, IssuerDocuments, Listener, Tls};
use crate::ending::{Ended, Flag};
use crate::handler::Handler;
use crate::socket::{Patient, Socket};
use crate::tls::{self, TlsError};

/// How long a client may take to shake hands, and to send the head of a request.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(32);
/// How long an answer may take to leave before its connection is told to end: some clients drop an answer that comes
/// after that.
const LAST_ANSWER: Duration = Duration::from_millis(100);
/// How often the end looks whether requests have finished.
const LOOK: Duration = Duration::from_millis(20);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The API server, its addresses taken but nothing served yet.
pub struct Server {
    listeners: Vec<(TcpListener, Listener)>,
    tls: Arc<RwLock<Arc<ServerConfig>>>,
    connections: Arc<Semaphore>,
    handler: Arc<Handler>,
}

/// TLS settings that can be used.
pub struct ReadyTls(Arc<ServerConfig>);

impl ReadyTls {
    /// # Errors
    /// They cannot be used.
    pub fn new(tls: &Tls) -> Result<Self, TlsError> {
        tls::server_config(tls).map(ReadyTls)
    }
}

/// Changes what a running server presents. Cheap to clone.
#[derive(Clone)]
pub struct Reload {
    tls: Arc<RwLock<Arc<ServerConfig>>>,
    handler: Arc<Handler>,
}

impl Reload {
    /// Another serving certificate, other authorities of clients: for connections from now on.
    pub fn tls(&self, ready: ReadyTls) {
        *self.tls.write() = ready.0;
    }

    /// Other documents of the issuer.
    pub fn issuer(&self, documents: IssuerDocuments) {
        *self.handler.issuer.write() = documents;
    }
}

/// Says when the server has to end; dropping it ends the server, too.
pub struct Shutdown(watch::Sender<bool>);

impl Shutdown {
    /// A handle to end the server, and what [`Server::serve`] waits for.
    pub fn new() -> (Shutdown, watch::Receiver<bool>) {
        let (sender, receiver) = watch::channel(false);
        (Shutdown(sender), receiver)
    }

    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

impl Server {
    /// Takes the addresses and makes everything that is made once.
    ///
    /// # Errors
    /// An address that is taken, a certificate that cannot be read.
    pub async fn bind(config: Config, registry: Arc<Registry>) -> Result<Server, BindError> {
        let tls = Arc::new(RwLock::new(tls::server_config(&config.tls)?));
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let address = listener.address;
            let socket = TcpListener::bind(address).await.map_err(|source| BindError::Listen { address, source })?;
            listeners.push((socket, listener.clone()));
        }
        let connections = Arc::new(Semaphore::new(config.max_connections));
        Ok(Server { listeners, tls, connections, handler: Arc::new(Handler::new(config, registry)) })
    }

    /// The addresses that were taken, in the order of the configuration (a port 0 is resolved).
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|(socket, _)| socket.local_addr().ok()).collect()
    }

    /// What can be changed while it runs.
    pub fn reload(&self) -> Reload {
        Reload { tls: self.tls.clone(), handler: self.handler.clone() }
    }

    /// Serves until the shutdown begins. Then, in this order: `/readyz` fails while everything goes on for the delay; no
    /// new connections, watches end; requests finish within their time and streams within theirs; the rest is cut.
    pub async fn serve(self, mut shutdown: watch::Receiver<bool>) {
        let (stop, stopped) = watch::channel(false);
        self.handler.set_shutdown(stopped.clone());
        self.handler.health.start();
        let mut tasks = JoinSet::new();
        for (socket, listener) in self.listeners {
            let accept = Accept {
                listener,
                tls: self.tls.clone(),
                connections: self.connections.clone(),
                handler: self.handler.clone(),
                shutdown: stopped.clone(),
            };
            tasks.spawn(accept.run(socket));
        }
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                // an error means that the handle was dropped
                _ = shutdown.wait_for(|ended| *ended) => break,
                _ = seconds.tick() => self.handler.limits.tick(),
            }
        }
        self.handler.health.end();
        tokio::time::sleep(self.handler.config.shutdown_delay).await;
        stop.send_replace(true);
        self.handler.tunnels.close();
        let drained = async {
            while tasks.join_next().await.is_some() {}
            self.handler.tunnels.wait().await;
        };
        if tokio::time::timeout(self.handler.config.drain, drained).await.is_ok() {
            return;
        }
        let left = self.handler.config.request_timeout.saturating_sub(self.handler.config.drain);
        let finished = async {
            while self.handler.limits.busy() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(left, finished).await;
        tracing::warn!("streams did not finish in time, their connections are cut");
    }
}

/// One listener's loop.
#[derive(Clone)]
struct Accept {
    listener: Listener,
    tls: Arc<RwLock<Arc<ServerConfig>>>,
    connections: Arc<Semaphore>,
    handler: Arc<Handler>,
    shutdown: watch::Receiver<bool>,
}

impl Accept {
    async fn run(mut self, socket: TcpListener) {
        let mut open = JoinSet::new();
        loop {
            let slot = self.connections.clone().acquire_owned();
            let next = tokio::select! {
                next = async { (slot.await, socket.accept().await) } => next,
                _ = ended(&mut self.shutdown) => break,
                Some(_) = open.join_next() => continue,
            };
            match next {
                (Ok(slot), Ok((stream, peer))) if self.listener.takes(peer.ip()) => {
                    let this = self.clone();
                    open.spawn(this.connection(stream, peer, slot));
                }
                (Ok(_), Ok((_, peer))) => {
                    tracing::debug!(%peer, "connection from a source that this listener does not serve")
                }
                (_, Err(error)) => {
                    // out of file descriptors and the like: it passes, spinning would not help
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                (Err(_), _) => break,
            }
        }
        drop(socket);
        while open.join_next().await.is_some() {}
    }

    async fn connection(self, stream: TcpStream, peer: SocketAddr, slot: OwnedSemaphorePermit) {
        let _ = stream.set_nodelay(true);
        // the kernel notices that a peer is gone: frames that ask for it would wake every connection
        if let Err(error) = keep_alive(&stream) {
            tracing::debug!(%peer, %error, "cannot have the connection watched");
        }
        let mut shutdown = self.shutdown.clone();
        let shaken = tokio::select! {
            // apart: what it needs is not to be kept as long as the connection
            shaken = Box::pin(self.shake_hands(stream, peer)) => shaken,
            () = ended(&mut shutdown) => return,
        };
        let Some(stream) = shaken else {
            return self.handler.metrics.tls_handshake_errors.inc();
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let connection = Arc::new(self.handler.connection(peer, chain, slot));
        let service = service_fn(|request: http::Request<Incoming>| {
            let (handler, connection) = (self.handler.clone(), connection.clone());
            // apart from the stream that it is for: a watch keeps the stream's memory, and needs little of it
            let reply = Box::pin(async move { handler.handle(request, &connection).await });
            reply.map(Ok::<http::Response<Body>, Infallible>)
        });
        let builder = builder(self.handler.config.max_streams);
        let serving = builder.serve_connection_with_upgrades(TokioIo::new(Patient::new(stream)), service);
        tokio::pin!(serving);
        let result = tokio::select! {
            biased;
            result = serving.as_mut() => result,
            () = ended_or_closed(Ended::new(Some(shutdown)), &connection.close) => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%peer, %error, "connection ended with an error");
        }
    }

    async fn shake_hands(&self, stream: TcpStream, peer: SocketAddr) -> Option<TlsStream<Socket>> {
        let acceptor = TlsAcceptor::from(self.tls.read().clone());
        match tokio::time::timeout(HANDSHAKE, acceptor.accept(Socket(stream))).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
        }
        None
    }
}

fn builder(max_streams: u32) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(1 << 20);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(max_streams)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1 << 20)
        .max_header_list_size(1 << 20);
    builder
}

fn keep_alive(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &30)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &15)?;
    setsockopt(stream, sockopt::TcpKeepCount, &3)?;
    // keep-alive asks nothing while something is on its way; a slow reader of HTTP/1.1 may take so long, too
    setsockopt(stream, sockopt::TcpUserTimeout, &180_000)
}

async fn ended_or_closed(ended: Ended, close: &Flag) {
    tokio::select! {
        biased;
        () = ended => {}
        () = close.raised() => tokio::time::sleep(LAST_ANSWER).await,
    }
}

async fn ended(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|ended| *ended).await;
}
