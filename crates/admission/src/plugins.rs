//! The plugins, one file each, and which name makes which. A default-on plugin of upstream that is missing here is
//! listed in docs/compatibility.md; what it would protect is refused by `unenforced`.

pub mod always_pull_images;
pub mod classes;
pub mod csr;
pub mod limit_ranger;
pub mod namespace_defaults;
pub mod namespace_lifecycle;
pub mod namespaces;
pub mod node_restriction;
pub mod owner_references;
pub mod pod_resize;
pub mod pod_security;
pub mod pod_topology_labels;
mod pods;
pub mod priority;
pub mod resource_quota;
pub mod restrictions;
pub mod runtime_class;
pub mod service_account;
pub mod tolerations;
pub mod unenforced;

use crate::Plugin;

/// The plugin of that name; `None` when it is not built.
pub(crate) fn make(name: &str) -> Option<Box<dyn Plugin>> {
    Some(match name {
        "AlwaysAdmit" => Box::new(AlwaysAdmit),
        "AlwaysDeny" => Box::new(restrictions::AlwaysDeny),
        "AlwaysPullImages" => Box::new(always_pull_images::AlwaysPullImages),
        "DenyServiceExternalIPs" => Box::new(restrictions::DenyServiceExternalIps),
        "ExtendedResourceToleration" => Box::new(tolerations::ExtendedResourceToleration),
        "LimitPodHardAntiAffinityTopology" => Box::new(restrictions::LimitPodHardAntiAffinityTopology),
        "NamespaceAutoProvision" => Box::new(namespaces::NamespaceAutoProvision),
        "NamespaceExists" => Box::new(namespaces::NamespaceExists),
        "NodeDeclaredFeatureValidator" => Box::new(pod_resize::NodeDeclaredFeatureValidator),
        "OwnerReferencesPermissionEnforcement" => Box::new(owner_references::OwnerReferencesPermissionEnforcement),
        "PodNodeSelector" => Box::new(namespace_defaults::PodNodeSelector),
        "PodResizeValidator" => Box::new(pod_resize::PodResizeValidator),
        "PodTolerationRestriction" => Box::new(namespace_defaults::PodTolerationRestriction),
        "NamespaceLifecycle" => Box::new(namespace_lifecycle::NamespaceLifecycle),
        "LimitRanger" => Box::new(limit_ranger::LimitRanger),
        "PodSecurity" => Box::new(pod_security::PodSecurity),
        "ServiceAccount" => Box::new(service_account::ServiceAccount),
        "NodeRestriction" => Box::new(node_restriction::NodeRestriction),
        "TaintNodesByCondition" => Box::new(tolerations::TaintNodesByCondition),
        "Priority" => Box::new(priority::Priority),
        "DefaultTolerationSeconds" => Box::new(tolerations::DefaultTolerationSeconds),
        "DefaultStorageClass" => Box::new(classes::DefaultStorageClass),
        "StorageObjectInUseProtection" => Box::new(classes::StorageObjectInUseProtection),
        "PersistentVolumeClaimResize" => Box::new(classes::PersistentVolumeClaimResize),
        "RuntimeClass" => Box::new(runtime_class::RuntimeClass),
        "CertificateApproval" => Box::new(csr::CertificateApproval),
        "CertificateSigning" => Box::new(csr::CertificateSigning),
        "ClusterTrustBundleAttest" => Box::new(csr::ClusterTrustBundleAttest),
        "CertificateSubjectRestriction" => Box::new(csr::CertificateSubjectRestriction),
        "DefaultIngressClass" => Box::new(classes::DefaultIngressClass),
        "ResourceQuota" => Box::new(resource_quota::ResourceQuota),
        "PodTopologyLabels" => Box::new(pod_topology_labels::PodTopologyLabels),
        _ => return None,
    })
}

/// Does nothing, as upstream's does.
struct AlwaysAdmit;

impl Plugin for AlwaysAdmit {
    fn name(&self) -> &'static str {
        "AlwaysAdmit"
    }
}
