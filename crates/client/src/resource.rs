//! Resources as a client names them.

use std::borrow::Cow;

use api::ResourceType;
use meta::{GroupResource, ResourceId};

/// One resource of one version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    /// Empty for the core group.
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub plural: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    pub namespaced: bool,
}

impl Resource {
    pub fn of(row: &'static ResourceType) -> Self {
        Resource::new(row.group, row.version, row.plural, row.kind, row.namespaced)
    }

    pub const fn new(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
        namespaced: bool,
    ) -> Self {
        Resource {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            plural: Cow::Borrowed(plural),
            kind: Cow::Borrowed(kind),
            namespaced,
        }
    }

    const fn core(plural: &'static str, kind: &'static str) -> Self {
        Resource::new("", "v1", plural, kind, true)
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&*self.group, &*self.plural)
    }

    /// How objects of it are keyed, in process and here.
    pub fn id(&self) -> ResourceId {
        let built_in = api::find(&self.group, &self.version, &self.plural).and_then(ResourceType::resource_id);
        built_in.unwrap_or_else(|| ResourceId::new(&self.group, &self.plural))
    }

    /// The URL's path: of the collection when `name` is empty.
    pub fn path(&self, namespace: &str, name: &str, subresource: &str) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        let scope = if self.namespaced && !namespace.is_empty() { ["namespaces", namespace] } else { ["", ""] };
        for part in scope.into_iter().chain([&*self.plural, name, subresource]).filter(|p| !p.is_empty()) {
            path.push('/');
            path.push_str(part);
        }
        path
    }
}

pub const BINDINGS: Resource = Resource::core("bindings", "Binding");
pub const CONFIG_MAPS: Resource = Resource::core("configmaps", "ConfigMap");
pub const EVENTS: Resource = Resource::core("events", "Event");
pub const NAMESPACES: Resource = Resource::new("", "v1", "namespaces", "Namespace", false);
pub const NODES: Resource = Resource::new("", "v1", "nodes", "Node", false);
pub const PERSISTENT_VOLUME_CLAIMS: Resource = Resource::core("persistentvolumeclaims", "PersistentVolumeClaim");
pub const PERSISTENT_VOLUMES: Resource = Resource::new("", "v1", "persistentvolumes", "PersistentVolume", false);
pub const PODS: Resource = Resource::core("pods", "Pod");
pub const RESOURCE_QUOTAS: Resource = Resource::core("resourcequotas", "ResourceQuota");
pub const SECRETS: Resource = Resource::core("secrets", "Secret");
pub const SERVICES: Resource = Resource::core("services", "Service");
pub const SERVICE_ACCOUNTS: Resource = Resource::core("serviceaccounts", "ServiceAccount");
pub const CLUSTER_ROLES: Resource =
    Resource::new("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false);
pub const CSI_NODES: Resource = Resource::new("storage.k8s.io", "v1", "csinodes", "CSINode", false);
pub const DEVICE_CLASSES: Resource = Resource::new("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", false);
pub const LEASES: Resource = Resource::new("coordination.k8s.io", "v1", "leases", "Lease", true);
pub const PRIORITY_CLASSES: Resource =
    Resource::new("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", false);
pub const RUNTIME_CLASSES: Resource = Resource::new("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", false);
pub const VOLUME_ATTRIBUTES_CLASSES: Resource =
    Resource::new("storage.k8s.io", "v1", "volumeattributesclasses", "VolumeAttributesClass", false);
pub const STORAGE_CLASSES: Resource = Resource::new("storage.k8s.io", "v1", "storageclasses", "StorageClass", false);
pub const SUBJECT_ACCESS_REVIEWS: Resource =
    Resource::new("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", false);
pub const TOKEN_REVIEWS: Resource = Resource::new("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", false);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        for (resource, namespace, name, subresource, want) in [
            (PODS, "a", "b", "status", "/api/v1/namespaces/a/pods/b/status"),
            (PODS, "", "", "", "/api/v1/pods"),
            (NODES, "", "n", "", "/api/v1/nodes/n"),
            (NAMESPACES, "x", "x", "finalize", "/api/v1/namespaces/x/finalize"),
            (LEASES, "a", "", "", "/apis/coordination.k8s.io/v1/namespaces/a/leases"),
        ] {
            assert_eq!(resource.path(namespace, name, subresource), want);
        }
    }

    #[test]
    fn constants_are_rows_of_the_tables() {
        for resource in [
            BINDINGS,
            CONFIG_MAPS,
            EVENTS,
            NAMESPACES,
            NODES,
            PERSISTENT_VOLUME_CLAIMS,
            PERSISTENT_VOLUMES,
            PODS,
            RESOURCE_QUOTAS,
            SECRETS,
            SERVICES,
            SERVICE_ACCOUNTS,
            CLUSTER_ROLES,
            CSI_NODES,
            DEVICE_CLASSES,
            LEASES,
            PRIORITY_CLASSES,
            RUNTIME_CLASSES,
            VOLUME_ATTRIBUTES_CLASSES,
            STORAGE_CLASSES,
            SUBJECT_ACCESS_REVIEWS,
            TOKEN_REVIEWS,
        ] {
            let row = api::find(&resource.group, &resource.version, &resource.plural).unwrap();
            assert_eq!(Resource::of(row), resource);
        }
    }
}
