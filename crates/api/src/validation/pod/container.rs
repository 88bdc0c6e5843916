//! Containers of the three kinds.

use std::collections::BTreeSet;

use document::Value;
use meta::field::{Error, Path};
use meta::names;

use super::spec::Spec;
use super::{environment, probe, resources, security, volume};
use crate::validation::check::{Check, each};

/// What every container is checked for.
fn common(check: &mut Check, all: &Spec<'_>, container: &Value, path: &Path) {
    check.named(&path.child("name"), container["name"].str(), names::dns1123_label);
    if container["image"].str().is_empty() {
        check.required(&path.child("image"), "");
    }
    let policies = ["File", "FallbackToLogsOnError"];
    check.one_of(&path.child("terminationMessagePolicy"), container["terminationMessagePolicy"].str(), &policies);
    ports(check, &container["ports"], &path.child("ports"));
    environment::variables(check, &container["env"], &path.child("env"));
    environment::sources(check, &container["envFrom"], &path.child("envFrom"));
    volume::mounts(check, all, container, &path.child("volumeMounts"));
    volume::devices(check, all, container, &path.child("volumeDevices"));
    let pulls = ["Always", "IfNotPresent", "Never"];
    check.one_of(&path.child("imagePullPolicy"), container["imagePullPolicy"].str(), &pulls);
    resources::requirements(check, &container["resources"], &all.claims, &path.child("resources"));
    resize_policy(check, all, &container["resizePolicy"], &path.child("resizePolicy"));
    security::container(check, &container["securityContext"], &path.child("securityContext"), all.host_users);
}

pub(super) fn containers(check: &mut Check, all: &Spec<'_>, path: &Path) {
    let list = &all.spec["containers"];
    if list.is_empty() {
        return check.required(path, "");
    }
    let mut seen = BTreeSet::new();
    for (at, container) in each(list, path) {
        common(check, all, container, &at);
        let name = container["name"].str();
        if !seen.insert(name) {
            check.push(Error::duplicate(&at.child("name"), name));
        }
        probe::lifecycle(check, all, &container["lifecycle"], &at.child("lifecycle"));
        probe::probes(check, all, container, &at);
        restart_policy(check, container, &at);
    }
    host_ports(check, list.items(), path, 0);
}

pub(super) fn init_containers(check: &mut Check, all: &Spec<'_>, path: &Path) {
    const ONLY_SIDECARS: &str = "may not be set for init containers without restartPolicy=Always";
    let mut seen: BTreeSet<&str> = all.spec["containers"].items().iter().map(|c| c["name"].str()).collect();
    for (n, container) in all.spec["initContainers"].items().iter().enumerate() {
        let at = path.index(n);
        common(check, all, container, &at);
        restart_policy(check, container, &at);
        let name = container["name"].str();
        if seen.contains(name) {
            check.push(Error::duplicate(&at.child("name"), name));
        } else if !name.is_empty() {
            seen.insert(name);
        }
        // Upstream checks the one container as if it were the only one of the list.
        host_ports(check, std::slice::from_ref(container), path, 0);
        let sidecar = container["restartPolicy"].str() == "Always";
        if sidecar {
            probe::lifecycle(check, all, &container["lifecycle"], &at.child("lifecycle"));
            probe::probes(check, all, container, &at);
        } else {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if !container[field].is_null() {
                    check.forbidden(&at.child(field), ONLY_SIDECARS);
                }
            }
            for (at, policy) in each(&container["resizePolicy"], &at.child("resizePolicy")) {
                if policy["restartPolicy"].str() == "RestartContainer" {
                    let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                    check.invalid(&at.child("restartPolicy"), "RestartContainer", detail);
                }
            }
        }
    }
}

/// Fields that an ephemeral container may not have.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

pub(super) fn ephemeral_containers(check: &mut Check, all: &Spec<'_>, path: &Path) {
    const DETAIL: &str = "cannot be set for an Ephemeral Container";
    let named = |list: &str| all.spec[list].items().iter().map(|c| c["name"].str()).collect::<Vec<_>>();
    let others: BTreeSet<&str> = named("containers").into_iter().chain(named("initContainers")).collect();
    let mut seen = others.clone();
    for (at, container) in each(&all.spec["ephemeralContainers"], path) {
        common(check, all, container, &at);
        untrimmed_image(check, container, &at);
        let name = container["name"].str();
        if !seen.insert(name) {
            check.push(Error::duplicate(&at.child("name"), name));
        }
        let target = container["targetContainerName"].str();
        if !target.is_empty() && !others.contains(target) {
            check.push(Error::not_found(&at.child("targetContainerName"), target));
        }
        for field in NOT_EPHEMERAL {
            if !container[field].is_empty() {
                check.forbidden(&at.child(field), DETAIL);
            }
        }
        for (at, mount) in each(&container["volumeMounts"], &at.child("volumeMounts")) {
            for field in ["subPath", "subPathExpr"] {
                if !mount[field].str().is_empty() {
                    check.forbidden(&at.child(field), DETAIL);
                }
            }
        }
    }
}

/// Of pods only; templates are left alone.
pub(super) fn untrimmed_image(check: &mut Check, container: &Value, path: &Path) {
    let image = container["image"].str();
    if image.trim() != image {
        check.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
}

fn ports(check: &mut Check, list: &Value, path: &Path) {
    let mut seen = BTreeSet::new();
    for (at, port) in each(list, path) {
        let name = port["name"].str();
        if !name.is_empty() {
            let wrong = names::port_name(name);
            if !wrong.is_empty() {
                check.format(&at.child("name"), name, &wrong);
            } else if !seen.insert(name) {
                check.push(Error::duplicate(&at.child("name"), name));
            }
        }
        match port["containerPort"].as_i64().unwrap_or_default() {
            0 => check.required(&at.child("containerPort"), ""),
            n => check.port_number(&at.child("containerPort"), n),
        }
        if let Some(n) = port["hostPort"].as_i64().filter(|n| *n != 0) {
            check.port_number(&at.child("hostPort"), n);
        }
        check.one_of(&at.child("protocol"), port["protocol"].str(), &["SCTP", "TCP", "UDP"]);
    }
}

fn host_ports(check: &mut Check, containers: &[Value], path: &Path, first: usize) {
    let mut taken = BTreeSet::new();
    for (n, container) in containers.iter().enumerate() {
        for (at, port) in each(&container["ports"], &path.index(first + n).child("ports")) {
            let Some(number) = port["hostPort"].as_i64().filter(|p| *p != 0) else { continue };
            let text = format!("{}/{}/{number}", port["protocol"].str(), port["hostIP"].str());
            if !taken.insert(text.clone()) {
                check.push(Error::duplicate(&at.child("hostPort"), &text));
            }
        }
    }
}

fn restart_policy(check: &mut Check, container: &Value, path: &Path) {
    let rules = &container["restartPolicyRules"];
    let at = path.child("restartPolicy");
    match container["restartPolicy"].as_str() {
        None if rules.is_empty() => return,
        None => return check.required(&at, "must specify restartPolicy when restart rules are used"),
        Some(policy) => {
            let supported = ["Always", "Never", "OnFailure"];
            if !supported.contains(&policy) {
                check.push(Error::not_supported(&at, policy, &supported));
            }
        }
    }
    let at = path.child("restartPolicyRules");
    if rules.items().len() > 20 {
        check.push(Error::too_many(&at, rules.items().len(), 20));
    }
    for (at, rule) in each(rules, &at) {
        let actions = ["Restart", "RestartAllContainers"];
        if !actions.contains(&rule["action"].str()) {
            check.push(Error::not_supported(&at.child("action"), rule["action"].str(), &actions));
        }
        let at = at.child("exitCodes");
        let Some(codes) = rule.get("exitCodes") else {
            check.required(&at, "must be specified");
            continue;
        };
        if !["In", "NotIn"].contains(&codes["operator"].str()) {
            check.push(Error::not_supported(&at.child("operator"), codes["operator"].str(), &["In", "NotIn"]));
        }
        if codes["values"].items().len() > 255 {
            check.push(Error::too_many(&at.child("values"), codes["values"].items().len(), 255));
        }
    }
}

fn resize_policy(check: &mut Check, all: &Spec<'_>, list: &Value, path: &Path) {
    let mut seen = BTreeSet::new();
    for (at, policy) in each(list, path) {
        let (resource, restart) = (policy["resourceName"].str(), policy["restartPolicy"].str());
        if !seen.insert(resource) {
            check.push(Error::duplicate(&at, resource));
        }
        check.one_of(path, resource, &["cpu", "memory"]);
        check.one_of(path, restart, &["NotRequired", "RestartContainer"]);
        if all.spec["restartPolicy"].str() == "Never" && restart != "NotRequired" {
            check.invalid(path, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}
