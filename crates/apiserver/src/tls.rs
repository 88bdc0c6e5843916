//! The TLS side of a connection. A client certificate never fails the handshake (a bad one is answered 401, as upstream
//! does): it goes with the connection, and `authn` judges it. Possession of its key is always proven in the handshake.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, SupportedCipherSuite};

use crate::config::{Tls, TlsVersion};

/// Why the server cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the serving certificate cannot be read: {0}")]
    Certificate(String),
    #[error("the serving key cannot be read: {0}")]
    Key(String),
    #[error("a client authority cannot be read: {0}")]
    Authority(String),
    #[error("{0} is no cipher suite of TLS 1.2 that this server speaks; it speaks {1}")]
    CipherSuite(String, String),
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
    let versions: &[&'static rustls::SupportedProtocolVersion] = match tls.min_version {
        TlsVersion::Tls12 => rustls::DEFAULT_VERSIONS,
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider(&tls.cipher_suites)?))
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(authn::x509::TakeAny::new(&authorities))
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The library's choice, of TLS 1.2 only the suites that are named.
fn provider(names: &[String]) -> Result<CryptoProvider, TlsError> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let name_of = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite());
    if let Some(other) = names.iter().find(|name| !provider.cipher_suites.iter().any(|s| is_named(&name_of(s), name))) {
        let known: Vec<String> = provider.cipher_suites.iter().map(name_of).collect();
        return Err(TlsError::CipherSuite(other.clone(), known.join(", ").replace("TLS13_", "TLS_")));
    }
    if !names.is_empty() {
        provider
            .cipher_suites
            .retain(|suite| suite.tls13().is_some() || names.iter().any(|name| is_named(&name_of(suite), name)));
    }
    Ok(provider)
}

/// Go's name of a suite may leave out the hash.
fn is_named(suite: &str, name: &str) -> bool {
    let suite = suite.replace("TLS13_", "TLS_");
    suite == name || suite.strip_suffix("_SHA256").is_some_and(|short| short == name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_of_tls_1_2_are_chosen_by_name() {
        let check = |names: &[&str], want: Result<usize, ()>| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            let found = provider(&names).map(|p| p.cipher_suites.iter().filter(|s| s.tls13().is_none()).count());
            assert_eq!(found.map_err(|_| ()), want, "{names:?}");
        };
        check(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"], Ok(1));
        check(&["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"], Ok(2));
        check(&["TLS_AES_128_GCM_SHA256"], Ok(0));
        check(&["TLS_RSA_WITH_RC4_128_SHA"], Err(()));
    }
}
