//! The quality-of-service class of a pod, from its requests and limits of cpu and memory.

use document::Value;

use crate::amount::nano;

const COMPUTE: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(spec: &Value) -> &'static str {
    let mut totals = Totals { guaranteed: true, ..Totals::default() };
    let pod_level = &spec["resources"];
    if !pod_level["requests"].is_empty() || !pod_level["limits"].is_empty() {
        totals.add(pod_level);
    } else {
        let containers = spec["containers"].items().iter().chain(spec["initContainers"].items());
        containers.for_each(|c| totals.add(&c["resources"]));
    }
    totals.class()
}

#[derive(Default)]
struct Totals {
    requests: [Option<i128>; 2],
    limits: [Option<i128>; 2],
    guaranteed: bool,
}

impl Totals {
    fn add(&mut self, resources: &Value) {
        let mut all_limited = true;
        for (n, name) in COMPUTE.iter().enumerate() {
            add_to(&mut self.requests[n], &resources["requests"][*name]);
            all_limited &= add_to(&mut self.limits[n], &resources["limits"][*name]);
        }
        self.guaranteed &= all_limited;
    }

    fn class(&self) -> &'static str {
        let none = [None; 2];
        if self.requests == none && self.limits == none {
            "BestEffort"
        } else if self.guaranteed && self.requests == self.limits {
            "Guaranteed"
        } else {
            "Burstable"
        }
    }
}

fn add_to(total: &mut Option<i128>, amount: &Value) -> bool {
    match nano(amount).filter(|n| *n > 0) {
        Some(n) => {
            *total = Some(total.unwrap_or_default() + n);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn the_class_follows_requests_and_limits() {
        let check = |resources: Value, class: &str| {
            assert_eq!(qos_class(&doc!({"containers": [{"resources": resources}]})), class);
        };
        check(doc!({}), "BestEffort");
        check(doc!({"requests": {"cpu": "0", "foo.com/x": "1"}}), "BestEffort");
        check(doc!({"requests": {"cpu": "100m"}}), "Burstable");
        check(doc!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Burstable");
        check(
            doc!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}),
            "Guaranteed",
        );
        check(doc!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Mi"}}), "Burstable");
    }
}
