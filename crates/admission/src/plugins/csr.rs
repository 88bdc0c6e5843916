//! Certificate signing requests: who may approve and sign for a signer, and which subjects are refused. Reads just
//! the subject of a PKCS#10 request.

use document::Value;
use document::decode::decode_base64;
use meta::{Attributes, Status};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use crate::{Operation, Plugin, Review};

const GROUP: &str = "certificates.k8s.io";
const PLURAL: &str = "certificatesigningrequests";
const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";

/// The parts of a request's subject that rules look at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) common_name: String,
    pub(crate) organizations: Vec<String>,
}

/// `request` is the field's base64 of a PEM block.
pub(crate) fn subject(request: &str) -> Result<Subject, String> {
    const NOT_PEM: &str = "PEM block type must be CERTIFICATE REQUEST";
    let pem = decode_base64(request).map_err(|_| NOT_PEM.to_owned())?;
    let (_, block) = x509_parser::pem::parse_x509_pem(&pem).map_err(|_| NOT_PEM.to_owned())?;
    if block.label != "CERTIFICATE REQUEST" {
        return Err(NOT_PEM.into());
    }
    let (_, csr) = X509CertificationRequest::from_der(&block.contents).map_err(|e| e.to_string())?;
    let name = &csr.certification_request_info.subject;
    let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().map(str::to_owned).unwrap_or_default();
    Ok(Subject {
        common_name: name.iter_common_name().last().map(text).unwrap_or_default(),
        organizations: name.iter_organization().map(text).collect(),
    })
}

pub struct CertificateApproval;

impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.is_sub(GROUP, PLURAL, "approval") || review.operation != Operation::Update {
            return Ok(());
        }
        let signer = review.old_object()["spec"]["signerName"].str();
        if may_for_signer(review, "approve", signer) {
            return Ok(());
        }
        Err(review.forbidden(&format!("user not permitted to approve requests with signerName {signer:?}")))
    }
}

pub struct CertificateSigning;

impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.is_sub(GROUP, PLURAL, "status") || review.operation != Operation::Update {
            return Ok(());
        }
        let (new, old) = (&review.new_object()["status"], &review.old_object()["status"]);
        let same = |a: &Value, b: &Value| a == b || (a.is_empty() && b.is_empty());
        if same(&new["certificate"], &old["certificate"]) && same(&new["conditions"], &old["conditions"]) {
            return Ok(());
        }
        let signer = review.old_object()["spec"]["signerName"].str();
        if may_for_signer(review, "sign", signer) {
            return Ok(());
        }
        Err(review.forbidden(&format!("user not permitted to sign requests with signerName {signer:?}")))
    }
}

pub struct CertificateSubjectRestriction;

impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let spec = &review.new_object()["spec"];
        if !review.is(GROUP, PLURAL) || review.operation != Operation::Create || spec["signerName"].str() != API_CLIENT
        {
            return Ok(());
        }
        match subject(spec["request"].str()) {
            Err(why) => Err(review.forbidden(&format!("failed to parse CSR: {why}"))),
            Ok(subject) if subject.organizations.iter().any(|o| o == "system:masters") => {
                Err(review.forbidden(&format!("use of {API_CLIENT} signer with system:masters group is not allowed")))
            }
            Ok(_) => Ok(()),
        }
    }
}

/// ClusterTrustBundleAttest: writing a bundle of a signer needs `attest` on it.
pub struct ClusterTrustBundleAttest;

impl Plugin for ClusterTrustBundleAttest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        if !review.is(GROUP, "clustertrustbundles") || !writes {
            return Ok(());
        }
        let signer = review.new_object()["spec"]["signerName"].str();
        if signer.is_empty() || may_for_signer(review, "attest", signer) {
            return Ok(());
        }
        Err(review.forbidden(&format!("user not permitted to attest for signerName {signer:?}")))
    }
}

/// Asks for the signer itself, then for all of its domain (`example.com/*`).
fn may_for_signer(review: &Review<'_>, verb: &str, signer: &str) -> bool {
    let ask = |name: &str| (review.may)(Attributes::resource(verb, GROUP, "*", "signers", "", name));
    let domain = signer.split('/').next().unwrap_or_default();
    ask(signer) || ask(&format!("{domain}/*"))
}
