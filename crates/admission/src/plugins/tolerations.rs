//! DefaultTolerationSeconds: a pod that says nothing stays five minutes on a node that is not ready or not reachable.
//! TaintNodesByCondition: a new node starts with the not-ready taint. ExtendedResourceToleration (off by default): a pod
//! that asks for an extended resource tolerates the taint of that name. And the algebra of tolerations.

use std::collections::BTreeSet;

use document::{Value, doc};
use meta::Status;

use crate::{Operation, Plugin, Review};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const SECONDS: i64 = 300;

pub struct DefaultTolerationSeconds;

impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        if !review.is("", "pods") || !writes {
            return Ok(());
        }
        let Some(pod) = &mut review.object else { return Ok(()) };
        let before = pod["spec"]["tolerations"].clone();
        for taint in [NOT_READY, UNREACHABLE] {
            if !before.items().iter().any(|t| tolerates(t, taint)) {
                let toleration =
                    doc!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
                pod.entry("spec").entry("tolerations").make_list().push(toleration);
            }
        }
        Ok(())
    }
}

fn tolerates(toleration: &Value, taint: &str) -> bool {
    let (key, effect) = (toleration["key"].str(), toleration["effect"].str());
    (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
}

pub struct TaintNodesByCondition;

impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.is("", "nodes") || review.operation != Operation::Create {
            return Ok(());
        }
        let Some(node) = &mut review.object else { return Ok(()) };
        let has = |t: &Value| t["key"].str() == NOT_READY && t["effect"].str() == "NoSchedule";
        if !node["spec"]["taints"].items().iter().any(has) {
            let taint = doc!({"key": NOT_READY, "effect": "NoSchedule"});
            node.entry("spec").entry("taints").make_list().push(taint);
        }
        Ok(())
    }
}

pub struct ExtendedResourceToleration;

impl Plugin for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        if !review.is("", "pods") || !writes {
            return Ok(());
        }
        let Some(pod) = &mut review.object else { return Ok(()) };
        let spec = &pod["spec"];
        let containers = spec["containers"].items().iter().chain(spec["initContainers"].items());
        let asked = containers.flat_map(|c| c["resources"]["requests"].members()).map(|(name, _)| name);
        let resources: BTreeSet<String> =
            asked.filter(|name| api::quota::pod::is_extended_resource(name)).map(str::to_owned).collect();
        for resource in resources {
            let toleration = doc!({"key": (resource.as_str()), "operator": "Exists", "effect": "NoSchedule"});
            let list = pod.entry("spec").entry("tolerations").make_list();
            match list.iter_mut().find(|t| is_same(t, &toleration)) {
                Some(own) => *own = toleration,
                None => list.push(toleration),
            }
        }
        Ok(())
    }
}

/// The same taints, however long.
fn is_same(a: &Value, b: &Value) -> bool {
    ["key", "operator", "effect", "value"].iter().all(|field| a[*field].str() == b[*field].str())
}

/// Both lists without what others in them cover.
pub(super) fn merge(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (n, one) in all.iter().enumerate() {
        let before = merged.iter().any(|kept| covers(kept, one));
        if !before && !all[n + 1..].iter().any(|later| later != one && covers(later, one)) {
            merged.push((*one).clone());
        }
    }
    merged
}

/// Does `wide` tolerate all that `narrow` does?
pub(super) fn covers(wide: &Value, narrow: &Value) -> bool {
    if wide == narrow {
        return true;
    }
    let field = |name: &'static str| (wide[name].str(), narrow[name].str());
    let ((key, other_key), (effect, other_effect), (operator, other_operator)) =
        (field("key"), field("effect"), field("operator"));
    if key != other_key && !(key.is_empty() && operator == "Exists") {
        return false;
    }
    if effect != other_effect && !effect.is_empty() {
        return false;
    }
    let (seconds, other_seconds) = (wide["tolerationSeconds"].as_i64(), narrow["tolerationSeconds"].as_i64());
    if effect == "NoExecute" && seconds.is_some_and(|most| other_seconds.is_none_or(|n| n > most)) {
        return false;
    }
    match operator {
        "" | "Equal" => other_operator == "Equal" && wide["value"].str() == narrow["value"].str(),
        "Exists" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_toleration_covers_is_left_out() {
        let all = doc!({"key": "k", "operator": "Exists"});
        let one = doc!({"key": "k", "operator": "Exists", "effect": "NoSchedule"});
        let other = doc!({"key": "z", "operator": "Exists"});
        let check = |first: &[&Value], second: &Value, want: &[&Value]| {
            let own = |list: &[&Value]| list.iter().map(|t| (*t).clone()).collect::<Vec<_>>();
            assert_eq!(merge(&own(first), &own(&[second])), own(want));
        };
        check(&[&all], &one, &[&all]);
        check(&[&one], &all, &[&all]);
        check(&[&one, &other], &one, &[&one, &other]);
        assert!(covers(&doc!({"operator": "Exists"}), &one) && !covers(&one, &all));
    }
}
