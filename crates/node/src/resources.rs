//! Requests and limits as numbers: quantities, QoS class, cgroup values and oom_score_adj, by upstream's formulas.

use std::collections::BTreeMap;

use crate::{
    pod::{Container, Pod, ResourceFieldRef, ResourceRequirements},
    runtime,
};

const GUARANTEED_OOM_SCORE: i32 = -997;
const BEST_EFFORT_OOM_SCORE: i32 = 1000;
const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;
const CPU_PERIOD: u64 = 100_000;
const MIN_QUOTA: i64 = 1_000;

/// What the node has for pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Thousandths of a CPU.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of the file system that holds emptyDirs and images.
    pub ephemeral_storage: i64,
    /// Number of pods.
    pub pods: i64,
}

/// A quantity's value times 10^`scale`, rounded up: scale 3 gives thousandths. `None` when it is no quantity.
pub fn scaled(quantity: &str, scale: i32) -> Option<i64> {
    let text = quantity.trim();
    let end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && (*c == '-' || *c == '+'))))
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(end);
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (multiplier, exponent) = suffix_value(suffix)?;
    let exponent = exponent + scale - i32::try_from(fraction.len()).ok()?;
    let value = digits.checked_mul(multiplier)?;
    let value = if exponent >= 0 {
        value.checked_mul(10i128.checked_pow(exponent.unsigned_abs())?)?
    } else {
        let divisor = 10i128.checked_pow(exponent.unsigned_abs())?;
        value / divisor + i128::from(value % divisor != 0)
    };
    i64::try_from(if negative { -value } else { value }).ok()
}

/// A suffix as (binary multiplier, power of ten).
fn suffix_value(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

/// Thousandths of a CPU; 0 when absent.
pub fn milli_cpu(list: &BTreeMap<String, String>) -> i64 {
    list.get("cpu").and_then(|q| scaled(q, 3)).unwrap_or(0)
}

/// Bytes (or pieces) of a resource; 0 when absent.
pub fn amount(list: &BTreeMap<String, String>, resource: &str) -> i64 {
    list.get(resource).and_then(|q| scaled(q, 0)).unwrap_or(0)
}

/// The pod's QoS class, out of cpu and memory of all its containers (or of the pod, when it says so itself).
pub fn qos_class(pod: &Pod) -> &'static str {
    if let Some(resources) = &pod.spec.resources
        && !(resources.limits.is_empty() && resources.requests.is_empty())
    {
        return class_of(std::iter::once(resources));
    }
    class_of(pod.all_containers().map(|(_, c)| &c.resources))
}

fn class_of<'a>(all: impl Iterator<Item = &'a ResourceRequirements>) -> &'static str {
    let (mut any, mut guaranteed) = (false, true);
    for resources in all {
        for name in ["cpu", "memory"] {
            let (request, limit) = (nano(&resources.requests, name), nano(&resources.limits, name));
            any |= request != 0 || limit != 0;
            guaranteed &= limit != 0 && (request == 0 || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn nano(list: &BTreeMap<String, String>, name: &str) -> i64 {
    list.get(name).and_then(|q| scaled(q, 3)).unwrap_or(0)
}

/// The pod's cgroup below the instance's.
pub fn cgroup(pod: &Pod) -> String {
    let uid = &pod.metadata.uid;
    match qos_class(pod) {
        "Guaranteed" => format!("pod{uid}"),
        class => format!("{}/pod{uid}", class.to_lowercase()),
    }
}

/// Limits of one container.
pub fn of_container(pod: &Pod, container: &Container, memory_capacity: i64, pids_limit: i64) -> runtime::Resources {
    let resources = &container.resources;
    let (request, limit) = (milli_cpu(&resources.requests), milli_cpu(&resources.limits));
    let shares_from = if request == 0 { limit } else { request };
    runtime::Resources {
        cpu_shares: shares(shares_from),
        cpu_quota: quota(limit),
        cpu_period: CPU_PERIOD,
        memory_limit: amount(&resources.limits, "memory"),
        pids_limit,
        oom_score_adj: Some(oom_score_adj(pod, container, memory_capacity)),
    }
}

/// Limits of the whole pod: limits only where every container has one.
pub fn of_pod(pod: &Pod) -> runtime::Resources {
    let own = pod.spec.resources.as_ref();
    let regular: Vec<_> = pod.spec.containers.iter().map(|c| &c.resources).collect();
    let init: Vec<_> = pod.spec.init_containers.iter().map(|c| &c.resources).collect();
    let total = |value: &dyn Fn(&ResourceRequirements) -> i64| -> i64 {
        let sum: i64 = regular.iter().map(|r| value(r)).sum();
        init.iter().map(|r| value(r)).max().unwrap_or(0).max(sum)
    };
    let limit = |value: &dyn Fn(&ResourceRequirements) -> i64| -> i64 {
        if let Some(own) = own.filter(|own| value(own) > 0) {
            return value(own);
        }
        let all = regular.iter().chain(&init).all(|r| value(r) > 0);
        if all { total(value) } else { 0 }
    };
    let request = match own.map(|own| milli_cpu(&own.requests)).filter(|own| *own > 0) {
        Some(own) => own,
        None => total(&|r| match milli_cpu(&r.requests) {
            0 => milli_cpu(&r.limits),
            request => request,
        }),
    };
    runtime::Resources {
        cpu_shares: shares(request),
        cpu_quota: quota(limit(&|r| milli_cpu(&r.limits))),
        cpu_period: CPU_PERIOD,
        memory_limit: limit(&|r| amount(&r.limits, "memory")),
        pids_limit: 0,
        oom_score_adj: None,
    }
}

fn shares(milli: i64) -> u64 {
    let shares = u64::try_from(milli.max(0)).unwrap_or(0) * 1024 / 1000;
    shares.clamp(MIN_SHARES, MAX_SHARES)
}

fn quota(milli: i64) -> i64 {
    if milli <= 0 { 0 } else { (milli * 100_000 / 1000).max(MIN_QUOTA) }
}

fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity: i64) -> i32 {
    match qos_class(pod) {
        "Guaranteed" => return GUARANTEED_OOM_SCORE,
        "BestEffort" => return BEST_EFFORT_OOM_SCORE,
        _ => {}
    }
    let request = amount(&container.resources.requests, "memory");
    let adjust = 1000 - (1000i128 * i128::from(request) / i128::from(memory_capacity.max(1)));
    let adjust = i32::try_from(adjust).unwrap_or(BEST_EFFORT_OOM_SCORE);
    if adjust < 1000 + GUARANTEED_OOM_SCORE {
        return 1000 + GUARANTEED_OOM_SCORE;
    }
    if adjust == BEST_EFFORT_OOM_SCORE { adjust - 1 } else { adjust }
}

/// The value of a resourceFieldRef; a limit that is not set is the node's.
pub fn field_value(field: &ResourceFieldRef, container: &Container, node: Capacity) -> Result<String, String> {
    let unsupported = || format!("unsupported container resource : {}", field.resource);
    let (list, name) = field.resource.split_once('.').ok_or_else(unsupported)?;
    let quantities = match list {
        "limits" => &container.resources.limits,
        "requests" => &container.resources.requests,
        _ => return Err(unsupported()),
    };
    let (scale, fallback) = match name {
        "cpu" => (3, node.milli_cpu),
        "memory" => (0, node.memory),
        "ephemeral-storage" => (0, node.ephemeral_storage),
        name if name.starts_with("hugepages-") => (0, 0),
        _ => return Err(unsupported()),
    };
    let fallback = if list == "limits" { fallback } else { 0 };
    let value = quantities.get(name).and_then(|q| scaled(q, scale)).filter(|v| *v != 0).unwrap_or(fallback);
    let one = if scale == 3 { 1000 } else { 1 };
    let divisor = field.divisor.as_deref().and_then(|d| scaled(d, scale)).filter(|d| *d > 0).unwrap_or(one);
    Ok((value / divisor + i64::from(value % divisor != 0)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_in_every_notation() {
        for (text, scale, want) in [
            ("100m", 3, Some(100)),
            ("1", 3, Some(1000)),
            ("1.5", 3, Some(1500)),
            ("64Mi", 0, Some(64 << 20)),
            ("1k", 0, Some(1000)),
            ("1e3", 0, Some(1000)),
            ("0.5Gi", 0, Some(1 << 29)),
            ("1m", 0, Some(1)),
            ("2500u", 3, Some(3)),
            ("x", 0, None),
            ("", 0, None),
        ] {
            assert_eq!(scaled(text, scale), want, "{text}");
        }
    }

    fn pod(resources: &str) -> Pod {
        let json =
            format!(r#"{{"metadata":{{"uid":"u"}},"spec":{{"containers":[{{"name":"a","resources":{resources}}}]}}}}"#);
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn qos_class_decides_cgroup_and_oom_score() {
        for (resources, class, cgroup_path, score) in [
            ("{}", "BestEffort", "besteffort/podu", 1000),
            (r#"{"requests":{"cpu":"100m"}}"#, "Burstable", "burstable/podu", 999),
            (r#"{"requests":{"memory":"512Mi"}}"#, "Burstable", "burstable/podu", 500),
            (
                r#"{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"1","memory":"1Gi"}}"#,
                "Guaranteed",
                "podu",
                -997,
            ),
        ] {
            let pod = pod(resources);
            assert_eq!(qos_class(&pod), class, "{resources}");
            assert_eq!(cgroup(&pod), cgroup_path);
            let lowered = of_container(&pod, &pod.spec.containers[0], 1 << 30, 0);
            assert_eq!(lowered.oom_score_adj, Some(score), "{resources}");
        }
    }

    #[test]
    fn limits_become_quota_and_shares() {
        let pod = pod(r#"{"limits":{"cpu":"500m","memory":"64Mi"}}"#);
        let lowered = of_container(&pod, &pod.spec.containers[0], 1 << 30, 0);
        assert_eq!((lowered.cpu_shares, lowered.cpu_quota, lowered.memory_limit), (512, 50_000, 64 << 20));
        assert_eq!(of_pod(&pod).memory_limit, 64 << 20);
    }

    #[test]
    fn a_missing_limit_is_the_nodes() {
        let node = Capacity { milli_cpu: 2000, memory: 1 << 30, ephemeral_storage: 5, pods: 110 };
        let container = &pod(r#"{"requests":{"cpu":"250m"}}"#).spec.containers[0];
        for (resource, divisor, want) in [
            ("limits.cpu", None, "2"),
            ("requests.cpu", None, "1"),
            ("requests.cpu", Some("1m"), "250"),
            ("limits.memory", Some("1Mi"), "1024"),
            ("requests.memory", None, "0"),
        ] {
            let field =
                ResourceFieldRef { resource: resource.into(), divisor: divisor.map(Into::into), ..Default::default() };
            assert_eq!(field_value(&field, container, node).unwrap(), want, "{resource}");
        }
        let field = ResourceFieldRef { resource: "limits.x".into(), ..Default::default() };
        assert_eq!(field_value(&field, container, node).unwrap_err(), "unsupported container resource : limits.x");
    }
}
