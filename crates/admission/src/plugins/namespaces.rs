//! NamespaceExists (off by default): nothing is written where there is no namespace, not even deleted.
//! NamespaceAutoProvision (off by default): a namespace is made for what is created in it.

use meta::{GroupResource, Key, ResourceId, Status};

use crate::{Operation, Plugin, Review};

pub struct NamespaceExists;

impl Plugin for NamespaceExists {
    fn name(&self) -> &'static str {
        "NamespaceExists"
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if review.operation == Operation::Connect || !is_missing(review) {
            return Ok(());
        }
        Err(Status::not_found(&GroupResource::new("", "namespaces"), review.namespace))
    }
}

pub struct NamespaceAutoProvision;

impl Plugin for NamespaceAutoProvision {
    fn name(&self) -> &'static str {
        "NamespaceAutoProvision"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if review.operation == Operation::Create && !review.dry_run && is_missing(review) {
            review.needs_namespace = true;
        }
        Ok(())
    }
}

fn is_missing(review: &Review<'_>) -> bool {
    let key = Key::new(ResourceId::from_text("namespaces"), "", review.namespace);
    !review.namespace.is_empty() && !review.is_any("", "namespaces") && review.world.life(&key).is_none()
}
