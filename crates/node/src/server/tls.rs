//! TLS of the kubelet API: the node's serving certificate; client certificates are asked for and not required.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

use super::{Config, ServeError};

pub(super) fn acceptor(config: &Config) -> Result<TlsAcceptor, ServeError> {
    let failed = |what: &'static str| move |cause: String| ServeError::Tls { what, cause };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&config.client_ca).map_err(failed("client CA"))? {
        roots.add(certificate).map_err(|e| failed("client CA")(e.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| failed("client CA")(e.to_string()))?;
    let chain = certificates(&config.certificate).map_err(failed("serving certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(&config.key).map_err(|e| failed("serving key")(e.to_string()))?;
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed("TLS versions")(e.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|e| failed("serving certificate")(e.to_string()))?;
    // websockets are upgraded from HTTP/1.1; a client that wants HTTP/2 gets it for the rest
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(tls)))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| e.to_string())
}
