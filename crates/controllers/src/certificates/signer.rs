//! certificatesigningrequest-signing-controller: approved requests of upstream's own signers get their certificate, or
//! the condition `Failed`. The key is the issuer's: here is only who may have what.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::Api;
use document::Value;
use meta::Status;

use super::request::{self, Asked};
use super::{REQUESTS, add_condition, find, has, is_signed};
use crate::command::Command;
use crate::driver::{Outcome, Work};

/// What a certificate is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateToSign {
    /// `spec.signerName`.
    pub signer: String,
    /// PEM.
    pub request: Vec<u8>,
    /// By the names of certificates.k8s.io.
    pub usages: Vec<String>,
    pub seconds: Option<i64>,
}

/// Signs a certificate, in PEM; only the issuer can. The error says why not, without secrets.
pub type SignCertificate = Arc<dyn Fn(&CertificateToSign) -> Result<String, String> + Send + Sync>;

pub(super) struct Signer {
    pub(super) api: Api,
    pub(super) sign: SignCertificate,
    pub(super) signers: Arc<[String]>,
}

impl Work<String> for Signer {
    const NAME: &'static str = "certificatesigningrequest-signing-controller";

    async fn sync(&self, name: String) -> Outcome {
        let Some(object) = find(&self.api, &name).await? else { return Ok(None) };
        if !self.signers.iter().any(|signer| signer == object["spec"]["signerName"].str()) {
            return Ok(None);
        }
        let asked = request::parse(&object);
        match plan(object, asked.as_ref(), |wanted| (self.sign)(wanted)) {
            Ok(Some(command)) => command.perform(&self.api).await?,
            Ok(None) => {}
            Err(why) => return Err(Status::internal(format!("error auto signing csr: {why}"))),
        }
        Ok(None)
    }
}

fn plan(
    mut object: Value,
    asked: Option<&Asked>,
    sign: impl FnOnce(&CertificateToSign) -> Result<String, String>,
) -> Result<Option<Command>, String> {
    if is_signed(&object) || !has(&object, "Approved") || has(&object, "Denied") || has(&object, "Failed") {
        return Ok(None);
    }
    let Some(asked) = asked else { return Ok(None) };
    let verdict = match object["spec"]["signerName"].str() {
        "kubernetes.io/kube-apiserver-client" => asked.check_client(),
        "kubernetes.io/kube-apiserver-client-kubelet" => asked.check_kubelet_client(),
        "kubernetes.io/kubelet-serving" => asked.check_kubelet_serving(),
        "kubernetes.io/legacy-unknown" => Ok(()),
        _ => return Ok(None),
    };
    match verdict {
        Err(why) => add_condition(&mut object, "Failed", "SignerValidationFailure", &why),
        Ok(()) => {
            let spec = &object["spec"];
            let wanted = CertificateToSign {
                signer: spec["signerName"].str().to_owned(),
                request: request::pem(&object).unwrap_or_default(),
                usages: spec["usages"].items().iter().map(|u| u.str().to_owned()).collect(),
                seconds: spec["expirationSeconds"].as_i64(),
            };
            let certificate = STANDARD.encode(sign(&wanted)?);
            object.entry("status").set("certificate", certificate);
        }
    }
    Ok(Some(Command::Update { resource: REQUESTS, subresource: "status", object }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    fn request(signer: &str, conditions: Value) -> Value {
        doc!({
            "spec": {"signerName": signer, "usages": ["client auth"], "expirationSeconds": 600},
            "status": {"conditions": (conditions)}
        })
    }

    fn update(object: Value) -> Option<Value> {
        let asked = Asked { usages: ["client auth".to_owned()].into(), ..Asked::default() };
        match plan(object, Some(&asked), |wanted| Ok(format!("{:?}", wanted.seconds))).unwrap() {
            Some(Command::Update { object, .. }) => Some(object),
            _ => None,
        }
    }

    #[test]
    fn what_is_approved_for_a_signer_of_ours_is_signed() {
        let client = "kubernetes.io/kube-apiserver-client";
        let approved = doc!([{"type": "Approved", "status": "True"}]);
        let signed = update(request(client, approved.clone())).unwrap();
        assert_eq!(signed["status"]["certificate"].str(), STANDARD.encode("Some(600)"));
        assert_eq!(update(signed), None, "once");
        assert_eq!(update(request(client, doc!([]))), None, "not approved");
        assert_eq!(update(request("example.com/s", approved.clone())), None, "another's");
        let failed = update(request("kubernetes.io/kubelet-serving", approved)).unwrap();
        assert_eq!(failed["status"]["conditions"][1]["reason"].str(), "SignerValidationFailure");
        assert_eq!(update(failed), None, "final");
    }
}
