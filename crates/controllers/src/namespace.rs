//! namespace-controller: empties a namespace that is being deleted (pods first), says in its conditions what holds it
//! up, and takes the `kubernetes` finalizer off when nothing is left.

mod conditions;

use std::sync::Arc;
use std::time::Duration;

use ::api::ResourceType;
use client::{Api, Informer, ListOptions, NAMESPACES, Resource, Scope, WorkQueue};
use document::{Object, Value};
use futures::{StreamExt, stream};
use meta::Status;

use crate::command::Command;
use crate::driver::{Outcome, Tasks, Work};
use crate::namespace::conditions::Remaining;
use crate::{Config, World};

const FINALIZER: &str = "kubernetes";
const AT_ONCE: usize = 16;
/// What waits for finalizers or pods is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

struct Namespaces {
    api: Api,
    /// All that can stand in a namespace, pods first.
    resources: Vec<Resource>,
}

pub(crate) fn start(tasks: &mut Tasks, _: &Config, world: &World) {
    // informers end with their last handle: the loop below keeps this one
    let namespaces = Informer::start(&world.reader, Scope::all(NAMESPACES), |o| o.deletion.is_some());
    let queue = WorkQueue::with_backoff(Duration::from_millis(20), Duration::from_secs(60));
    let changed = queue.clone();
    namespaces.on_change(move |change| {
        if change.new.as_ref().is_some_and(|known| known.facts) {
            changed.add(change.key.name.to_string());
        }
    });
    tasks.work(5, &queue, &Arc::new(Namespaces { api: world.api.clone(), resources: resources() }));
    tasks.spawn(async move {
        let _keep = namespaces;
        std::future::pending::<()>().await;
    });
}

impl Work<String> for Namespaces {
    const NAME: &'static str = "namespace-controller";

    async fn sync(&self, name: String) -> Outcome {
        match self.delete(&name).await {
            Err(error) if error.is_not_found() => Ok(None),
            outcome => outcome,
        }
    }
}

impl Namespaces {
    async fn delete(&self, name: &str) -> Outcome {
        let mut namespace = self.api.get(&NAMESPACES, "", name).await?;
        if namespace["metadata"]["deletionTimestamp"].is_null() || !has_finalizer(&namespace) {
            return Ok(None);
        }
        if namespace["status"]["phase"].str() != "Terminating" {
            *namespace.at_mut(["status", "phase"]) = "Terminating".into();
            namespace = self.api.update_status(&NAMESPACES, namespace).await?;
        }
        let remaining = self.empty(name).await;
        let conditions = conditions::of(&remaining);
        if conditions::update(namespace.at_mut(["status", "conditions"]), conditions) {
            namespace = self.api.update_status(&NAMESPACES, namespace).await?;
        }
        if let Some(error) = remaining.errors.into_iter().next() {
            return Err(error);
        }
        if !remaining.resources.is_empty() {
            return Ok(Some(LOOK_AGAIN));
        }
        self.api.update_subresource(&NAMESPACES, "finalize", finalized(namespace)).await?;
        Ok(None)
    }

    /// Deletes what there is and tells what is left. Nothing else goes before the pods are gone.
    async fn empty(&self, namespace: &str) -> Remaining {
        let mut remaining = Remaining::default();
        for (n, resource) in self.resources.iter().enumerate() {
            match self.empty_of(resource, namespace).await {
                Ok(left) => remaining.note(resource, &left),
                // served no more, or not to be listed
                Err(error) if error.is_not_found() || error.code == 405 => {}
                Err(error) => remaining.errors.push(error),
            }
            if n == 0 && !remaining.resources.is_empty() {
                break;
            }
        }
        remaining
    }

    async fn empty_of(&self, resource: &Resource, namespace: &str) -> Result<Vec<Arc<Object>>, Status> {
        let options = ListOptions::default();
        let found = self.api.list(resource, Some(namespace), &options).await?.items;
        let due = found.iter().filter(|o| o.deletion.is_none()).cloned().collect::<Vec<_>>();
        if due.is_empty() {
            return Ok(found);
        }
        let outcomes: Vec<_> = stream::iter(due)
            .map(|object| delete(resource, &object).perform(&self.api))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        outcomes.into_iter().collect::<Result<(), _>>()?;
        Ok(self.api.list(resource, Some(namespace), &options).await?.items)
    }
}

fn delete(resource: &Resource, object: &Object) -> Command {
    Command::Delete {
        resource: resource.clone(),
        namespace: object.key.namespace.to_string(),
        name: object.key.name.to_string(),
        uid: object.uid.to_string(),
        propagation: "Background",
    }
}

fn has_finalizer(namespace: &Value) -> bool {
    namespace["spec"]["finalizers"].items().iter().any(|f| f.str() == FINALIZER)
}

fn finalized(mut namespace: Value) -> Value {
    let left = namespace["spec"]["finalizers"].items().iter().filter(|f| f.str() != FINALIZER).cloned().collect();
    *namespace.at_mut(["spec", "finalizers"]) = Value::List(left);
    namespace
}

/// One version of everything that is stored in namespaces and can be deleted.
fn resources() -> Vec<Resource> {
    let is_ours = |row: &&'static ResourceType| {
        let stored = row.resource_id().and_then(|id| ::api::by_storage(&id));
        row.namespaced && row.allows("delete") && row.allows("list") && stored.is_some_and(|s| std::ptr::eq(s, *row))
    };
    let mut resources: Vec<Resource> = ::api::resources().iter().filter(is_ours).map(Resource::of).collect();
    resources.sort_by_key(|r| *r != client::PODS);
    resources
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn pods_come_first_and_each_storage_once() {
        let resources = resources();
        assert_eq!(resources[0], client::PODS);
        assert!(resources.contains(&client::SECRETS) && resources.contains(&client::LEASES));
        assert_eq!(resources.iter().filter(|r| r.plural == "events").count(), 1);
        assert_eq!(resources.iter().filter(|r| r.plural == "horizontalpodautoscalers").count(), 1);
        assert!(!resources.iter().any(|r| r.plural == "nodes" || r.plural == "localsubjectaccessreviews"));
    }

    #[test]
    fn other_finalizers_stay() {
        let namespace = doc!({"spec": {"finalizers": ["kubernetes", "a/b"]}});
        assert!(has_finalizer(&namespace));
        assert_eq!(finalized(namespace), doc!({"spec": {"finalizers": ["a/b"]}}));
    }
}
