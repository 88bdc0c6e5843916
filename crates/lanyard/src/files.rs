//! Keys, certificates and tokens from the files that flags name, and what of the server's settings follows from them. They
//! are read at start, and again when they change (`reload`); the token file is read once, as upstream's.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use apiserver::config::{IssuerDocuments, Tls};
use apiserver::issuer_documents;
use issuer::{Pki, SigningKey};
use registry::bootstrap::Published;

use crate::flags::ServerFlags;
use crate::server::host_port;

/// Upstream's issuer under kubeadm.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// What stands in the files.
pub(crate) struct Files {
    pub root_ca: String,
    client_ca: Option<String>,
    request_ca: Option<String>,
    /// DER of all keys that tokens are accepted from.
    verification: Vec<Vec<u8>>,
    /// PEM of certificate and key.
    tls: (String, String),
}

impl Files {
    pub(crate) fn read(flags: &ServerFlags, pki: &Pki, signing: &SigningKey) -> anyhow::Result<Files> {
        let mut verification = vec![signing.public_der().to_vec()];
        for path in &flags.service_account_key_file {
            let keys = issuer::keys::public_keys_from_pem(&read(path)?).with_context(|| path.display().to_string())?;
            verification.extend(keys.into_iter().filter(|key| *key != signing.public_der()));
        }
        verification.dedup();
        let tls = match (&flags.tls_cert_file, &flags.tls_private_key_file) {
            (Some(certificate), Some(key)) => (read(certificate)?, read(key)?),
            _ => (pki.server.certificate.clone(), pki.server.key.clone()),
        };
        Ok(Files {
            root_ca: match &flags.root_ca_file {
                Some(path) => read(path)?,
                None => pki.authority.certificate().to_owned(),
            },
            client_ca: flags.client_ca_file.as_deref().map(read).transpose()?,
            request_ca: flags.requestheader_client_ca_file.as_deref().map(read).transpose()?,
            verification,
            tls,
        })
    }

    pub(crate) fn verification_keys(&self) -> anyhow::Result<authn::PublicKeys> {
        Ok(authn::PublicKeys::from_der(self.verification.iter().map(Vec::as_slice))?)
    }

    pub(crate) fn issuer_documents(&self, flags: &ServerFlags) -> IssuerDocuments {
        let own = host_port(flags.advertise_address.unwrap_or(flags.bind_address), flags.secure_port);
        let own = format!("https://{own}/openid/v1/jwks");
        let uri = flags.service_account_jwks_uri.as_ref().unwrap_or(&own);
        let first = issuers(flags).into_iter().next().unwrap_or_default();
        issuer_documents(issuer::Discovery::new(&first, uri, self.verification.iter().map(Vec::as_slice)))
    }

    pub(crate) fn tls(&self, flags: &ServerFlags, pki: &Pki) -> Tls {
        let mut authorities: Vec<Vec<u8>> = vec![pki.authority.certificate().into()];
        authorities.extend(self.client_ca.iter().chain(&self.request_ca).map(|pem| pem.clone().into_bytes()));
        Tls {
            certificate: self.tls.0.clone().into(),
            key: self.tls.1.clone().into(),
            client_authorities: authorities,
            min_version: flags.tls_min_version,
            cipher_suites: flags.tls_cipher_suites.clone(),
        }
    }

    pub(crate) fn client_authorities(&self, pki: &Pki) -> Vec<Vec<u8>> {
        let mut list = vec![pki.authority.certificate_der()];
        for pem in self.client_ca.iter() {
            list.extend(issuer::authority::certificates_from_pem(pem));
        }
        list
    }

    pub(crate) fn request_header(&self, flags: &ServerFlags) -> Option<authn::RequestHeader> {
        let authorities = issuer::authority::certificates_from_pem(self.request_ca.as_deref()?);
        Some(authn::RequestHeader {
            authorities,
            allowed_names: flags.requestheader_allowed_names.clone(),
            username_headers: flags.requestheader_username_headers.clone(),
            uid_headers: flags.requestheader_uid_headers.clone(),
            group_headers: flags.requestheader_group_headers.clone(),
            extra_prefixes: flags.requestheader_extra_headers_prefix.clone(),
        })
    }

    pub(crate) fn published(&self, flags: &ServerFlags, pki: &Pki) -> Published {
        let client_ca = self.client_ca.clone().unwrap_or_else(|| pki.authority.certificate().to_owned());
        let mut request_header = Vec::new();
        if let Some(pem) = &self.request_ca {
            request_header.push(("requestheader-client-ca-file", pem.clone()));
            for (key, names) in [
                ("requestheader-allowed-names", &flags.requestheader_allowed_names),
                ("requestheader-username-headers", &flags.requestheader_username_headers),
                ("requestheader-uid-headers", &flags.requestheader_uid_headers),
                ("requestheader-group-headers", &flags.requestheader_group_headers),
                ("requestheader-extra-headers-prefix", &flags.requestheader_extra_headers_prefix),
            ] {
                if !names.is_empty() || key != "requestheader-uid-headers" {
                    let list = document::Value::list(names.iter().map(String::as_str));
                    request_header.push((key, document::json::to_string(&list)));
                }
            }
        }
        Published { client_ca, request_header, port: flags.secure_port }
    }
}

/// All issuers whose tokens are accepted; the first signs.
pub(crate) fn issuers(flags: &ServerFlags) -> Vec<String> {
    match flags.service_account_issuer.as_slice() {
        [] => vec![ISSUER.to_owned()],
        given => given.to_vec(),
    }
}

/// The key that signs tokens: the flag's, else our own.
pub(crate) fn signing_key(flags: &ServerFlags, dir: &Path) -> anyhow::Result<SigningKey> {
    match &flags.service_account_signing_key_file {
        Some(path) => SigningKey::from_pem(&read(path)?).with_context(|| path.display().to_string()),
        None => Ok(issuer::pki::ensure_token_key(&dir.join("pki"))?),
    }
}

/// Every file whose change is to be noticed.
pub(crate) fn watched(flags: &ServerFlags) -> Vec<PathBuf> {
    let single = [
        &flags.tls_cert_file,
        &flags.tls_private_key_file,
        &flags.client_ca_file,
        &flags.requestheader_client_ca_file,
        &flags.service_account_signing_key_file,
    ];
    let mut paths: Vec<PathBuf> = single.into_iter().flatten().cloned().collect();
    paths.extend(flags.service_account_key_file.iter().cloned());
    paths.extend(crate::signing::files(flags).into_iter().flat_map(|(_, pair)| pair).flatten().cloned());
    paths
}

pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
