//! Warnings that upstream sends with an accepted write: deprecated fields and kinds. They never refuse.

use std::collections::BTreeSet;

use document::Value;
use meta::names;

use crate::ResourceType;
use crate::amount::nano;
use crate::strategy::app_armor_profile;

/// For every request to a deprecated resource, whatever it answers.
pub fn of_resource(resource: &ResourceType) -> Option<&'static str> {
    match (resource.group, resource.plural) {
        ("", "endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        ("", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}

/// For a new object.
pub fn on_create(resource: &ResourceType, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if resource.plural == "cronjobs" && has_dotted_name(resource, object) {
        found.push(DOTTED.into());
    }
    match (resource.group, resource.plural) {
        ("", "pods") => pod(object, "", &mut found),
        ("", "podtemplates") => pod(&object["template"], "template.", &mut found),
        ("", "replicationcontrollers") => pod(template(object), "spec.template.", &mut found),
        ("batch", "jobs") => {
            many_indexes(&object["spec"], &mut found);
            pod(template(object), "spec.template.", &mut found);
        }
        ("apps", "deployments" | "replicasets" | "daemonsets" | "statefulsets") => {
            pod(template(object), "spec.template.", &mut found);
            let kept = object["spec"]["revisionHistoryLimit"].as_i64();
            if resource.plural == "statefulsets" && kept.is_some_and(|n| n < 0) {
                found.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".into());
            }
        }
        ("batch", "cronjobs") => {
            let path = ["spec", "jobTemplate", "spec", "template"];
            pod(object.at(path), "spec.jobTemplate.spec.template.", &mut found);
        }
        ("", "services") => service(object, &mut found),
        ("", "serviceaccounts") => account(object, &mut found),
        ("", "nodes") if !object["spec"]["externalID"].str().is_empty() => {
            found.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
        }
        ("", "persistentvolumeclaims") => claim(object, &mut found),
        ("", "persistentvolumes") => volume(object, &mut found),
        ("", "resourcequotas") => quota(&object["spec"]["hard"], &mut found),
        ("", "secrets") if object["type"].str() == "kubernetes.io/tls" => pair(object, &mut found),
        ("networking.k8s.io", "ingresses") if object["metadata"]["annotations"].get(INGRESS_CLASS).is_some() => {
            found.push(format!(
                "annotation {INGRESS_CLASS:?} is deprecated, please use 'spec.ingressClassName' instead"
            ));
        }
        ("node.k8s.io", "runtimeclasses") => {
            for (key, _) in object["scheduling"]["nodeSelector"].members() {
                found.extend(old_label(key).map(|m| format!("scheduling.nodeSelector: {m}")));
            }
        }
        ("storage.k8s.io", "storageclasses") => topologies(object, &mut found),
        ("storage.k8s.io", "csidrivers") => {
            let spec = &object["spec"];
            if !spec["tokenRequests"].is_empty() && spec["serviceAccountTokenInSecrets"].is_null() {
                found.push("spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes".into());
            }
        }
        _ => {}
    }
    if has_dotted_name(resource, object) && resource.plural != "cronjobs" {
        found.push(DOTTED.into());
    }
    found
}

/// More is to be asked for than may be used.
fn quota(hard: &Value, found: &mut Vec<String>) {
    for name in ["cpu", "memory", "storage", "ephemeral-storage"] {
        let (asked, limit) = (format!("requests.{name}"), format!("limits.{name}"));
        let plain = matches!(name, "cpu" | "memory") && hard.get(&asked).is_none();
        let asked = if plain { name } else { asked.as_str() };
        let (Some(most), Some(bound)) = (hard.get(asked), hard.get(&limit)) else { continue };
        if nano(most) > nano(bound) {
            let (most, bound) = (most.str(), bound.str());
            found.push(format!("ResourceQuota {asked} ({most}) should be less than {limit} ({bound})"));
        }
    }
}

/// For a changed one. Pods and quotas are not looked at again; what the old object already had is not warned of again.
pub fn on_update(resource: &ResourceType, new: &Value, old: &Value) -> Vec<String> {
    if resource.group.is_empty() && matches!(resource.plural, "pods" | "resourcequotas") {
        return Vec::new();
    }
    if resource.plural == "csidrivers" && new["spec"]["tokenRequests"] != old["spec"]["tokenRequests"] {
        return on_create(resource, new);
    }
    let before = on_create(resource, old);
    on_create(resource, new).into_iter().filter(|w| !before.contains(w)).collect()
}

const DOTTED: &str = "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]";

const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

/// Kinds whose name becomes a part of host names.
fn has_dotted_name(resource: &ResourceType, object: &Value) -> bool {
    const KINDS: [(&str, &str); 7] = [
        ("", "pods"),
        ("", "replicationcontrollers"),
        ("apps", "daemonsets"),
        ("apps", "deployments"),
        ("apps", "replicasets"),
        ("batch", "cronjobs"),
        ("batch", "jobs"),
    ];
    let name = object["metadata"]["name"].str();
    KINDS.contains(&(resource.group, resource.plural))
        && name.contains('.')
        && names::dns1123_subdomain(name).is_empty()
}

fn template(object: &Value) -> &Value {
    object.at(["spec", "template"])
}

/// Labels of nodes that have new names.
fn old_label(key: &str) -> Option<String> {
    let (since, new) = match key {
        "beta.kubernetes.io/arch" => ("v1.14", "kubernetes.io/arch"),
        "beta.kubernetes.io/os" => ("v1.14", "kubernetes.io/os"),
        "failure-domain.beta.kubernetes.io/region" => ("v1.17", "topology.kubernetes.io/region"),
        "failure-domain.beta.kubernetes.io/zone" => ("v1.17", "topology.kubernetes.io/zone"),
        "beta.kubernetes.io/instance-type" => ("v1.17", "node.kubernetes.io/instance-type"),
        _ => return None,
    };
    Some(format!("deprecated since {since}; use {new:?} instead"))
}

fn topologies(class: &Value, found: &mut Vec<String>) {
    for (n, term) in class["allowedTopologies"].items().iter().enumerate() {
        for (m, expression) in term["matchLabelExpressions"].items().iter().enumerate() {
            let message = old_label(expression["key"].str());
            found.extend(message.map(|text| format!("allowedTopologies[{n}].matchLabelExpressions[{m}].key: {text}")));
        }
    }
}

fn account(account: &Value, found: &mut Vec<String>) {
    const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
    if account["metadata"]["annotations"].get(ENFORCE).is_some() {
        found.push(format!(
            "metadata.annotations[{ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        ));
    }
}

fn claim(claim: &Value, found: &mut Vec<String>) {
    const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
    if claim["metadata"]["annotations"].get(CLASS).is_some() {
        found.push(format!(
            "metadata.annotations[{CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        ));
    }
    let size = claim.at(["spec", "resources", "requests", "storage"]);
    fraction(size, "spec.resources.requests[storage]", found);
}

fn many_indexes(job: &Value, found: &mut Vec<String>) {
    let count = |field: &str| job[field].as_i64().unwrap_or_default();
    if job["completionMode"].str() == "Indexed" && count("completions") > 100_000 && count("parallelism") > 10_000 {
        found.push("spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail".into());
    }
}

fn volume(volume: &Value, found: &mut Vec<String>) {
    const OLD: [(&str, &str); 2] = [
        (
            "volume.beta.kubernetes.io/storage-class",
            "deprecated since v1.8; use \"storageClassName\" attribute instead",
        ),
        ("volume.beta.kubernetes.io/mount-options", "deprecated since v1.31; use \"mountOptions\" attribute instead"),
    ];
    for (key, message) in OLD.iter().filter(|(key, _)| volume["metadata"]["annotations"].get(key).is_some()) {
        found.push(format!("metadata.annotations[{key}]: {message}"));
    }
    if volume["spec"]["persistentVolumeReclaimPolicy"].str() == "Recycle" {
        found.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".into());
    }
}

/// A certificate and its key must be PEM at least.
fn pair(secret: &Value, found: &mut Vec<String>) {
    for (name, what) in [("tls.crt", "certificate"), ("tls.key", "key")] {
        let bytes = document::decode::decode_base64(secret["data"][name].str()).unwrap_or_default();
        if !String::from_utf8_lossy(&bytes).contains("-----BEGIN ") {
            return found.push(format!("tls: failed to find any PEM data in {what} input"));
        }
    }
}

/// Bytes come whole.
fn fraction(amount: &Value, at: &str, found: &mut Vec<String>) {
    if nano(amount).is_some_and(|n| n % 1_000_000_000 != 0) {
        found.push(format!("{at}: fractional byte value {:?} is invalid, must be an integer", amount.str()));
    }
}

fn service(object: &Value, found: &mut Vec<String>) {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let spec = &object["spec"];
    let kind = spec["type"].str();
    let headless = kind == "ClusterIP" && spec["clusterIP"].str() == "None";
    let external = !spec["externalIPs"].is_empty();
    if object["metadata"]["annotations"].get(HINTS).is_some() {
        found.push(format!("annotation {HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"));
    }
    if headless {
        if !spec["loadBalancerIP"].str().is_empty() {
            found.push("spec.loadBalancerIP is ignored for headless services".into());
        }
        if external {
            found.push("spec.externalIPs is ignored for headless services".into());
        }
        if spec["sessionAffinity"].str() != "None" {
            found.push("spec.SessionAffinity is ignored for headless services".into());
        }
    }
    if external && !headless && kind != "ExternalName" {
        found.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".into());
    }
    if external && kind == "ExternalName" {
        found.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if kind != "ExternalName" && !spec["externalName"].str().is_empty() {
        found.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if spec["trafficDistribution"].str() == "PreferClose" {
        found.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".into());
    }
}

/// A pod or pod template; `at` is the path before `spec` and `metadata`.
fn pod(pod: &Value, at: &str, found: &mut Vec<String>) {
    let (spec, annotations) = (&pod["spec"], &pod["metadata"]["annotations"]);
    for (key, _) in spec["nodeSelector"].members() {
        found.extend(old_label(key).map(|m| format!("{at}spec.nodeSelector[{key}]: {m}")));
    }
    for (n, constraint) in spec["topologySpreadConstraints"].items().iter().enumerate() {
        if constraint["labelSelector"].is_null() {
            found.push(format!(
                "{at}spec.topologySpreadConstraints[{n}].labelSelector: a null labelSelector results in matching no pod"
            ));
        }
    }
    for (key, message) in ANNOTATIONS {
        if annotations.get(key).is_some() {
            found.push(format!("{at}metadata.annotations[{key}]: {message}"));
        }
    }
    for (n, volume) in spec["volumes"].items().iter().enumerate() {
        for (kind, message) in VOLUMES {
            if volume.get(kind).is_some() {
                found.push(format!("{at}spec.volumes[{n}].{kind}: {message}"));
            }
        }
    }
    let mut seen = BTreeSet::new();
    for (n, secret) in spec["imagePullSecrets"].items().iter().enumerate() {
        let name = secret["name"].str();
        if !seen.insert(name) {
            found.push(format!("{at}spec.imagePullSecrets[{n}].name: duplicate name {name:?}"));
        }
    }
    for (n, _) in spec["imagePullSecrets"].items().iter().enumerate().filter(|(_, s)| s["name"].str().is_empty()) {
        found.push(format!("{at}spec.imagePullSecrets[{n}].name: invalid empty name \"\""));
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (n, one) in spec[list].items().iter().enumerate() {
            container(one, annotations, at, &format!("{at}spec.{list}[{n}]"), found);
        }
    }
    ports(spec, at, found);
}

/// Ports of all containers that are the same or may be.
fn ports(spec: &Value, at: &str, found: &mut Vec<String>) {
    let mut seen: Vec<(&Value, String)> = Vec::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (n, container) in spec[list].items().iter().enumerate() {
            for (m, port) in container["ports"].items().iter().enumerate() {
                let path = format!("{at}spec.{list}[{n}].ports[{m}]");
                for (other, place) in &seen {
                    found.extend(alike(port, other).map(|how| format!("{path}: {how} port definition with {place}")));
                }
                seen.push((port, path));
            }
        }
    }
}

fn alike(port: &Value, other: &Value) -> Option<&'static str> {
    if port["containerPort"] != other["containerPort"] || port["protocol"] != other["protocol"] {
        return None;
    }
    let host = |p: &Value| (p["hostIP"].str().to_owned(), p["hostPort"].as_i64().unwrap_or_default());
    let ((ip, number), (other_ip, other_number)) = (host(port), host(other));
    if (&ip, number) == (&other_ip, other_number) {
        Some("duplicate")
    } else if number == 0 || other_number == 0 {
        Some("overlapping")
    } else {
        (number == other_number && ip.is_empty() != other_ip.is_empty()).then_some("dangerously ambiguous")
    }
}

const ANNOTATIONS: [(&str, &str); 4] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("seccomp.security.alpha.kubernetes.io/pod", "non-functional in v1.27+; use the \"seccompProfile\" field instead"),
];
const VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

fn container(container: &Value, annotations: &Value, at: &str, path: &str, found: &mut Vec<String>) {
    let (name, context) = (container["name"].str(), &container["securityContext"]);
    let seccomp = format!("container.seccomp.security.alpha.kubernetes.io/{name}");
    if context["seccompProfile"].is_null() && annotations.get(&seccomp).is_some() {
        let message = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
        found.push(format!("{at}metadata.annotations[{seccomp}]: {message}"));
    }
    let armor = format!("container.apparmor.security.beta.kubernetes.io/{name}");
    let profile = &context["appArmorProfile"];
    let derived = |text: &Value| profile.is_null() || app_armor_profile(text.str()).as_ref() == Some(profile);
    if annotations.get(&armor).is_some_and(derived) {
        let message = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
        found.push(format!("{at}metadata.annotations[{armor}]: {message}"));
    }
    for resource in ["memory", "ephemeral-storage"] {
        for part in ["limits", "requests"] {
            let amount = container.at(["resources", part, resource]);
            fraction(amount, &format!("{path}.resources.{part}[{resource}]"), found);
        }
    }
    let mut seen = BTreeSet::new();
    for (n, variable) in container["env"].items().iter().enumerate() {
        let (name, value) = (variable["name"].str(), variable["value"].str());
        let reference = format!("$({name})");
        let extends = variable["valueFrom"].is_null() && value != reference && value.contains(&reference);
        if !seen.insert(name) && !extends {
            found.push(format!(
                "{path}.env[{n}]: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn deprecated_things_are_warned_of_once() {
        let row = crate::find("", "v1", "serviceaccounts").unwrap();
        let account = doc!({"metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}});
        assert_eq!(
            on_create(row, &account),
            [
                "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
            ]
        );
        assert!(on_update(row, &account, &account).is_empty());
        let pods = crate::find("", "v1", "pods").unwrap();
        let env = doc!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
        let pod = doc!({"metadata": {"name": "a.b"}, "spec": {"containers": [{"name": "c", "env": env}]}});
        let found = on_create(pods, &pod);
        assert!(found[0].starts_with("spec.containers[0].env[1]: hides previous definition of \"A\""));
        assert!(found[1].starts_with("metadata.name: this is used in Pod names"));
    }
}
