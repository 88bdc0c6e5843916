//! The pod spec, also of templates, in upstream's order.

use std::collections::{BTreeSet, HashMap};

use document::Value;
use meta::field::{Error, Path};
use meta::names;

use super::{affinity, container, resources, security, volume};
use crate::validation::address::legacy_ip;
use crate::validation::check::{Check, each};

/// What the parts of a spec need to know of each other.
pub(super) struct Spec<'a> {
    pub(super) spec: &'a Value,
    /// Volumes that are valid themselves: (name, volume).
    pub(super) volumes: Vec<(&'a str, &'a Value)>,
    pub(super) claims: BTreeSet<&'a str>,
    pub(super) grace: Option<i64>,
    pub(super) host_users: bool,
    pub(super) is_pod: bool,
}

/// `metadata` is that of a pod; `None` for a template.
pub(in crate::validation) fn pod_spec(check: &mut Check, spec: &Value, path: &Path, metadata: Option<&Value>) {
    if spec["terminationGracePeriodSeconds"].is_null() {
        check.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let all = Spec {
        spec,
        volumes: volume::volumes(check, &spec["volumes"], &path.child("volumes"), metadata),
        claims: spec["resourceClaims"].items().iter().map(|c| c["name"].str()).collect(),
        grace: spec["terminationGracePeriodSeconds"].as_i64(),
        host_users: spec["hostUsers"].as_bool() != Some(false),
        is_pod: metadata.is_some(),
    };
    resource_claims(check, &spec["resourceClaims"], &path.child("resourceClaims"));
    container::containers(check, &all, &path.child("containers"));
    container::init_containers(check, &all, &path.child("initContainers"));
    container::ephemeral_containers(check, &all, &path.child("ephemeralContainers"));
    resources::pod_level(check, &all, path);
    host_network_ports(check, &all, path);
    check.one_of(&path.child("restartPolicy"), spec["restartPolicy"].str(), &["Always", "OnFailure", "Never"]);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    check.one_of(&path.child("dnsPolicy"), spec["dnsPolicy"].str(), &policies);
    check.labels(&path.child("nodeSelector"), &spec["nodeSelector"]);
    security::pod(check, spec, &path.child("securityContext"));
    if spec["hostPID"].is_true() && spec["shareProcessNamespace"].is_true() {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        check.invalid(&path.child("shareProcessNamespace"), true, detail);
    }
    affinity::affinity(check, &spec["affinity"], &path.child("affinity"));
    dns_config(check, spec, &path.child("dnsConfig"));
    for (at, gate) in each(&spec["readinessGates"], &path.child("readinessGates")) {
        let kind = gate["conditionType"].str();
        check.format(&at.child("conditionType"), kind, &names::label_key(kind));
    }
    scheduling_gates(check, &spec["schedulingGates"], &path.child("schedulingGates"));
    affinity::topology_spread(check, &spec["topologySpreadConstraints"], &path.child("topologySpreadConstraints"));
    security::host_process(check, spec, path);
    host_users(check, spec, path);
    host_name_override(check, spec, path);
    scalar_names(check, spec, path);
    operating_system(check, spec, path);
    environment_files(check, spec, path);
}

/// Variables come from files of volumes that belong to the pod alone.
fn environment_files(check: &mut Check, spec: &Value, path: &Path) {
    // of equal names, the last one
    let volumes: HashMap<&str, &Value> = spec["volumes"].items().iter().map(|v| (v["name"].str(), v)).collect();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (at, container) in each(&spec[list], &path.child(list)) {
            for (at, variable) in each(&container["env"], &at.child("env")) {
                let Some(file) = variable["valueFrom"].get("fileKeyRef").filter(|f| !f.is_null()) else { continue };
                let (name, at) = (file["volumeName"].str(), at.child("valueFrom.fileKeyRef.volumeName"));
                match volumes.get(name) {
                    None => check.push(Error::not_found(&at, name)),
                    Some(volume) if volume["emptyDir"].is_null() => {
                        check.invalid(&at, name, "referenced volume must be of type emptyDir");
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

fn resource_claims(check: &mut Check, claims: &Value, path: &Path) {
    let mut seen = BTreeSet::new();
    for (at, claim) in each(claims, path) {
        let name = claim["name"].str();
        if name.is_empty() {
            check.required(&at.child("name"), "");
        } else if !seen.insert(name) {
            check.push(Error::duplicate(&at.child("name"), name));
        } else {
            check.format(&at.child("name"), name, &names::dns1123_label(name));
        }
        let (direct, template) = (&claim["resourceClaimName"], &claim["resourceClaimTemplateName"]);
        let text = |v: &Value| v.as_str().map_or_else(|| "null".to_owned(), |s| meta::field::Shown::json_string(s).0);
        let value = format!(
            "{{\"Name\":{},\"ResourceClaimName\":{},\"ResourceClaimTemplateName\":{}}}",
            meta::field::Shown::json_string(name).0,
            text(direct),
            text(template)
        );
        let value = meta::field::Shown::json(value);
        match (direct.is_null(), template.is_null()) {
            (false, false) => {
                check.invalid(
                    &at,
                    value,
                    "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
                );
            }
            (true, true) => {
                check.invalid(&at, value, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
            }
            _ => {}
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(name) = claim[field].as_str() {
                check.format(&at.child(field), name, &names::dns1123_subdomain(name));
            }
        }
    }
}

fn host_network_ports(check: &mut Check, all: &Spec<'_>, path: &Path) {
    if !all.spec["hostNetwork"].is_true() {
        return;
    }
    for (at, container) in each(&all.spec["containers"], &path.child("containers")) {
        for (at, port) in each(&container["ports"], &at.child("ports")) {
            let host = port["hostPort"].as_i64().unwrap_or_default();
            let inner = port["containerPort"].as_i64().unwrap_or_default();
            if (all.is_pod || host != 0) && host != inner {
                check.invalid(&at.child("hostPort"), host, "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

fn dns_config(check: &mut Check, spec: &Value, path: &Path) {
    let config = &spec["dnsConfig"];
    if spec["dnsPolicy"].str() == "None" {
        if config.is_null() {
            return check.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if config["nameservers"].is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return check.required(&path.child("nameservers"), detail);
        }
    }
    let servers = &config["nameservers"];
    if servers.items().len() > 3 {
        check.invalid(
            &path.child("nameservers"),
            super::super::shown(servers),
            "must not have more than 3 nameservers",
        );
    }
    for (at, server) in each(servers, &path.child("nameservers")) {
        if let Some(why) = legacy_ip(server.str()) {
            check.invalid(&at, server.str(), why);
        }
    }
    let searches = &config["searches"];
    let at = path.child("searches");
    if searches.items().len() > 32 {
        check.invalid(&at, super::super::shown(searches), "must not have more than 32 search paths");
    }
    let joined: usize = searches.items().iter().map(|s| s.str().len() + 1).sum();
    if joined > 2049 {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        check.invalid(&at, super::super::shown(searches), detail);
    }
    for (at, search) in each(searches, &at) {
        let name = search.str();
        if name != "." {
            let name = name.strip_suffix('.').unwrap_or(name);
            check.format(&at, name, &names::dns1123_subdomain_with_underscore(name));
        }
    }
    for (at, option) in each(&config["options"], &path.child("options")) {
        if option["name"].str().is_empty() {
            check.required(&at, "must not be empty");
        }
    }
}

fn scheduling_gates(check: &mut Check, gates: &Value, path: &Path) {
    let mut seen = BTreeSet::new();
    for (at, gate) in each(gates, path) {
        let name = gate["name"].str();
        check.format(&at, name, &names::label_key(name));
        if !seen.insert(name) {
            check.push(Error::duplicate(&at, name));
        }
    }
}

fn host_users(check: &mut Check, spec: &Value, path: &Path) {
    if spec["hostUsers"].as_bool() != Some(false) {
        return;
    }
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec[field].is_true() {
            check.forbidden(&path.child(shown), "when `hostUsers` is false");
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (at, container) in each(&spec[list], &path.child(list)) {
            if !container["volumeDevices"].is_empty() {
                check.forbidden(&at.child("volumeDevices"), "when `hostUsers` is false");
            }
        }
    }
}

fn host_name_override(check: &mut Check, spec: &Value, path: &Path) {
    let Some(name) = spec["hostnameOverride"].as_str() else { return };
    let at = path.child("hostnameOverride");
    if spec["setHostnameAsFQDN"].is_true() {
        check.forbidden(&at, "may not be specified when setHostnameAsFQDN is true");
    }
    if spec["hostNetwork"].is_true() {
        check.forbidden(&at, "may not be specified when hostNetwork is true");
    }
    if name.len() > 64 {
        check.push(Error::too_long_bytes(&at, 64));
    }
    check.format(&at, name, &names::dns1123_subdomain(name));
}

fn scalar_names(check: &mut Check, spec: &Value, path: &Path) {
    let mut format = |field: &str, rule: fn(&str) -> Vec<String>| {
        let value = spec[field].str();
        if !value.is_empty() {
            check.format(&path.child(field), value, &rule(value));
        }
    };
    format("serviceAccountName", names::dns1123_subdomain);
    format("nodeName", names::dns1123_subdomain);
    if let Some(n) = spec["activeDeadlineSeconds"].as_i64().filter(|n| !(1..=i64::from(i32::MAX)).contains(n)) {
        check.invalid(&path.child("activeDeadlineSeconds"), n, "must be between 1 and 2147483647, inclusive");
    }
    let mut format = |field: &str, rule: fn(&str) -> Vec<String>| {
        let value = spec[field].str();
        if !value.is_empty() {
            check.format(&path.child(field), value, &rule(value));
        }
    };
    format("hostname", names::dns1123_label);
    format("subdomain", names::dns1123_label);
    affinity::tolerations(check, &spec["tolerations"], &path.child("tolerations"));
    for (at, alias) in each(&spec["hostAliases"], &path.child("hostAliases")) {
        if let Some(why) = legacy_ip(alias["ip"].str()) {
            check.invalid(&at.child("ip"), alias["ip"].str(), why);
        }
        for (at, name) in each(&alias["hostnames"], &at.child("hostnames")) {
            check.format(&at, name.str(), &names::dns1123_subdomain(name.str()));
        }
    }
    for field in ["priorityClassName", "runtimeClassName"] {
        let value = &spec[field];
        if value.as_str().is_some_and(|v| field == "runtimeClassName" || !v.is_empty()) {
            check.format(&path.child(field), value.str(), &names::dns1123_subdomain(value.str()));
        }
    }
    if let Some(policy) = spec["preemptionPolicy"].as_str() {
        check.one_of(&path.child("preemptionPolicy"), policy, &["PreemptLowerPriority", "Never"]);
    }
    for (name, amount) in spec["overhead"].members() {
        let at = path.child("overhead.limits").key(name);
        resources::container_resource_name(check, name, &at);
        resources::quantity_value(check, name, amount, &at);
    }
}

fn operating_system(check: &mut Check, spec: &Value, path: &Path) {
    let Some(os) = spec.get("os").filter(|os| !os.is_null()) else { return };
    match os["name"].str() {
        "" => check.required(&path.child("os").child("name"), ""),
        "linux" => security::linux_only(check, spec, path),
        "windows" => security::windows_only(check, spec, path),
        other => check.push(Error::not_supported(&path.child("os"), other, &["linux", "windows"])),
    }
}
