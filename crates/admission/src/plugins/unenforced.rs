//! Unenforced (ours): an object that promises protection which Lanyard does not give yet is refused with 501, so that
//! nothing fails open. Driven by a table; a row goes when its enforcement is built.

use meta::Status;

use crate::{Operation, Plugin, Review};

/// (group, plural, what is missing)
const TABLE: [(&str, &str, &str); 5] = [
    (ADMISSION, "validatingadmissionpolicies", "admission policies are not evaluated yet (ValidatingAdmissionPolicy)"),
    (
        ADMISSION,
        "validatingadmissionpolicybindings",
        "admission policies are not evaluated yet (ValidatingAdmissionPolicy)",
    ),
    (ADMISSION, "mutatingadmissionpolicies", "admission policies are not evaluated yet (MutatingAdmissionPolicy)"),
    (
        ADMISSION,
        "mutatingadmissionpolicybindings",
        "admission policies are not evaluated yet (MutatingAdmissionPolicy)",
    ),
    (
        ADMISSION,
        "validatingwebhookconfigurations",
        "admission webhooks are not called yet (ValidatingAdmissionWebhook)",
    ),
];
const MUTATING_WEBHOOKS: &str = "admission webhooks are not called yet (MutatingAdmissionWebhook)";
const ADMISSION: &str = "admissionregistration.k8s.io";

const NETWORK_POLICIES: &str = "a NetworkPolicy is not enforced yet by the node agent";

pub struct Unenforced {
    /// A node agent of ours runs in this process: nobody else would enforce NetworkPolicies.
    pub own_node: bool,
}

impl Plugin for Unenforced {
    fn name(&self) -> &'static str {
        "Unenforced"
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.subresource.is_empty() || !matches!(review.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        match self.missing(review) {
            Some(text) => Err(Status::not_implemented(format!(
                "{} {:?} is not created: {text}",
                review.group_resource(),
                review.shown_name()
            ))),
            None => Ok(()),
        }
    }
}

impl Unenforced {
    fn missing(&self, review: &Review<'_>) -> Option<&'static str> {
        if review.is(ADMISSION, "mutatingwebhookconfigurations") {
            return Some(MUTATING_WEBHOOKS);
        }
        if self.own_node && review.is("networking.k8s.io", "networkpolicies") {
            return Some(NETWORK_POLICIES);
        }
        TABLE.iter().find(|(group, plural, _)| review.is(group, plural)).map(|(_, _, text)| *text)
    }
}
