//! The kinds of certificates.k8s.io: requests, their approval and certificates, trust bundles, requests of pods.

mod pod_request;

use std::collections::BTreeSet;

use document::Value;
use meta::field::{Error, Path, Shown};
use meta::goquote::quote;
use meta::names;
use x509_parser::prelude::{FromDer as _, X509Certificate, X509CertificationRequest};

use super::check::{Check, each, same};
use super::shown;

pub(super) use pod_request::{pod_certificate, pod_certificate_update};

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Conditions that may only be `True` and are never taken away.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];
const MAX_BUNDLE: usize = 1 << 20;

pub(super) fn signing_request(object: &Value) -> Vec<Error> {
    request(object, None)
}

/// `old`: what is wrong with it already is borne.
fn request(object: &Value, old: Option<&Value>) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    if let Err(why) = parse_request(spec["request"].str()) {
        let value = if spec.get("request").is_none() { Shown::null() } else { shown(&spec["request"]) };
        check.invalid(&path.child("request"), value, &why);
    }
    usages(&mut check, &spec["usages"], &path.child("usages"), old.map(|o| &o["spec"]["usages"]));
    let (signer, at) = (spec["signerName"].str(), path.child("signerName"));
    const LEGACY: &str = "kubernetes.io/legacy-unknown";
    if signer == LEGACY && old.is_none_or(|o| o["spec"]["signerName"].str() != LEGACY) {
        check.invalid(&at, signer, "the legacy signerName is not allowed via this API version");
    } else {
        signer_name(&mut check, signer, &at);
    }
    if let Some(n) = spec["expirationSeconds"].as_i64().filter(|n| *n < 600) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        check.invalid(&path.child("expirationSeconds"), n, detail);
    }
    let status = &object["status"];
    let mut exclusive = Check::default();
    conditions(&mut check, &mut exclusive, &status["conditions"], old.map(|o| &o["status"]["conditions"]));
    let certificate = status["certificate"].str();
    if old.is_none_or(|o| o["status"]["certificate"].str() != certificate)
        && let Err(why) = holds_certificates(certificate)
    {
        check.invalid(&Path::from("status.certificate"), "<certificate data>", &why);
    }
    check.errors.append(&mut exclusive.errors);
    check.errors
}

fn usages(check: &mut Check, usages: &Value, path: &Path, old: Option<&Value>) {
    if usages.is_empty() {
        check.required(path, "");
    }
    let unknown = |list: &Value| list.items().iter().any(|u| !USAGES.contains(&u.str()));
    let twice = |list: &Value| list.items().iter().map(Value::str).collect::<BTreeSet<_>>().len() < list.items().len();
    let (bear_unknown, bear_twice) = (old.is_some_and(unknown), old.is_some_and(twice));
    for (at, usage) in each(usages, path).filter(|(_, u)| !bear_unknown && !USAGES.contains(&u.str())) {
        check.push(Error::not_supported(&at, usage.str(), &USAGES));
    }
    let mut seen = BTreeSet::new();
    for (at, usage) in each(usages, path).filter(|_| !bear_twice) {
        if !seen.insert(usage.str()) {
            check.push(Error::duplicate(&at, usage.str()));
        }
    }
}

/// `late`: what the declarative rules say, after all others.
fn conditions(check: &mut Check, late: &mut Check, list: &Value, old: Option<&Value>) {
    let path = Path::from("status.conditions");
    let types = |list: &Value| list.items().iter().map(|c| c["type"].str().to_owned()).collect::<Vec<_>>();
    let both = |types: &[String]| ["Approved", "Denied"].iter().all(|t| types.iter().any(|x| x == t));
    let (now, before) = (types(list), old.map(types).unwrap_or_default());
    let mut unique = BTreeSet::new();
    let bear_twice = !before.iter().all(|t| unique.insert(t));
    let mut seen = BTreeSet::new();
    for (at, condition) in each(list, &path) {
        let (type_, status) = (condition["type"].str(), condition["status"].str());
        if type_.is_empty() && !before.iter().any(String::is_empty) {
            check.required(&at.child("type"), "");
        }
        let allowed: &[&str] = if FINAL.contains(&type_) { &["True"] } else { &["False", "True", "Unknown"] };
        check.one_of(&at.child("status"), status, allowed);
        if !seen.insert(type_) && !bear_twice {
            check.push(Error::duplicate(&at.child("type"), type_));
        }
    }
    if both(&now) && !both(&before) {
        let (approved, denied) = (r#"conditions[{"type": "Approved"}]"#, r#"conditions[{"type": "Denied"}]"#);
        let detail = format!("must specify at most one of: `{approved}`, `{denied}`");
        late.invalid(&path, format!("{{{approved}, {denied}}}").as_str(), &detail);
    }
}

/// What each of the endpoints may change.
pub(super) fn signing_request_update(subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = request(new, Some(old));
    let exclusive =
        errors.iter().position(|e| e.body.contains("must specify at most one of")).map(|n| errors.remove(n));
    let mut check = Check { errors };
    let path = Path::from("status.conditions");
    let of = |object: &Value, type_: &str| -> Vec<Value> {
        object["status"]["conditions"].items().iter().filter(|c| c["type"].str() == type_).cloned().collect()
    };
    for type_ in FINAL.iter().filter(|t| of(new, t).len() < of(old, t).len()) {
        check.forbidden(&path, &format!("updates may not remove a condition of type {}", quote(type_)));
    }
    for type_ in FINAL.iter().take(2).filter(|_| subresource != "approval") {
        let (now, before) = (of(new, type_), of(old, type_));
        if now.len() > before.len() {
            check.forbidden(&path, &format!("updates may not add a condition of type {}", quote(type_)));
        } else if now.len() == before.len() && now != before {
            check.forbidden(&path, &format!("updates may not modify a condition of type {}", quote(type_)));
        }
    }
    let (now, before) = (&new["status"]["certificate"], &old["status"]["certificate"]);
    if !same(now, before) {
        let at = Path::from("status.certificate");
        if subresource != "status" {
            check.forbidden(&at, "updates may not set certificate content");
        } else if !before.is_empty() {
            check.forbidden(&at, "updates may not modify existing certificate content");
        }
    }
    check.errors.extend(exclusive);
    check.errors
}

/// A PEM request with a good signature of its own, in the field's base64.
fn parse_request(request: &str) -> Result<(), String> {
    let text = document::decode::decode_base64(request).unwrap_or_default();
    let block = pem_blocks(&String::from_utf8_lossy(&text)).into_iter().next();
    let Some(block) = block.filter(|b| b.label == "CERTIFICATE REQUEST") else {
        return Err("PEM block type must be CERTIFICATE REQUEST".into());
    };
    let (_, csr) = X509CertificationRequest::from_der(&block.der).map_err(|_| "asn1: structure error".to_owned())?;
    if let Some(why) = malformed_attribute(&csr) {
        return Err(why.into());
    }
    csr.verify_signature().map_err(|_| "x509: signature verification failure".to_owned())
}

/// Why an attribute of the subject has no name that Go's parser can read.
fn malformed_attribute(csr: &X509CertificationRequest<'_>) -> Option<&'static str> {
    let subject = &csr.certification_request_info.subject;
    subject.iter_attributes().find_map(|a| meta::oid::malformed(a.attr_type().as_bytes()))
}

/// Nothing, or PEM blocks that are all certificates.
fn holds_certificates(field: &str) -> Result<(), String> {
    if field.is_empty() {
        return Ok(());
    }
    let text = document::decode::decode_base64(field).unwrap_or_default();
    let blocks = pem_blocks(&String::from_utf8_lossy(&text));
    for block in &blocks {
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {}", quote(&block.label)));
        }
        if block.has_headers {
            return Err("no PEM block headers are permitted".into());
        }
        if X509Certificate::from_der(&block.der).is_err() {
            return Err("x509: malformed certificate".into());
        }
    }
    if blocks.is_empty() { Err("must contain at least one CERTIFICATE PEM block".into()) } else { Ok(()) }
}

pub(super) fn signer_name(check: &mut Check, signer: &str, at: &Path) {
    if signer.is_empty() {
        return check.required(at, "");
    }
    let shape = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
    let Some((domain, rest)) = signer.split_once('/').filter(|(_, r)| !r.contains('/')) else {
        return check.invalid(at, signer, shape);
    };
    if domain.len() > 253 {
        check.push(Error::too_long_bytes(at, 253));
    }
    labels(check, at, domain, names::dns1123_label);
    if !domain.contains('.') {
        check.invalid(at, domain, "should be a domain with at least two segments separated by dots");
    }
    labels(check, at, rest, names::dns1123_subdomain);
    if signer.len() > 571 {
        check.push(Error::too_long_bytes(at, 571));
    }
}

/// Of several bad labels the first is told.
fn labels(check: &mut Check, at: &Path, whole: &str, format: fn(&str) -> Vec<String>) {
    if let Some((label, why)) = whole.split('.').map(|l| (l, format(l))).find(|(_, why)| !why.is_empty()) {
        why.iter().for_each(|m| check.invalid(at, whole, &format!("validating label {}: {m}", quote(label))));
    }
}

pub(super) fn trust_bundle(object: &Value) -> Vec<Error> {
    let mut errors = bundle_names(object);
    errors.extend(anchors(object["spec"]["trustBundle"].str()));
    errors
}

/// A bundle that stays as it is is not read again.
pub(super) fn trust_bundle_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check { errors: bundle_names(new) };
    let (now, before) = (&new["spec"], &old["spec"]);
    if now["trustBundle"] != before["trustBundle"] {
        check.errors.extend(anchors(now["trustBundle"].str()));
    }
    check.immutable(&Path::from("spec.signerName"), &now["signerName"], &before["signerName"]);
    check.errors
}

/// What is wrong with the name of a bundle that is referred to, of a signer or of none.
pub(super) fn bundle_name(name: &str) -> Vec<String> {
    let own = name.rsplit_once(':').map_or(name, |(_, own)| own);
    let signer = name.rsplit_once(':').map_or("", |(signer, _)| signer);
    if name.contains(':') && signer.is_empty() {
        return vec!["ClusterTrustBundle without signer name must not have \":\" in its name".into()];
    }
    names::dns1123_subdomain(own)
}

fn bundle_names(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, name) = (&object["spec"], object["metadata"]["name"].str());
    let (signer, at) = (spec["signerName"].str(), Path::from("metadata.name"));
    if signer.is_empty() {
        if name.contains(':') {
            check.invalid(&at, name, "ClusterTrustBundle without signer name must not have \":\" in its name");
        } else {
            check.format(&at, name, &names::dns1123_subdomain(name));
        }
    } else {
        let prefix = format!("{}:", signer.replace('/', ":"));
        match name.strip_prefix(&prefix) {
            None => {
                let detail = format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}");
                check.invalid(&at, name, &detail);
            }
            Some(rest) => check.format(&at, name, &names::dns1123_subdomain(rest)),
        }
        signer_name(&mut check, signer, &Path::from("spec.signerName"));
    }
    check.errors
}

fn anchors(text: &str) -> Vec<Error> {
    let mut check = Check::default();
    let path = Path::from("spec.trustBundle");
    if text.len() > MAX_BUNDLE {
        check.push(Error::too_long_bytes(&path, MAX_BUNDLE));
        return check.errors;
    }
    let blocks = pem_blocks(text);
    for (n, block) in blocks.iter().enumerate() {
        if let Some(why) = not_an_anchor(block) {
            check.invalid(&path, "<value omitted>", &format!("entry {n} {why}"));
        }
    }
    if !check.errors.is_empty() {
        return check.errors;
    }
    if blocks.is_empty() {
        check.invalid(&path, "<value omitted>", "at least one trust anchor must be provided");
    }
    let mut seen: BTreeSet<&[u8]> = BTreeSet::new();
    for block in blocks.iter().filter(|b| seen.insert(&b.der)) {
        let equal: Vec<String> =
            blocks.iter().enumerate().filter(|(_, b)| b.der == block.der).map(|(n, _)| n.to_string()).collect();
        if equal.len() > 1 {
            let detail = format!("duplicate trust anchor (indices [{}])", equal.join(" "));
            check.invalid(&path, "<value omitted>", &detail);
        }
    }
    check.errors
}

fn not_an_anchor(block: &Block) -> Option<String> {
    if block.label != "CERTIFICATE" {
        return Some(format!("has bad block type: {}", block.label));
    }
    if block.has_headers {
        return Some("has PEM block headers".into());
    }
    let Ok((_, certificate)) = X509Certificate::from_der(&block.der) else {
        return Some("does not parse as X.509".into());
    };
    (!certificate.is_ca()).then(|| "does not have the CA bit set".into())
}

/// One block of a PEM text.
pub(super) struct Block {
    label: String,
    has_headers: bool,
    der: Vec<u8>,
}

/// The well-formed blocks of a text; what is around and between them does not count.
pub(super) fn pem_blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        rest = after;
        let Some((label, body)) = after.split_once("-----").filter(|(l, _)| !l.contains('\n')) else { continue };
        let Some((body, after)) = body.split_once(&format!("-----END {label}-----")) else { continue };
        let has_headers = body.lines().any(|line| line.contains(':'));
        let base64: String = body
            .lines()
            .filter(|line| !line.contains(':'))
            .flat_map(str::chars)
            .filter(|c| !c.is_whitespace())
            .collect();
        let Ok(der) = document::decode::decode_base64(&base64) else { continue };
        rest = after;
        blocks.push(Block { label: label.to_owned(), has_headers, der });
    }
    blocks
}

#[cfg(test)]
mod tests;
