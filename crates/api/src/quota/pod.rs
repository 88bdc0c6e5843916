//! Pods: requests and limits of the whole pod (upstream's `PodRequests`, `PodLimits`), its scopes, and when it stops to
//! count.

use std::collections::{BTreeMap, BTreeSet};

use document::Value;
use meta::{Quantity, Time, names, quantity::Format};

use super::{Amounts, Measure, Scopes, add, amounts};

const COMPUTE: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
/// What each container must say when a quota counts it: upstream keeps this early mistake.
const MUST_BE_SAID: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// Resources with a limit of their own in a quota.
const LIMITED: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const IMPLICIT: &str = "deviceclass.resource.kubernetes.io/";

pub(super) fn tracks(name: &str) -> bool {
    COMPUTE.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
        || is_extended_for_quota(name)
}

/// `requests.example.com/gpu`
pub(super) fn is_extended_for_quota(name: &str) -> bool {
    name.strip_prefix("requests.").is_some_and(|rest| !is_native(name) || rest.starts_with(IMPLICIT))
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Neither Kubernetes' own nor a quota's name (upstream's `IsExtendedResourceName`).
pub fn is_extended_resource(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::label_key(&format!("requests.{name}")).is_empty()
}

fn is_extended(name: &str) -> bool {
    is_extended_resource(name) || name.starts_with(IMPLICIT)
}

/// The pod may only run for so long.
pub(super) fn is_terminating(pod: &Value) -> bool {
    pod["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

pub(super) fn measure(pod: &Value, measure: &mut Measure) {
    measure.scopes = scopes(pod);
    if matches!(pod["status"]["phase"].str(), "Failed" | "Succeeded") {
        return;
    }
    measure.until = end(&pod["metadata"]);
    add(&mut measure.usage, &charge(&requests(pod), &limits(pod)));
}

/// A pod that is still there when its grace is over is not charged for any more: its node may be lost.
fn end(metadata: &Value) -> Option<Time> {
    let deleted = Time::parse(metadata["deletionTimestamp"].str())?;
    let grace = metadata["deletionGracePeriodSeconds"].as_i64()?;
    Some(Time(deleted.0.saturating_add(grace)))
}

fn scopes(pod: &Value) -> Scopes {
    let spec = &pod["spec"];
    let class = match pod["status"]["qosClass"].str() {
        "" => crate::strategy::qos_class(spec),
        given => given,
    };
    let affinity = ["podAffinity", "podAntiAffinity"].into_iter().flat_map(|kind| terms(&spec["affinity"][kind]));
    let crosses = |term: &Value| !term["namespaces"].is_empty() || term.get("namespaceSelector").is_some();
    Scopes::Pod {
        terminating: is_terminating(pod),
        best_effort: class == "BestEffort",
        cross_namespace: affinity.into_iter().any(crosses),
        priority_class: spec["priorityClassName"].str().to_owned(),
    }
}

fn terms(affinity: &Value) -> impl Iterator<Item = &Value> {
    let required = affinity["requiredDuringSchedulingIgnoredDuringExecution"].items().iter();
    let preferred = affinity["preferredDuringSchedulingIgnoredDuringExecution"].items().iter();
    required.chain(preferred.map(|p| &p["podAffinityTerm"]))
}

/// What requests and limits cost, by the names that quotas have for them.
fn charge(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut charge = Amounts::from([("pods".into(), Quantity::new(1, Format::DecimalSi))]);
    for (name, amount) in requests {
        if LIMITED.contains(&&**name) || name.starts_with("hugepages-") {
            charge.insert(name.clone(), amount.clone());
            charge.insert(format!("requests.{name}").into(), amount.clone());
        }
        if is_extended(name) {
            charge.insert(format!("requests.{name}").into(), amount.clone());
        }
    }
    for (name, amount) in limits.iter().filter(|(name, _)| LIMITED.contains(&&***name)) {
        charge.insert(format!("limits.{name}").into(), amount.clone());
    }
    charge
}

pub(super) fn constraint(counted: &[&str], pod: &Value) -> Option<String> {
    let spec = &pod["spec"];
    if is_pod_level(spec, &["requests", "limits"]) {
        return None;
    }
    let required: Vec<&str> = MUST_BE_SAID.into_iter().filter(|n| counted.contains(n)).collect();
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in spec["containers"].items().iter().chain(spec["initContainers"].items()) {
        let resources = &container["resources"];
        let said = charge(&amounts(&resources["requests"]), &amounts(&resources["limits"]));
        for name in required.iter().filter(|n| !said.contains_key(**n)) {
            missing.entry(name).or_default().insert(container["name"].str());
        }
    }
    let one = |(name, containers): (&str, BTreeSet<&str>)| {
        format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
    };
    let all: Vec<String> = missing.into_iter().map(one).collect();
    (!all.is_empty()).then(|| format!("must specify {}", all.join("; ")))
}

/// Whose word counts: what is asked for, what the node has set aside, what it has carried out.
#[derive(Clone, Copy)]
enum View {
    Spec,
    Allocated,
    Actuated,
}

/// What the pod as a whole asks for, a resize that is under way included.
pub fn requests(pod: &Value) -> Amounts {
    let views: &[View] = if is_infeasible(pod) {
        &[View::Actuated, View::Allocated]
    } else {
        &[View::Spec, View::Actuated, View::Allocated]
    };
    let mut total = largest(pod, views, "requests");
    let spec = &pod["spec"];
    if is_pod_level(spec, &["requests"]) {
        total.extend(pod_level(&spec["resources"]["requests"]));
    }
    add(&mut total, &amounts(&spec["overhead"]));
    total
}

/// What the pod's spec asks for, whatever its node has made of it yet.
pub fn spec_requests(pod: &Value) -> Amounts {
    let mut total = of_containers(pod, "requests");
    let spec = &pod["spec"];
    if is_pod_level(spec, &["requests"]) {
        total.extend(pod_level(&spec["resources"]["requests"]));
    }
    add(&mut total, &amounts(&spec["overhead"]));
    total
}

/// What the specs of the pod's containers come to; `part` is `requests` or `limits`.
pub fn of_containers(pod: &Value, part: &'static str) -> Amounts {
    together(pod, View::Spec, part)
}

/// What the pod as a whole is limited to; overhead counts where there is a limit.
pub fn limits(pod: &Value) -> Amounts {
    let views: &[View] = if is_infeasible(pod) { &[View::Actuated] } else { &[View::Spec, View::Actuated] };
    let mut total = largest(pod, views, "limits");
    let spec = &pod["spec"];
    if is_pod_level(spec, &["requests", "limits"]) {
        total.extend(pod_level(&spec["resources"]["limits"]));
    }
    for (name, amount) in amounts(&spec["overhead"]) {
        if let Some(limit) = total.get_mut(&name).filter(|l| !l.is_zero()) {
            *limit = limit.add(&amount);
        }
    }
    total
}

fn is_pod_resource(name: &str) -> bool {
    name == "cpu" || name == "memory" || name.starts_with("hugepages-")
}

fn is_pod_level(spec: &Value, parts: &[&str]) -> bool {
    parts.iter().any(|part| spec["resources"][*part].members().any(|(name, _)| is_pod_resource(name)))
}

fn pod_level(list: &Value) -> Amounts {
    amounts(list).into_iter().filter(|(name, _)| is_pod_resource(name)).collect()
}

/// The node cannot do the resize that is asked for.
fn is_infeasible(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].items().iter();
    conditions.find(|c| c["type"].str() == "PodResizePending").is_some_and(|c| c["reason"].str() == "Infeasible")
}

fn largest(pod: &Value, views: &[View], part: &'static str) -> Amounts {
    let mut most = Amounts::new();
    for view in views {
        raise(&mut most, &together(pod, *view, part));
    }
    most
}

/// Containers together, or what the largest moment of the init containers needs.
fn together(pod: &Value, view: View, part: &'static str) -> Amounts {
    let spec = &pod["spec"];
    let of = |container: &Value| amounts(resources(pod, container, view, part));
    let (mut total, mut sidecars, mut start) = (Amounts::new(), Amounts::new(), Amounts::new());
    for container in spec["containers"].items() {
        add(&mut total, &of(container));
    }
    for container in spec["initContainers"].items() {
        let mut own = of(container);
        if container["restartPolicy"].str() == "Always" {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            own.clone_from(&sidecars);
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut start, &own);
    }
    raise(&mut total, &start);
    total
}

fn resources<'a>(pod: &'a Value, container: &'a Value, view: View, part: &'static str) -> &'a Value {
    static NONE: Value = Value::Null;
    let asked = &container["resources"][part];
    let lists = ["containerStatuses", "initContainerStatuses"];
    let mut statuses = lists.iter().flat_map(|list| pod["status"][*list].items());
    let status = match view {
        View::Spec => return asked,
        _ => statuses.find(|s| s["name"] == container["name"]).unwrap_or(&NONE),
    };
    let carried_out = status["resources"].get(part).filter(|_| matches!(view, View::Actuated));
    let set_aside = status.get("allocatedResources").filter(|_| part == "requests");
    match carried_out.or(set_aside) {
        Some(known) => known,
        None if is_infeasible(pod) => &NONE,
        None => asked,
    }
}

fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        if most.get(name).is_none_or(|known| amount.nano > known.nano) {
            most.insert(name.clone(), amount.clone());
        }
    }
}
