//! PodCertificateRequest: what a node asks for on behalf of a pod, and the one answer that it gets.

use document::Value;
use meta::field::{Error, Path};
use meta::names;
use x509_parser::prelude::{FromDer as _, X509Certificate, X509CertificationRequest};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::{Block, malformed_attribute, pem_blocks, signer_name};
use crate::validation::check::{Check, each, same};
use crate::validation::internal::shown_as;

const HOUR: i64 = 3600;
const ENDS: [&str; 3] = ["Issued", "Denied", "Failed"];
const MAX_REQUEST: usize = 10 * 1024;

pub(in crate::validation) fn pod_certificate(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let signer = spec["signerName"].str();
    signer_name(&mut check, signer, &path.child("signerName"));
    let annotations = path.child("unverifiedUserAnnotations");
    for (key, _) in spec["unverifiedUserAnnotations"].members() {
        let key = key.to_lowercase();
        match (key.as_str(), names::label_key(&key)) {
            ("", _) => check.required(&annotations, ""),
            (_, wrong) if !wrong.is_empty() => check.format(&annotations, &key, &wrong),
            (_, _) if !key.contains('/') => {
                check.invalid(&annotations, key.as_str(), "must be a domain-prefixed key (such as \"acme.io/foo\")");
            }
            _ => {}
        }
    }
    for (name, uid) in [("podName", "podUID"), ("serviceAccountName", "serviceAccountUID"), ("nodeName", "nodeUID")] {
        check.format(&path.child(name), spec[name].str(), &names::dns1123_subdomain(spec[name].str()));
        if spec[uid].str().is_empty() {
            check.invalid(&path.child(uid), "", "must not be empty");
        }
        if spec[uid].str().len() > 128 {
            check.push(Error::too_long_bytes(&path.child(uid), 128));
        }
    }
    let at = path.child("maxExpirationSeconds");
    let Some(seconds) = spec["maxExpirationSeconds"].as_i64() else {
        check.required(&at, "must be set");
        return check.errors;
    };
    let domain = signer.split('/').next().unwrap_or_default();
    let ours = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    let most = if ours { 24 * HOUR } else { 91 * 24 * HOUR };
    if !(HOUR..=most).contains(&seconds) {
        check.invalid(&at, seconds, &format!("must be in the range [{HOUR}, {most}]"));
    }
    let set = |field: &str| !spec[field].is_empty();
    match (set("stubPKCS10Request"), set("pkixPublicKey"), set("proofOfPossession")) {
        (true, false, false) => check.errors.extend(stub(spec["stubPKCS10Request"].str())),
        (false, true, true) => check.errors.extend(plain_key(spec)),
        _ => check.push(omitted(
            &path,
            "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set",
        )),
    }
    check.errors
}

/// Invalid, without the value.
fn omitted(path: &Path, detail: &str) -> Error {
    let mut error = Error::invalid(path, "", "");
    error.body = format!("Invalid value: {detail}");
    error
}

fn stub(request: &str) -> Option<Error> {
    let path = Path::from("spec.stubPKCS10Request");
    let der = document::decode::decode_base64(request).unwrap_or_default();
    if der.len() > MAX_REQUEST {
        return Some(Error::too_long_bytes(&path, MAX_REQUEST));
    }
    let read = X509CertificationRequest::from_der(&der).ok();
    let Some((_, csr)) = read.filter(|(_, csr)| malformed_attribute(csr).is_none()) else {
        return Some(omitted(&path, "must be a valid PKCS#10 CSR"));
    };
    if let Some(error) = key_too_weak(&csr.certification_request_info.subject_pki, &path) {
        return Some(error);
    }
    csr.verify_signature().is_err().then(|| omitted(&path, "invalid signature"))
}

/// The deprecated form: a key, and the pod's uid signed with it.
fn plain_key(spec: &Value) -> Option<Error> {
    let (key, proof) = (Path::from("spec.pkixPublicKey"), Path::from("spec.proofOfPossession"));
    let decode = |field: &str| document::decode::decode_base64(spec[field].str()).unwrap_or_default();
    let (der, signature) = (decode("pkixPublicKey"), decode("proofOfPossession"));
    for (path, bytes) in [(&key, &der), (&proof, &signature)] {
        if bytes.len() > MAX_REQUEST {
            return Some(Error::too_long_bytes(path, MAX_REQUEST));
        }
    }
    let Ok((_, info)) = SubjectPublicKeyInfo::from_der(&der) else {
        return Some(Error::invalid(&key, spec["pkixPublicKey"].str(), "must be a valid PKIX-serialized public key"));
    };
    if let Some(mut error) = key_too_weak(&info, &key) {
        // upstream's text here forgets one curve
        error.body = error.body.replace("P256, P384, or P521", "P256 or P384");
        return Some(error);
    }
    let proven = possesses(&info, spec["podUID"].str().as_bytes(), &signature);
    (!proven).then(|| omitted(&proof, "could not verify proof-of-possession signature"))
}

/// Ed25519 over the message, ECDSA and RSA-PSS over its SHA-256, whatever the size of the key.
fn possesses(info: &SubjectPublicKeyInfo<'_>, message: &[u8], signature: &[u8]) -> bool {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P521_SHA256_ASN1, ED25519, RSA_PSS_2048_8192_SHA256,
        UnparsedPublicKey, VerificationAlgorithm,
    };
    let curve = info.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok()).map(|o| o.to_id_string());
    let algorithm: &'static dyn VerificationAlgorithm = match (info.parsed(), curve.as_deref()) {
        (Ok(PublicKey::RSA(_)), _) => &RSA_PSS_2048_8192_SHA256,
        (Ok(PublicKey::EC(_)), Some("1.2.840.10045.3.1.7")) => &ECDSA_P256_SHA256_ASN1,
        (Ok(PublicKey::EC(_)), Some("1.3.132.0.34")) => &ECDSA_P384_SHA256_ASN1,
        (Ok(PublicKey::EC(_)), Some("1.3.132.0.35")) => &ECDSA_P521_SHA256_ASN1,
        (Ok(PublicKey::EC(_)), _) => return false,
        _ => &ED25519,
    };
    UnparsedPublicKey::new(algorithm, &info.subject_public_key.data).verify(message, signature).is_ok()
}

fn key_too_weak(key: &SubjectPublicKeyInfo<'_>, path: &Path) -> Option<Error> {
    const CURVES: [&str; 3] = ["1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"];
    const ED25519: &str = "1.3.101.112";
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let bits = rsa.modulus.iter().skip_while(|b| **b == 0).count() * 8;
            (bits != 3072 && bits != 4096).then(|| {
                let detail = "RSA keys must have modulus size 3072 or 4096";
                Error::invalid(path, format!("{bits}-bit modulus").as_str(), detail)
            })
        }
        Ok(PublicKey::EC(_)) => {
            let curve = key.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok()).map(|o| o.to_id_string());
            (!curve.as_deref().is_some_and(|c| CURVES.contains(&c))).then(|| {
                let shown = if curve.as_deref() == Some("1.3.132.0.33") { "curve P-224" } else { "curve" };
                Error::invalid(path, shown, "elliptic public keys must use curve P256, P384, or P521")
            })
        }
        _ if key.algorithm.algorithm.to_id_string() == ED25519 => None,
        _ => Some(omitted(path, "unknown public key type; supported types are Ed25519, ECDSA, and RSA")),
    }
}

pub(in crate::validation) fn pod_certificate_update(subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    if subresource == "status" {
        return status(&new["spec"], &new["status"], &old["status"]);
    }
    let mut check = Check::default();
    if !same(&new["spec"], &old["spec"]) {
        let value = shown_as(&new["spec"], "io.k8s.api.certificates.v1.PodCertificateRequestSpec");
        check.invalid(&Path::root("spec"), value, "field is immutable");
    }
    check.errors
}

/// The condition that ends the request, when there is one.
fn end(status: &Value) -> Option<&str> {
    let is_true = |c: &&Value| ENDS.contains(&c["type"].str()) && c["status"].str() == "True";
    status["conditions"].items().iter().find(is_true).map(|c| c["type"].str())
}

fn status(spec: &Value, new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let path = Path::root("status");
    known_conditions(&mut check, &new["conditions"]);
    if !check.errors.is_empty() {
        return check.errors;
    }
    let only_conditions = || new.members().all(|(name, value)| name == "conditions" || value.is_empty());
    let wrong = match (end(old), end(new)) {
        (Some(_), _) if !same(new, old) => "immutable after PodCertificateRequest is issued, denied, or failed",
        (Some(_), _) => return check.errors,
        (None, Some("Issued")) => return issued(spec, new).into_iter().collect(),
        (None, Some(_)) if !only_conditions() => {
            "non-condition status fields must be empty when denying or failing the PodCertificateRequest"
        }
        (None, Some(_)) => return check.errors,
        (None, None) if !same(new, old) => {
            r#"status is immutable unless transitioning to "Issued", "Denied", or "Failed""#
        }
        (None, None) => return check.errors,
    };
    check.push(omitted(&path, wrong));
    check.errors
}

fn known_conditions(check: &mut Check, list: &Value) {
    let mut known = 0;
    for (n, condition) in list.items().iter().enumerate() {
        let at = Path::from("status.conditions").child(&format!("[{n}]"));
        let type_ = condition["type"].str();
        if !ENDS.contains(&type_) {
            check.push(Error::not_supported(&at.child("type"), type_, &ENDS));
            continue;
        }
        known += 1;
        if known > 1 {
            let detail = r#"There may be at most one condition with type "Issued", "Denied", or "Failed""#;
            check.invalid(&at.child("type"), type_, detail);
        }
        if condition["status"].str() != "True" {
            check.push(Error::not_supported(&at.child("status"), condition["status"].str(), &["True"]));
        }
    }
    for (at, condition) in each(list, &Path::from("status.conditions")) {
        if condition["lastTransitionTime"].is_empty() {
            check.required(&at.child("lastTransitionTime"), "");
        }
        if condition["reason"].str().is_empty() {
            check.required(&at.child("reason"), "");
        }
    }
}

/// The first thing that is wrong with an issued chain.
fn issued(spec: &Value, status: &Value) -> Option<Error> {
    let path = Path::from("status.certificateChain");
    let chain = status["certificateChain"].str();
    let wrong = |detail: &str| Some(Error::invalid(&path, chain, detail));
    let blocks = pem_blocks(chain);
    let Some(leaf) = blocks.first() else {
        return wrong("issued certificate chain must contain at least one certificate");
    };
    if blocks.iter().any(|b| b.label != "CERTIFICATE") {
        return wrong("issued certificate chain must consist entirely of CERTIFICATE PEM blocks");
    }
    let parses = |block: &Block| X509Certificate::from_der(&block.der).is_ok();
    let Ok((_, certificate)) = X509Certificate::from_der(&leaf.der) else {
        return wrong("leaf certificate does not parse as valid X.509");
    };
    let request = document::decode::decode_base64(spec["stubPKCS10Request"].str()).unwrap_or_default();
    let plain = document::decode::decode_base64(spec["pkixPublicKey"].str()).unwrap_or_default();
    let asked = X509CertificationRequest::from_der(&request)
        .map(|(_, csr)| csr.certification_request_info.subject_pki.raw.to_vec())
        .unwrap_or(plain);
    if certificate.public_key().raw != asked.as_slice() {
        return wrong("leaf certificate was not issued to the requested public key");
    }
    times(spec, status, certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp())
        .or_else(|| {
            if blocks.iter().all(parses) {
                None
            } else {
                wrong("intermediate certificate does not parse as valid X.509")
            }
        })
}

fn times(spec: &Value, status: &Value, not_before: i64, not_after: i64) -> Option<Error> {
    let at = |field: &str| Path::from("status").child(field);
    let time = |field: &str| meta::Time::parse(status[field].str()).map(|t| t.0);
    let wrong = |field: &str, detail: &str| Some(Error::invalid(&at(field), status[field].str(), detail));
    let consistent = "must be present and consistent with the issued certificate";
    let Some(begins) = time("notBefore") else { return Some(Error::required(&at("notBefore"), consistent)) };
    let Some(ends) = time("notAfter") else { return Some(Error::required(&at("notAfter"), consistent)) };
    let Some(refresh) = time("beginRefreshAt") else {
        let detail = "must be present and in the range [notbefore+10min, notafter-10min]";
        return Some(Error::required(&at("beginRefreshAt"), detail));
    };
    if begins != not_before {
        return wrong("notBefore", "must be set to the NotBefore time encoded in the leaf certificate");
    }
    if (begins - meta::Time::now().0).abs() >= 300 {
        return wrong("notBefore", "must be set to within 5 minutes of kube-apiserver's current time");
    }
    if ends != not_after {
        return wrong("notAfter", "must be set to the NotAfter time encoded in the leaf certificate");
    }
    let lifetime = not_after - not_before;
    let most = spec["maxExpirationSeconds"].as_i64().unwrap_or_default();
    let chain = Path::from("status.certificateChain");
    if lifetime < HOUR {
        return Some(Error::invalid(&chain, lifetime, "leaf certificate lifetime must be >= 1 hour"));
    }
    if lifetime > most {
        let detail = format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({most})");
        return Some(Error::invalid(&chain, lifetime, &detail));
    }
    if refresh < begins + 600 {
        return wrong("beginRefreshAt", "must be at least 10 minutes after status.notBefore");
    }
    (refresh > ends - 600)
        .then(|| wrong("beginRefreshAt", "must be at least 10 minutes before status.notAfter"))
        .flatten()
}
