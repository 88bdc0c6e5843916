//! The TLS side of a connection. A client certificate never fails the handshake (a bad one is answered 401, as upstream
//! does): it goes with the connection, and `authn` judges it. Possession of its key is always proven in the handshake.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Tls;

/// Why the server cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the serving certificate cannot be read: {0}")]
    Certificate(String),
    #[error("the serving key cannot be read: {0}")]
    Key(String),
    #[error("a client authority cannot be read: {0}")]
    Authority(String),
    #[error("certificate and key do not fit: {0}")]
    Pair(#[from] rustls::Error),
}

/// Makes the server's side, offering h2 and HTTP/1.1.
pub(crate) fn server_config(tls: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&tls.certificate).map_err(TlsError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key).map_err(|e| TlsError::Key(e.to_string()))?;
    let mut authorities = Vec::new();
    for bundle in &tls.client_authorities {
        authorities.extend(certificates(bundle).map_err(TlsError::Authority)?.into_iter().map(|c| c.to_vec()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(authn::x509::TakeAny::new(&authorities))
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// All certificates of a PEM text, at least one.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err("no certificate in the PEM text".into()),
        Ok(all) => Ok(all),
        Err(error) => Err(error.to_string()),
    }
}
