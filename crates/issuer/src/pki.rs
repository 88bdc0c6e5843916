//! The files under `DIR/pki`: made at the first start, renewed when a start finds them near their end or for other names.
//! What is given by flags is used instead and not touched.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use meta::Time;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

use crate::authority::{CertificateAuthority, CertificateError, Identity, Subject};
use crate::files;
use crate::keys::{KeyError, SigningKey};

/// A certificate with less than this left is made anew.
const RENEW: i64 = 60 * 86_400;

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    #[error("{0}: {1}")]
    Key(PathBuf, #[source] KeyError),
    #[error("{0}: {1}")]
    Certificate(PathBuf, #[source] CertificateError),
}

/// Whom the certificates are for.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// DNS names and addresses the API server is reached by.
    pub server: Vec<String>,
    /// The node of this machine; empty: no node certificates.
    pub node: String,
    /// DNS names and addresses of its kubelet port.
    pub node_server: Vec<String>,
}

/// What `DIR/pki` holds.
#[derive(Clone, Debug)]
pub struct Pki {
    pub dir: PathBuf,
    pub authority: CertificateAuthority,
    /// Serves the API.
    pub server: Identity,
    /// `kubernetes-admin` in `system:masters`.
    pub admin: Identity,
    /// The API server as a client of kubelets: `kube-apiserver-kubelet-client` in `system:masters`, as kubeadm makes it.
    pub kubelet_client: Identity,
    /// `system:node:<name>` in `system:nodes`.
    pub node_client: Option<Identity>,
    /// Serves the kubelet's API.
    pub node_server: Option<Identity>,
}

impl Pki {
    /// Reads what is there and makes what is missing.
    ///
    /// # Errors
    /// A file that cannot be read, written or used; the error names it.
    pub fn ensure(dir: &Path, names: &Names) -> Result<Self, PkiError> {
        files::make_dir(dir).map_err(|e| PkiError::Io(dir.to_owned(), e))?;
        let authority = ensure_authority(dir)?;
        let get = |file: &str, subject: Subject| ensure_identity(dir, file, &authority, &subject);
        let server = get("apiserver", Subject::server("kube-apiserver", "", names.server.clone()))?;
        let admin = get("admin", Subject::client("kubernetes-admin", meta::user::MASTERS))?;
        let kubelet_client =
            get("apiserver-kubelet-client", Subject::client("kube-apiserver-kubelet-client", meta::user::MASTERS))?;
        let node = format!("{}{}", meta::user::NODE_PREFIX, names.node);
        let (mut node_client, mut node_server) = (None, None);
        if !names.node.is_empty() {
            node_client = Some(get("kubelet-client", Subject::client(&node, meta::user::NODES))?);
            node_server = Some(get("kubelet", Subject::server(&node, meta::user::NODES, names.node_server.clone()))?);
        }
        Ok(Pki { dir: dir.to_owned(), authority, server, admin, kubelet_client, node_client, node_server })
    }

    /// Where the authority's certificate is.
    pub fn authority_file(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }
}

/// The key that signs ServiceAccount tokens, kept in `DIR/pki/sa.key`; made at the first start.
///
/// # Errors
/// The file cannot be read, written or used.
pub fn ensure_token_key(dir: &Path) -> Result<SigningKey, PkiError> {
    let path = dir.join("sa.key");
    let io = |e| PkiError::Io(path.clone(), e);
    let bad = |e| PkiError::Key(path.clone(), e);
    files::make_dir(dir).map_err(io)?;
    if let Some(text) = files::read(&path).map_err(io)? {
        return SigningKey::from_pem(&text).map_err(bad);
    }
    let (key, pem) = SigningKey::generate().map_err(bad)?;
    files::write(&dir.join("sa.pub"), &key.public_pem(), 0o644).map_err(io)?;
    files::write(&path, &pem, 0o600).map_err(io)?;
    Ok(key)
}

fn ensure_authority(dir: &Path) -> Result<CertificateAuthority, PkiError> {
    let path = dir.join("ca.crt");
    let bad = |e| PkiError::Certificate(path.clone(), e);
    if let Some(identity) = read(dir, "ca")? {
        return CertificateAuthority::load(&identity).map_err(bad);
    }
    let (authority, identity) = CertificateAuthority::generate("kubernetes").map_err(bad)?;
    save(dir, "ca", &identity)?;
    Ok(authority)
}

fn ensure_identity(
    dir: &Path,
    file: &str,
    authority: &CertificateAuthority,
    subject: &Subject,
) -> Result<Identity, PkiError> {
    if let Some(identity) = read(dir, file)?
        && identity.belongs_together()
        && is_good(&identity.certificate, authority, subject)
    {
        return Ok(identity);
    }
    let identity = authority.issue(subject).map_err(|e| PkiError::Certificate(dir.join(format!("{file}.crt")), e))?;
    save(dir, file, &identity)?;
    Ok(identity)
}

fn read(dir: &Path, file: &str) -> Result<Option<Identity>, PkiError> {
    let get = |suffix: &str| {
        let path = dir.join(format!("{file}.{suffix}"));
        files::read(&path).map_err(|e| PkiError::Io(path, e))
    };
    Ok(get("crt")?.zip(get("key")?).map(|(certificate, key)| Identity { certificate, key }))
}

/// A pair that an interruption left half replaced does not belong together and is made anew.
fn save(dir: &Path, file: &str, identity: &Identity) -> Result<(), PkiError> {
    let put = |suffix: &str, text: &str, mode| {
        let path = dir.join(format!("{file}.{suffix}"));
        files::write(&path, text, mode).map_err(|e| PkiError::Io(path, e))
    };
    put("key", &identity.key, 0o600)?;
    put("crt", &identity.certificate, 0o644)
}

/// Signed by this authority, for these names, and not near its end.
fn is_good(certificate: &str, authority: &CertificateAuthority, subject: &Subject) -> bool {
    let check = || {
        let (_, block) = parse_x509_pem(certificate.as_bytes()).ok()?;
        let parsed = block.parse_x509().ok()?;
        let own = authority.certificate_der();
        let (_, root) = x509_parser::parse_x509_certificate(&own).ok()?;
        let names: BTreeSet<String> = match parsed.subject_alternative_name().ok()? {
            Some(names) => names.value.general_names.iter().filter_map(text_of).collect(),
            None => BTreeSet::new(),
        };
        let common_name = parsed.subject().iter_common_name().last()?.as_str().ok()?;
        let good = parsed.verify_signature(Some(root.public_key())).is_ok()
            && parsed.validity().not_after.timestamp() - Time::now().0 > RENEW
            && common_name == subject.common_name
            && subject.names.iter().all(|n| names.contains(n));
        Some(good)
    };
    check() == Some(true)
}

fn text_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(four) => Some(std::net::Ipv4Addr::from(four).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|b| std::net::Ipv6Addr::from(b).to_string()),
        },
        _ => None,
    }
}
