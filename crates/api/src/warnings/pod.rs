//! Warnings of pods and pod templates, in upstream's order.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;

use document::Value;
use meta::goquote::quote;
use meta::names;

use super::collision::{self, Budget, File};
use super::{claim_spec, fraction, old_label};
use crate::strategy::app_armor_profile;
use crate::validation::ip_warnings;

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
const NO_MATCH: &str = "a null labelSelector results in matching no pod";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
/// Type of volume, its name in the path, and what became of its driver.
const DRIVERS: [(&str, &str, &str); 9] = [
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// The path's part and the message of a volume whose driver is gone.
pub(super) fn old_driver(kind: &str) -> Option<(&'static str, &'static str)> {
    DRIVERS.iter().find(|(k, ..)| *k == kind).map(|(_, name, message)| (*name, *message))
}

/// A pod or pod template; `at` is the path before `spec` and `metadata`.
pub(super) fn pod(pod: &Value, at: &str, found: &mut Vec<String>) {
    let (spec, annotations) = (&pod["spec"], &pod["metadata"]["annotations"]);
    placement(spec, at, found);
    for (key, message) in ANNOTATIONS.iter().filter(|(key, _)| annotations.get(key).is_some()) {
        found.push(format!("{at}metadata.annotations[{key}]: {message}"));
    }
    volumes(spec, at, found);
    overlapping_paths(spec, found);
    repeated(&spec["hostAliases"], "ip", format_args!("{at}spec.hostAliases"), "ip", found);
    let secrets = format_args!("{at}spec.imagePullSecrets");
    repeated(&spec["imagePullSecrets"], "name", secrets, "name", found);
    for (n, _) in spec["imagePullSecrets"].items().iter().enumerate().filter(|(_, s)| s["name"].str().is_empty()) {
        found.push(format!("{secrets}[{n}].name: invalid empty name \"\""));
    }
    for resource in ["memory", "ephemeral-storage"] {
        fraction(&spec["overhead"][resource], format_args!("{at}spec.overhead[{resource}]"), found);
    }
    const POD_SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
    if spec["securityContext"]["seccompProfile"].is_null() && annotations.get(POD_SECCOMP).is_some() {
        found.push(format!("{at}metadata.annotations[{POD_SECCOMP}]: {SECCOMP}"));
    }
    for list in LISTS {
        for (n, one) in spec[list].items().iter().enumerate() {
            container(one, spec, annotations, at, &format!("{at}spec.{list}[{n}]"), found);
        }
    }
    let ports = all_ports(spec, at);
    collision::ports(&ports, found);
    port_names(&ports, found);
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|n| n < 0) {
        let detail = "must be >= 0; negative values are invalid and will be treated as 1";
        found.push(format!("{at}spec.terminationGracePeriodSeconds: {detail}"));
    }
    pod_affinity(&spec["affinity"], at, found);
    for (n, server) in spec["dnsConfig"]["nameservers"].items().iter().enumerate() {
        found.extend(ip_warnings(&format!("{at}spec.dnsConfig.nameservers[{n}]"), server.str()));
    }
    for (n, alias) in spec["hostAliases"].items().iter().enumerate() {
        found.extend(ip_warnings(&format!("{at}spec.hostAliases[{n}].ip"), alias["ip"].str()));
    }
}

/// Labels of nodes that have new names, and selectors that select nothing.
fn placement(spec: &Value, at: &str, found: &mut Vec<String>) {
    for (key, _) in spec["nodeSelector"].members() {
        found.extend(old_label(key).map(|m| format!("{at}spec.nodeSelector[{key}]: {m}")));
    }
    let (affinity, path) = (&spec["affinity"]["nodeAffinity"], format_args!("{at}spec.affinity.nodeAffinity"));
    node_selector(&affinity[REQUIRED], format_args!("{path}.{REQUIRED}"), found);
    for (n, term) in affinity[PREFERRED].items().iter().enumerate() {
        node_term(&term["preference"], true, &format!("{path}.{PREFERRED}[{n}].preference"), found);
    }
    for (n, constraint) in spec["topologySpreadConstraints"].items().iter().enumerate() {
        let path = format!("{at}spec.topologySpreadConstraints[{n}]");
        let key = constraint["topologyKey"].str();
        found.extend(old_label(key).map(|m| format!("{path}.topologyKey: {key} is {m}")));
        if constraint["labelSelector"].is_null() {
            found.push(format!("{path}.labelSelector: {NO_MATCH}"));
        }
    }
}

/// The terms of a node selector.
pub(super) fn node_selector(selector: &Value, at: impl Display, found: &mut Vec<String>) {
    for (n, term) in selector["nodeSelectorTerms"].items().iter().enumerate() {
        node_term(term, false, &format!("{at}.nodeSelectorTerms[{n}]"), found);
    }
}

fn node_term(term: &Value, values: bool, at: &str, found: &mut Vec<String>) {
    for (n, expression) in term["matchExpressions"].items().iter().enumerate() {
        let (key, path) = (expression["key"].str(), format!("{at}.matchExpressions[{n}]"));
        found.extend(old_label(key).map(|m| format!("{path}.key: {key} is {m}")));
        for (m, value) in expression["values"].items().iter().enumerate().filter(|_| values) {
            let wrong = names::label_value(value.str());
            found.extend(wrong.iter().map(|w| format!("{path}.values[{m}]: {} is invalid, {w}", value.str())));
        }
    }
}

fn pod_affinity(affinity: &Value, at: &str, found: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let path = format_args!("{at}spec.affinity.{kind}");
        for (n, term) in affinity[kind][REQUIRED].items().iter().enumerate() {
            if term["labelSelector"].is_null() {
                found.push(format!("{path}.{REQUIRED}[{n}].labelSelector: {NO_MATCH}"));
            }
        }
        for (n, term) in affinity[kind][PREFERRED].items().iter().enumerate() {
            if term["podAffinityTerm"]["labelSelector"].is_null() {
                found.push(format!("{path}.{PREFERRED}[{n}].podAffinityTerm.labelSelector: {NO_MATCH}"));
            }
        }
    }
}

fn volumes(spec: &Value, at: &str, found: &mut Vec<String>) {
    for (n, volume) in spec["volumes"].items().iter().enumerate() {
        let path = format_args!("{at}spec.volumes[{n}]");
        for (kind, name, message) in DRIVERS {
            if volume.get(kind).is_some() {
                found.push(format!("{path}.{name}: {message}"));
            }
            let claim = volume.at(["ephemeral", "volumeClaimTemplate", "spec"]);
            if kind == "glusterfs" && !claim.is_null() {
                claim_spec(claim, &format!("{path}.ephemeral.volumeClaimTemplate.spec"), found);
            }
        }
    }
}

/// Files of a volume that hide each other.
fn overlapping_paths(spec: &Value, found: &mut Vec<String>) {
    let mut budget = Budget::new();
    for volume in spec["volumes"].items() {
        let name = quote(volume["name"].str());
        let simple = [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName"), ("downwardAPI", "", "")];
        for (kind, what, field) in simple {
            if volume[kind]["items"].is_empty() {
                continue;
            }
            let what = if what.is_empty() {
                "DownwardAPI".to_owned()
            } else {
                format!("{what} {}", quote(volume[kind][field].str()))
            };
            collision::files(items(&volume[kind], ""), &name, &what, &mut budget, found);
        }
        let mut files = Vec::new();
        for source in volume["projected"]["sources"].items() {
            if source.is_empty() {
                found.push(format!("volume {name} (Projected) has no sources provided"));
            }
            files.extend(projected(source));
        }
        collision::files(files, &name, "Projected", &mut budget, found);
    }
}

fn items(source: &Value, what: &str) -> Vec<File> {
    source["items"].items().iter().map(|i| (i["path"].str().to_owned(), what.to_owned())).collect()
}

/// The files of one projected source.
fn projected(source: &Value) -> Vec<File> {
    let named = |kind: &str, what: &str| {
        let one = &source[kind];
        if one["items"].is_empty() { Vec::new() } else { items(one, &format!("{what} {}", quote(one["name"].str()))) }
    };
    for (kind, what) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
        let files = named(kind, what);
        if !files.is_empty() {
            return files;
        }
    }
    let downward = items(&source["downwardAPI"], "DownwardAPI");
    if !downward.is_empty() {
        return downward;
    }
    let file = |path: &Value, what: String| vec![(path.str().to_owned(), what)];
    let (token, bundle) = (&source["serviceAccountToken"], &source["clusterTrustBundle"]);
    if !token.is_null() {
        return file(&token["path"], "ServiceAccountToken".into());
    }
    if !bundle.is_null() {
        let name = bundle["name"].as_str().unwrap_or(bundle["signerName"].str());
        return file(&bundle["path"], format!("ClusterTrustBundle {}", quote(name)));
    }
    let parts = [
        ("certificateChainPath", "PodCertificate chain"),
        ("keyPath", "PodCertificate key"),
        ("credentialBundlePath", "PodCertificate credential bundle"),
    ];
    let certificate = &source["podCertificate"];
    let given = parts.iter().filter(|(field, _)| !certificate[*field].str().is_empty());
    given.map(|(field, what)| (certificate[*field].str().to_owned(), (*what).to_owned())).collect()
}

fn repeated(list: &Value, field: &str, at: impl Display, what: &str, found: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (n, item) in list.items().iter().enumerate() {
        let value = item[field].str();
        if !seen.insert(value) {
            found.push(format!("{at}[{n}].{field}: duplicate {what} {}", quote(value)));
        }
    }
}

/// Every port of every container with its path.
fn all_ports<'a>(spec: &'a Value, at: &str) -> Vec<(&'a Value, String)> {
    let mut all = Vec::new();
    for list in LISTS {
        for (n, container) in spec[list].items().iter().enumerate() {
            for (m, port) in container["ports"].items().iter().enumerate() {
                all.push((port, format!("{at}spec.{list}[{n}].ports[{m}]")));
            }
        }
    }
    all
}

fn port_names(ports: &[(&Value, String)], found: &mut Vec<String>) {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for (port, path) in ports {
        let name = port["name"].str();
        if name.is_empty() {
            continue;
        }
        match seen.get(name) {
            Some(first) => found.push(format!(
                "{path}: duplicate port name {} with {first}, services and probes that select ports by name will use {first}",
                quote(name)
            )),
            None => drop(seen.insert(name, path)),
        }
    }
}

fn container(container: &Value, spec: &Value, annotations: &Value, at: &str, path: &str, found: &mut Vec<String>) {
    let (name, context) = (container["name"].str(), &container["securityContext"]);
    if !annotations.is_null() {
        let seccomp = format!("container.seccomp.security.alpha.kubernetes.io/{name}");
        if context["seccompProfile"].is_null() && annotations.get(&seccomp).is_some() {
            found.push(format!("{at}metadata.annotations[{seccomp}]: {SECCOMP}"));
        }
        app_armor(name, context, spec, annotations, at, found);
    }
    for resource in ["memory", "ephemeral-storage"] {
        for part in ["limits", "requests"] {
            let amount = container.at(["resources", part, resource]);
            fraction(amount, format_args!("{path}.resources.{part}[{resource}]"), found);
        }
    }
    let mut seen = BTreeSet::new();
    for (n, variable) in container["env"].items().iter().enumerate() {
        let (name, value) = (variable["name"].str(), variable["value"].str());
        let extends = || {
            let reference = format!("$({name})");
            variable["valueFrom"].is_null() && value != reference && value.contains(&reference)
        };
        if !seen.insert(name) && !extends() {
            found.push(format!(
                "{path}.env[{n}]: hides previous definition of {}, which may be dropped when using apply",
                quote(name)
            ));
        }
    }
}

/// An annotation of old says what a field says now. In a pod it has become the field already.
fn app_armor(name: &str, context: &Value, spec: &Value, annotations: &Value, at: &str, found: &mut Vec<String>) {
    let key = format!("container.apparmor.security.beta.kubernetes.io/{name}");
    let (own, of_pod) = (&context["appArmorProfile"], &spec["securityContext"]["appArmorProfile"]);
    let Some(profile) = annotations.get(&key).map(|text| app_armor_profile(text.str())) else { return };
    let told = match at {
        "" => own.is_null() || profile.as_ref() == Some(own),
        _ => own.is_null() && (of_pod.is_null() || profile.as_ref() != Some(of_pod)),
    };
    if told {
        let message = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
        found.push(format!("{at}metadata.annotations[{key}]: {message}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    fn check(spec: Value, wanted: &[&str]) {
        let mut found = Vec::new();
        pod(&doc!({"spec": spec}), "", &mut found);
        assert_eq!(found, wanted);
    }

    #[test]
    fn files_that_hide_each_other_are_told() {
        let map = doc!({"name": "m", "items": [{"key": "a", "path": "x/y"}, {"key": "b", "path": "x"}]});
        let wanted = "volume \"v\" (ConfigMap \"m\"): overlapping paths: \"x\" with \"x/y\"";
        check(doc!({"volumes": [{"name": "v", "configMap": (map)}]}), &[wanted]);
    }

    #[test]
    fn ports_of_all_containers_are_compared() {
        let port = || doc!([{"name": "a", "containerPort": 80, "protocol": "TCP"}]);
        check(
            doc!({"initContainers": [{"ports": (port())}], "containers": [{"ports": (port())}]}),
            &[
                "spec.containers[0].ports[0]: duplicate port definition with spec.initContainers[0].ports[0]",
                "spec.containers[0].ports[0]: duplicate port name \"a\" with spec.initContainers[0].ports[0], services and probes that select ports by name will use spec.initContainers[0].ports[0]",
            ],
        );
    }
}
