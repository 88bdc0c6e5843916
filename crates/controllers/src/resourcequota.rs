//! resourcequota-controller: a quota's status says what its spec limits and what is used. Admission charges what is
//! made; this counts anew when a quota changes, when something goes or shrinks, and every five minutes.
//!
//! What is counted is listed *after* the quota was read, and the status is written to just that quota: a charge in
//! between makes the write lose, so no charge is ever forgotten. Informers only say when to count, and remember what
//! each object costs; one per resource, started when the first quota names it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ::api::quota::{self, Amounts, DeviceClasses, Evaluator, Measure};
use client::{Api, DEVICE_CLASSES, Informer, ListOptions, RESOURCE_QUOTAS, Resource, Scope, WorkQueue};
use document::{Object, Value, doc};
use meta::{Key, Quantity, Status, Time, quantity::Format};
use parking_lot::Mutex;

use crate::command::Command;
use crate::driver::{Outcome, Tasks, Work};
use crate::{Config, World};

/// `--resource-quota-sync-period`
const RESYNC: Duration = Duration::from_secs(300);
/// `--concurrent-resource-quota-syncs`
const WORKERS: usize = 5;

struct Quotas {
    reader: Api,
    api: Api,
    /// `spec.hard`
    quotas: Informer<Value>,
    counted: Vec<Counted>,
    /// By place in `counted`.
    monitors: Mutex<HashMap<usize, Informer<Option<Measure>>>>,
    queue: WorkQueue<Key>,
}

/// A resource that quotas may count.
#[derive(Clone)]
struct Counted {
    resource: Resource,
    evaluator: Evaluator,
}

pub(crate) fn start(tasks: &mut Tasks, _: &Config, world: &World) {
    let quotas = Informer::start(&world.reader, Scope::all(RESOURCE_QUOTAS), |object| {
        client::object::item(object)["spec"]["hard"].clone()
    });
    let queue = WorkQueue::new();
    let changed = queue.clone();
    quotas.on_change(move |change| {
        let Some(new) = &change.new else { return };
        // a status that somebody else wrote stays until something is counted
        if change.old.as_ref().is_none_or(|old| old.facts != new.facts || old.uid != new.uid) {
            changed.add(change.key.clone());
        }
    });
    let (all, again) = (quotas.clone(), queue.clone());
    tasks.spawn(async move {
        loop {
            tokio::time::sleep(RESYNC).await;
            all.list().iter().for_each(|quota| again.add(quota.key.clone()));
        }
    });
    let work = Quotas {
        reader: world.reader.clone(),
        api: world.api.clone(),
        quotas,
        counted: counted(),
        monitors: Mutex::default(),
        queue: queue.clone(),
    };
    tasks.work(WORKERS, &queue, &Arc::new(work));
}

/// One version of everything in namespaces that can be made, listed and deleted.
fn counted() -> Vec<Counted> {
    let stored = |row: &&'static ::api::ResourceType| {
        row.resource_id().and_then(|id| ::api::by_storage(&id)).is_some_and(|stored| std::ptr::eq(stored, *row))
    };
    let verbs = ["create", "delete", "list", "watch"];
    let rows = ::api::resources().iter().filter(|r| r.namespaced && verbs.iter().all(|v| r.allows(v)));
    rows.filter(stored)
        .filter_map(|row| {
            Some(Counted { resource: Resource::of(row), evaluator: Evaluator::of(row.group, row.plural)? })
        })
        .collect()
}

impl Work<Key> for Quotas {
    const NAME: &'static str = "resourcequota-controller";

    async fn sync(&self, key: Key) -> Outcome {
        let one = ListOptions { fields: format!("metadata.name={}", key.name), ..ListOptions::default() };
        let found = self.reader.list(&RESOURCE_QUOTAS, Some(&key.namespace), &one).await?;
        let Some(object) = found.items.first() else { return Ok(None) };
        let quota = client::object::value(object, &RESOURCE_QUOTAS);
        let usage = self.usage(&key.namespace, &quota["spec"]).await?;
        if let Some(command) = plan(quota, usage) {
            command.perform(&self.api).await?;
        }
        Ok(None)
    }
}

impl Quotas {
    /// What is used of everything that the quota names and that can be counted.
    async fn usage(&self, namespace: &str, spec: &Value) -> Result<Amounts, Status> {
        let names: Vec<&str> = spec["hard"].members().map(|(name, _)| name).collect();
        let classes = self.classes(&names).await?;
        let mut used = Amounts::new();
        for (n, counted) in self.counted.iter().enumerate() {
            let tracked: BTreeSet<&str> =
                names.iter().copied().filter(|name| counted.evaluator.tracks(name, &classes)).collect();
            if !tracked.is_empty() {
                let sum = self.sum(n, counted, namespace, spec, &classes).await?;
                for name in tracked {
                    let zero = || Quantity::new(0, Format::DecimalSi);
                    let total = used.entry(name.to_owned().into()).or_insert_with(zero);
                    *total = sum.get(name).map_or_else(|| total.clone(), |more| total.add(more));
                }
            }
        }
        Ok(used)
    }

    async fn sum(
        &self,
        n: usize,
        counted: &Counted,
        namespace: &str,
        spec: &Value,
        classes: &DeviceClasses,
    ) -> Result<Amounts, Status> {
        let monitor = self.monitor(n, counted);
        monitor.synced().await;
        let list = self.reader.list(&counted.resource, Some(namespace), &ListOptions::default()).await?;
        let (mut sum, now) = (Amounts::new(), Time::now());
        for object in &list.items {
            let known = monitor.get_key(&object.key).filter(|known| known.revision == object.revision);
            let fresh = || counted.evaluator.measure(&client::object::item(object), classes);
            match known.as_ref().and_then(|known| known.facts.as_ref()) {
                Some(measure) => add(&mut sum, measure, spec, now),
                None => add(&mut sum, &fresh(), spec, now),
            }
        }
        Ok(sum)
    }

    async fn classes(&self, names: &[&str]) -> Result<DeviceClasses, Status> {
        if !names.iter().any(|name| name.starts_with("requests.") && name.contains('/')) {
            return Ok(DeviceClasses::default());
        }
        let list = self.reader.list(&DEVICE_CLASSES, None, &ListOptions::default()).await?;
        Ok(DeviceClasses::of(list.items.iter().map(|class| client::object::item(class))))
    }

    /// Tells when something went or costs something else.
    fn monitor(&self, n: usize, counted: &Counted) -> Informer<Option<Measure>> {
        let mut monitors = self.monitors.lock();
        if let Some(monitor) = monitors.get(&n) {
            return monitor.clone();
        }
        let evaluator = counted.evaluator.clone();
        let measure = move |object: &Arc<Object>| {
            let whole = !evaluator.needs_classes();
            whole.then(|| evaluator.measure(&client::object::item(object), &DeviceClasses::default()))
        };
        let monitor = Informer::start(&self.reader, Scope::all(counted.resource.clone()), measure);
        let (quotas, queue, evaluator) = (self.quotas.clone(), self.queue.clone(), counted.evaluator.clone());
        monitor.on_change(move |change| {
            let Some(old) = &change.old else { return };
            let same = |new: &Arc<client::informer::Known<Option<Measure>>>| {
                new.uid == old.uid && new.facts.is_some() && new.facts == old.facts
            };
            if change.new.as_ref().is_some_and(same) {
                return;
            }
            for quota in quotas.list_in(&change.key.namespace) {
                let mut names = quota.facts.members().map(|(name, _)| name);
                if evaluator.needs_classes() || names.any(|name| evaluator.tracks(name, &DeviceClasses::default())) {
                    queue.add(quota.key.clone());
                }
            }
        });
        monitors.insert(n, monitor.clone());
        monitor
    }
}

fn add(sum: &mut Amounts, measure: &Measure, spec: &Value, now: Time) {
    if measure.is_in_scopes(spec) {
        quota::add(sum, measure.usage(now));
    }
}

/// The status that is due, if it is another one. What nobody can count stays as it was.
fn plan(mut quota: Value, counted: Amounts) -> Option<Command> {
    let hard = quota::amounts(&quota["spec"]["hard"]);
    let before = quota::amounts(&quota["status"]["used"]);
    let mut used = before.clone();
    used.extend(counted);
    used.retain(|name, _| hard.contains_key(name));
    let same = |a: &Amounts, b: &Amounts| {
        a.len() == b.len() && a.iter().all(|(name, amount)| b.get(name).is_some_and(|other| other.nano == amount.nano))
    };
    let status = &quota["status"];
    let settled =
        same(&hard, &quota::amounts(&status["hard"])) && !status["hard"].is_null() && !status["used"].is_null();
    if settled && same(&used, &before) {
        return None;
    }
    let status = doc!({"hard": (quota["spec"]["hard"].clone()), "used": (quota::to_value(&used))});
    quota.set("status", status);
    Some(Command::Update { resource: RESOURCE_QUOTAS, subresource: "status", object: quota })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(list: &Value) -> Amounts {
        quota::amounts(list)
    }

    #[test]
    fn the_status_is_written_when_it_says_something_else() {
        let quota = |status: Value| doc!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "2", "odd": "1"}}, "status": status});
        let check = |status: Value, counted: Value, want: Option<Value>| {
            let status = plan(quota(status), amounts(&counted)).map(|command| match command {
                Command::Update { object, subresource: "status", .. } => object["status"].clone(),
                other => panic!("{other:?}"),
            });
            assert_eq!(status, want);
        };
        let hard = || doc!({"pods": "2", "odd": "1"});
        check(doc!({}), doc!({"pods": "0"}), Some(doc!({"hard": (hard()), "used": {"pods": "0"}})));
        check(doc!({"hard": (hard()), "used": {"pods": "1"}}), doc!({"pods": "1"}), None);
        check(
            doc!({"hard": (hard()), "used": {"pods": "1", "odd": "7"}}),
            doc!({"pods": "0"}),
            Some(doc!({"hard": (hard()), "used": {"odd": "7", "pods": "0"}})),
        );
        check(
            doc!({"hard": {"pods": "1"}, "used": {"pods": "1"}}),
            doc!({"pods": "1"}),
            Some(doc!({"hard": (hard()), "used": {"pods": "1"}})),
        );
    }

    #[test]
    fn everything_in_namespaces_is_counted_but_events_and_reviews() {
        let counted = counted();
        let has = |plural: &str| counted.iter().any(|c| c.resource.plural == plural);
        assert!(has("pods") && has("roles") && has("deployments") && has("resourceclaims"));
        assert!(!has("events") && !has("localsubjectaccessreviews") && !has("namespaces") && !has("bindings"));
    }
}
