//! Why a pod cannot go to a node: upstream's filters in their order, in their words. The first that fails counts.

use std::collections::BTreeMap;

use crate::node::{NodeFacts, Taint};
use crate::pod::{HostPort, Wanted};
use crate::resources::Resources;

/// A node and what is taken of it.
pub(crate) struct Candidate<'a> {
    pub(crate) node: &'a NodeFacts,
    pub(crate) taken: &'a Resources,
    pub(crate) ports: &'a [HostPort],
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reasons: Vec<String>,
    /// Taking pods away from the node could help.
    pub(crate) resolvable: bool,
}

/// `None`: the pod fits.
pub(crate) fn refusal(wanted: &Wanted, candidate: &Candidate<'_>) -> Option<Refusal> {
    let fixed = |reason: &str| Some(Refusal { reasons: vec![reason.to_owned()], resolvable: false });
    let node = candidate.node;
    if let Some(what) = wanted.unsupported {
        return fixed(&format!("node(s) cannot be checked: this scheduler does not support {what} yet"));
    }
    if node.unschedulable && !tolerates(wanted, &unschedulable_taint()) {
        return fixed("node(s) were unschedulable");
    }
    let keeps_away = |taint: &&Taint| matches!(&*taint.effect, "NoSchedule" | "NoExecute");
    if node.taints.iter().filter(keeps_away).any(|taint| !tolerates(wanted, taint)) {
        return fixed("node(s) had untolerated taint(s)");
    }
    if !is_selected(wanted, node) {
        return fixed("node(s) didn't match Pod's node affinity/selector");
    }
    let taken = |port: &HostPort| candidate.ports.iter().any(|other| port.conflicts_with(other));
    if wanted.held.ports.iter().any(taken) {
        let reason = "node(s) didn't have free ports for the requested pod ports";
        return Some(Refusal { reasons: vec![reason.to_owned()], resolvable: true });
    }
    lacking(wanted, candidate)
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable. …`
pub(crate) fn message(wanted: &Wanted, refusals: &[Refusal]) -> String {
    if refusals.is_empty() {
        return "no nodes available to schedule pods".to_owned();
    }
    let total = refusals.len();
    let reasons = histogram(refusals.iter().flat_map(|r| r.reasons.iter().map(String::as_str)));
    let preemption = if wanted.never_preempts {
        "not eligible due to preemptionPolicy=Never.".to_owned()
    } else {
        let why = |r: &Refusal| match r.resolvable {
            true => "No preemption victims found for incoming pod",
            false => "Preemption is not helpful for scheduling",
        };
        format!("0/{total} nodes are available: {}.", histogram(refusals.iter().map(why)))
    };
    format!("0/{total} nodes are available: {reasons}. no new claims to deallocate, preemption: {preemption}")
}

fn histogram<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    texts.for_each(|text| *counts.entry(text).or_default() += 1);
    let mut list: Vec<String> = counts.into_iter().map(|(text, n)| format!("{n} {text}")).collect();
    list.sort();
    list.join(", ")
}

fn unschedulable_taint() -> Taint {
    Taint { key: "node.kubernetes.io/unschedulable".into(), value: String::new(), effect: "NoSchedule".into() }
}

fn tolerates(wanted: &Wanted, taint: &Taint) -> bool {
    wanted.tolerations.iter().any(|t| t.tolerates(taint))
}

fn is_selected(wanted: &Wanted, node: &NodeFacts) -> bool {
    wanted.selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && wanted.terms.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(node)))
}

fn lacking(wanted: &Wanted, candidate: &Candidate<'_>) -> Option<Refusal> {
    let allocatable = &candidate.node.allocatable;
    let mut reasons = Vec::new();
    let mut resolvable = true;
    for (name, wants) in wanted.held.requests.iter().filter(|(_, wants)| *wants > 0) {
        if wants <= allocatable.get(name) - candidate.taken.get(name) {
            continue;
        }
        resolvable &= wants <= allocatable.get(name);
        reasons.push(if name == "pods" { "Too many pods".to_owned() } else { format!("Insufficient {name}") });
    }
    (!reasons.is_empty()).then_some(Refusal { reasons, resolvable })
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::{Value, doc};

    fn node(more: Value) -> NodeFacts {
        let mut node = doc!({
            "metadata": {"name": "n", "labels": {"zone": "a"}},
            "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}}
        });
        for (name, value) in more.members() {
            node.set(name.to_owned(), value.clone());
        }
        NodeFacts::of(&node)
    }

    fn check(spec: Value, node: &NodeFacts, want: &str) {
        let taken = Resources::of(&doc!({"cpu": "1", "pods": "1"}));
        let wanted = Wanted::of(&spec);
        let refusal = refusal(&wanted, &Candidate { node, taken: &taken, ports: &[] });
        let told = refusal.map(|r| message(&wanted, &[r])).unwrap_or_default();
        assert!(told.starts_with(want) && told.is_empty() == want.is_empty(), "{spec:?}: {told}");
    }

    fn requests(list: Value) -> Value {
        doc!({"containers": [{"resources": {"requests": list}}]})
    }

    #[test]
    fn refusals_are_in_upstreams_words() {
        let plain = node(doc!({}));
        check(requests(doc!({"cpu": "1"})), &plain, "");
        check(
            requests(doc!({"cpu": "1500m"})),
            &plain,
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
        );
        check(
            requests(doc!({"cpu": "5", "memory": "2Gi"})),
            &plain,
            "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        );
        check(requests(doc!({"x.com/gpu": "1"})), &plain, "0/1 nodes are available: 1 Insufficient x.com/gpu.");
        check(doc!({"nodeSelector": {"zone": "a"}}), &plain, "");
        check(
            doc!({"nodeSelector": {"zone": "b"}}),
            &plain,
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
        );
        check(
            doc!({"preemptionPolicy": "Never", "nodeSelector": {"x": "b"}}),
            &plain,
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never.",
        );
        let cordoned = node(doc!({"spec": {"unschedulable": true}}));
        check(doc!({}), &cordoned, "0/1 nodes are available: 1 node(s) were unschedulable.");
        check(doc!({"tolerations": [{"operator": "Exists"}]}), &cordoned, "");
        let tainted = node(
            doc!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}, {"key": "p", "effect": "PreferNoSchedule"}]}}),
        );
        check(doc!({}), &tainted, "0/1 nodes are available: 1 node(s) had untolerated taint(s).");
        check(doc!({"tolerations": [{"key": "k", "operator": "Exists"}]}), &tainted, "");
        check(
            doc!({"volumes": [{"persistentVolumeClaim": {"claimName": "c"}}]}),
            &plain,
            "0/1 nodes are available: 1 node(s) cannot be checked",
        );
        assert_eq!(message(&Wanted::default(), &[]), "no nodes available to schedule pods");
    }
}
