//! The scheduler: gives each pod that waits a node that fits, as `system:kube-scheduler`. `fit` says why a node does
//! not, `score` which of those that do; both are pure. `state` is what is known, `cycle` does one pod.
//!
//! Not here: preemption, pod (anti-)affinity, topology spread, volumes and dynamic resources. A pod that demands one
//! of them stays pending with a message that says so.

mod affinity;
mod cycle;
mod fit;
mod node;
mod pod;
mod resources;
mod score;
mod state;

use std::sync::Arc;
use std::time::Duration;

use client::{Api, Informer, NODES, PODS, Recorder, Scope, WorkQueue};
use meta::UserInfo;
use meta::user::AUTHENTICATED;

use crate::cycle::Cycle;
use crate::node::NodeFacts;
use crate::pod::PodFacts;
use crate::state::State;

/// Whose pods are scheduled here: `spec.schedulerName`.
pub const NAME: &str = "default-scheduler";

/// A pod that does not fit is tried again when something changes, and in any case after this time.
const TRY_AGAIN: Duration = Duration::from_secs(300);

/// Who asks.
pub fn identity() -> UserInfo {
    UserInfo::new("system:kube-scheduler", [AUTHENTICATED])
}

/// Schedules until `shutdown` is ready.
pub async fn run(api: Api, shutdown: impl Future<Output = ()>) {
    let nodes = Informer::start(&api, Scope::all(NODES), |object| NodeFacts::of(&client::object::item(object)));
    let pods = Informer::start(&api, Scope::all(PODS), |object| PodFacts::of(&client::object::item(object)));
    let queue = WorkQueue::with_backoff(Duration::from_secs(1), Duration::from_secs(10));
    let state = Arc::new(State::default());
    follow(&nodes, &pods, &queue, &state);
    let recorder = Recorder::new(api.clone(), NAME, "");
    let cycle = Cycle { api, recorder, pods: pods.clone(), state };
    tokio::select! {
        () = shutdown => {}
        () = schedule(&cycle, &nodes, &pods, &queue) => {}
    }
}

/// One pod after the other: each must see where the last one went.
async fn schedule(
    cycle: &Cycle,
    nodes: &Informer<NodeFacts>,
    pods: &Informer<PodFacts>,
    queue: &WorkQueue<(String, String)>,
) {
    nodes.synced().await;
    pods.synced().await;
    while let Some(key) = queue.next().await {
        match cycle.schedule(&key.0, &key.1).await {
            Ok(cycle::Outcome::Done) => queue.forget(&key),
            Ok(cycle::Outcome::Pending) => {
                queue.forget(&key);
                queue.add_after(key.clone(), TRY_AGAIN);
            }
            Err(error) => {
                tracing::debug!(pod = ?key, "failed to schedule, will retry: {}", error.message);
                queue.retry(key.clone());
            }
        }
        queue.done(&key);
    }
}

/// Keeps the state; says which pods are to be looked at.
fn follow(
    nodes: &Informer<NodeFacts>,
    pods: &Informer<PodFacts>,
    queue: &WorkQueue<(String, String)>,
    state: &Arc<State>,
) {
    let retry_all = {
        let (state, queue) = (state.clone(), queue.clone());
        move || state.take_pending().into_iter().for_each(|key| queue.add(key))
    };
    let (of_nodes, retry) = (state.clone(), retry_all.clone());
    nodes.on_change(move |change| {
        let facts = |known: &Option<Arc<client::informer::Known<NodeFacts>>>| known.clone();
        let (old, new) = (facts(&change.old), facts(&change.new));
        of_nodes.node(&change.key.name, new.clone());
        if new.is_some_and(|new| old.is_none_or(|old| old.facts != new.facts)) {
            retry();
        }
    });
    let (of_pods, waiting) = (state.clone(), queue.clone());
    pods.on_change(move |change| {
        let freed = of_pods.pod(change.old.as_deref(), change.new.as_deref());
        let key = (change.key.namespace.to_string(), change.key.name.to_string());
        match &change.new {
            Some(new) if new.facts.waits_for(NAME) => {
                // a condition that was written here is no reason to look again
                if change.old.as_ref().is_none_or(|old| old.facts != new.facts || old.uid != new.uid) {
                    waiting.add(key);
                }
            }
            _ => of_pods.not_pending(&key),
        }
        if freed {
            retry_all();
        }
    });
}
