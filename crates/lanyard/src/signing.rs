//! The authorities that sign certificates for approved requests: one for all of upstream's signers, or one for each that
//! has its own flags.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use anyhow::{Context as _, bail};
use controllers::CertificateToSign;
use issuer::{CertificateAuthority, CertificateRequest, Pki};

use crate::files::read;
use crate::flags::ServerFlags;

const SIGNERS: [&str; 4] = [
    "kubernetes.io/kubelet-serving",
    "kubernetes.io/kube-apiserver-client-kubelet",
    "kubernetes.io/kube-apiserver-client",
    "kubernetes.io/legacy-unknown",
];

/// By signer. Cheap to clone; all clones see a change.
#[derive(Clone)]
pub(crate) struct Authorities(Arc<RwLock<BySigner>>);

/// What the files held at one moment.
pub(crate) type BySigner = BTreeMap<&'static str, CertificateAuthority>;

impl Authorities {
    pub(crate) fn read(flags: &ServerFlags, pki: &Pki) -> anyhow::Result<Self> {
        Ok(Authorities(Arc::new(RwLock::new(by_signer(flags, pki)?))))
    }

    /// Signs with these from now on.
    pub(crate) fn replace(&self, by_signer: BySigner) {
        *self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = by_signer;
    }

    /// The certificate of the authority that signs for this signer.
    #[cfg(test)]
    pub(crate) fn certificate(&self, signer: &str) -> Option<String> {
        self.locked().get(signer).map(|authority| authority.certificate().to_owned())
    }

    /// Which signers sign here.
    pub(crate) fn signers(&self) -> Vec<String> {
        self.locked().keys().map(|name| (*name).to_owned()).collect()
    }

    pub(crate) fn sign(&self, wanted: &CertificateToSign, most: i64) -> Result<String, String> {
        let authority =
            self.locked().get(wanted.signer.as_str()).cloned().ok_or("no authority signs for this signer")?;
        let (request, usages, seconds) = (&*wanted.request, &*wanted.usages, wanted.seconds);
        authority.sign_request(&CertificateRequest { request, usages, seconds, most }).map_err(|e| e.to_string())
    }

    fn locked(&self) -> std::sync::RwLockReadGuard<'_, BySigner> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

type Pair<'a> = [Option<&'a PathBuf>; 2];

/// Certificate and key that flags name: for all signers (`""`), or by signer.
pub(crate) fn files(flags: &ServerFlags) -> Vec<(&'static str, Pair<'_>)> {
    let [serving, kubelet, client, unknown] = SIGNERS;
    let all = [
        ("", &flags.cluster_signing_cert_file, &flags.cluster_signing_key_file),
        (serving, &flags.cluster_signing_kubelet_serving_cert_file, &flags.cluster_signing_kubelet_serving_key_file),
        (kubelet, &flags.cluster_signing_kubelet_client_cert_file, &flags.cluster_signing_kubelet_client_key_file),
        (
            client,
            &flags.cluster_signing_kube_apiserver_client_cert_file,
            &flags.cluster_signing_kube_apiserver_client_key_file,
        ),
        (unknown, &flags.cluster_signing_legacy_unknown_cert_file, &flags.cluster_signing_legacy_unknown_key_file),
    ];
    let given = all.into_iter().filter(|(_, certificate, key)| certificate.is_some() || key.is_some());
    given.map(|(signer, certificate, key)| (signer, [certificate.as_ref(), key.as_ref()])).collect()
}

/// Reads the files.
pub(crate) fn by_signer(flags: &ServerFlags, pki: &Pki) -> anyhow::Result<BySigner> {
    let given = files(flags);
    let for_all = |authority: CertificateAuthority| SIGNERS.into_iter().map(|name| (name, authority.clone())).collect();
    match given.as_slice() {
        [] => Ok(for_all(pki.authority.clone())),
        [("", pair)] => Ok(for_all(load("--cluster-signing", pair)?)),
        pairs if pairs.iter().any(|(signer, _)| signer.is_empty()) => bail!(
            "cannot specify --cluster-signing-{{cert,key}}-file and other --cluster-signing-*-file flags at the same time"
        ),
        pairs => pairs.iter().map(|(signer, pair)| Ok((*signer, load(signer, pair)?))).collect(),
    }
}

fn load(what: &str, pair: &Pair<'_>) -> anyhow::Result<CertificateAuthority> {
    let [Some(certificate), Some(key)] = pair else { bail!("{what}: certificate and key go together") };
    let identity = issuer::Identity { certificate: read(certificate)?, key: read(key)? };
    CertificateAuthority::load(&identity).with_context(|| certificate.display().to_string())
}
