//! Client certificates: the connection takes any that its sender can prove to hold; here their authority, purpose and
//! time are checked, once per connection, and the subject becomes a user.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{SHA256, digest};
use meta::{Time, UserInfo};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use x509_parser::oid_registry::Oid;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::chain::{Authenticated, Finding, Refusal};

const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Subject attribute that carries a uid: 1.3.6.1.4.1.57683.2.
const UID: &[u64] = &[1, 3, 6, 1, 4, 1, 57683, 2];

/// An authority that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadAuthority {
    #[error("certificate {0} of the authority file cannot be read")]
    Unreadable(usize),
    #[error("no usable certificate in the authority file")]
    Nothing,
    #[error(
        "the request-header authority is also the client authority: --requestheader-allowed-names must name its proxies"
    )]
    AnyName,
}

/// The certificates a connection came with, leaf first, and what became of checking them.
#[derive(Debug)]
pub struct Peer {
    chain: Vec<CertificateDer<'static>>,
    client: ArcSwapOption<Checked>,
    proxy: ArcSwapOption<Checked>,
}

/// A check that held, and which authorities made it.
#[derive(Debug)]
struct Checked {
    by: u64,
    verified: Arc<Verified>,
}

/// Which authority a check was made against.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Client,
    Proxy,
}

type Outcome = Result<Arc<Verified>, Refusal>;

/// A certificate whose chain holds.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub(crate) common_name: String,
    pub(crate) user: Result<Arc<UserInfo>, Refusal>,
    not_before: i64,
    not_after: i64,
}

impl Peer {
    /// `chain` in DER, leaf first. `None` when the connection has no certificate.
    pub fn new(chain: impl IntoIterator<Item = Vec<u8>>) -> Option<Self> {
        let chain: Vec<CertificateDer<'static>> = chain.into_iter().map(CertificateDer::from).collect();
        (!chain.is_empty()).then(|| Peer { chain, client: Default::default(), proxy: Default::default() })
    }

    /// Which authorities found the client's certificate good.
    #[cfg(test)]
    pub(crate) fn client_checked_by(&self) -> Option<u64> {
        self.client.load().as_ref().map(|checked| checked.by)
    }

    fn checked(&self, purpose: Purpose) -> &ArcSwapOption<Checked> {
        match purpose {
            Purpose::Client => &self.client,
            Purpose::Proxy => &self.proxy,
        }
    }
}

/// Authorities, and the check against them.
#[derive(Debug)]
pub(crate) struct Authorities {
    verifier: Arc<dyn ClientCertVerifier>,
    purpose: Purpose,
    /// Another for each set of authorities.
    id: u64,
}

impl Authorities {
    pub(crate) fn new(certificates: &[Vec<u8>], purpose: Purpose) -> Result<Self, BadAuthority> {
        let mut roots = RootCertStore::empty();
        for (n, der) in certificates.iter().enumerate() {
            roots.add(CertificateDer::from(der.as_slice())).map_err(|_| BadAuthority::Unreadable(n))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|_| BadAuthority::Nothing)?;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Ok(Authorities { verifier, purpose, id: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    /// The verified leaf; a chain that holds is checked once per connection and set of authorities, times at every call.
    /// One that was refused is checked every time: its clock may have been wrong.
    pub(crate) fn verify(&self, peer: &Peer, now: Time) -> Result<Arc<Verified>, Refusal> {
        let known = peer.checked(self.purpose);
        let verified = match &*known.load() {
            Some(checked) if checked.by == self.id => checked.verified.clone(),
            _ => {
                let verified = self.check(&peer.chain, now)?;
                known.store(Some(Arc::new(Checked { by: self.id, verified: verified.clone() })));
                verified
            }
        };
        if now.0 < verified.not_before || now.0 > verified.not_after {
            return Err(failed(&peer.chain, "x509: certificate has expired or is not yet valid"));
        }
        Ok(verified)
    }

    fn check(&self, chain: &[CertificateDer<'static>], now: Time) -> Outcome {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(Refusal::new("no certificate"));
        };
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(now.0).unwrap_or_default()));
        self.verifier
            .verify_client_cert(leaf, intermediates, at)
            .map_err(|error| failed(chain, &format!("x509: {error}")))?;
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|_| Refusal::new("the certificate cannot be read"))?;
        let validity = parsed.validity();
        Ok(Arc::new(Verified {
            common_name: common_name(&parsed),
            user: user(&parsed, leaf).map(Arc::new),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        }))
    }
}

fn failed(chain: &[CertificateDer<'static>], reason: &str) -> Refusal {
    let serial = chain
        .first()
        .and_then(|leaf| X509Certificate::from_der(leaf).ok())
        .map(|(_, c)| c.tbs_certificate.serial.to_string())
        .unwrap_or_default();
    Refusal::new(format!("verifying certificate SN={serial}, SKID=, AKID= failed: {reason}"))
}

/// The last one, if there are several.
fn common_name(certificate: &X509Certificate<'_>) -> String {
    let names = certificate.subject().iter_common_name().filter_map(|n| n.as_str().ok());
    names.last().unwrap_or_default().to_owned()
}

fn user(certificate: &X509Certificate<'_>, der: &[u8]) -> Result<UserInfo, Refusal> {
    let groups = certificate.subject().iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned);
    let hex: String = digest(&SHA256, der).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    Ok(UserInfo {
        name: common_name(certificate),
        uid: uid(certificate)?,
        groups: groups.collect(),
        extra: [(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={hex}")])].into(),
    })
}

fn uid(certificate: &X509Certificate<'_>) -> Result<String, Refusal> {
    let oid = Oid::from(UID).map_err(|_| Refusal::new("the uid attribute cannot be named"))?;
    let values: Vec<_> =
        certificate.subject().iter_by_oid(&oid).map(|a| a.as_str().unwrap_or_default().to_owned()).collect();
    match values.as_slice() {
        [] => Ok(String::new()),
        [uid] if !uid.is_empty() => Ok(uid.clone()),
        [_] => Err(Refusal::new("UID cannot be an empty string")),
        _ => Err(Refusal::new("expected 1 UID, but found multiple")),
    }
}

/// The x509 authenticator.
#[derive(Debug)]
pub(crate) struct ClientCertificates(Authorities);

impl ClientCertificates {
    pub(crate) fn new(authorities: &[Vec<u8>]) -> Result<Self, BadAuthority> {
        Ok(ClientCertificates(Authorities::new(authorities, Purpose::Client)?))
    }

    /// `count` takes the seconds that are left to a good certificate.
    pub(crate) fn authenticate(&self, peer: &Peer, now: Time, count: impl FnOnce(i64)) -> Finding {
        let verified = match self.0.verify(peer, now) {
            Err(refusal) => return Finding::Refused(refusal),
            Ok(verified) => verified,
        };
        count(verified.not_after - now.0);
        match &verified.user {
            _ if verified.common_name.is_empty() => Finding::NotMine,
            Ok(user) => Finding::Known(Authenticated::new(user.clone())),
            Err(refusal) => Finding::Refused(refusal.clone()),
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// For the TLS server: asks for a client certificate and takes any whose key the peer holds. Who it is, and whether it is
/// any good, is found by the chain at the request, so that a good token beside a bad certificate counts.
#[derive(Debug)]
pub struct TakeAny {
    algorithms: WebPkiSupportedAlgorithms,
    hints: Vec<DistinguishedName>,
}

impl TakeAny {
    /// `authorities` (DER) are named to the client as a hint.
    pub fn new(authorities: &[Vec<u8>]) -> Arc<Self> {
        let mut roots = RootCertStore::empty();
        for der in authorities {
            // one that cannot be read is no hint; `Chain::new` reports it
            let _ = roots.add(CertificateDer::from(der.as_slice()));
        }
        Arc::new(TakeAny { algorithms: provider().signature_verification_algorithms, hints: roots.subjects() })
    }
}

fn key_of(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(SubjectPublicKeyInfoDer::from(parsed.tbs_certificate.subject_pki.raw.to_vec()))
}

impl ClientCertVerifier for TakeAny {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms).or_else(|error| {
            // a certificate of version 1 cannot be read there; its key can prove possession all the same
            let key = key_of(certificate).ok_or(error)?;
            verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
        })
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
