//! DefaultTolerationSeconds: a pod that says nothing stays five minutes on a node that is not ready or not reachable.
//! TaintNodesByCondition: a new node starts with the not-ready taint.

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
