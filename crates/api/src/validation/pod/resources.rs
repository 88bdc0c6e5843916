//! Requests and limits of containers and pods.

use std::collections::BTreeSet;

use document::Value;
use meta::field::{Error, Path};
use meta::names;

use super::spec::Spec;
use crate::amount::nano;
use crate::validation::check::{Check, each};

const CONTAINER_RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Counted things: their amounts are whole numbers.
const COUNTS: [&str; 11] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
    "attachable-volumes-",
    "hugepages",
];
const STANDARD: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "requests.storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "services.nodeports",
    "services.loadbalancers",
];

fn is_hugepages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::label_key(&format!("requests.{name}")).is_empty()
}

pub(in crate::validation) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_hugepages(name)
}

/// A qualified name; without a domain, one that upstream knows. True when it is one.
pub(in crate::validation) fn resource_name(check: &mut Check, name: &str, path: &Path) -> bool {
    let wrong = names::label_key(name);
    if !wrong.is_empty() {
        check.format(path, name, &wrong);
        return false;
    }
    let is_pages = is_hugepages(name) || name.starts_with("requests.hugepages-");
    if !name.contains('/') && !STANDARD.contains(&name) && !is_pages {
        check.invalid(path, name, "must be a standard resource type or fully qualified");
        return false;
    }
    true
}

pub(in crate::validation) fn container_resource_name(check: &mut Check, name: &str, path: &Path) {
    resource_name(check, name, path);
    if !name.contains('/') {
        if !CONTAINER_RESOURCES.contains(&name) && !is_hugepages(name) {
            check.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        check.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

fn pod_resource_name(check: &mut Check, name: &str, path: &Path) {
    if resource_name(check, name, path) && !["cpu", "memory"].contains(&name) && !is_hugepages(name) {
        check.push(Error::not_supported(path, name, &["cpu", "hugepages-", "memory"]));
    }
}

/// Not negative, and a whole number where things are counted.
pub(in crate::validation) fn quantity_value(check: &mut Check, name: &str, amount: &Value, path: &Path) {
    check.non_negative_quantity(path, amount);
    let whole = nano(amount).is_none_or(|n| n % 1_000_000_000 == 0);
    if (COUNTS.contains(&name) || name.starts_with("count/") || is_extended(name)) && !whole {
        check.invalid(path, amount.str(), "must be an integer");
    }
}

pub(super) fn requirements(check: &mut Check, resources: &Value, claims: &BTreeSet<&str>, path: &Path) {
    amounts(check, resources, path, container_resource_name);
    claim_names(check, &resources["claims"], claims, &path.child("claims"));
}

fn amounts(check: &mut Check, resources: &Value, path: &Path, name_rule: fn(&mut Check, &str, &Path)) {
    let (limits, requests) = (&resources["limits"], &resources["requests"]);
    let (limits_at, requests_at) = (path.child("limits"), path.child("requests"));
    for (name, amount) in limits.members() {
        let at = limits_at.key(name);
        name_rule(check, name, &at);
        quantity_value(check, name, amount, &at);
        whole_pages(check, name, amount, &at);
    }
    for (name, amount) in requests.members() {
        let at = requests_at.key(name);
        name_rule(check, name, &at);
        quantity_value(check, name, amount, &at);
        match limits.get(name) {
            Some(limit) => {
                let (asked, most) = (nano(amount), nano(limit));
                if asked != most && !may_overcommit(name) {
                    let detail = format!("must be equal to {name} limit of {}", limit.str());
                    check.invalid(&requests_at, amount.str(), &detail);
                } else if asked > most {
                    let detail = format!("must be less than or equal to {name} limit of {}", limit.str());
                    check.invalid(&requests_at, amount.str(), &detail);
                }
            }
            None if !may_overcommit(name) => {
                check.required(&limits_at, "Limit must be set for non overcommitable resources");
            }
            None => {}
        }
        whole_pages(check, name, amount, &at);
    }
    let all = || limits.members().chain(requests.members()).map(|(n, _)| n);
    if all().any(is_hugepages) && !all().any(|n| n == "cpu" || n == "memory") {
        check.forbidden(path, "HugePages require cpu or memory");
    }
}

/// Huge pages come in whole pages.
fn whole_pages(check: &mut Check, name: &str, amount: &Value, path: &Path) {
    let Some(page) = name.strip_prefix("hugepages-").and_then(|size| nano(&Value::from(size))) else { return };
    if page > 0 && nano(amount).is_some_and(|n| n % page != 0) {
        check.invalid(path, amount.str(), &format!("{} is not positive integer multiple of {name}", amount.str()));
    }
}

fn claim_names(check: &mut Check, list: &Value, claims: &BTreeSet<&str>, path: &Path) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    // names in `seen` that stand there with a request
    let mut requested: BTreeSet<String> = BTreeSet::new();
    for (at, claim) in each(list, path) {
        let (name, request) = (claim["name"].str(), claim["request"].str());
        if name.is_empty() {
            check.required(&at, "");
            continue;
        }
        if seen.contains(name) {
            check.push(Error::duplicate(&at, name));
        } else {
            let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
            if !request.is_empty() {
                check.format(&at.child("request"), request, &names::dns1123_label(request));
            }
            if !seen.insert(key.clone()) {
                check.push(Error::duplicate(&at, &key));
            } else if request.is_empty() && requested.contains(name) {
                check.push(Error::duplicate(&at, name));
            }
            requested.extend(key.split_once('/').map(|(name, _)| name.to_owned()));
        }
        if !claims.contains(name) {
            let known: Vec<&str> = claims.iter().copied().collect();
            let rest = if known.is_empty() { " which is empty".to_owned() } else { format!(": {}", known.join(", ")) };
            let mut error = Error::not_found(&at, name);
            error.body.push_str(&format!(": must be one of the names in pod.spec.resourceClaims{rest}"));
            check.push(error);
        }
    }
}

/// `spec.resources`: the pod's own requests and limits cover those of its containers.
pub(super) fn pod_level(check: &mut Check, all: &Spec<'_>, path: &Path) {
    let Some(resources) = all.spec.get("resources").filter(|r| !r.is_null()) else { return };
    let at = path.child("resources");
    if all.spec["os"]["name"].str() == "windows" {
        return check.forbidden(&at, "may not be set for a windows pod");
    }
    if !resources["claims"].is_null() {
        check.forbidden(&at.child("claims"), "claims may not be set for Resources at pod-level");
    }
    amounts(check, resources, &at, pod_resource_name);
    claim_names(check, &resources["claims"], &all.claims, &at.child("claims"));
    for (name, amount) in resources["requests"].members() {
        let Some(sum) = aggregate(all.spec, "requests", name) else { continue };
        if nano(amount).is_some_and(|n| sum > n) {
            let detail =
                format!("must be greater than or equal to aggregate container requests of {}", plain(name, sum));
            check.invalid(&at.child("requests").key(name), amount.str(), &detail);
        }
    }
    for (name, amount) in resources["limits"].members().filter(|(name, _)| is_hugepages(name)) {
        let Some(sum) = aggregate(all.spec, "limits", name) else { continue };
        if nano(amount).is_some_and(|n| sum > n) {
            let detail = format!("must be greater than or equal to aggregate container limits of {}", plain(name, sum));
            check.invalid(&at.child("limits").key(name), amount.str(), &detail);
        }
    }
    for (n, container) in all.spec["containers"].items().iter().enumerate() {
        for (name, limit) in container["resources"]["limits"].members() {
            let Some(most) = resources["limits"].get(name) else { continue };
            if nano(limit) > nano(most) {
                let at = at.child("containers").index(n).key(name).child("limits");
                check.invalid(&at, limit.str(), &format!("must be less than or equal to pod limits of {}", most.str()));
            }
        }
    }
}

/// What all containers need at the same time: the running ones with their sidecars, or one init container with the
/// sidecars before it. `None`: no container says.
fn aggregate(spec: &Value, part: &str, name: &str) -> Option<i128> {
    let of = |container: &Value| nano(&container["resources"][part][name]);
    let mut running: Option<i128> = None;
    let mut starting: Option<i128> = None;
    let (mut sidecars, mut any) = (0_i128, false);
    for container in spec["initContainers"].items() {
        let Some(amount) = of(container) else { continue };
        any = true;
        if container["restartPolicy"].str() == "Always" {
            sidecars = sidecars.saturating_add(amount);
            starting = starting.max(Some(sidecars));
        } else {
            starting = starting.max(Some(sidecars.saturating_add(amount)));
        }
    }
    for amount in spec["containers"].items().iter().filter_map(of) {
        running = Some(running.unwrap_or_default().saturating_add(amount));
    }
    let running = running.map(|sum| sum.saturating_add(sidecars)).or_else(|| any.then_some(sidecars));
    running.max(starting)
}

/// A sum in its shortest plain form.
fn plain(name: &str, nanos: i128) -> String {
    let milli = nanos / 1_000_000;
    if name == "cpu" && milli % 1000 != 0 { format!("{milli}m") } else { (nanos / 1_000_000_000).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn sums_of_containers_end_at_the_greatest_number() {
        let container = || doc!({"restartPolicy": "Always", "resources": {"requests": {"cpu": "1e29"}}});
        let twice = || doc!([(container()), (container())]);
        for spec in [doc!({"containers": (twice())}), doc!({"initContainers": (twice()), "containers": (twice())})] {
            assert_eq!(aggregate(&spec, "requests", "cpu"), Some(i128::MAX));
        }
    }
}
