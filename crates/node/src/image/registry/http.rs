//! One GET over one connection, HTTP or HTTPS.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

const CONNECT_PATIENCE: Duration = Duration::from_secs(20);

/// An absolute http or https URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Url(Uri);

impl Url {
    pub(in super::super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        (known && uri.host().is_some_and(|host| !host.is_empty())).then_some(Self(uri))
    }

    /// An absolute URL, or a path on the same host.
    pub(super) fn join(&self, location: &str) -> Option<Self> {
        if !location.starts_with('/') {
            return Self::parse(location);
        }
        Self::parse(&format!("{}://{}{location}", self.0.scheme_str()?, self.0.authority()?))
    }

    /// HTTPS, or a host that is this one.
    pub(super) fn is_acceptable(&self) -> bool {
        self.is_tls() || self.host() == "localhost" || self.host().parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    pub(super) fn same_origin(&self, other: &Self) -> bool {
        self.0.scheme() == other.0.scheme() && self.host() == other.host() && self.port() == other.port()
    }

    pub(super) fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_matches(['[', ']'])
    }

    fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Sends the request and reads the answer's head. Errors are in Go's words, as a user of Kubernetes knows them.
pub(super) async fn get(url: &Url, accept: &str, authorization: Option<&str>) -> Result<Response<Incoming>, String> {
    let path = url.0.path_and_query().map_or("/", |path| path.as_str());
    let authority = url.0.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::get(path).header(header::HOST, authority).header(header::ACCEPT, accept);
    request = request.header(header::USER_AGENT, concat!("lanyard/", env!("CARGO_PKG_VERSION")));
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let stream = connect(url).await?;
    if !url.is_tls() {
        return send(stream, request).await;
    }
    let name = ServerName::try_from(url.host().to_owned()).map_err(|error| error.to_string())?;
    let stream = connector()?.connect(name, stream).await.map_err(|error| format!("tls: {error}"))?;
    send(stream, request).await
}

async fn connect(url: &Url) -> Result<TcpStream, String> {
    let address = (url.host(), url.port());
    let connecting = tokio::time::timeout(CONNECT_PATIENCE, TcpStream::connect(address)).await;
    let failed = |cause: &str| format!("dial tcp {}:{}: {cause}", address.0, address.1);
    match connecting {
        Err(_) => Err(failed("i/o timeout")),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Err(failed("connect: connection refused"))
        }
        Ok(Err(error)) if error.raw_os_error().is_none() => {
            Err(format!("dial tcp: lookup {}: no such host", address.0))
        }
        Ok(Err(error)) => Err(failed(&error.to_string())),
        Ok(Ok(stream)) => Ok(stream),
    }
}

async fn send<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(|error| error.to_string())
}

/// Trusts what the system trusts; read once, when the first HTTPS registry is asked.
fn connector() -> Result<TlsConnector, String> {
    static CONFIG: OnceLock<Result<Arc<rustls::ClientConfig>, String>> = OnceLock::new();
    CONFIG.get_or_init(configure).clone().map(TlsConnector::from)
}

fn configure() -> Result<Arc<rustls::ClientConfig>, String> {
    let usual = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
    let named = std::env::var("SSL_CERT_FILE").ok();
    let mut roots = rustls::RootCertStore::empty();
    for path in named.iter().map(String::as_str).chain(usual) {
        let Ok(certificates) = CertificateDer::pem_file_iter(path) else { continue };
        roots.add_parsable_certificates(certificates.flatten());
        if !roots.is_empty() {
            break;
        }
    }
    if roots.is_empty() {
        return Err("tls: this system has no certificate authorities (package ca-certificates)".into());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_joined_and_judged() {
        let base = Url::parse("https://a.b/").unwrap();
        assert_eq!(base.join("/v2/x").unwrap().to_string(), "https://a.b/v2/x");
        assert_eq!(base.join("http://c/d").unwrap().to_string(), "http://c/d");
        assert!(base.same_origin(&Url::parse("https://a.b:443/z").unwrap()));
        assert!(!base.same_origin(&Url::parse("http://a.b/z").unwrap()));
        assert!(Url::parse("http://[::1]:5/").unwrap().is_acceptable());
        assert!(!Url::parse("http://a.b").unwrap().is_acceptable());
        for bad in ["", "a", "/x", "ftp://a", "http://"] {
            assert_eq!(Url::parse(bad), None, "{bad}");
        }
    }
}
