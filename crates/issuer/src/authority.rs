//! A certificate authority: makes certificates for clients, servers and itself.

use std::sync::Arc;
use std::time::Duration;

use meta::Time;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, date_time_ymd,
};

const YEAR: i64 = 365 * 86_400;
/// Clocks of others may be behind.
const BACKDATE: i64 = 300;

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("the certificate authority's certificate and key cannot be used together")]
    Authority,
    #[error("{0:?} is neither a DNS name nor an IP address")]
    Name(String),
    #[error("the certificate request cannot be read or is not signed by its own key")]
    Request,
    #[error("unrecognized usage value: {0:?}")]
    Usage(String),
    #[error("the certificate authority has expired")]
    Expired,
    #[error("the certificate could not be made")]
    Failed,
}

/// Who a certificate is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    pub common_name: String,
    /// One `O`: the group. Empty: none.
    pub organization: String,
    /// DNS names and IP addresses, for servers.
    pub names: Vec<String>,
    pub client: bool,
    pub server: bool,
}

impl Subject {
    pub fn client(common_name: &str, organization: &str) -> Self {
        Subject {
            common_name: common_name.into(),
            organization: organization.into(),
            client: true,
            ..Default::default()
        }
    }

    pub fn server(common_name: &str, organization: &str, names: Vec<String>) -> Self {
        Subject {
            common_name: common_name.into(),
            organization: organization.into(),
            names,
            server: true,
            ..Default::default()
        }
    }
}

/// A certificate and its private key, in PEM.
#[derive(Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Identity {
    /// Whether the certificate is of this key.
    pub fn belongs_together(&self) -> bool {
        let check = || {
            let key = KeyPair::from_pem(&self.key).ok()?;
            let (_, block) = x509_parser::pem::parse_x509_pem(self.certificate.as_bytes()).ok()?;
            let parsed = block.parse_x509().ok()?;
            Some(parsed.public_key().raw == key.subject_public_key_info())
        };
        check() == Some(true)
    }
}

/// Prints no key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// Signs certificates. Cheap to clone.
#[derive(Clone)]
pub struct CertificateAuthority {
    issuer: Arc<Issuer<'static, KeyPair>>,
    certificate: Arc<str>,
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CertificateAuthority(…)")
    }
}

impl CertificateAuthority {
    /// A new authority, good for ten years.
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub fn generate(common_name: &str) -> Result<(Self, Identity), CertificateError> {
        let key = KeyPair::generate().map_err(|_| CertificateError::Failed)?;
        let mut params = params(common_name, "", 10 * YEAR);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).map_err(|_| CertificateError::Failed)?;
        let identity = Identity { certificate: certificate.pem(), key: key.serialize_pem() };
        Ok((CertificateAuthority::load(&identity)?, identity))
    }

    /// # Errors
    /// Certificate and key cannot be read or do not belong together.
    pub fn load(identity: &Identity) -> Result<Self, CertificateError> {
        if !identity.belongs_together() {
            return Err(CertificateError::Authority);
        }
        let key = KeyPair::from_pem(&identity.key).map_err(|_| CertificateError::Authority)?;
        let issuer = Issuer::from_ca_cert_pem(&identity.certificate, key).map_err(|_| CertificateError::Authority)?;
        Ok(CertificateAuthority { issuer: Arc::new(issuer), certificate: identity.certificate.as_str().into() })
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    pub(crate) fn key(&self) -> &KeyPair {
        self.issuer.key()
    }

    /// The authority's own certificate in PEM: what others trust.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The same in DER.
    pub fn certificate_der(&self) -> Vec<u8> {
        certificates_from_pem(&self.certificate).into_iter().next().unwrap_or_default()
    }

    /// A new key with a certificate, good for a year.
    ///
    /// # Errors
    /// A name that is none.
    pub fn issue(&self, subject: &Subject) -> Result<Identity, CertificateError> {
        let key = KeyPair::generate().map_err(|_| CertificateError::Failed)?;
        let certificate = self.sign(subject, &key, YEAR)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    fn sign(&self, subject: &Subject, key: &impl PublicKeyData, seconds: i64) -> Result<Certificate, CertificateError> {
        let mut params = params(&subject.common_name, &subject.organization, seconds);
        params.subject_alt_names = subject.names.iter().map(|n| alternative_name(n)).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        if subject.client {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        if subject.server {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.signed_by(key, &*self.issuer).map_err(|_| CertificateError::Failed)
    }
}

fn params(common_name: &str, organization: &str, seconds: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !organization.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = Time::now().0;
    let at = |t: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(t).unwrap_or_default());
    params.not_before = at(now - BACKDATE);
    params.not_after = at(now + seconds);
    params
}

fn alternative_name(name: &str) -> Result<SanType, CertificateError> {
    if let Ok(address) = name.parse() {
        return Ok(SanType::IpAddress(address));
    }
    let dns = name.to_owned().try_into().map_err(|_| CertificateError::Name(name.to_owned()))?;
    Ok(SanType::DnsName(dns))
}

/// All certificates of a PEM text, in DER; other blocks are passed over.
pub fn certificates_from_pem(text: &str) -> Vec<Vec<u8>> {
    let blocks = x509_parser::pem::Pem::iter_from_buffer(text.as_bytes());
    blocks.filter_map(Result::ok).filter(|b| b.label == "CERTIFICATE").map(|b| b.contents).collect()
}
