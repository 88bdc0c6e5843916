//! ResourceQuota: a write that would pass a limit of its namespace is refused; one that fits is charged in the same
//! transaction. What objects cost is `api::quota`; counting again after a deletion is the controller's.

use std::collections::BTreeSet;

use api::quota::{self, Amounts, Change, DeviceClasses, Evaluator, Measure};
use document::Value;
use meta::{Key, ResourceId, Status, Time};

use crate::review::Companion;
use crate::{Operation, Plugin, Review};

const QUOTAS: &str = "resourcequotas";

pub struct ResourceQuota;

impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if review.namespace.is_empty() || !review.world.has_any(QUOTAS, Some(review.namespace)) {
            return Ok(());
        }
        let Some(evaluator) = evaluator(review) else { return Ok(()) };
        let quotas = review.world.all(QUOTAS, Some(review.namespace));
        let request = Request::of(review, &evaluator);
        let interesting = request.interesting(review, &quotas)?;
        request.refuse_negative(review)?;
        let mut companions = Vec::new();
        for quota in interesting {
            companions.extend(request.charge(review, quota)?);
        }
        if !review.dry_run {
            review.companions.append(&mut companions);
        }
        Ok(())
    }
}

/// `None`: this write costs nothing.
fn evaluator(review: &Review<'_>) -> Option<Evaluator> {
    if review.is_any("", "namespaces") {
        return None;
    }
    let evaluator = Evaluator::of(review.resource.group, review.resource.plural)?;
    let change = match review.operation {
        Operation::Create => Change::Create,
        Operation::Update => Change::Update { old: review.old_object() },
        Operation::Delete | Operation::Connect => return None,
    };
    evaluator.handles(change, review.subresource, review.new_object()).then_some(evaluator)
}

/// One write and what it costs.
struct Request<'a> {
    evaluator: &'a Evaluator,
    classes: DeviceClasses,
    new: Measure,
    /// On update.
    old: Option<Measure>,
    now: Time,
}

impl<'a> Request<'a> {
    fn of(review: &Review<'_>, evaluator: &'a Evaluator) -> Self {
        let classes = match evaluator.needs_classes() {
            true => DeviceClasses::of(review.world.all("deviceclasses.resource.k8s.io", None)),
            false => DeviceClasses::default(),
        };
        let new = evaluator.measure(review.new_object(), &classes);
        let old = review.old.as_ref().map(|old| evaluator.measure(old, &classes));
        Request { evaluator, classes, new, old, now: Time::now() }
    }

    /// The quotas that count this object. Each must be able to.
    fn interesting<'q>(&self, review: &Review<'_>, quotas: &'q [Value]) -> Result<Vec<&'q Value>, Status> {
        let mut interesting = Vec::new();
        for quota in quotas {
            let names = self.counted(quota);
            if names.is_empty() || !self.new.is_in_scopes(&quota["spec"]) {
                continue;
            }
            let name = quota["metadata"]["name"].str();
            if let Some(why) = self.evaluator.constraint(&names, review.new_object()) {
                return Err(review.forbidden(&format!("failed quota: {name}: {why}")));
            }
            if names.iter().any(|n| quota["status"]["used"].get(n).is_none()) {
                let names = names.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",");
                return Err(review.forbidden(&format!("status unknown for quota: {name}, resources: {names}")));
            }
            interesting.push(quota);
        }
        Ok(interesting)
    }

    fn counted<'q>(&self, quota: &'q Value) -> Vec<&'q str> {
        let names = quota["status"]["hard"].members().map(|(name, _)| name);
        names.filter(|name| self.evaluator.tracks(name, &self.classes)).collect()
    }

    fn refuse_negative(&self, review: &Review<'_>) -> Result<(), Status> {
        let usage = self.new.usage(self.now);
        let negative: Vec<&str> = usage.iter().filter(|(_, a)| a.nano < 0).map(|(name, _)| &**name).collect();
        if negative.is_empty() {
            return Ok(());
        }
        Err(review.forbidden(&format!("quota usage is negative for resource(s): {}", negative.join(","))))
    }

    /// What this quota is to be charged: on update what is used more, if the object was in its scopes before.
    fn delta(&self, quota: &Value) -> Amounts {
        let mut delta = self.new.usage(self.now).clone();
        if let Some(old) = self.old.as_ref().filter(|old| old.is_in_scopes(&quota["spec"])) {
            for (name, before) in old.usage(self.now) {
                if let Some(amount) = delta.get_mut(name) {
                    *amount = amount.sub(before);
                }
            }
            delta.retain(|_, amount| amount.nano > 0);
        }
        let hard = &quota["status"]["hard"];
        delta.retain(|name, amount| !amount.is_zero() && hard.get(name).is_some());
        delta
    }

    fn charge(&self, review: &Review<'_>, quota: &Value) -> Result<Option<Companion>, Status> {
        let delta = self.delta(quota);
        if delta.is_empty() {
            return Ok(None);
        }
        let hard = quota::amounts(&quota["status"]["hard"]);
        let before = quota::amounts(&quota["status"]["used"]);
        let mut used = before.clone();
        quota::add(&mut used, &delta);
        let passes = |name: &str| used.get(name).zip(hard.get(name)).is_some_and(|(used, hard)| used.nano > hard.nano);
        let exceeded: BTreeSet<&str> = delta.keys().map(|n| &**n).filter(|n| passes(n)).collect();
        if review.subresource != "status" && !exceeded.is_empty() {
            let name = quota["metadata"]["name"].str();
            let of = |amounts: &Amounts| print(amounts, &exceeded);
            return Err(review.forbidden(&format!(
                "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
                of(&delta),
                of(&before),
                of(&hard)
            )));
        }
        let mut status = quota["status"].clone();
        status.set("used", quota::to_value(&used));
        let key = Key::new(ResourceId::from_text(QUOTAS), review.namespace, quota["metadata"]["name"].str());
        Ok(Some(Companion { key, status }))
    }
}

fn print(amounts: &Amounts, names: &BTreeSet<&str>) -> String {
    let chosen = amounts.iter().filter(|(name, _)| names.contains(&***name));
    chosen.map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
}
