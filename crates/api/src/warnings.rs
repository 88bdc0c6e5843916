//! Warnings that upstream sends with an accepted write: deprecated fields and kinds. They never refuse.

use document::Value;

use crate::ResourceType;

/// For every request to a deprecated resource, whatever it answers.
pub fn of_resource(resource: &ResourceType) -> Option<&'static str> {
    let endpoints = resource.group.is_empty() && resource.plural == "endpoints";
    endpoints.then_some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
}

/// For a new object.
pub fn on_create(resource: &ResourceType, object: &Value) -> Vec<String> {
    match (resource.group, resource.plural) {
        ("", "services") => service(object),
        _ => Vec::new(),
    }
}

/// For a changed one; what the old object already had is not warned of again.
pub fn on_update(resource: &ResourceType, new: &Value, old: &Value) -> Vec<String> {
    let before = on_create(resource, old);
    on_create(resource, new).into_iter().filter(|w| !before.contains(w)).collect()
}

fn service(object: &Value) -> Vec<String> {
    if object["spec"]["externalIPs"].is_empty() {
        return Vec::new();
    }
    vec!["spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned()]
}
