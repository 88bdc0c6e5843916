//! NamespaceLifecycle: nothing is written into a namespace that does not exist, nothing is created in one that is
//! going away, and the three namespaces of the system cannot be deleted.

use meta::field::Cause;
use meta::{GroupResource, Key, ResourceId, Status};
use store::Precondition;

use crate::world::Life;
use crate::{Operation, Plugin, Review};

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Reviews that name a namespace without writing into it.
const ACCESS_REVIEWS: [&str; 1] = ["localsubjectaccessreviews"];

pub struct NamespaceLifecycle;

impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let is_namespace = review.is_any("", "namespaces");
        if review.operation == Operation::Delete && is_namespace && IMMORTAL.contains(&review.name) {
            return Err(review.forbidden("this namespace may not be deleted"));
        }
        if review.namespace.is_empty()
            || is_namespace
            || review.operation == Operation::Delete
            || is_access_review(review)
        {
            return Ok(());
        }
        let key = Key::new(ResourceId::from_text("namespaces"), "", review.namespace);
        match review.world.life(&key) {
            None => Err(Status::not_found(&GroupResource::new("", "namespaces"), review.namespace)),
            Some(Life::Deleting(_)) if review.operation == Operation::Create => Err(terminating(review)),
            Some(_) => {
                if review.operation == Operation::Create {
                    review.reads.push((key, Precondition::Live));
                }
                Ok(())
            }
        }
    }
}

fn is_access_review(review: &Review<'_>) -> bool {
    review.resource.group == "authorization.k8s.io" && ACCESS_REVIEWS.contains(&review.resource.plural)
}

fn terminating(review: &Review<'_>) -> Status {
    let namespace = review.namespace;
    let mut status = review
        .forbidden(&format!("unable to create new content in namespace {namespace} because it is being terminated"));
    if let Some(details) = &mut status.details {
        details.causes.push(Cause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".into(),
        });
    }
    status
}
