//! `ResourceType`: everything about a served resource that is data. The rows are generated (`tables`); custom
//! resources make the same rows at run time.

use document::Type;
use document::default::Step;
use meta::{GroupKind, GroupResource, GroupVersion, GroupVersionKind, ResourceId};

/// One resource in one served version.
#[derive(Debug)]
pub struct ResourceType {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    /// Of the main resource, sorted.
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    /// Text of the `ResourceId` under which its objects are stored; empty when nothing is (reviews, bindings).
    pub storage: &'static str,
    /// How upstream stores it.
    pub stored: Option<Stored>,
    /// Columns of a Table.
    pub columns: &'static [Column],
    /// Labels that a field selector may use.
    pub field_selectors: &'static [&'static str],
    /// Selector labels that stand for a field of the stored version: (label, field).
    pub field_aliases: &'static [(&'static str, &'static str)],
    pub name_rule: NameRule,
    pub strategy: Strategy,
    /// Besides the plugins that see every write.
    pub admission: &'static [Admission],
    pub type_: &'static Type,
    pub list_type: Option<&'static Type>,
    pub defaults: &'static [Step],
}

#[derive(Debug)]
pub struct Subresource {
    pub name: &'static str,
    /// Group, version and kind as discovery prints them: empty ones are the parent's.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub verbs: &'static [&'static str],
    /// The type of its body, when it has one of its own or the parent's.
    pub type_: Option<&'static Type>,
    /// Defaults of its kind.
    pub defaults: &'static [Step],
}

#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// Upstream's key prefix, with slash: error texts print it.
    pub prefix: &'static str,
    /// `apiVersion` of the stored form.
    pub version: &'static str,
    /// Stored as JSON, not protobuf.
    pub json: bool,
    /// `storageVersionHash` in discovery.
    pub hash: &'static str,
}

#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    /// `type` in the Table.
    pub kind: &'static str,
    pub format: &'static str,
    pub priority: i32,
}

/// What `metadata.name` may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// Not stored, no name.
    None,
    PathSegment,
    Dns1123Subdomain,
    Dns1123Label,
    /// An APIService: `version.group`.
    ApiService,
    /// `signer:name` prefix when a signer is named.
    ClusterTrustBundle,
    /// A canonical IP address.
    IpAddress,
    /// A CRD: `plural.group`.
    CustomResourceDefinition,
}

#[derive(Debug)]
pub struct Strategy {
    /// PUT creates.
    pub create_on_update: bool,
    /// PUT without resourceVersion is taken.
    pub unconditional_update: bool,
    /// Per endpoint ("" = main): dropped from managedFields and kept from the old object.
    pub reset_fields: &'static [(&'static str, &'static [&'static str])],
    /// How `metadata.generation` moves; `None`: never set.
    pub generation: Option<Generation>,
    pub status_on_create: StatusOnCreate,
    pub gc: Gc,
    /// Deletion waits for the node.
    pub graceful: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    pub create: i64,
    /// Parts whose change adds one; `*`: everything but metadata.
    pub bump: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusOnCreate {
    /// There is no status to care for.
    Untouched,
    Cleared,
    Kept,
}

/// What becomes of dependents when a deletion does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gc {
    /// In the background.
    Delete,
    Orphan,
    /// A policy is ignored.
    Unsupported,
}

/// A plugin that sees writes of this resource.
#[derive(Debug)]
pub struct Admission {
    pub plugin: &'static str,
    /// "" = the main resource, "*" = any.
    pub subresource: &'static str,
    pub operations: &'static [&'static str],
    pub phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Mutate,
    Validate,
    Both,
    /// Warnings and audit annotations only.
    Warn,
}

/// One API group as discovery lists it.
#[derive(Debug)]
pub struct Group {
    pub name: &'static str,
    /// Preferred first.
    pub versions: &'static [&'static str],
}

impl ResourceType {
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(self.group, self.version, self.kind)
    }

    pub fn group_kind(&self) -> GroupKind {
        // events of both groups are one internal type, which errors name
        GroupKind::new(if self.group == "events.k8s.io" { "" } else { self.group }, self.kind)
    }

    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.group, self.plural)
    }

    pub fn group_version(&self) -> GroupVersion {
        GroupVersion::new(self.group, self.version)
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        self.group_version().to_string()
    }

    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// Where its objects are stored; `None` for reviews and bindings.
    pub fn resource_id(&self) -> Option<ResourceId> {
        (!self.storage.is_empty()).then(|| ResourceId::from_text(self.storage))
    }

    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// The stored field that a field selector's label names; `None` when it is not selectable.
    pub fn selectable(&self, label: &str) -> Option<&'static str> {
        let known = self.field_selectors.iter().find(|f| **f == label)?;
        Some(self.field_aliases.iter().find(|(from, _)| *from == label).map_or(known, |(_, to)| to))
    }
}
