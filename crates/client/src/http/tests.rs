//! The transport against a small TLS server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use document::doc;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use meta::Revision;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{Api, NODES, PODS, PatchKind, WatchEvent};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key, PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// The server's body type.
type Sent = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;

struct Server {
    url: String,
    ca: Authority,
    connections: Arc<AtomicUsize>,
}

/// Answers with what was asked; a watch with two lines, the second cut in two.
async fn answer(request: Request<Incoming>, peer: bool) -> Result<Response<Sent>, std::convert::Infallible> {
    let (parts, body) = request.into_parts();
    let uri = parts.uri.to_string();
    let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let pod =
        |revision: &str| format!(r#"{{"metadata":{{"name":"x","namespace":"n","resourceVersion":"{revision}"}}}}"#);
    if uri.contains("watch=true") {
        let (one, two) = (pod("7"), pod("8"));
        let lines = [
            format!("{{\"type\":\"ADDED\",\"object\":{one}}}\n{{\"type\":\"DELE"),
            format!("TED\",\"object\":{two}}}\n{{\"type\":\"BOOKMARK\",\"object\":{}}}\n", pod("9")),
        ];
        let frames = lines.map(|line| Ok(Frame::data(Bytes::from(line))));
        return Ok(Response::new(BodyExt::boxed(StreamBody::new(futures::stream::iter(frames)))));
    }
    if uri.contains("/missing") {
        let status = Status::not_found(&meta::GroupResource::new("", "pods"), "missing").to_json();
        let mut response = Response::new(BodyExt::boxed(Full::new(Bytes::from(status))));
        *response.status_mut() = StatusCode::NOT_FOUND;
        return Ok(response);
    }
    if uri.ends_with("/nodes") && parts.method == Method::GET {
        let list = format!(r#"{{"metadata":{{"resourceVersion":"5"}},"items":[{}]}}"#, pod("3"));
        return Ok(Response::new(Full::new(Bytes::from(list)).boxed()));
    }
    let body = body.collect().await.unwrap().to_bytes();
    let echo = doc!({
        "method": (parts.method.as_str()),
        "path": (parts.uri.path()),
        "type": (parts.headers.get(header::CONTENT_TYPE).and_then(|h| h.to_str().ok()).unwrap_or_default()),
        "authorization": authorization,
        "certificate": peer,
        "h2": (parts.version == Version::HTTP_2),
        "body": (json::parse(&body).unwrap_or_default())
    });
    Ok(Response::new(Full::new(Bytes::from(json::to_vec(&echo))).boxed()))
}

impl Server {
    async fn start(http2: bool) -> Server {
        let ca = Authority::new();
        let (certificate, key) = ca.issue("localhost");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_slice(ca.pem.as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let chain = vec![rustls::pki_types::CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
            .unwrap();
        config.alpn_protocols = if http2 { vec![b"h2".to_vec()] } else { vec![b"http/1.1".to_vec()] };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let connections = Arc::new(AtomicUsize::new(0));
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), http2, connections.clone()));
        Server { url, ca, connections }
    }

    fn transport(&self, credentials: Credentials) -> HttpTransport {
        HttpTransport::new(&self.url, self.ca.pem.as_bytes(), credentials).unwrap()
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, http2: bool, connections: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, connections) = (tls.clone(), connections.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            connections.fetch_add(1, Ordering::SeqCst);
            let peer = stream.get_ref().1.peer_certificates().is_some();
            let service = service_fn(move |request| answer(request, peer));
            let io = TokioIo::new(stream);
            if http2 {
                drop(
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await,
                );
            } else {
                drop(hyper::server::conn::http1::Builder::new().serve_connection(io, service).await);
            }
        });
    }
}

#[test]
fn selectors_are_escaped() {
    let options = ListOptions { labels: "a in (b,c)".into(), fields: "spec.nodeName=n".into() };
    assert_eq!(
        collection(&PODS, Some("x"), &options, &[("watch", "true")]),
        "/api/v1/namespaces/x/pods?labelSelector=a%20in%20%28b%2Cc%29&fieldSelector=spec.nodeName%3Dn&watch=true"
    );
}

#[tokio::test]
async fn calls_lists_and_watches_share_one_connection() {
    let server = Server::start(true).await;
    let (chain, key) = server.ca.issue("client");
    let credentials = Credentials::Certificate { chain: chain.into_bytes(), key: key.into_bytes() };
    let api = Api::new(server.transport(credentials));
    let told = api.create(&PODS, "n", doc!({"metadata": {"name": "x"}})).await.unwrap();
    assert_eq!((told["method"].str(), told["path"].str()), ("POST", "/api/v1/namespaces/n/pods"));
    assert_eq!((told["body"]["kind"].str(), told["body"]["apiVersion"].str()), ("Pod", "v1"));
    assert!(told["certificate"].is_true() && told["h2"].is_true());
    let patch = api.patch(&PODS, "n", "x", "status", PatchKind::Merge, doc!({"status": {}})).await.unwrap();
    assert_eq!(
        (patch["type"].str(), patch["path"].str()),
        ("application/merge-patch+json", "/api/v1/namespaces/n/pods/x/status")
    );
    assert!(patch["body"]["kind"].is_null());
    assert!(api.get(&PODS, "n", "missing").await.unwrap_err().is_not_found());
    let list = api.list(&NODES, None, &ListOptions::default()).await.unwrap();
    assert_eq!((list.revision, list.items[0].revision, &*list.items[0].key.name), (Revision(5), Revision(3), "x"));
    let mut watch = api.watch(&PODS, Some("n"), &ListOptions::default(), Revision(5)).await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = watch.next().await {
        seen.push(match event.unwrap() {
            WatchEvent::Added(o) => format!("added {}", o.revision),
            WatchEvent::Modified(o) => format!("modified {}", o.revision),
            WatchEvent::Deleted(o) => format!("deleted {}", o.revision),
            WatchEvent::Bookmark(r) => format!("bookmark {r}"),
        });
    }
    assert_eq!(seen, ["added 7", "deleted 8", "bookmark 9"]);
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_token_is_sent_from_its_file_and_http1_will_do() {
    let server = Server::start(false).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret\n").unwrap();
    let api = Api::new(server.transport(Credentials::TokenFile(file.path().into())));
    let told = api.get(&PODS, "n", "x").await.unwrap();
    assert_eq!(told["authorization"].str(), "Bearer secret");
    assert!(!told["h2"].is_true() && !told["certificate"].is_true());
    assert!(api.get(&PODS, "n", "y").await.is_ok());
}

#[tokio::test]
async fn only_the_given_authority_is_trusted() {
    let server = Server::start(true).await;
    let other = Authority::new();
    let transport = HttpTransport::new(&server.url, other.pem.as_bytes(), Credentials::None).unwrap();
    let error = Api::new(transport).get(&PODS, "n", "x").await.unwrap_err();
    assert_eq!(error.code, 503);
    assert!(HttpTransport::new("http://localhost", other.pem.as_bytes(), Credentials::None).is_err());
    assert!(HttpTransport::new("https://localhost", b"", Credentials::None).is_err());
}
