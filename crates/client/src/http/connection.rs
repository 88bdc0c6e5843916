//! Connections to one server: TLS with a pinned authority, HTTP/2 where the server speaks it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use meta::Status;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Credentials, Error};

type Body = Full<Bytes>;

pub(crate) struct Connector {
    authority: String,
    host: ServerName<'static>,
    tls: TlsConnector,
    token: Token,
    shared: tokio::sync::Mutex<Option<http2::SendRequest<Body>>>,
}

enum Token {
    None,
    Fixed(HeaderValue),
    File { path: PathBuf, read: Mutex<Option<(Instant, HeaderValue)>> },
}

enum Sender {
    Shared(http2::SendRequest<Body>),
    Single(http1::SendRequest<Body>),
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TOKEN_AGE: Duration = Duration::from_secs(60);

impl Connector {
    pub(crate) fn new(server: &str, ca_pem: &[u8], credentials: Credentials) -> Result<Self, Error> {
        let wrong = || Error::Url(server.to_owned());
        let uri: Uri = server.parse().map_err(|_| wrong())?;
        let (Some("https"), Some(host)) = (uri.scheme_str(), uri.host()) else { return Err(wrong()) };
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(443));
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let host = ServerName::try_from(bare).map_err(|_| wrong())?;
        let mut config = config(ca_pem, &credentials)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Connector { authority, host, tls, token: Token::new(credentials)?, shared: tokio::sync::Mutex::default() })
    }

    pub(crate) async fn send(
        &self,
        mut request: Request<Body>,
        path_and_query: &str,
    ) -> Result<Response<Incoming>, Status> {
        if let Some(token) = self.token.header().await? {
            request.headers_mut().insert(header::AUTHORIZATION, token);
        }
        let path = |uri: String| uri.parse::<Uri>().map_err(|_| Status::bad_request("not a path"));
        // a connection may be closing: what was not sent yet goes over a new one
        for last in [false, true] {
            let sender = tokio::time::timeout(CONNECT_TIMEOUT, self.sender()).await;
            let sender = sender.map_err(|_| self.unreachable("no answer"))?.map_err(|why| self.unreachable(&why))?;
            let mut failed = match sender {
                Sender::Shared(mut sender) => {
                    *request.uri_mut() = path(format!("https://{}{path_and_query}", self.authority))?;
                    match sender.try_send_request(request).await {
                        Ok(response) => return Ok(response),
                        Err(failed) => failed,
                    }
                }
                Sender::Single(mut sender) => {
                    *request.uri_mut() = path(path_and_query.to_owned())?;
                    let host = HeaderValue::from_str(&self.authority).map_err(|_| Status::bad_request("not a host"))?;
                    request.headers_mut().insert(header::HOST, host);
                    match sender.try_send_request(request).await {
                        Ok(response) => return Ok(response),
                        Err(failed) => failed,
                    }
                }
            };
            match failed.take_message() {
                Some(unsent) if !last => {
                    request = unsent;
                    *self.shared.lock().await = None;
                }
                _ => return Err(self.unreachable(&failed.into_error().to_string())),
            }
        }
        Err(self.unreachable("no connection lasts"))
    }

    fn unreachable(&self, why: &str) -> Status {
        Status::unavailable(format!("failed to reach {}: {why}", self.authority))
    }

    /// The shared connection, made when there is none that works.
    async fn sender(&self) -> Result<Sender, String> {
        let mut shared = self.shared.lock().await;
        if let Some(sender) = shared.as_ref().filter(|s| !s.is_closed()) {
            return Ok(Sender::Shared(sender.clone()));
        }
        let made = self.connect().await?;
        *shared = match &made {
            Sender::Shared(sender) => Some(sender.clone()),
            Sender::Single(_) => None,
        };
        Ok(made)
    }

    async fn connect(&self) -> Result<Sender, String> {
        let stream = TcpStream::connect(&self.authority).await.map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let stream = self.tls.connect(self.host.clone(), stream).await.map_err(|e| e.to_string())?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        if is_http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).adaptive_window(true);
            builder.keep_alive_interval(Duration::from_secs(30)).keep_alive_timeout(Duration::from_secs(15));
            let (sender, connection) = builder.handshake(io).await.map_err(|e| e.to_string())?;
            // its end shows in the sender
            tokio::spawn(async move { drop(connection.await) });
            return Ok(Sender::Shared(sender));
        }
        let (sender, connection) = http1::handshake(io).await.map_err(|e| e.to_string())?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(Sender::Single(sender))
    }
}

impl Token {
    fn new(credentials: Credentials) -> Result<Self, Error> {
        Ok(match credentials {
            Credentials::Token(token) => {
                Token::Fixed(bearer(&token).ok_or_else(|| Error::Certificate("the token is not text".into()))?)
            }
            Credentials::TokenFile(path) => Token::File { path, read: Mutex::new(None) },
            Credentials::Certificate { .. } | Credentials::None => Token::None,
        })
    }

    async fn header(&self) -> Result<Option<HeaderValue>, Status> {
        match self {
            Token::None => Ok(None),
            Token::Fixed(header) => Ok(Some(header.clone())),
            Token::File { path, read } => {
                if let Some((at, header)) = &*read.lock()
                    && at.elapsed() < TOKEN_AGE
                {
                    return Ok(Some(header.clone()));
                }
                let failed = || Status::unclassified(format!("failed to read the token in {}", path.display()));
                let text = tokio::fs::read_to_string(path).await.map_err(|_| failed())?;
                let header = bearer(text.trim()).ok_or_else(failed)?;
                *read.lock() = Some((Instant::now(), header.clone()));
                Ok(Some(header))
            }
        }
    }
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn config(ca_pem: &[u8], credentials: &Credentials) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        let certificate = certificate.map_err(|e| Error::Authority(e.to_string()))?;
        roots.add(certificate).map_err(|e| Error::Authority(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(Error::Authority("there is no certificate in it".into()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Authority(e.to_string()))?
        .with_root_certificates(roots);
    let Credentials::Certificate { chain, key } = credentials else { return Ok(builder.with_no_client_auth()) };
    let wrong = |e: &dyn std::fmt::Display| Error::Certificate(e.to_string());
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>().map_err(|e| wrong(&e))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| wrong(&e))?;
    builder.with_client_auth_cert(chain, key).map_err(|e| wrong(&e))
}
