//! What the pod plugins share: containers, and which objects a pod names.

use document::Value;

pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

pub(crate) fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(MIRROR).is_some()
}

/// Containers of all three lists.
pub(crate) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let spec = &pod["spec"];
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|list| spec[list].items())
}

/// Where volumes name a Secret: path below the volume.
const SECRET_SOURCES: [&[&str]; 10] = [
    &["azureFile", "secretName"],
    &["cephfs", "secretRef", "name"],
    &["cinder", "secretRef", "name"],
    &["flexVolume", "secretRef", "name"],
    &["rbd", "secretRef", "name"],
    &["secret", "secretName"],
    &["scaleIO", "secretRef", "name"],
    &["iscsi", "secretRef", "name"],
    &["storageos", "secretRef", "name"],
    &["csi", "nodePublishSecretRef", "name"],
];

/// Does the pod name a Secret anywhere?
pub(crate) fn names_secret(pod: &Value) -> bool {
    let named = |v: &Value| !v.str().is_empty();
    let spec = &pod["spec"];
    spec["imagePullSecrets"].items().iter().any(|s| named(&s["name"]))
        || names_in_environment(pod, "secretRef", "secretKeyRef")
        || spec["volumes"].items().iter().any(|v| {
            SECRET_SOURCES.iter().any(|path| named(v.at(path.iter().copied())))
                || v["projected"]["sources"].items().iter().any(|s| named(&s["secret"]["name"]))
        })
}

pub(crate) fn names_config_map(pod: &Value) -> bool {
    let named = |v: &Value| !v.str().is_empty();
    names_in_environment(pod, "configMapRef", "configMapKeyRef")
        || pod["spec"]["volumes"].items().iter().any(|v| {
            named(&v["configMap"]["name"])
                || v["projected"]["sources"].items().iter().any(|s| named(&s["configMap"]["name"]))
        })
}

fn names_in_environment(pod: &Value, from: &str, key: &str) -> bool {
    containers(pod).any(|c| {
        c["envFrom"].items().iter().any(|e| !e[from]["name"].str().is_empty())
            || c["env"].items().iter().any(|e| !e["valueFrom"][key]["name"].str().is_empty())
    })
}

/// Volume kinds that name no object of the API.
const PLAIN: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "cephfs",
    "cinder",
    "downwardAPI",
    "emptyDir",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

/// Which resource a pod refers to, in the words of upstream's refusal.
pub(crate) fn api_reference(pod: &Value) -> Option<&'static str> {
    let spec = &pod["spec"];
    if !spec["serviceAccountName"].str().is_empty() {
        return Some("serviceaccounts");
    }
    if names_secret(pod) {
        return Some("secrets");
    }
    if names_config_map(pod) {
        return Some("configmaps");
    }
    if !spec["resourceClaims"].is_empty() {
        return Some("resourceclaims");
    }
    spec["volumes"].items().iter().find_map(volume_reference)
}

fn volume_reference(volume: &Value) -> Option<&'static str> {
    const KINDS: [(&str, &str); 7] = [
        ("configMap", "configmaps (via configmap volumes)"),
        ("secret", "secrets (via secret volumes)"),
        ("csi", "csidrivers (via CSI volumes)"),
        ("glusterfs", "endpoints (via glusterFS volumes)"),
        ("persistentVolumeClaim", "persistentvolumeclaims"),
        ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
        ("azureFile", "secrets (via azureFile volumes)"),
    ];
    const SOURCES: [(&str, &str); 5] = [
        ("configMap", "configmaps (via projected volumes)"),
        ("secret", "secrets (via projected volumes)"),
        ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
        ("clusterTrustBundle", "clustertrustbundles"),
        ("podCertificate", "podcertificates"),
    ];
    if PLAIN.iter().any(|k| volume.get(k).is_some()) {
        return None;
    }
    let find =
        |table: &[(&str, &'static str)], v: &Value| table.iter().find(|(k, _)| v.get(k).is_some()).map(|(_, t)| *t);
    find(&KINDS, volume).or_else(|| volume["projected"]["sources"].items().iter().find_map(|s| find(&SOURCES, s)))
}
