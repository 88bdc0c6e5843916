//! Listeners, connections and the end of both: TLS, h2 and HTTP/1.1 with upgrades, a bound on connections and
//! handshakes, and a shutdown in order (not ready, no new connections, watches end, requests finish).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::body::Body;
use crate::config::{Config, Listener};
use crate::handler::Handler;
use crate::tls::{self, TlsError};

/// How long a client may take to shake hands, and to send the head of a request.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(32);
/// How long requests may take to finish after the shutdown began.
const DRAIN: Duration = Duration::from_secs(10);

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
    acceptor: TlsAcceptor,
    connections: Arc<Semaphore>,
    handler: Arc<Handler>,
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
        let acceptor = TlsAcceptor::from(tls::server_config(&config.tls)?);
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let address = listener.address;
            let socket = TcpListener::bind(address).await.map_err(|source| BindError::Listen { address, source })?;
            listeners.push((socket, listener.clone()));
        }
        let connections = Arc::new(Semaphore::new(config.max_connections));
        Ok(Server { listeners, acceptor, connections, handler: Arc::new(Handler::new(config, registry)) })
    }

    /// The addresses that were taken, in the order of the configuration (a port 0 is resolved).
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|(socket, _)| socket.local_addr().ok()).collect()
    }

    /// Serves until the shutdown begins, then lets requests finish.
    pub async fn serve(self, mut shutdown: watch::Receiver<bool>) {
        self.handler.set_shutdown(shutdown.clone());
        self.handler.health.set_ready(true);
        let mut tasks = JoinSet::new();
        for (socket, listener) in self.listeners {
            let accept = Accept {
                listener,
                acceptor: self.acceptor.clone(),
                connections: self.connections.clone(),
                handler: self.handler.clone(),
                shutdown: shutdown.clone(),
            };
            tasks.spawn(accept.run(socket));
        }
        // an error means that the handle was dropped
        let _ = shutdown.wait_for(|ended| *ended).await;
        self.handler.health.set_ready(false);
        let drained = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("requests did not finish in time, their connections are cut");
        }
    }
}

/// One listener's loop.
#[derive(Clone)]
struct Accept {
    listener: Listener,
    acceptor: TlsAcceptor,
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
                    open.spawn(async move {
                        this.connection(stream, peer).await;
                        drop(slot);
                    });
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

    async fn connection(mut self, stream: TcpStream, peer: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let stream = match tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%peer, "TLS handshake timed out"),
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let connection = Arc::new(self.handler.connection(peer, chain));
        let service = service_fn(|request: http::Request<Incoming>| {
            let (handler, connection) = (self.handler.clone(), connection.clone());
            async move { Ok::<http::Response<Body>, Infallible>(handler.handle(request, &connection).await) }
        });
        let builder = builder();
        let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(serving);
        let result = tokio::select! {
            result = serving.as_mut() => result,
            _ = ended(&mut self.shutdown) => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%peer, %error, "connection ended with an error");
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(1 << 20);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1 << 20)
        .max_header_list_size(1 << 20)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(15));
    builder
}

async fn ended(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|ended| *ended).await;
}
