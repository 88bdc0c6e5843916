//! The built-in resources as rows of generated tables, and look-ups in them. Beside the tables: one file per group
//! for what is not data (validation, strategy, columns).

mod amount;
pub mod columns;
pub mod openapi;
pub mod quota;
pub mod resource;
pub mod stored;
pub mod strategy;
mod tables;
pub mod validation;
pub mod warnings;

pub use resource::{Group, NameRule, ResourceType, Subresource};
pub use stored::{is_storage_version, label_selector, read, reseal, seal, storage_row};
pub use tables::{MUTATE_EVERY_WRITE, MUTATING_ORDER, VALIDATE_EVERY_WRITE, VALIDATING_ORDER};

use document::Type;
use document::default::Step;
use meta::{GroupVersionKind, ResourceId};

/// All built-in resources, sorted by group, version and plural.
pub fn resources() -> &'static [ResourceType] {
    tables::RESOURCES
}

/// The row of a resource in one version.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static ResourceType> {
    let rows = resources();
    let at = rows.binary_search_by(|r| (r.group, r.version, r.plural).cmp(&(group, version, plural))).ok()?;
    rows.get(at)
}

/// The row of a kind.
pub fn by_kind(gvk: &GroupVersionKind) -> Option<&'static ResourceType> {
    let rows = resources();
    let key = (gvk.group.as_str(), gvk.version.as_str());
    let start = rows.partition_point(|r| (r.group, r.version) < key);
    rows[start..].iter().take_while(|r| (r.group, r.version) == key).find(|r| r.kind == gvk.kind)
}

/// The row in whose version objects of this storage are kept.
pub fn by_storage(id: &ResourceId) -> Option<&'static ResourceType> {
    let (plural, group) = id.as_str().split_once('.').unwrap_or((id.as_str(), ""));
    let rows = resources();
    let start = rows.partition_point(|r| r.group < group);
    let mut of_group = rows[start..].iter().take_while(|r| r.group == group).filter(|r| r.plural == plural);
    let first = of_group.next()?;
    let wanted = |r: &&'static ResourceType| r.stored.is_some_and(|s| s.version == r.api_version());
    Some([first].into_iter().chain(of_group).find(wanted).unwrap_or(first))
}

/// The API groups in upstream's discovery order, the core group first.
pub fn group_versions() -> &'static [Group] {
    tables::GROUPS
}

/// A type by its OpenAPI definition name.
pub fn type_by_name(name: &str) -> Option<&'static Type> {
    let types = tables::TYPES;
    types.binary_search_by(|t| t.name.cmp(name)).ok().map(|at| types[at])
}

/// A root type by its kind: resources, their lists, options, reviews, `Status`, `Table` and the like.
pub fn type_by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Type> {
    tables::TYPES.iter().copied().find(|t| t.gvk.contains(&(group, version, kind)))
}

/// A type of `meta/v1`: `type_of_meta("Status")`.
pub fn type_of_meta(name: &str) -> Option<&'static Type> {
    type_by_name(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}"))
}

/// Defaulting of a kind that has no row of its own, such as `PodLogOptions`.
pub fn defaults_of(api_version: &str, kind: &str) -> &'static [Step] {
    let wanted = format!("{api_version}/{kind}");
    let table = tables::DEFAULTS;
    table.binary_search_by(|(k, _)| (*k).cmp(&wanted)).map_or(&[], |at| table[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_resource_kind_and_storage() {
        assert!(
            resources()
                .windows(2)
                .all(|w| (w[0].group, w[0].version, w[0].plural) < (w[1].group, w[1].version, w[1].plural))
        );
        for r in resources() {
            assert_eq!(find(r.group, r.version, r.plural).map(|f| f.kind), Some(r.kind));
            assert!(by_kind(&r.gvk()).is_some(), "{}", r.kind);
            if let Some(id) = r.resource_id() {
                assert_eq!(by_storage(&id).map(|s| s.plural), Some(r.plural));
            }
        }
        assert_eq!(
            by_storage(&ResourceId::new("autoscaling", "horizontalpodautoscalers")).map(|r| r.version),
            Some("v2")
        );
        assert!(find("", "v1", "nopes").is_none());
    }

    #[test]
    fn types_are_found_by_name() {
        assert!(tables::TYPES.windows(2).all(|w| w[0].name < w[1].name));
        assert!(type_by_name("io.k8s.api.core.v1.Pod").is_some());
        assert!(type_of_meta("Status").is_some());
        assert!(!defaults_of("v1", "PodLogOptions").is_empty());
        assert!(defaults_of("v1", "Status").is_empty());
        assert!(type_by_kind("apps", "v1", "Deployment").is_some());
    }
}
