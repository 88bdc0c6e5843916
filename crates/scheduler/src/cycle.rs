//! One pod: find a node, bind it; or say why not.

use std::sync::Arc;

use client::events::Reference;
use client::{Api, Informer, PODS, PatchKind, Recorder};
use document::{Value, doc};
use meta::{Status, Time};

use crate::NAME;
use crate::pod::{PodFacts, Wanted};
use crate::state::State;

pub(crate) struct Cycle {
    pub(crate) api: Api,
    pub(crate) recorder: Recorder,
    pub(crate) pods: Informer<PodFacts>,
    pub(crate) state: Arc<State>,
}

pub(crate) enum Outcome {
    /// Bound, or not to be scheduled any more.
    Done,
    /// Nothing fits now.
    Pending,
}

impl Cycle {
    pub(crate) async fn schedule(&self, namespace: &str, name: &str) -> Result<Outcome, Status> {
        let known = self.pods.get(namespace, name).filter(|known| known.facts.waits_for(NAME));
        if known.is_none() {
            return Ok(Outcome::Done);
        }
        let pod = match self.api.get(&PODS, namespace, name).await {
            Err(error) if error.is_not_found() => return Ok(Outcome::Done),
            outcome => outcome?,
        };
        if !PodFacts::of(&pod).waits_for(NAME) {
            return Ok(Outcome::Done);
        }
        let uid = pod["metadata"]["uid"].str();
        // before looking: what changes meanwhile brings it back
        self.state.pending((namespace.to_owned(), name.to_owned()));
        match self.state.assume(uid, &Wanted::of(&pod["spec"])) {
            Ok(node) => {
                self.state.not_pending(&(namespace.to_owned(), name.to_owned()));
                self.bind(&pod, &node).await
            }
            Err(message) => {
                let about = Reference::to(&PODS, &pod);
                self.recorder.warning(&about, "FailedScheduling", &*message);
                self.say_unschedulable(&pod, &message).await?;
                Ok(Outcome::Pending)
            }
        }
    }

    async fn bind(&self, pod: &Value, node: &str) -> Result<Outcome, Status> {
        let metadata = &pod["metadata"];
        let (namespace, name, uid) = (metadata["namespace"].str(), metadata["name"].str(), metadata["uid"].str());
        let binding = doc!({
            "kind": "Binding",
            "apiVersion": "v1",
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
            "target": {"kind": "Node", "name": node}
        });
        match self.api.create_subresource(&PODS, namespace, name, "binding", binding).await {
            Ok(_) => {
                let about = Reference::to(&PODS, pod);
                self.recorder.normal(
                    &about,
                    "Scheduled",
                    format!("Successfully assigned {namespace}/{name} to {node}"),
                );
                Ok(Outcome::Done)
            }
            Err(error) => {
                self.state.forget(uid);
                if error.is_not_found() { Ok(Outcome::Done) } else { Err(error) }
            }
        }
    }

    async fn say_unschedulable(&self, pod: &Value, message: &str) -> Result<(), Status> {
        let Some(patch) = unschedulable(pod, message) else { return Ok(()) };
        let metadata = &pod["metadata"];
        let (namespace, name) = (metadata["namespace"].str(), metadata["name"].str());
        match self.api.patch(&PODS, namespace, name, "status", PatchKind::Strategic, patch).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

/// `None`: the condition says so already.
fn unschedulable(pod: &Value, message: &str) -> Option<Value> {
    let conditions = pod["status"]["conditions"].items();
    let old = conditions.iter().find(|c| c["type"].str() == "PodScheduled");
    let is = |member: &str, text: &str| old.is_some_and(|c| c[member].str() == text);
    let generation = &pod["metadata"]["generation"];
    let observed = old.map_or(&Value::Null, |c| &c["observedGeneration"]);
    if is("status", "False") && is("reason", "Unschedulable") && is("message", message) && observed == generation {
        return None;
    }
    let since = old.filter(|c| c["status"].str() == "False").map(|c| c["lastTransitionTime"].str().to_owned());
    let mut condition = doc!({
        "type": "PodScheduled",
        "status": "False",
        "lastProbeTime": null,
        "lastTransitionTime": (since.unwrap_or_else(|| Time::now().to_string())),
        "reason": "Unschedulable",
        "message": message
    });
    if !generation.is_null() {
        condition.set("observedGeneration", generation.clone());
    }
    Some(doc!({"metadata": {"uid": (pod["metadata"]["uid"].clone())}, "status": {"conditions": [(condition)]}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_is_written_when_it_says_something_new() {
        let mut pod = doc!({"metadata": {"name": "p", "uid": "u", "generation": 1}});
        let patch = unschedulable(&pod, "m").unwrap();
        let condition = patch["status"]["conditions"][0].clone();
        assert_eq!((condition["reason"].str(), condition["observedGeneration"].as_i64()), ("Unschedulable", Some(1)));
        *pod.at_mut(["status", "conditions"]) = Value::list([condition]);
        assert_eq!(unschedulable(&pod, "m"), None);
        assert!(unschedulable(&pod, "n").is_some());
    }
}
