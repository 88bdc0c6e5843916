//! Defaulting that is not said in steps.

use std::collections::BTreeMap;

use meta::Quantity;

use super::Special;
use crate::{Value, doc};

pub(super) fn run(value: &mut Value, special: Special) {
    match special {
        Special::PodIps => pod_ips(value),
        Special::StoredVersions => stored_versions(value),
        Special::PodLevelResources => pod_level_resources(value),
    }
}

/// `podIP` and `podIPs[0]` are kept equal; the single one wins.
fn pod_ips(status: &mut Value) {
    let single = status["podIP"].str().to_owned();
    let first = status["podIPs"][0]["ip"].str().to_owned();
    if single.is_empty() && !first.is_empty() {
        status.set("podIP", first);
    } else if !single.is_empty() && single != first {
        status.set("podIPs", doc!([{"ip": single}]));
    }
}

/// The storage version when none is recorded.
fn stored_versions(definition: &mut Value) {
    if !definition["status"]["storedVersions"].is_empty() {
        return;
    }
    let storage = definition["spec"]["versions"].items().iter().filter(|v| v["storage"].is_true());
    let names: Vec<Value> = storage.map(|v| v["name"].clone()).collect();
    if !names.is_empty() {
        *definition.at_mut(["status", "storedVersions"]) = names.into();
    }
}

type Amounts = BTreeMap<String, Quantity>;

/// Requests and limits of `spec.resources` from those of the containers, once admission is through.
pub fn pod_level_resources(pod: &mut Value) {
    if pod["spec"]["resources"].is_null() {
        return;
    }
    let resources = &pod["spec"]["resources"];
    let (mut limits, mut requests) = (amounts(&resources["limits"]), amounts(&resources["requests"]));
    for (name, sum) in summed(pod, "limits") {
        if is_huge(&name) && !requests.contains_key(&name) {
            limits.entry(name).or_insert(sum);
        }
    }
    for (name, sum) in summed(pod, "requests") {
        if is_supported(&name) && !is_huge(&name) {
            requests.entry(name).or_insert(sum);
        }
    }
    for (name, limit) in limits.iter().filter(|(name, _)| is_supported(name)) {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
    let together = summed(pod, "limits");
    for (name, request) in requests.iter().filter(|(name, _)| is_supported(name) && all_limit(pod, name)) {
        let limit = together.get(name).filter(|limit| *limit >= request).unwrap_or(request);
        limits.entry(name.clone()).or_insert_with(|| limit.clone());
    }
    fill(pod, "limits", limits);
    fill(pod, "requests", requests);
}

/// Adds what is missing; what is there keeps its text.
fn fill(pod: &mut Value, which: &'static str, amounts: Amounts) {
    if amounts.is_empty() {
        return;
    }
    let map = pod.at_mut(["spec", "resources", which]).make_map();
    for (name, quantity) in amounts {
        if !map.contains(&name) {
            map.push(name, quantity.to_string().into());
        }
    }
}

fn all_limit(pod: &Value, name: &str) -> bool {
    let spec = &pod["spec"];
    let mut containers = spec["containers"].items().iter().chain(spec["initContainers"].items());
    containers.all(|c| c["resources"]["limits"].get(name).is_some())
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_supported(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || is_huge(name)
}

fn amounts(list: &Value) -> Amounts {
    list.members().filter_map(|(n, v)| Some((n.to_owned(), Quantity::parse(v.str()).ok()?))).collect()
}

/// What the containers of a pod need together: the sum of those that run side by side, or the largest init container
/// with the sidecars that were started before it.
fn summed(pod: &Value, which: &str) -> Amounts {
    let of = |container: &Value| amounts(&container["resources"][which]);
    let mut sum = Amounts::new();
    pod["spec"]["containers"].items().iter().for_each(|c| add(&mut sum, &of(c)));
    let (mut sidecars, mut largest) = (Amounts::new(), Amounts::new());
    for c in pod["spec"]["initContainers"].items() {
        let mut needs = of(c);
        if c["restartPolicy"].str() == "Always" {
            add(&mut sum, &needs);
            add(&mut sidecars, &needs);
            needs = sidecars.clone();
        } else {
            add(&mut needs, &sidecars);
        }
        raise(&mut largest, needs);
    }
    raise(&mut sum, largest);
    sum
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, quantity) in more {
        let total = sum.get(name).map_or_else(|| quantity.clone(), |q| q.add(quantity));
        sum.insert(name.clone(), total);
    }
}

fn raise(least: &mut Amounts, other: Amounts) {
    for (name, quantity) in other {
        let slot = least.entry(name).or_insert_with(|| quantity.clone());
        if quantity > *slot {
            *slot = quantity;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_level_resources_come_from_the_containers_and_then_from_limits() {
        let mut pod = doc!({"spec": {"resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
            "containers": [{"resources": {"requests": {"cpu": "100m"}}}, {"resources": {"requests": {"cpu": "1"}}}],
            "initContainers": [{"resources": {"requests": {"cpu": "500m"}}}]}});
        pod_level_resources(&mut pod);
        assert_eq!(pod["spec"]["resources"]["requests"], doc!({"cpu": "1100m", "memory": "1Gi"}));
        let limited = |cpu: &str| doc!({"resources": {"limits": {"cpu": cpu, "memory": "1Mi"}}});
        let mut pod = doc!({"spec": {"resources": {"requests": {"cpu": "2", "memory": "1Ki"}},
            "containers": [(limited("1")), (limited("500m"))], "initContainers": [{"resources": {"limits": {"cpu": "1"}}}]}});
        pod_level_resources(&mut pod);
        assert_eq!(pod["spec"]["resources"]["limits"], doc!({"cpu": "2"}));
    }

    #[test]
    fn one_address_fills_the_other() {
        let mut status = doc!({"podIPs": [{"ip": "10.0.0.1"}]});
        pod_ips(&mut status);
        assert_eq!(status["podIP"].str(), "10.0.0.1");
        let mut status = doc!({"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.1"}]});
        pod_ips(&mut status);
        assert_eq!(status["podIPs"], doc!([{"ip": "10.0.0.2"}]));
    }
}
