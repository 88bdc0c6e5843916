//! persistentvolumeclaim-protection-controller: a claim stays while a pod on a node uses it; a bound one says since when
//! no pod does (condition `Unused`). Pods are followed once there is a claim for which they matter.

use std::sync::{Arc, OnceLock};

use client::{Api, Informer, ListOptions, PERSISTENT_VOLUME_CLAIMS, PODS, Scope, WorkQueue};
use document::{Object, Value, doc};
use meta::{Key, Status, Time};

use super::{Due, add, live, remove};
use crate::command::Command;
use crate::driver::{Outcome, Tasks, Work};
use crate::{Config, World};

const FINALIZER: &str = "kubernetes.io/pvc-protection";
const UNUSED: &str = "Unused";

struct Claims {
    reader: Api,
    api: Api,
    pods: OnceLock<Informer<User>>,
    queue: WorkQueue<Key>,
}

/// What a pod means for claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct User {
    uid: String,
    /// Claims that it names.
    named: Vec<String>,
    /// Claims that are made for its ephemeral volumes, if they are its own.
    ephemeral: Vec<String>,
    scheduled: bool,
    terminated: bool,
    shut_down: bool,
}

pub(crate) fn start(tasks: &mut Tasks, _: &Config, world: &World) {
    let claims = Informer::start(&world.reader, Scope::all(PERSISTENT_VOLUME_CLAIMS), concerns);
    let queue = WorkQueue::new();
    let changed = queue.clone();
    claims.on_change(move |change| {
        if change.new.as_ref().is_some_and(|new| new.facts) {
            changed.add(change.key.clone());
        }
    });
    let work =
        Claims { reader: world.reader.clone(), api: world.api.clone(), pods: OnceLock::new(), queue: queue.clone() };
    tasks.work(5, &queue, &Arc::new(work));
    tasks.spawn(async move {
        let _claims = claims;
        std::future::pending::<()>().await;
    });
}

/// Is there anything to look after?
fn concerns(object: &Arc<Object>) -> bool {
    let claim = client::object::item(object);
    Due::of(&claim, FINALIZER) != Due::Nothing || is_bound(&claim)
}

fn is_bound(claim: &Value) -> bool {
    claim["status"]["phase"].str() == "Bound" && claim["metadata"]["deletionTimestamp"].is_null()
}

impl Work<Key> for Claims {
    const NAME: &'static str = "persistentvolumeclaim-protection-controller";

    async fn sync(&self, key: Key) -> Outcome {
        let Some(claim) = live(&self.api, &PERSISTENT_VOLUME_CLAIMS, &key.namespace, &key.name).await? else {
            return Ok(None);
        };
        if is_bound(&claim) {
            let pods = self.pods();
            pods.synced().await;
            let is_used = pods.by(&text(&key)).iter().any(|pod| pod.facts.counts(&claim));
            if let Some(command) = condition(&claim, is_used, Time::now()) {
                command.perform(&self.api).await?;
                // the finalizer comes with the change that this made
                return Ok(None);
            }
        }
        match Due::of(&claim, FINALIZER) {
            Due::Nothing => {}
            Due::Add => add(PERSISTENT_VOLUME_CLAIMS, claim, FINALIZER).perform(&self.api).await?,
            Due::Remove if self.holds(&key, &claim).await? => {}
            Due::Remove => remove(PERSISTENT_VOLUME_CLAIMS, claim, FINALIZER).perform(&self.api).await?,
        }
        Ok(None)
    }
}

impl Claims {
    /// Does a pod keep the claim? Those that are known say yes quickly; a no needs all of the namespace as they are now.
    async fn holds(&self, key: &Key, claim: &Value) -> Result<bool, Status> {
        let pods = self.pods();
        pods.synced().await;
        if pods.by(&text(key)).iter().any(|pod| pod.facts.holds(claim)) {
            return Ok(true);
        }
        let list = self.reader.list(&PODS, Some(&key.namespace), &ListOptions::default()).await?;
        Ok(list.items.iter().any(|pod| User::of(pod).holds(claim)))
    }

    fn pods(&self) -> &Informer<User> {
        self.pods.get_or_init(|| {
            let pods = Informer::start_indexed(&self.reader, Scope::all(PODS), User::of, |known| {
                let claims = known.facts.claims();
                claims.map(|claim| format!("{}/{claim}", known.key.namespace)).collect()
            });
            let queue = self.queue.clone();
            pods.on_change(move |change| {
                let (old, new) = (change.old.as_ref().map(|o| &o.facts), change.new.as_ref().map(|n| &n.facts));
                if old != new {
                    for claim in old.into_iter().chain(new).flat_map(User::claims) {
                        let resource = PERSISTENT_VOLUME_CLAIMS.id();
                        queue.add(Key::new(resource, &change.key.namespace, claim));
                    }
                }
            });
            pods
        })
    }
}

fn text(key: &Key) -> String {
    format!("{}/{}", key.namespace, key.name)
}

impl User {
    fn of(object: &Arc<Object>) -> User {
        let pod = client::object::item(object);
        let volumes = pod["spec"]["volumes"].items();
        let named = volumes.iter().filter_map(|v| v["persistentVolumeClaim"]["claimName"].as_str()).map(str::to_owned);
        let own = volumes.iter().filter(|v| v.get("ephemeral").is_some());
        let ephemeral = own.map(|v| format!("{}-{}", object.key.name, v["name"].str())).collect::<Vec<_>>();
        let named: Vec<String> = named.collect();
        if named.is_empty() && ephemeral.is_empty() {
            return User::default();
        }
        let (metadata, status) = (&pod["metadata"], &pod["status"]);
        let deleting = !metadata["deletionTimestamp"].is_null();
        let running = |c: &Value| c["state"].get("terminated").is_none() && c["state"].get("waiting").is_none();
        let stopped = !status["containerStatuses"].items().iter().any(running);
        User {
            uid: metadata["uid"].str().to_owned(),
            named,
            ephemeral,
            scheduled: !pod["spec"]["nodeName"].str().is_empty(),
            terminated: matches!(status["phase"].str(), "Failed" | "Succeeded") || (deleting && stopped),
            shut_down: deleting && metadata["deletionGracePeriodSeconds"].as_i64() == Some(0),
        }
    }

    fn claims(&self) -> impl Iterator<Item = &str> {
        self.named.iter().chain(&self.ephemeral).map(String::as_str)
    }

    fn has_made(&self, claim: &Value) -> bool {
        let name = claim["metadata"]["name"].str();
        let mut owners = claim["metadata"]["ownerReferences"].items().iter();
        self.ephemeral.iter().any(|made| made == name)
            && owners.any(|o| o["controller"].is_true() && o["uid"].str() == self.uid)
    }

    fn names(&self, claim: &Value) -> bool {
        self.named.iter().any(|name| name == claim["metadata"]["name"].str())
    }

    /// Keeps a claim that is to go: only a pod that is on a node can use it.
    fn holds(&self, claim: &Value) -> bool {
        self.scheduled && (self.names(claim) || (!self.shut_down && self.has_made(claim)))
    }

    /// Counts as a use that the condition speaks of.
    fn counts(&self, claim: &Value) -> bool {
        !self.terminated && (self.names(claim) || self.has_made(claim))
    }
}

/// The condition `Unused`, if it says something else.
fn condition(claim: &Value, is_used: bool, now: Time) -> Option<Command> {
    let (status, reason, message) = match is_used {
        true => ("False", "PodUsingPVC", "A pod is currently referencing this PVC"),
        false => ("True", "NoPodsUsingPVC", "No pods are currently referencing this PVC"),
    };
    let conditions = claim["status"]["conditions"].items();
    let said = conditions.iter().find(|c| c["type"].str() == UNUSED).map(|c| c["status"].str() == "True");
    if said == Some(!is_used) {
        return None;
    }
    let new = doc!({
        "type": UNUSED,
        "status": status,
        "lastTransitionTime": (now.to_string()),
        "reason": reason,
        "message": message
    });
    let mut object = claim.clone();
    let conditions = object.entry("status").entry("conditions").make_list();
    match conditions.iter_mut().find(|c| c["type"].str() == UNUSED) {
        Some(old) => *old = new,
        None => conditions.push(new),
    }
    Some(Command::Update { resource: PERSISTENT_VOLUME_CLAIMS, subresource: "status", object })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pod_on_a_node_keeps_a_claim() {
        let claim = doc!({"metadata": {"name": "c"}});
        let user = |scheduled| User { named: vec!["c".into()], scheduled, ..User::default() };
        assert!(user(true).holds(&claim) && !user(false).holds(&claim) && user(false).counts(&claim));
        let own = doc!({"metadata": {"name": "p-v", "ownerReferences": [{"controller": true, "uid": "u"}]}});
        let maker = |uid: &str, shut_down| User {
            uid: uid.into(),
            ephemeral: vec!["p-v".into()],
            scheduled: true,
            shut_down,
            ..User::default()
        };
        assert!(maker("u", false).holds(&own) && !maker("u", true).holds(&own) && !maker("other", false).holds(&own));
    }

    #[test]
    fn the_condition_changes_with_its_users() {
        let claim = |status: &str| doc!({"status": {"conditions": [{"type": "Unused", "status": status}]}});
        let said = |claim: Value, is_used| condition(&claim, is_used, Time(0)).is_some();
        assert!(said(doc!({}), true) && said(doc!({}), false));
        assert!(!said(claim("True"), false) && said(claim("True"), true));
        assert!(!said(claim("False"), true) && said(claim("False"), false));
    }
}
