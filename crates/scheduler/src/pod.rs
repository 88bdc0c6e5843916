//! What the scheduler knows of a pod: where it is and what it holds there. Pods that wait are read in full when their
//! turn comes (`Wanted`).

use std::hash::{Hash, Hasher};

use document::Value;

use crate::affinity::{self, Term};
use crate::node::Taint;
use crate::resources::{self, Resources};

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodFacts {
    pub(crate) node: Box<str>,
    scheduler: Box<str>,
    /// It has ended or is on its way out, or a gate is shut.
    ended: bool,
    deleting: bool,
    gated: bool,
    pub(crate) held: Held,
    /// Of the whole spec while the pod waits: tells that it changed.
    fingerprint: u64,
}

/// What a pod takes from its node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Held {
    pub(crate) requests: Resources,
    pub(crate) ports: Vec<HostPort>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    address: String,
    protocol: String,
    port: i64,
}

/// What a pod wants of its node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) held: Held,
    pub(crate) selector: Vec<(String, String)>,
    /// Required node affinity; `None`: none.
    pub(crate) terms: Option<Vec<Term>>,
    pub(crate) preferred: Vec<(i64, Term)>,
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) never_preempts: bool,
    /// Something that decides placement and is not built.
    pub(crate) unsupported: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toleration {
    key: String,
    exists: bool,
    value: String,
    effect: String,
}

impl PodFacts {
    pub(crate) fn of(pod: &Value) -> Self {
        let spec = &pod["spec"];
        let node = spec["nodeName"].str();
        PodFacts {
            node: node.into(),
            scheduler: spec["schedulerName"].str().into(),
            ended: matches!(pod["status"]["phase"].str(), "Succeeded" | "Failed"),
            deleting: !pod["metadata"]["deletionTimestamp"].is_null(),
            gated: !spec["schedulingGates"].is_empty(),
            held: Held::of(spec),
            fingerprint: if node.is_empty() { fingerprint(spec) } else { 0 },
        }
    }

    /// Is it this scheduler's turn?
    pub(crate) fn waits_for(&self, scheduler: &str) -> bool {
        self.node.is_empty() && &*self.scheduler == scheduler && !self.ended && !self.deleting && !self.gated
    }

    /// Does it take something from its node?
    pub(crate) fn holds(&self) -> bool {
        !self.node.is_empty() && !self.ended
    }
}

fn fingerprint(spec: &Value) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    document::json::to_vec(spec).hash(&mut hasher);
    hasher.finish()
}

impl Held {
    fn of(spec: &Value) -> Self {
        let all = spec["containers"]
            .items()
            .iter()
            .chain(spec["initContainers"].items().iter().filter(|c| c["restartPolicy"].str() == "Always"));
        let ports = all.flat_map(|c| c["ports"].items()).filter_map(HostPort::of).collect();
        let mut requests = resources::of_pod(spec);
        requests.add(&Resources::of(&document::doc!({"pods": 1})));
        Held { requests, ports }
    }
}

impl HostPort {
    fn of(port: &Value) -> Option<Self> {
        let number = port["hostPort"].as_i64().filter(|n| *n > 0)?;
        let or = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
        Some(HostPort {
            address: or(port["hostIP"].str(), "0.0.0.0"),
            protocol: or(port["protocol"].str(), "TCP"),
            port: number,
        })
    }

    /// An address of all zeros is every address.
    pub(crate) fn conflicts_with(&self, other: &HostPort) -> bool {
        let any = |address: &str| address == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address || any(&self.address) || any(&other.address))
    }
}

impl Wanted {
    pub(crate) fn of(spec: &Value) -> Self {
        let text = |v: &Value| v.str().to_owned();
        let toleration = |t: &Value| Toleration {
            key: text(&t["key"]),
            exists: t["operator"].str() == "Exists",
            value: text(&t["value"]),
            effect: text(&t["effect"]),
        };
        let affinity = &spec["affinity"]["nodeAffinity"];
        let required = &affinity["requiredDuringSchedulingIgnoredDuringExecution"];
        let preferred = affinity["preferredDuringSchedulingIgnoredDuringExecution"].items().iter();
        Wanted {
            held: Held::of(spec),
            selector: spec["nodeSelector"].members().map(|(k, v)| (k.to_owned(), text(v))).collect(),
            terms: required.as_map().map(|_| affinity::terms(&required["nodeSelectorTerms"])),
            preferred: preferred
                .map(|p| (p["weight"].as_i64().unwrap_or_default(), Term::of(&p["preference"])))
                .collect(),
            tolerations: spec["tolerations"].items().iter().map(toleration).collect(),
            never_preempts: spec["preemptionPolicy"].str() == "Never",
            unsupported: unsupported(spec),
        }
    }
}

/// Accepting it without heeding it would put the pod where it must not be.
fn unsupported(spec: &Value) -> Option<&'static str> {
    let affinity = &spec["affinity"];
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let spread = spec["topologySpreadConstraints"].items();
    if !affinity["podAffinity"][required].is_empty() {
        return Some("required pod affinity");
    }
    if !affinity["podAntiAffinity"][required].is_empty() {
        return Some("required pod anti-affinity");
    }
    if spread.iter().any(|c| c["whenUnsatisfiable"].str() == "DoNotSchedule") {
        return Some("topology spread constraints that must hold");
    }
    if !spec["resourceClaims"].is_empty() {
        return Some("resource claims");
    }
    spec["volumes"]
        .items()
        .iter()
        .any(|v| !v["persistentVolumeClaim"].is_null() || !v["ephemeral"].is_null())
        .then_some("persistent volume claims")
}

impl Toleration {
    pub(crate) fn tolerates(&self, taint: &Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && (self.exists || (!self.key.is_empty() && self.value == taint.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn tolerations_match_as_upstream() {
        let taint = Taint { key: "k".into(), value: "v".into(), effect: "NoSchedule".into() };
        for (toleration, want) in [
            (doc!({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}), true),
            (doc!({"key": "k", "value": "v"}), true),
            (doc!({"key": "k", "value": "w"}), false),
            (doc!({"key": "k", "operator": "Exists"}), true),
            (doc!({"operator": "Exists"}), true),
            (doc!({"key": "k", "operator": "Exists", "effect": "NoExecute"}), false),
            (doc!({"key": "j", "operator": "Exists"}), false),
        ] {
            let wanted = Wanted::of(&doc!({"tolerations": [(toleration.clone())]}));
            assert_eq!(wanted.tolerations[0].tolerates(&taint), want, "{toleration:?}");
        }
    }

    #[test]
    fn host_ports_conflict_by_address_protocol_and_number() {
        let port = |address: &str, protocol: &str, number: i64| {
            HostPort::of(&doc!({"hostIP": address, "protocol": protocol, "hostPort": number})).unwrap()
        };
        let base = port("", "TCP", 80);
        for (other, want) in
            [(port("127.0.0.1", "TCP", 80), true), (port("", "UDP", 80), false), (port("", "TCP", 81), false)]
        {
            assert_eq!(base.conflicts_with(&other), want);
        }
        assert!(!port("127.0.0.1", "TCP", 80).conflicts_with(&port("127.0.0.2", "TCP", 80)));
        assert!(HostPort::of(&doc!({"containerPort": 80})).is_none());
    }

    #[test]
    fn gated_ended_and_foreign_pods_do_not_wait() {
        for (pod, want) in [
            (doc!({"spec": {"schedulerName": "default-scheduler"}}), true),
            (doc!({"spec": {"schedulerName": "other"}}), false),
            (doc!({"spec": {"schedulerName": "default-scheduler", "nodeName": "n"}}), false),
            (doc!({"spec": {"schedulerName": "default-scheduler", "schedulingGates": [{"name": "g"}]}}), false),
            (doc!({"metadata": {"deletionTimestamp": "x"}, "spec": {"schedulerName": "default-scheduler"}}), false),
        ] {
            assert_eq!(PodFacts::of(&pod).waits_for(crate::NAME), want, "{pod:?}");
        }
    }
}
