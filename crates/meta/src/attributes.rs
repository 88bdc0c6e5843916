//! What a request wants to do: upstream's `authorizer.Attributes`, parsed once from method and path.

use crate::{GroupResource, fields, labels};

/// Verb, resource or path of one request. The verb is empty for methods that mean nothing on a resource (OPTIONS).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, a special verb, or the
    /// lower-case HTTP method for a path that is no resource.
    pub verb: String,
    /// False for `/healthz`, `/apis` and the like, where only `verb` and `path` count.
    pub is_resource: bool,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    /// Empty: cluster scope, or all namespaces.
    pub namespace: String,
    pub name: String,
    pub path: String,
    /// Requirements of `labelSelector` (list, watch, deletecollection only).
    pub label_selector: Option<labels::Selector>,
    pub field_selector: Option<fields::Selector>,
}

impl Attributes {
    /// A resource request; the rest is filled in by the caller.
    pub fn resource(verb: &str, group: &str, version: &str, resource: &str, namespace: &str, name: &str) -> Self {
        Attributes {
            verb: verb.into(),
            is_resource: true,
            group: group.into(),
            version: version.into(),
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Default::default()
        }
    }

    pub fn path(verb: &str, path: &str) -> Self {
        Attributes { verb: verb.into(), path: path.into(), ..Default::default() }
    }

    pub fn with_subresource(mut self, subresource: &str) -> Self {
        self.subresource = subresource.into();
        self
    }

    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&self.group, &self.resource)
    }

    /// `get`, `list` or `watch` of a resource, `get`/`head` of a path.
    pub fn is_read_only(&self) -> bool {
        matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}
