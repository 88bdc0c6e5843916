//! Certificate signing requests: what is signed is a certificate for the key that asked, for no more than was asked, and
//! authenticates as the name in the request.
#![no_main]

use std::sync::LazyLock;

use authn::{Chain, Config, Peer, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use generate::Dice;
use generate::der::{self, tlv};
use issuer::{CertificateAuthority, CertificateRequest};
use libfuzzer_sys::fuzz_target;
use store::View;
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

struct World {
    authority: CertificateAuthority,
    chain: Chain,
    view: View,
    asker: der::Authority,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let (authority, _) = CertificateAuthority::generate("ca").expect("an authority");
    let config = Config { client_authorities: vec![authority.certificate_der()], ..Default::default() };
    let chain = Chain::new(config).expect("a chain");
    World { authority, chain, view: generate::empty_view(), asker: der::Authority::new() }
});

const USAGES: &[&str] =
    &["client auth", "digital signature", "key encipherment", "server auth", "any", "cert sign", "nonsense"];

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", STANDARD.encode(der))
}

/// The object that holds such a request is judged too.
fn validate(request: &str, usages: &[String]) {
    let row = api::find("certificates.k8s.io", "v1", "certificatesigningrequests").expect("a row");
    let mut object = Dice(&[]).object(row);
    let spec = object.entry("spec");
    spec.set("request", STANDARD.encode(request));
    spec.set("signerName", "kubernetes.io/kube-apiserver-client");
    spec.set("usages", usages.iter().map(|u| u.as_str().into()).collect::<Vec<document::Value>>());
    let _ = api::validation::validate_create(row, &object);
}

fn check(request: &str, usages: &[String], seconds: Option<i64>) {
    validate(request, usages);
    const MOST: i64 = 365 * 86_400;
    let asked = CertificateRequest { request: request.as_bytes(), usages, seconds, most: MOST };
    let Ok(pem) = WORLD.authority.sign_request(&asked) else { return };
    let der = issuer::authority::certificates_from_pem(&pem).remove(0);
    let (rest, certificate) = x509_parser::parse_x509_certificate(&der).expect("a certificate");
    assert!(rest.is_empty() && !certificate.is_ca());
    let root = WORLD.authority.certificate_der();
    let (_, root) = x509_parser::parse_x509_certificate(&root).expect("the authority");
    certificate.verify_signature(Some(root.public_key())).expect("signed by the authority");
    let life = certificate.validity();
    let length = life.not_after.timestamp() - life.not_before.timestamp();
    assert!((600..=366 * 86_400).contains(&length), "{length}");
    let (_, block) = x509_parser::pem::parse_x509_pem(request.as_bytes()).expect("PEM, since it was signed");
    let (_, csr) = X509CertificationRequest::from_der(&block.contents).expect("a request, since it was signed");
    let info = &csr.certification_request_info;
    assert_eq!(certificate.tbs_certificate.subject_pki.raw, info.subject_pki.raw, "another key");
    // with a purpose, nobody but the client that asked may use it as one
    if usages != ["client auth"] {
        return;
    }
    let text = |of: &x509_parser::x509::X509Name<'_>| {
        let name = of.iter_common_name().filter_map(|n| n.as_str().ok()).last().unwrap_or_default().to_owned();
        let mut groups: Vec<String> =
            of.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
        groups.sort();
        (name, groups)
    };
    // x509-parser reads fewer kinds of text than Go and the server do
    let attributes = || info.subject.iter_common_name().chain(info.subject.iter_organization());
    if attributes().any(|attribute| attribute.as_str().is_err()) {
        return;
    }
    let (name, groups) = text(&info.subject);
    let peer = Peer::new([der.clone()]).expect("a chain");
    let headers = http::HeaderMap::new();
    let Ok(found) = WORLD.chain.authenticate(&Request { peer: Some(&peer), headers: &headers }, &WORLD.view) else {
        return;
    };
    if found.is_anonymous() {
        assert!(name.is_empty());
        return;
    }
    let mut got: Vec<String> = found.user.groups.iter().filter(|g| *g != "system:authenticated").cloned().collect();
    got.sort();
    let asked: Vec<String> = groups.into_iter().filter(|g| g != "system:authenticated").collect();
    assert_eq!((&found.user.name, got), (&name, asked));
}

fuzz_target!(|data: &[u8]| {
    let mut dice = Dice(data);
    let usages: Vec<String> = match dice.roll(3) {
        0 => vec!["client auth".into()],
        n => (0..n * 2).map(|_| dice.pick(USAGES).to_owned()).collect(),
    };
    let seconds = dice.pick(&[None, Some(0), Some(600), Some(86_400), Some(i64::MAX), Some(i64::MIN), Some(-1)]);
    match dice.roll(3) {
        0 => check(&String::from_utf8_lossy(dice.rest()), &usages, seconds),
        1 => check(&pem(dice.rest()), &usages, seconds),
        _ => {
            let subject = tlv(0x30, &[dice.take()]);
            let info = tlv(0x30, &[&[2, 1, 0], &subject, &WORLD.asker.public, &tlv(0xa0, &[dice.rest()])]);
            check(&pem(&WORLD.asker.envelope(&info)), &usages, seconds);
        }
    }
});
