//! One request from head to answer, in upstream's order: deadline, who, limits, may they, route, body, verb. What comes out
//! is always an answer; a panic below becomes a 500.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::FutureExt;
use gate::Passage;
use http::header::{CONNECTION, CONTENT_LENGTH, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use hyper::body::Incoming;
use meta::Status;
use parking_lot::RwLock;
use registry::{Query, Registry};
use rustls::pki_types::CertificateDer;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::task::TaskTracker;

use crate::body::Body;
use crate::config::{Config, IssuerDocuments};
use crate::counted::{self, Counted};
use crate::discovery::Discovery;
use crate::ending::{Ended, Flag};
use crate::frames::Recent;
use crate::health::Health;
use crate::limits::{InFlight, Slot, is_long_running};
use crate::metrics::{Authorization, Finished, Labels, Metrics};
use crate::negotiate::Form;
use crate::path::{self, Route};
use crate::respond::{self, Reply};
use crate::route::{self, NoRoute};
use crate::tunnel::Tunnel;
use crate::{index, leftover, resource};

/// What a connection brings to each of its requests.
pub(crate) struct Connection {
    pub peer: SocketAddr,
    pub certificates: Option<authn::Peer>,
    /// Its place among all connections; a tunnel keeps it.
    pub permit: Arc<OwnedSemaphorePermit>,
    /// Whether the connection is to end after what is under way.
    pub close: Flag,
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
    pub(crate) issuer: RwLock<IssuerDocuments>,
    pub(crate) limits: InFlight,
    /// Connections that were upgraded.
    pub(crate) tunnels: TaskTracker,
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
    /// What the request is counted under, once a handler has been found.
    pub counted: Option<Counted>,
    pub open: Option<Open>,
    /// Nobody known sent it.
    pub stranger: bool,
}

/// A long-running request that is under way.
pub(crate) struct Open {
    handler: Arc<Handler>,
    labels: Labels<'static>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.handler.metrics.long_running(&self.labels, -1);
    }
}

/// Counts a request when its body has left, or its tunnel has ended.
pub(crate) struct Tail {
    handler: Arc<Handler>,
    counted: Counted,
    code: u16,
    started: Instant,
    /// Bytes of the body so far.
    pub size: u64,
    _open: Option<Open>,
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.handler.record(&self.counted, self.code, self.started, self.size);
    }
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
            issuer: RwLock::new(config.issuer.clone()),
            tunnels: TaskTracker::new(),
            shutdown: OnceLock::new(),
            config,
            registry,
        }
    }

    pub(crate) fn set_shutdown(&self, shutdown: watch::Receiver<bool>) {
        let _ = self.shutdown.set(shutdown);
    }

    /// Completes when the end has begun.
    pub(crate) fn ended(&self) -> Ended {
        Ended::new(self.shutdown.get().cloned())
    }

    pub(crate) fn connection(
        &self,
        peer: SocketAddr,
        chain: &[CertificateDer<'_>],
        permit: OwnedSemaphorePermit,
    ) -> Connection {
        Connection {
            peer,
            certificates: authn::Peer::new(chain.iter().map(|c| c.to_vec())),
            permit: Arc::new(permit),
            close: Flag::default(),
        }
    }

    /// Answers one request.
    pub(crate) async fn handle(self: Arc<Self>, request: Request<Incoming>, connection: &Connection) -> Reply {
        let started = Instant::now();
        let (parts, mut body) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let audit_id = audit_id(&parts.headers);
        let Some(path) = path::decode(parts.uri.path()) else {
            return respond::finish(respond::text(400, "400 Bad Request"), audit_id, &[]);
        };
        let route = path::parse(&parts.method, &path, &query);
        let head = Head { method: parts.method, headers: parts.headers, query, route };
        let mut notes = Notes::default();
        let mut reply = match self.time_left(&head, started) {
            Err(status) => head.refuse(&status),
            Ok(limit) => {
                let answering = self.answer(&head, &mut body, parts.extensions, connection, &mut notes, started);
                self.in_time(&head, connection, limit, AssertUnwindSafe(answering).catch_unwind()).await
            }
        };
        // on HTTP/2, too: a stream that is reset before its body has come loses its answer with some clients
        if !leftover::read(&mut body, &head.headers).await && parts.version <= Version::HTTP_11 {
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if parts.version == Version::HTTP_2 && (notes.stranger || reply.status() == 401) {
            // many such streams on one connection would cost much and give nothing
            connection.close.raise();
        }
        let reply = self.count(reply, &mut notes, started, connection);
        respond::finish(reply, audit_id, &notes.warnings)
    }

    /// How long the request may take: the client's wish within the server's bound. `None`: as long as it likes.
    fn time_left(&self, head: &Head, started: Instant) -> Result<Option<Duration>, Status> {
        if is_long_running(head) {
            return Ok(None);
        }
        let most = self.config.request_timeout;
        let limit = match head.query.get("timeout") {
            None | Some("") => most,
            Some(text) => match document::decode::parse_duration(text) {
                Err(why) => {
                    return Err(Status::bad_request(format!("invalid timeout specified in the request URL - {why}")));
                }
                Ok(nanos) => match u64::try_from(nanos).map(Duration::from_nanos) {
                    Ok(wanted) if !wanted.is_zero() && wanted < most => wanted,
                    _ => most,
                },
            },
        };
        Ok(Some(limit.saturating_sub(started.elapsed())))
    }

    /// The answer, or 504 when it does not come in time, or 500 when there is none.
    async fn in_time(
        &self,
        head: &Head,
        connection: &Connection,
        limit: Option<Duration>,
        answering: impl Future<Output = std::thread::Result<Reply>>,
    ) -> Reply {
        let answered = match limit {
            None => Ok(answering.await),
            Some(Duration::ZERO) => Err(()),
            Some(limit) => tokio::time::timeout(limit, answering).await.map_err(|_| ()),
        };
        match answered {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => {
                tracing::error!(peer = %connection.peer, path = head.route.attributes.path, "a request caused a panic");
                respond::text(500, "This request caused apiserver to panic. Look in the logs for details.\n")
            }
            Err(()) => {
                counted::refused(head, |labels| self.metrics.terminated(labels, 504));
                respond::plain(504, "text/plain; charset=utf-8", Body::full(&TIMEOUT[..]))
            }
        }
    }

    async fn answer(
        self: &Arc<Self>,
        head: &Head,
        body: &mut Incoming,
        extensions: http::Extensions,
        connection: &Connection,
        notes: &mut Notes,
        started: Instant,
    ) -> Reply {
        let slot = self.limits.enter(head);
        let (_slot, passage) = match self.admit(head, connection, slot, notes, started) {
            Ok(admitted) => admitted,
            Err(reply) => return *reply,
        };
        if !head.route.attributes.is_resource {
            notes.counted = counted::path(head);
            return index::answer(self, head);
        }
        let (row, action) = match route::resolve(&head.route, &head.method) {
            Ok(found) => found,
            Err(NoRoute::Page) => return respond::page_not_found(),
            Err(NoRoute::Status(status)) => return head.refuse(&status),
        };
        let counted = counted::resource(head, row, action);
        notes.counted = Some(counted);
        if is_long_running(head) {
            self.metrics.long_running(&counted.labels, 1);
            notes.open = Some(Open { handler: self.clone(), labels: counted.labels });
        }
        resource::Call { handler: self, head, passage, row, action }.answer(body, extensions, notes).await
    }

    /// Authentication, the limit on what is in flight (not for the administrators), and authorization.
    fn admit<'a>(
        &self,
        head: &Head,
        connection: &Connection,
        slot: Option<Slot<'a>>,
        notes: &mut Notes,
        started: Instant,
    ) -> Result<(Option<Slot<'a>>, Passage), Box<Reply>> {
        let gate = self.registry.gate();
        let request = authn::Request { peer: connection.certificates.as_ref(), headers: &head.headers };
        let caller = gate.authenticate(&request).map_err(|refused| {
            self.metrics.unauthenticated(started.elapsed());
            if let Some(secret) = &refused.used_secret {
                self.registry.note_used_secret(secret);
            }
            Box::new(head.refuse(&refused.status))
        })?;
        let known = started.elapsed();
        self.metrics.authenticated(&caller.user().name, known);
        notes.stranger = caller.is_anonymous();
        notes.warnings.extend(caller.warnings().iter().cloned());
        if let Some(secret) = caller.used_secret() {
            self.registry.note_used_secret(secret);
        }
        if slot.is_none() && !caller.user().in_group(meta::user::MASTERS) {
            return Err(Box::new(self.too_many(head)));
        }
        match gate.enter(caller, head.route.attributes.clone()) {
            Ok(passage) => {
                self.metrics.authorized(Authorization::Allowed, started.elapsed().saturating_sub(known));
                Ok((slot, passage))
            }
            Err(refused) => {
                let outcome = if refused.code == 500 { Authorization::Error } else { Authorization::NoOpinion };
                self.metrics.authorized(outcome, started.elapsed().saturating_sub(known));
                let mut reply = head.refuse(&refused);
                reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
                Err(Box::new(reply))
            }
        }
    }

    fn too_many(&self, head: &Head) -> Reply {
        counted::refused(head, |labels| {
            self.metrics.requests.record_refused(labels, 429);
            self.metrics.terminated(labels, 429);
        });
        let mut reply = respond::text(429, "Too many requests, please try again later.\n");
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        reply
    }

    /// Counts what is done, or sees to it that it is counted when it is; lets a tunnel begin.
    fn count(
        self: &Arc<Self>,
        mut reply: Reply,
        notes: &mut Notes,
        started: Instant,
        connection: &Connection,
    ) -> Reply {
        let Some(counted) = notes.counted else { return reply };
        let code = reply.status().as_u16();
        let tail = |open| Tail { handler: self.clone(), counted, code, started, size: 0, _open: open };
        if let Some(tunnel) = reply.extensions_mut().remove::<Tunnel>().and_then(Tunnel::take) {
            let (held, ended) = ((tail(notes.open.take()), connection.permit.clone()), self.cut());
            self.tunnels.spawn(async move {
                tokio::select! {
                    () = tunnel => {}
                    () = ended => tracing::debug!("a stream is cut by the end of the server"),
                }
                drop(held);
            });
            return reply;
        }
        match reply.body_mut() {
            Body::Pieces(_, place) => *place = Some(Box::new(tail(notes.open.take()))),
            Body::Full(bytes) => {
                let size = bytes.as_ref().map_or(0, |b| b.len() as u64);
                self.record(&counted, code, started, size);
            }
        }
        reply
    }

    fn record(&self, counted: &Counted, code: u16, started: Instant, size: u64) {
        let size = counted.sized.then_some(size);
        let done = Finished { labels: counted.labels, code, took: started.elapsed(), size };
        self.metrics.requests.record(&done);
    }

    /// Completes when tunnels have had their time after the end began.
    fn cut(&self) -> impl Future<Output = ()> + Send + 'static {
        let (ended, time) = (self.ended(), self.config.drain);
        async move {
            ended.await;
            tokio::time::sleep(time).await;
        }
    }
}

/// What the client calls its request, cut to upstream's length; a new name when it does not.
fn audit_id(headers: &HeaderMap) -> HeaderValue {
    const MOST: usize = 64;
    let given = headers.get("audit-id").filter(|v| !v.is_empty());
    given
        .and_then(|v| HeaderValue::from_bytes(&v.as_bytes()[..v.len().min(MOST)]).ok())
        .or_else(|| HeaderValue::from_str(&meta::random::uuid()).ok())
        .unwrap_or_else(|| HeaderValue::from_static(""))
}

/// What a request is answered that does not finish in time; Go's sniffing makes a text of it.
const TIMEOUT: [u8; 152] = *b"{\"metadata\":{},\"status\":\"Failure\",\"message\":\"Timeout: request did not complete within the allotted timeout\",\"reason\":\"Timeout\",\"details\":{},\"code\":504}\n";

impl Head {
    /// A Status in the form that the client accepts.
    pub(crate) fn refuse(&self, status: &Status) -> Reply {
        respond::status(status, Form::of_error(&self.headers, &self.query))
    }

    pub(crate) fn content_length(&self) -> Option<usize> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }
}
