//! The escalation checks before a role or binding is written. The rules and texts are `authz::escalation`'s.

use api::ResourceType;
use authz::escalation;
use document::Value;
use gate::Passage;
use meta::{Attributes, Status};
use store::View;

use crate::Registry;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(crate) fn check_create(
    registry: &Registry,
    passage: &Passage,
    row: &ResourceType,
    view: &View,
    new: &Value,
    url_name: &str,
) -> Result<(), Status> {
    // a POST carries no name in its URL, whatever its body says
    let url_name = if passage.attributes().name.is_empty() { "" } else { url_name };
    check(registry, passage, row, view, new, None, url_name)
}

pub(crate) fn check_update(
    registry: &Registry,
    passage: &Passage,
    row: &ResourceType,
    view: &View,
    new: &Value,
    old: &Value,
) -> Result<(), Status> {
    check(registry, passage, row, view, new, Some(old), &passage.attributes().name)
}

fn check(
    registry: &Registry,
    passage: &Passage,
    row: &ResourceType,
    view: &View,
    new: &Value,
    old: Option<&Value>,
    url_name: &str,
) -> Result<(), Status> {
    if row.group != GROUP {
        return Ok(());
    }
    let may = |attributes: Attributes| passage.may(attributes);
    let write = escalation::Write {
        user: passage.user(),
        resource: row.plural,
        namespace: &passage.attributes().namespace,
        url_name,
        old,
        new,
        may: &may,
    };
    write.check(&registry.gate.policy(view))
}
