//! What a namespace's annotations ask of its pods, both off by default: PodNodeSelector and PodTolerationRestriction.
//! Their configuration files (cluster-wide defaults) are not read.

use std::collections::BTreeMap;

use document::{Value, doc, json};
use meta::{GroupResource, Key, ResourceId, Status};

use super::tolerations::{covers, merge};
use crate::{Operation, Plugin, Review};

const SELECTOR: &str = "scheduler.alpha.kubernetes.io/node-selector";
const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const WHITELIST: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

/// The namespace's annotation of that name.
fn annotation(review: &Review<'_>, name: &str) -> Result<Option<String>, Status> {
    let key = Key::new(ResourceId::from_text("namespaces"), "", review.namespace);
    let missing = || Status::not_found(&GroupResource::new("", "namespaces"), review.namespace);
    let namespace = review.world.read(&key).ok_or_else(missing)?;
    Ok(namespace["metadata"]["annotations"][name].as_str().map(str::to_owned))
}

pub struct PodNodeSelector;

impl Plugin for PodNodeSelector {
    fn name(&self) -> &'static str {
        "PodNodeSelector"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.is("", "pods") || review.operation != Operation::Create {
            return Ok(());
        }
        let selector = selector(review)?;
        if let Some(pod) = review.object.as_mut().filter(|_| !selector.is_empty()) {
            let own = pod.entry("spec").entry("nodeSelector");
            for (key, value) in selector {
                own.set(key, value);
            }
        }
        Ok(())
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.is("", "pods") || review.operation != Operation::Create {
            return Ok(());
        }
        selector(review).map(|_| ())
    }
}

/// What the namespace selects; a conflict with what the pod selects is a refusal.
fn selector(review: &Review<'_>) -> Result<BTreeMap<String, String>, Status> {
    let text = annotation(review, SELECTOR)?.unwrap_or_default();
    let mut selector = BTreeMap::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let pair = part.split('=').collect::<Vec<_>>();
        let [key, value] = pair.as_slice() else {
            return Err(Status::unclassified(format!("invalid selector: [{part}]")));
        };
        selector.insert(key.trim().to_owned(), value.trim().to_owned());
    }
    let own = &review.new_object()["spec"]["nodeSelector"];
    if selector.iter().any(|(key, value)| own.get(key).is_some_and(|own| own.str() != value)) {
        let why = "pod node label selector conflicts with its namespace node label selector";
        return Err(Status::forbidden(&review.group_resource(), review.new_object()["metadata"]["name"].str(), why));
    }
    Ok(selector)
}

pub struct PodTolerationRestriction;

impl Plugin for PodTolerationRestriction {
    fn name(&self) -> &'static str {
        "PodTolerationRestriction"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !applies(review) {
            return Ok(());
        }
        let mut extra = match review.operation {
            Operation::Create => tolerations(review, DEFAULTS)?.unwrap_or_default(),
            _ => Vec::new(),
        };
        if api::strategy::qos_class(&review.new_object()["spec"]) != "BestEffort" {
            let pressure = "node.kubernetes.io/memory-pressure";
            extra.push(doc!({"key": pressure, "operator": "Exists", "effect": "NoSchedule"}));
        }
        if let Some(pod) = review.object.as_mut().filter(|_| !extra.is_empty()) {
            let merged = merge(pod["spec"]["tolerations"].items(), &extra);
            pod.entry("spec").set("tolerations", merged);
        }
        self.validate(review)
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !applies(review) {
            return Ok(());
        }
        let allowed = tolerations(review, WHITELIST)?.unwrap_or_default();
        let own = review.new_object()["spec"]["tolerations"].items();
        if allowed.is_empty() || own.iter().all(|t| allowed.iter().any(|a| covers(a, t))) {
            return Ok(());
        }
        Err(Status::unclassified(
            "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist",
        ))
    }
}

fn applies(review: &Review<'_>) -> bool {
    review.is("", "pods") && matches!(review.operation, Operation::Create | Operation::Update)
}

fn tolerations(review: &Review<'_>, name: &str) -> Result<Option<Vec<Value>>, Status> {
    let Some(text) = annotation(review, name)? else { return Ok(None) };
    if text.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let list = json::parse(text.as_bytes()).map_err(|error| Status::unclassified(error.to_string()))?;
    Ok(Some(list.items().to_vec()))
}
