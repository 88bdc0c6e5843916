//! One request from head to answer, in upstream's order: limits, who, may they, route, body, verb. What comes out is
//! always an answer; a panic below becomes a 500.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures::FutureExt;
use gate::Passage;
use http::header::{CONNECTION, CONTENT_LENGTH, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use hyper::body::Incoming;
use meta::Status;
use registry::{Query, Registry};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use crate::config::Config;
use crate::discovery::Discovery;
use crate::frames::Recent;
use crate::health::Health;
use crate::limits::InFlight;
use crate::metrics::{Metrics, Seen};
use crate::negotiate::Form;
use crate::path::{self, Route};
use crate::respond::{self, Reply};
use crate::route::{self, NoRoute};
use crate::{index, leftover, resource};

/// What a connection brings to each of its requests.
pub(crate) struct Connection {
    pub peer: SocketAddr,
    pub certificates: Option<authn::Peer>,
}

/// Everything that requests share.
pub(crate) struct Handler {
    pub(crate) config: Config,
    pub(crate) registry: Arc<Registry>,
    pub(crate) health: Health,
    pub(crate) discovery: Discovery,
    pub(crate) metrics: Metrics,
    pub(crate) recent: Arc<Recent>,
    pub(crate) kubelet: Option<crate::kubelet::Kubelets>,
    limits: InFlight,
    shutdown: OnceLock<watch::Receiver<bool>>,
}

/// The head of a request, read.
pub(crate) struct Head {
    pub method: Method,
    pub headers: HeaderMap,
    pub query: Query,
    pub route: Route,
}

/// What the pipeline found out before and beside the answer.
#[derive(Default)]
pub(crate) struct Notes {
    pub warnings: Vec<String>,
}

impl Handler {
    pub(crate) fn new(config: Config, registry: Arc<Registry>) -> Self {
        Handler {
            discovery: Discovery::new(&config.server_address),
            limits: InFlight::new(config.max_requests_in_flight, config.max_mutating_requests_in_flight),
            health: Health::default(),
            metrics: Metrics::default(),
            recent: Arc::default(),
            kubelet: config.kubelet.as_deref().and_then(crate::kubelet::Kubelets::new),
            shutdown: OnceLock::new(),
            config,
            registry,
        }
    }

    pub(crate) fn set_shutdown(&self, shutdown: watch::Receiver<bool>) {
        let _ = self.shutdown.set(shutdown);
    }

    /// Completes when the end has begun.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let shutdown = self.shutdown.get().cloned();
        async move {
            match shutdown {
                Some(mut shutdown) => {
                    let _ = shutdown.wait_for(|ended| *ended).await;
                }
                None => std::future::pending().await,
            }
        }
    }

    pub(crate) fn connection(&self, peer: SocketAddr, chain: &[CertificateDer<'_>]) -> Connection {
        Connection { peer, certificates: authn::Peer::new(chain.iter().map(|c| c.to_vec())) }
    }

    /// Answers one request.
    pub(crate) async fn handle(self: Arc<Self>, request: Request<Incoming>, connection: &Connection) -> Reply {
        let started = Instant::now();
        let (parts, mut body) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let audit_id = meta::random::uuid();
        let Some(path) = path::decode(parts.uri.path()) else {
            return respond::finish(respond::text(400, "400 Bad Request"), &audit_id, &[]);
        };
        let route = path::parse(&parts.method, &path, &query);
        let head = Head { method: parts.method, headers: parts.headers, query, route };
        let mut notes = Notes::default();
        let upgrade = parts.extensions;
        let answering = AssertUnwindSafe(self.answer(&head, &mut body, upgrade, connection, &mut notes)).catch_unwind();
        let mut reply = answering.await.unwrap_or_else(|_| {
            tracing::error!(peer = %connection.peer, path = head.route.attributes.path, "a request caused a panic");
            respond::text(500, "This request caused apiserver to panic. Look in the logs for details.\n")
        });
        if parts.version <= Version::HTTP_11 && !leftover::read(&mut body, &head.headers).await {
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.metrics.record(&Seen { head: &head, code: reply.status().as_u16(), took: started.elapsed() });
        respond::finish(reply, &audit_id, &notes.warnings)
    }

    async fn answer(
        self: &Arc<Self>,
        head: &Head,
        body: &mut Incoming,
        extensions: http::Extensions,
        connection: &Connection,
        notes: &mut Notes,
    ) -> Reply {
        let Some(_slot) = self.limits.enter(head) else { return too_many() };
        let passage = match self.admit(head, connection, notes) {
            Ok(passage) => passage,
            Err(reply) => return *reply,
        };
        if !head.route.attributes.is_resource {
            return index::answer(self, head);
        }
        let (row, action) = match route::resolve(&head.route, &head.method) {
            Ok(found) => found,
            Err(NoRoute::Page) => return respond::page_not_found(),
            Err(NoRoute::Status(status)) => return head.refuse(&status),
        };
        let call = resource::Call { handler: self, head, passage, row, action };
        if call.is_long_running() {
            return call.answer(body, extensions, notes).await;
        }
        match tokio::time::timeout(self.config.request_timeout, call.answer(body, extensions, notes)).await {
            Ok(reply) => reply,
            Err(_) => head.refuse(&Status::timeout("request did not complete within the allotted timeout", 0)),
        }
    }

    /// Authentication and authorization.
    fn admit(&self, head: &Head, connection: &Connection, notes: &mut Notes) -> Result<Passage, Box<Reply>> {
        let gate = self.registry.gate();
        let request = authn::Request { peer: connection.certificates.as_ref(), headers: &head.headers };
        let caller = gate.authenticate(&request).map_err(|status| Box::new(head.refuse(&status)))?;
        notes.warnings.extend(caller.warnings().iter().cloned());
        if let Some(secret) = caller.used_secret() {
            self.registry.note_used_secret(secret);
        }
        gate.enter(caller, head.route.attributes.clone()).map_err(|refused| {
            let mut reply = head.refuse(&refused);
            reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            Box::new(reply)
        })
    }
}

impl Head {
    /// A Status in the form that the client accepts.
    pub(crate) fn refuse(&self, status: &Status) -> Reply {
        respond::status(status, Form::of_error(&self.headers, &self.query))
    }

    pub(crate) fn content_length(&self) -> Option<usize> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }
}

fn too_many() -> Reply {
    let mut reply = respond::text(429, "Too many requests, please try again later.\n");
    reply.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}
