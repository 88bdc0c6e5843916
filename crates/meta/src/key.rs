//! Where an object lives in the store: resource, namespace, name.

use std::fmt;
use std::sync::Arc;

/// One stored resource, whatever versions it is served in: `pods`, `deployments.apps`, `foos.example.com`.
/// Events of both groups share `events`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(Arc<str>);

impl ResourceId {
    /// `group` is empty for the core group.
    pub fn new(group: &str, resource: &str) -> Self {
        if group.is_empty() { ResourceId(resource.into()) } else { ResourceId(format!("{resource}.{group}").into()) }
    }

    /// Takes the printed form (`deployments.apps`) as it is.
    pub fn from_text(text: &str) -> Self {
        ResourceId(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The key of one object. Ordered by resource, namespace, name, as lists are. Cluster-scoped: empty namespace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub resource: ResourceId,
    pub namespace: Box<str>,
    pub name: Box<str>,
}

impl Key {
    pub fn new(resource: ResourceId, namespace: &str, name: &str) -> Self {
        Key { resource, namespace: namespace.into(), name: name.into() }
    }

    /// The text under which a log stores the key: `resource/namespace/name` or `resource//name`.
    /// None of the three parts can hold a slash.
    pub fn to_path(&self) -> String {
        format!("{}/{}/{}", self.resource, self.namespace, self.name)
    }

    /// The reverse of [`Key::to_path`].
    pub fn from_path(path: &str) -> Option<Key> {
        let mut parts = path.splitn(3, '/');
        let (resource, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Key::new(ResourceId::from_text(resource), namespace, name))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.resource, self.namespace, self.name)
    }
}
