//! Warnings that upstream sends with an accepted write: deprecated fields and kinds. They never refuse.

mod collision;
mod pod;

use document::Value;
use meta::names;

use crate::ResourceType;
use crate::amount::nano;
use crate::validation::{cidr_warnings, ip_warnings};
use pod::pod;

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
        ("", "podtemplates" | "replicationcontrollers") | ("batch", _) => templates(resource, object, &mut found),
        ("apps", "deployments" | "replicasets" | "daemonsets" | "statefulsets") => {
            templates(resource, object, &mut found);
            if resource.plural == "statefulsets" {
                stateful_set(object, &mut found);
            }
        }
        ("", "services") => service(object, &mut found),
        ("", "serviceaccounts") => account(object, &mut found),
        ("", "nodes") => node(&object["spec"], &mut found),
        ("", "persistentvolumeclaims") => claim(object, &mut found),
        ("", "persistentvolumes") => volume(object, &mut found),
        ("", "resourcequotas") => quota(&object["spec"]["hard"], &mut found),
        ("", "secrets") if object["type"].str() == "kubernetes.io/tls" => pair(object, &mut found),
        ("", "endpoints") => endpoints(object, &mut found),
        ("discovery.k8s.io", "endpointslices") => endpoint_slice(object, &mut found),
        ("networking.k8s.io", "networkpolicies") => network_policy(object, &mut found),
        ("networking.k8s.io", "ingresses")
            if object["spec"]["ingressClassName"].is_null()
                && object["metadata"]["annotations"].get(INGRESS_CLASS).is_some() =>
        {
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

/// For a changed one. Pods and quotas are not looked at again, and templates only when the generation counts the change.
pub fn on_update(resource: &ResourceType, subresource: &str, new: &Value, old: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match (resource.group, resource.plural, subresource) {
        ("networking.k8s.io", "ingresses", "status") => {
            for (n, ingress) in new["status"]["loadBalancer"]["ingress"].items().iter().enumerate() {
                let at = format!("status.loadBalancer.ingress[{n}]");
                found.extend(ip_warnings(&at, ingress["ip"].str()));
            }
        }
        ("networking.k8s.io", "ingresses", _) | ("", "pods" | "resourcequotas", _) => {}
        (_, _, "status" | "scale" | "approval" | "finalize") => {}
        ("discovery.k8s.io", "endpointslices", _) => {
            found = on_create(resource, new);
            found.retain(|w| w != FQDN);
        }
        ("storage.k8s.io", "csidrivers", _) if new["spec"]["tokenRequests"] == old["spec"]["tokenRequests"] => {}
        ("", "podtemplates" | "replicationcontrollers", _) | ("apps" | "batch", _, _) => {
            // upstream takes the two controllers for one another
            let told = if resource.plural == "replicationcontrollers" { old } else { new };
            if new["metadata"]["generation"] != old["metadata"]["generation"] {
                templates(resource, told, &mut found);
            }
            if resource.plural == "statefulsets" {
                stateful_set(new, &mut found);
            }
        }
        _ => found = on_create(resource, new),
    }
    found
}

/// What the pod template of a workload is warned of.
fn templates(resource: &ResourceType, object: &Value, found: &mut Vec<String>) {
    match resource.plural {
        "podtemplates" => pod(&object["template"], "template.", found),
        "jobs" => {
            many_indexes(&object["spec"], found);
            pod(template(object), "spec.template.", found);
        }
        "cronjobs" => {
            let path = ["spec", "jobTemplate", "spec", "template"];
            pod(object.at(path), "spec.jobTemplate.spec.template.", found);
        }
        _ => pod(template(object), "spec.template.", found),
    }
}

fn stateful_set(object: &Value, found: &mut Vec<String>) {
    for (n, claim) in object["spec"]["volumeClaimTemplates"].items().iter().enumerate() {
        claim_spec(&claim["spec"], &format!("spec.volumeClaimTemplates[{n}].Spec"), found);
    }
    if object["spec"]["revisionHistoryLimit"].as_i64().is_some_and(|n| n < 0) {
        found.push(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
                .into(),
        );
    }
}

const FQDN: &str = "spec.addressType: FQDN endpoints are deprecated";

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

fn node(spec: &Value, found: &mut Vec<String>) {
    if !spec["externalID"].str().is_empty() {
        found.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
    }
    for (n, range) in spec["podCIDRs"].items().iter().enumerate() {
        found.extend(cidr_warnings(&format!("spec.podCIDRs[{n}]"), range.str()));
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
    claim_spec(&claim["spec"], "spec", found);
}

/// Also of a claim that a pod makes for itself.
fn claim_spec(spec: &Value, at: &str, found: &mut Vec<String>) {
    for part in ["requests", "limits"] {
        fraction(spec.at(["resources", part, "storage"]), format_args!("{at}.resources.{part}[storage]"), found);
    }
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
    let required = volume.at(["spec", "nodeAffinity", "required"]);
    pod::node_selector(required, "spec.nodeAffinity.required", found);
    const DRIVERS: [&str; 6] = ["cephfs", "photonPersistentDisk", "scaleIO", "storageos", "glusterfs", "rbd"];
    for kind in DRIVERS.iter().filter(|k| !volume["spec"][**k].is_null()) {
        found.extend(pod::old_driver(kind).map(|(name, message)| format!("spec.{name}: {message}")));
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
fn fraction(amount: &Value, at: impl std::fmt::Display, found: &mut Vec<String>) {
    if nano(amount).is_some_and(|n| n % 1_000_000_000 != 0) {
        found.push(format!("{at}: fractional byte value {:?} is invalid, must be an integer", amount.str()));
    }
}

fn ip_list(list: &Value, at: &str, found: &mut Vec<String>) {
    for (n, address) in list.items().iter().enumerate() {
        found.extend(ip_warnings(&format!("{at}[{n}]"), address.str()));
    }
}

fn endpoints(object: &Value, found: &mut Vec<String>) {
    for (n, subset) in object["subsets"].items().iter().enumerate() {
        for list in ["addresses", "notReadyAddresses"] {
            for (m, address) in subset[list].items().iter().enumerate() {
                found.extend(ip_warnings(&format!("subsets[{n}].{list}[{m}].ip"), address["ip"].str()));
            }
        }
    }
}

fn endpoint_slice(object: &Value, found: &mut Vec<String>) {
    if object["addressType"].str() == "FQDN" {
        found.push(FQDN.into());
    }
    for (n, endpoint) in object["endpoints"].items().iter().enumerate() {
        ip_list(&endpoint["addresses"], &format!("endpoints[{n}].addresses"), found);
    }
}

fn network_policy(object: &Value, found: &mut Vec<String>) {
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for (n, rule) in object["spec"][rules].items().iter().enumerate() {
            for (m, peer) in rule[peers].items().iter().enumerate() {
                let (block, at) = (&peer["ipBlock"], format!("spec.{rules}[{n}].{peers}[{m}].ipBlock"));
                found.extend(cidr_warnings(&format!("{at}.cidr"), block["cidr"].str()));
                for (k, except) in block["except"].items().iter().enumerate() {
                    found.extend(cidr_warnings(&format!("{at}.except[{k}]"), except.str()));
                }
            }
        }
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
    ip_list(&spec["clusterIPs"], "spec.clusterIPs", found);
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
    ip_list(&spec["externalIPs"], "spec.externalIPs", found);
    if external && !headless && kind != "ExternalName" {
        found.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".into());
    }
    found.extend(ip_warnings("spec.loadBalancerIP", spec["loadBalancerIP"].str()));
    for (n, range) in spec["loadBalancerSourceRanges"].items().iter().enumerate() {
        found.extend(cidr_warnings(&format!("spec.loadBalancerSourceRanges[{n}]"), range.str()));
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
        assert_eq!(on_update(row, "", &account, &account).len(), 1);
        let pods = crate::find("", "v1", "pods").unwrap();
        let env = doc!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
        let pod = doc!({"metadata": {"name": "a.b"}, "spec": {"containers": [{"name": "c", "env": env}]}});
        let found = on_create(pods, &pod);
        assert!(found[0].starts_with("spec.containers[0].env[1]: hides previous definition of \"A\""));
        assert!(found[1].starts_with("metadata.name: this is used in Pod names"));
    }
}
