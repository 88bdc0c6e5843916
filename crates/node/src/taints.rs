//! Upstream's node lifecycle controller, as far as one needs it: the not-ready taint that admission puts on a new node
//! follows the node's Ready condition. A node may not touch its own taints, so this loop runs beside the controllers,
//! under the identity `system:serviceaccount:kube-system:node-controller`.

use std::sync::Arc;

use client::{Api, Informer, NODES, Scope, object};
use document::{Object, Value, doc};
use meta::Status;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Works until told to stop.
pub async fn run(api: Api, shutdown: CancellationToken) {
    let (sender, mut changed) = mpsc::unbounded_channel();
    let nodes: Informer<Arc<Object>> = Informer::start(&api, Scope::all(NODES), Arc::clone);
    nodes.on_change(move |change| {
        if let Some(new) = &change.new {
            let _ = sender.send(new.facts.clone());
        }
    });
    loop {
        let object = tokio::select! {
            Some(object) = changed.recv() => object,
            () = shutdown.cancelled() => return,
        };
        let node = object::value(&object, &NODES);
        if let Some(taints) = wanted(&node)
            && let Err(error) = write(&api, node, taints).await
            && !error.is_not_found()
            && !error.is_conflict()
        {
            tracing::warn!(node = &*object.key.name, "failed to write a node's taints: {}", error.message);
        }
    }
}

async fn write(api: &Api, mut node: Value, taints: Vec<Value>) -> Result<(), Status> {
    let name = node["metadata"]["name"].str().to_owned();
    for _ in 0..5 {
        *node.at_mut(["spec", "taints"]) = if taints.is_empty() { Value::Null } else { taints.clone().into() };
        match api.update(&NODES, node).await {
            Err(error) if error.is_conflict() => {
                node = api.get(&NODES, "", &name).await?;
                match wanted(&node) {
                    Some(again) if again == taints => {}
                    // the informer brings the newer node
                    _ => return Ok(()),
                }
            }
            outcome => return outcome.map(drop),
        }
    }
    Ok(())
}

/// The taints as they should be; `None` when they are.
fn wanted(node: &Value) -> Option<Vec<Value>> {
    let conditions = node["status"]["conditions"].items();
    let ready = conditions.iter().find(|c| c["type"].str() == "Ready").map(|c| c["status"].str().to_owned());
    let effects: &[(&str, &str)] = match ready.as_deref() {
        Some("True") => &[],
        Some("Unknown") => &[(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")],
        Some(_) => &[(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")],
        None => &[(NOT_READY, "NoSchedule")],
    };
    let now = node["spec"]["taints"].items();
    let is_ours = |t: &&Value| [NOT_READY, UNREACHABLE].contains(&t["key"].str());
    let is_wanted =
        |t: &Value| effects.iter().any(|(key, effect)| t["key"].str() == *key && t["effect"].str() == *effect);
    let mut taints: Vec<Value> = now.iter().filter(|t| !is_ours(t) || is_wanted(t)).cloned().collect();
    for (key, effect) in effects {
        if !taints.iter().any(|t| t["key"].str() == *key && t["effect"].str() == *effect) {
            let mut taint = doc!({"key": (*key), "effect": (*effect)});
            if *effect == "NoExecute" {
                taint.set("timeAdded", meta::Time::now().to_string());
            }
            taints.push(taint);
        }
    }
    (taints.len() != now.len() || !now.iter().all(|t| taints.contains(t))).then_some(taints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_follow_the_ready_condition() {
        let check = |ready: &str, taints: Vec<Value>, want: Option<Vec<&str>>| {
            let node =
                doc!({"spec": {"taints": (taints)}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            let got = wanted(&node)
                .map(|all| all.iter().map(|t| format!("{}:{}", t["key"].str(), t["effect"].str())).collect::<Vec<_>>());
            assert_eq!(got, want.map(|w| w.into_iter().map(String::from).collect()), "{ready}");
        };
        let not_ready = doc!({"key": NOT_READY, "effect": "NoSchedule"});
        let own = doc!({"key": "own", "effect": "NoSchedule"});
        check("True", vec![not_ready.clone(), own.clone()], Some(vec!["own:NoSchedule"]));
        check("True", vec![own], None);
        check(
            "False",
            vec![not_ready],
            Some(vec!["node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"]),
        );
    }
}
