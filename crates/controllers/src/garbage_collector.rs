//! garbage-collector-controller: deletes what no owner is left of, and carries out foreground and orphan deletion.
//!
//! One informer per resource feeds a graph of who owns whom (`graph`); what may be due is checked against the live
//! object, since the graph lags. Not seen: custom resources (their kinds are unknown here, so an owner of such a kind
//! counts as alive), Events (never collected).

mod graph;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use ::api::ResourceType;
use client::{Api, Informer, Resource, Scope, WorkQueue};
use document::{Object, Value};
use meta::{GroupVersion, Status};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::driver::{Outcome, Tasks, Work};
use crate::garbage_collector::graph::{Due, Facts, Graph, Node, Uid};
use crate::garbage_collector::plan::{Finding, Live};
use crate::{Config, World};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    Check(Uid),
    Orphan(Uid),
}

struct Collector {
    api: Api,
    resources: Vec<Resource>,
    graph: Arc<Mutex<Graph>>,
    queue: WorkQueue<Task>,
    synced: watch::Receiver<bool>,
}

pub(crate) fn start(tasks: &mut Tasks, _: &Config, world: &World) {
    let resources = resources();
    let graph = Arc::new(Mutex::new(Graph::default()));
    let queue = WorkQueue::new();
    let informers: Vec<_> =
        resources.iter().enumerate().map(|(n, resource)| follow(&world.reader, n, resource, &graph, &queue)).collect();
    let (all, synced) = watch::channel(false);
    tasks.spawn(async move {
        for informer in &informers {
            informer.synced().await;
        }
        all.send_replace(true);
        std::future::pending::<()>().await;
    });
    let collector = Collector { api: world.api.clone(), resources, graph, queue: queue.clone(), synced };
    tasks.work(8, &queue, &Arc::new(collector));
}

fn follow(
    reader: &Api,
    resource_number: usize,
    resource: &Resource,
    graph: &Arc<Mutex<Graph>>,
    queue: &WorkQueue<Task>,
) -> Informer<Facts> {
    let informer = Informer::start(reader, Scope::all(resource.clone()), facts);
    let (graph, queue) = (graph.clone(), queue.clone());
    informer.on_change(move |change| {
        let due = {
            let mut graph = graph.lock();
            // the same name may be another object now
            let replaced = change.old.as_ref().filter(|old| change.new.as_ref().is_none_or(|new| new.uid != old.uid));
            let mut due = replaced.map(|old| graph.remove(&old.uid)).unwrap_or_default();
            if let Some(new) = &change.new {
                due.extend(graph.put(Node { resource: resource_number, known: new.clone() }));
            }
            due
        };
        enqueue(&queue, due);
    });
    informer
}

fn enqueue(queue: &WorkQueue<Task>, due: Due) {
    due.check.into_iter().for_each(|uid| queue.add(Task::Check(uid)));
    due.orphan.into_iter().for_each(|uid| queue.add(Task::Orphan(uid)));
}

fn facts(object: &Arc<Object>) -> Facts {
    let mut facts = Facts { owners: object.owners.clone(), deleting: object.deletion.is_some(), ..Facts::default() };
    if object.has_finalizers {
        let item = client::object::item(object);
        let finalizers = item["metadata"]["finalizers"].items();
        facts.foreground = finalizers.iter().any(|f| f.str() == FOREGROUND);
        facts.orphan = finalizers.iter().any(|f| f.str() == ORPHAN);
    }
    facts
}

impl Work<Task> for Collector {
    const NAME: &'static str = "garbage-collector-controller";

    async fn sync(&self, task: Task) -> Outcome {
        // the sender lives as long as the informers
        let _ = self.synced.clone().wait_for(|synced| *synced).await;
        match task {
            Task::Check(uid) => self.check(&uid).await?,
            Task::Orphan(uid) => self.orphan(&uid).await?,
        }
        Ok(None)
    }
}

impl Collector {
    async fn check(&self, uid: &Uid) -> Result<(), Status> {
        let Some(node) = self.graph.lock().get(uid).cloned() else { return Ok(()) };
        let facts = &node.known.facts;
        if facts.deleting && facts.foreground {
            return self.check_foreground(&node).await;
        }
        if facts.deleting || facts.owners.is_empty() {
            return Ok(());
        }
        let Some(live) = self.live(&node).await? else { return Ok(()) };
        let mut findings = HashMap::new();
        for reference in live.owners() {
            findings.insert(reference["uid"].str().to_owned(), self.find(&node, reference).await?);
        }
        let dependents = self.graph.lock().dependents(uid);
        let has_foreground_dependent = dependents.iter().any(|d| d.known.facts.deleting && d.known.facts.foreground);
        for command in plan::collect(&live, &findings, !dependents.is_empty(), has_foreground_dependent) {
            command.perform(&self.api).await?;
        }
        Ok(())
    }

    /// An owner that waits for those that block it.
    async fn check_foreground(&self, node: &Node) -> Result<(), Status> {
        let uid = &node.known.uid;
        let blocking = self.graph.lock().blocking(uid);
        if blocking.is_empty() {
            return self.take_off(node, FOREGROUND).await;
        }
        for dependent in blocking.iter().filter(|d| !d.known.facts.deleting) {
            self.queue.add(Task::Check(dependent.known.uid.clone()));
        }
        Ok(())
    }

    async fn orphan(&self, uid: &Uid) -> Result<(), Status> {
        let (node, dependents) = {
            let graph = self.graph.lock();
            (graph.get(uid).cloned(), graph.dependents(uid))
        };
        let Some(node) = node.filter(|n| n.known.facts.orphan && n.known.facts.deleting) else { return Ok(()) };
        for dependent in dependents {
            let Some(live) = self.live(&dependent).await? else { continue };
            if let Some(command) = plan::disown(&live, |reference| reference["uid"].str() == &**uid) {
                command.perform(&self.api).await?;
            }
        }
        self.take_off(&node, ORPHAN).await
    }

    async fn take_off(&self, node: &Node, finalizer: &str) -> Result<(), Status> {
        let Some(live) = self.live(node).await? else { return Ok(()) };
        match plan::take_off(&live, finalizer) {
            Some(command) => command.perform(&self.api).await,
            None => Ok(()),
        }
    }

    /// The object as it is now; `None` when it is gone or another has its name.
    async fn live(&self, node: &Node) -> Result<Option<Live>, Status> {
        let Some(resource) = self.resources.get(node.resource) else { return Ok(None) };
        let key = &node.known.key;
        let object = self.get(resource, &key.namespace, &key.name).await?;
        let object = object.filter(|o| o["metadata"]["uid"].str() == &*node.known.uid);
        Ok(object.map(|object| Live { resource: resource.clone(), object }))
    }

    /// Is an owner alive?
    async fn find(&self, node: &Node, reference: &Value) -> Result<Finding, Status> {
        let Some(group_version) = GroupVersion::parse(reference["apiVersion"].str()) else { return Ok(Finding::Solid) };
        let gvk = group_version.with_kind(reference["kind"].str());
        let Some(resource) = ::api::by_kind(&gvk).map(Resource::of) else { return Ok(Finding::Solid) };
        let namespace = if resource.namespaced { &*node.known.key.namespace } else { "" };
        if resource.namespaced && namespace.is_empty() {
            // no such owner can be, but upstream keeps the object too
            return Ok(Finding::Solid);
        }
        let (name, uid) = (reference["name"].str(), reference["uid"].str());
        if let Some(owner) = self.graph.lock().get(uid)
            && (&*owner.known.key.namespace, &*owner.known.key.name) == (namespace, name)
            && owner.known.key.resource == resource.id()
        {
            return Ok(finding(owner.known.facts.deleting && owner.known.facts.foreground));
        }
        let owner = self.get(&resource, namespace, name).await?;
        Ok(owner.filter(|o| o["metadata"]["uid"].str() == uid).map_or(Finding::Absent, |owner| {
            let metadata = &owner["metadata"];
            let foreground = metadata["finalizers"].items().iter().any(|f| f.str() == FOREGROUND);
            finding(foreground && !metadata["deletionTimestamp"].is_null())
        }))
    }

    async fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Option<Value>, Status> {
        match self.api.get(resource, namespace, name).await {
            Err(error) if error.is_not_found() => Ok(None),
            outcome => outcome.map(Some),
        }
    }
}

fn finding(waits: bool) -> Finding {
    if waits { Finding::Waiting } else { Finding::Solid }
}

/// One version of everything that can be listed and deleted, without Events.
fn resources() -> Vec<Resource> {
    let is_ours = |row: &&'static ResourceType| {
        let stored = row.resource_id().and_then(|id| ::api::by_storage(&id));
        let verbs = ["delete", "list", "watch"].iter().all(|verb| row.allows(verb));
        verbs && row.plural != "events" && stored.is_some_and(|s| std::ptr::eq(s, *row))
    };
    ::api::resources().iter().filter(is_ours).map(Resource::of).collect()
}
