//! Unenforced (ours): an object that promises protection which Lanyard does not give yet is refused with 501, so that
//! nothing fails open. Driven by a table; a row goes when its enforcement is built.

use meta::Status;

use crate::{Operation, Plugin, Review};

/// (group, plural, what is missing)
const TABLE: [(&str, &str, &str); 7] = [
    ("", "resourcequotas", "a ResourceQuota is not enforced yet (admission plugin ResourceQuota)"),
    ("networking.k8s.io", "networkpolicies", "a NetworkPolicy is not enforced yet by the node agent"),
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

pub struct Unenforced;

impl Plugin for Unenforced {
    fn name(&self) -> &'static str {
        "Unenforced"
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.subresource.is_empty() || !matches!(review.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        match missing(review) {
            Some(text) => Err(Status::not_implemented(format!(
                "{} {:?} is not created: {text}",
                review.group_resource(),
                review.shown_name()
            ))),
            None => Ok(()),
        }
    }
}

fn missing(review: &Review<'_>) -> Option<&'static str> {
    if review.is(ADMISSION, "mutatingwebhookconfigurations") {
        return Some(MUTATING_WEBHOOKS);
    }
    TABLE.iter().find(|(group, plural, _)| review.is(group, plural)).map(|(_, _, text)| *text)
}
