//! Connections to kubelets: where a node's is, TLS with the API server's client certificate, one HTTP/1.1 connection per
//! request (logs and streams hold theirs for long).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use api::ResourceType;
use bytes::Bytes;
use document::Value;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use meta::Key;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use store::View;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::KubeletClient;
use crate::tls::certificates;

/// How long a kubelet may take to begin its answer.
const HEAD: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);
const DEFAULT_PORT: i64 = 10250;

/// How kubelets are reached.
pub(crate) struct Kubelets {
    connector: TlsConnector,
}

/// Where one node's kubelet listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub host: String,
    pub port: u16,
}

impl Endpoint {
    /// The first usable address of a node, in the order of upstream's default preference, an internal IP before names.
    pub(crate) fn of_node(view: &View, name: &str) -> Option<Endpoint> {
        let row: &'static ResourceType = api::find("", "v1", "nodes")?;
        let node = view.get(&Key::new(row.resource_id()?, "", name))?;
        Endpoint::from_node(&api::stored::read(row, &node))
    }

    fn from_node(node: &Value) -> Option<Endpoint> {
        let addresses = node["status"]["addresses"].items();
        let of = |kind: &str| addresses.iter().find(|a| a["type"].str() == kind).map(|a| a["address"].str().to_owned());
        let host = ["InternalIP", "Hostname", "InternalDNS", "ExternalDNS", "ExternalIP"].into_iter().find_map(of)?;
        let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
            .as_i64()
            .filter(|p| *p > 0)
            .unwrap_or(DEFAULT_PORT);
        Some(Endpoint { host, port: u16::try_from(port).ok()? })
    }

    /// `host:port`, an IPv6 address in brackets.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl Kubelets {
    /// `None`, with a log line, when the identity cannot be used.
    pub(crate) fn new(client: &KubeletClient) -> Option<Kubelets> {
        match client_config(client) {
            Ok(config) => Some(Kubelets { connector: TlsConnector::from(Arc::new(config)) }),
            Err(error) => {
                tracing::error!(%error, "kubelets cannot be reached: the client certificate cannot be used");
                None
            }
        }
    }

    /// Sends a request without a body over a connection of its own.
    pub(crate) async fn send(
        &self,
        endpoint: &Endpoint,
        request: Request<Empty<Bytes>>,
    ) -> io::Result<Response<Incoming>> {
        let name = ServerName::try_from(endpoint.host.clone()).map_err(io::Error::other)?;
        let connect = async {
            let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
            stream.set_nodelay(true)?;
            self.connector.connect(name, stream).await
        };
        let stream =
            tokio::time::timeout(CONNECT, connect).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to a kubelet ended with an error");
            }
        });
        let head = tokio::time::timeout(HEAD, sender.send_request(request)).await;
        head.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(io::Error::other)
    }
}

fn client_config(client: &KubeletClient) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let chain = certificates(&client.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&client.key).map_err(|e| e.to_string())?;
    let builder = if client.authorities.is_empty() {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyKubelet(provider)))
    } else {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&client.authorities)? {
            roots.add(authority).map_err(|e| e.to_string())?;
        }
        builder.with_root_certificates(roots)
    };
    builder.with_client_auth_cert(chain, key).map_err(|e| e.to_string())
}

/// Upstream's default without `--kubelet-certificate-authority`: the kubelet's certificate is not verified.
#[derive(Debug)]
struct AnyKubelet(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyKubelet {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use document::doc;

    use super::*;

    #[test]
    fn a_kubelet_is_where_its_node_says() {
        let node = doc!({"status": {"addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.1.2.3"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10350}}}});
        assert_eq!(Endpoint::from_node(&node).map(|e| e.authority()).as_deref(), Some("10.1.2.3:10350"));
        let node = doc!({"status": {"addresses": [{"type": "Hostname", "address": "n"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}}}});
        assert_eq!(Endpoint::from_node(&node).map(|e| e.authority()).as_deref(), Some("n:10250"));
        assert_eq!(Endpoint::from_node(&doc!({})), None);
    }
}
