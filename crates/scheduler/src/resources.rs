//! Amounts of resources: what a pod requests, what a node has.

use std::collections::BTreeMap;

use document::Value;
use meta::Quantity;

/// CPU in millis, everything else in units. Few names, so a map is small.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources(BTreeMap<Box<str>, i64>);

impl Resources {
    pub(crate) fn of(list: &Value) -> Self {
        let amount = |(name, value): (&str, &Value)| Some((name.into(), amount(name, value)?));
        Resources(list.members().filter_map(amount).collect())
    }

    pub(crate) fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (&**name, *amount))
    }

    pub(crate) fn add(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    pub(crate) fn subtract(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let rest = self.0.entry(name.clone()).or_default();
            *rest = rest.saturating_sub(*amount);
        }
        self.0.retain(|_, amount| *amount != 0);
    }

    fn at_least(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            let most = self.0.entry(name.clone()).or_default();
            *most = (*most).max(*amount);
        }
    }

    fn plus(&self, other: &Resources) -> Resources {
        let mut sum = self.clone();
        sum.add(other);
        sum
    }
}

fn amount(name: &str, value: &Value) -> Option<i64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Int(n) => n.to_string(),
        _ => return None,
    };
    let quantity = Quantity::parse(&text).ok()?;
    Some(if name == "cpu" { quantity.milli_value() } else { quantity.value() })
}

/// Upstream's PodRequests: containers together with restartable init containers, or the largest init container beside
/// those that were started before it; pod-level requests instead where they are given; overhead on top.
pub(crate) fn of_pod(spec: &Value) -> Resources {
    let requests = |container: &Value| Resources::of(&container["resources"]["requests"]);
    let mut total = Resources::default();
    spec["containers"].items().iter().for_each(|c| total.add(&requests(c)));
    let (mut sidecars, mut largest) = (Resources::default(), Resources::default());
    for container in spec["initContainers"].items() {
        if container["restartPolicy"].str() == "Always" {
            sidecars.add(&requests(container));
            total.add(&requests(container));
            largest.at_least(&sidecars);
        } else {
            largest.at_least(&sidecars.plus(&requests(container)));
        }
    }
    total.at_least(&largest);
    for (name, amount) in Resources::of(&spec["resources"]["requests"]).0 {
        total.0.insert(name, amount);
    }
    total.add(&Resources::of(&spec["overhead"]));
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn a_pods_requests_are_upstreams() {
        let cpu = |n: &str| doc!({"resources": {"requests": {"cpu": n}}});
        let sidecar = |n: &str| doc!({"restartPolicy": "Always", "resources": {"requests": {"cpu": n}}});
        for (spec, want) in [
            (doc!({"containers": [(cpu("100m")), (cpu("1"))]}), 1100),
            (doc!({"containers": [(cpu("100m"))], "initContainers": [(cpu("2")), (cpu("1"))]}), 2000),
            (doc!({"containers": [(cpu("1"))], "initContainers": [(sidecar("500m")), (cpu("2"))]}), 2500),
            (doc!({"containers": [(cpu("3"))], "initContainers": [(sidecar("500m")), (cpu("2"))]}), 3500),
            (doc!({"containers": [(cpu("1"))], "overhead": {"cpu": "250m"}}), 1250),
            (doc!({"containers": [(cpu("1"))], "resources": {"requests": {"cpu": "4"}}}), 4000),
        ] {
            assert_eq!(of_pod(&spec).get("cpu"), want, "{spec:?}");
        }
    }
}
