//! certificatesigningrequest-approving-controller: a node's client certificate is approved when who asks may create
//! `certificatesigningrequests/selfnodeclient` (for the name that it has already) or `…/nodeclient`.

use client::{Api, Resource};
use document::{Value, doc};
use meta::Status;

use super::request::{self, Asked};
use super::{REQUESTS, add_condition, find, has, is_signed};
use crate::command::Command;
use crate::driver::{Outcome, Work};

const REVIEWS: Resource =
    Resource::new("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", false);

pub(super) struct Approver {
    pub(super) api: Api,
}

impl Work<String> for Approver {
    const NAME: &'static str = "certificatesigningrequest-approving-controller";

    async fn sync(&self, name: String) -> Outcome {
        let Some(mut object) = find(&self.api, &name).await? else { return Ok(None) };
        let questions = questions(&object);
        for (subresource, message) in questions.iter().copied() {
            if self.may(&object, subresource).await? {
                add_condition(&mut object, "Approved", "AutoApproved", message);
                Command::Update { resource: REQUESTS, subresource: "approval", object }.perform(&self.api).await?;
                return Ok(None);
            }
        }
        if questions.is_empty() {
            return Ok(None);
        }
        // asked again: the right may be given later
        Err(Status::internal("the request is a node's, but who asks may not have that"))
    }
}

impl Approver {
    async fn may(&self, object: &Value, subresource: &str) -> Result<bool, Status> {
        let spec = &object["spec"];
        let mut asked = doc!({
            "user": (spec["username"].clone()),
            "uid": (spec["uid"].clone()),
            "groups": (spec["groups"].clone()),
            "resourceAttributes": {
                "group": "certificates.k8s.io",
                "version": "*",
                "resource": "certificatesigningrequests",
                "subresource": subresource,
                "verb": "create"
            }
        });
        if !spec["extra"].is_empty() {
            asked.set("extra", spec["extra"].clone());
        }
        let review = self.api.create(&REVIEWS, "", doc!({"spec": (asked)})).await?;
        Ok(review["status"]["allowed"].is_true())
    }
}

/// Which rights would do, the nearer first. None when the request is decided or not a node's.
fn questions(object: &Value) -> Vec<(&'static str, &'static str)> {
    if is_signed(object) || has(object, "Approved") || has(object, "Denied") {
        return Vec::new();
    }
    request::parse(object).map(|asked| rights(object, &asked)).unwrap_or_default()
}

fn rights(object: &Value, asked: &Asked) -> Vec<(&'static str, &'static str)> {
    const SELF: (&str, &str) =
        ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.");
    const ANY: (&str, &str) = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");
    let spec = &object["spec"];
    if spec["signerName"].str() != "kubernetes.io/kube-apiserver-client-kubelet"
        || asked.check_kubelet_client().is_err()
    {
        return Vec::new();
    }
    if spec["username"].str() == asked.common_name { vec![SELF, ANY] } else { vec![ANY] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_nodes_own_signer_is_approved_and_the_nearer_right_is_asked_first() {
        let asked = Asked {
            common_name: "system:node:n".into(),
            organizations: vec!["system:nodes".into()],
            usages: ["client auth".to_owned(), "digital signature".to_owned()].into(),
            ..Asked::default()
        };
        let check = |signer: &str, user: &str, want: &[&str]| {
            let object = doc!({"spec": {"signerName": signer, "username": user}});
            let found: Vec<&str> = rights(&object, &asked).into_iter().map(|(right, _)| right).collect();
            assert_eq!(found, want);
        };
        check("kubernetes.io/kube-apiserver-client-kubelet", "system:node:n", &["selfnodeclient", "nodeclient"]);
        check("kubernetes.io/kube-apiserver-client-kubelet", "system:bootstrap:t", &["nodeclient"]);
        check("kubernetes.io/kube-apiserver-client", "system:node:n", &[]);
    }
}
