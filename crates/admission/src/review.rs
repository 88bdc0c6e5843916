//! `Review`: one write under admission: what is to be done, by whom, to which object, and what the plugins add.

use std::sync::Arc;

use document::Value;
use meta::{Attributes, GroupResource, GroupVersionKind, Key, ResourceId, Status, UserInfo};
use store::Precondition;

use crate::World;

/// What is done to the object. A patch is an update (or a create, when it creates).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// One write under admission.
pub struct Review<'a> {
    pub operation: Operation,
    pub attributes: &'a Attributes,
    pub user: &'a UserInfo,
    /// Of the object sent: a subresource's own kind where it has one (`TokenRequest`).
    pub kind: GroupVersionKind,
    /// The main resource's row.
    pub resource: &'a api::ResourceType,
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// From the URL, or on create from the object; empty while `generateName` is still to be used.
    pub name: &'a str,
    /// What is to be stored (or the subresource's body); `None` on delete.
    pub object: Option<Value>,
    pub old: Option<Arc<Value>>,
    /// CreateOptions, UpdateOptions or DeleteOptions.
    pub options: Value,
    pub dry_run: bool,
    pub world: &'a dyn World,
    /// Asks the same passage whether its user may do something else, too; the answer is recorded there.
    pub may: &'a (dyn Fn(Attributes) -> bool + Sync),
    /// Sent as `Warning` headers.
    pub warnings: Vec<String>,
    /// Set with a refusal that may pass soon: the caller may wait a second for this object and try again.
    pub waits_for: Option<Key>,
    /// The object's namespace is to be made before it is asked again.
    pub needs_namespace: bool,
    /// More that must hold at commit.
    pub reads: Vec<(Key, Precondition)>,
    /// More that is committed with the object.
    pub companions: Vec<Companion>,
}

/// A new status of another object of the same world, committed with the reviewed one or not at all. A change of that
/// object meanwhile is a lost race.
#[derive(Clone, Debug)]
pub struct Companion {
    pub key: Key,
    pub status: Value,
}

impl Review<'_> {
    /// Is this the main resource `group/plural`?
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.is_sub(group, plural, "")
    }

    pub fn is_sub(&self, group: &str, plural: &str, subresource: &str) -> bool {
        self.subresource == subresource && self.resource.group == group && self.resource.plural == plural
    }

    /// Main resource or any subresource of it.
    pub fn is_any(&self, group: &str, plural: &str) -> bool {
        self.resource.group == group && self.resource.plural == plural
    }

    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.resource.group, self.resource.plural)
    }

    /// The name that a refusal prints: the object's, else its `generateName`.
    pub fn shown_name(&self) -> &str {
        if !self.name.is_empty() {
            return self.name;
        }
        let meta = self.object.as_ref().map(|o| &o["metadata"]);
        let text = |field: &str| meta.map(|m| m[field].str()).filter(|s| !s.is_empty());
        text("name").or_else(|| text("generateName")).unwrap_or("Unknown")
    }

    /// `pods "x" is forbidden: <why>`.
    pub fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(&self.group_resource(), self.shown_name(), why)
    }

    /// The key of an object next to the reviewed one.
    pub fn key(&self, resource: &str, name: &str) -> Key {
        Key::new(ResourceId::from_text(resource), self.namespace, name)
    }

    /// The object under review; null on delete.
    pub fn new_object(&self) -> &Value {
        static NULL: Value = Value::Null;
        self.object.as_ref().unwrap_or(&NULL)
    }

    /// The stored object before this write; null on create.
    pub fn old_object(&self) -> &Value {
        static NULL: Value = Value::Null;
        self.old.as_deref().unwrap_or(&NULL)
    }
}

/// Never prints objects: they may be Secrets.
impl std::fmt::Debug for Review<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Review({} {}/{} {}/{})",
            self.operation.as_str(),
            self.resource.plural,
            self.subresource,
            self.namespace,
            self.name
        )
    }
}
