//! LimitRanger: default requests and limits of containers, and the bounds of a namespace's LimitRanges for containers,
//! pods and claims.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use api::quota;
use document::Value;
use meta::{Quantity, Status};

use crate::{Operation, Plugin, Review};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub struct LimitRanger;

impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !applies(review) || !review.is_any("", "pods") {
            return Ok(());
        }
        for range in review.world.all("limitranges", Some(review.namespace)) {
            if let Some(pod) = &mut review.object {
                fill(pod, &range);
            }
        }
        Ok(())
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !applies(review) {
            return Ok(());
        }
        for range in review.world.all("limitranges", Some(review.namespace)) {
            let mut errors = if review.is_any("", "pods") {
                pod(review.new_object(), &range)
            } else {
                claim(review.new_object(), &range)
            };
            let mut seen = BTreeSet::new();
            errors.retain(|error| seen.insert(error.clone()));
            match errors.as_slice() {
                [] => {}
                [one] => return Err(review.forbidden(one)),
                many => return Err(review.forbidden(&format!("[{}]", many.join(", ")))),
            }
        }
        Ok(())
    }
}

/// New pods, resized pods, claims; nothing that is being deleted.
fn applies(review: &Review<'_>) -> bool {
    let deleting = !review.old_object()["metadata"]["deletionTimestamp"].is_null();
    match review.operation {
        Operation::Create => review.is("", "pods") || review.is("", "persistentvolumeclaims"),
        Operation::Update if !deleting => {
            review.is_sub("", "pods", "resize") || review.is("", "persistentvolumeclaims")
        }
        _ => false,
    }
}

/// Default requests and limits, and the annotation that says so.
fn fill(pod: &mut Value, range: &Value) {
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    for limit in range["spec"]["limits"].items().iter().filter(|l| l["type"].str() == "Container") {
        requests.extend(limit["defaultRequest"].members().map(|(k, v)| (k.to_owned(), v.clone())));
        limits.extend(limit["default"].members().map(|(k, v)| (k.to_owned(), v.clone())));
    }
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.entry("spec").get_mut(list).and_then(Value::as_list_mut);
        for container in containers.into_iter().flatten() {
            let name = container["name"].str().to_owned();
            for (part, defaults, word) in [("requests", &requests, "request"), ("limits", &limits, "limit")] {
                let missing: Vec<(&String, &Value)> =
                    defaults.iter().filter(|(k, _)| container["resources"][part].get(k).is_none()).collect();
                for (key, amount) in &missing {
                    container.entry("resources").entry(part).set((*key).clone(), (*amount).clone());
                }
                if !missing.is_empty() {
                    let keys: Vec<&str> = missing.iter().map(|(k, _)| k.as_str()).collect();
                    notes.push(format!("{} {word} for {what} {name}", keys.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod.entry("metadata").entry("annotations").set(ANNOTATION, text);
    }
}

fn pod(pod: &Value, range: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    let spec = &pod["spec"];
    for limit in range["spec"]["limits"].items() {
        match limit["type"].str() {
            "Container" => {
                for container in spec["containers"].items().iter().chain(spec["initContainers"].items()) {
                    let resources = &container["resources"];
                    bounds(limit, &resources["requests"], &resources["limits"], &mut errors);
                }
            }
            "Pod" => bounds(limit, &sum(pod, "requests"), &sum(pod, "limits"), &mut errors),
            _ => {}
        }
    }
    errors
}

fn claim(claim: &Value, range: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    let requests = &claim["spec"]["resources"]["requests"];
    for limit in range["spec"]["limits"].items().iter().filter(|l| l["type"].str() == "PersistentVolumeClaim") {
        for (name, least) in limit["min"].members() {
            errors.extend(minimum(limit, name, least, requests, &Value::Null));
        }
        for (name, most) in limit["max"].members() {
            let text = format!("maximum {name} usage per PersistentVolumeClaim is {}", most.str());
            match requests.get(name) {
                None => errors.push(format!("{text}.  No request is specified")),
                Some(asked) if compare(asked, most) == Ordering::Greater => {
                    errors.push(format!("{text}, but request is {}", asked.str()));
                }
                Some(_) => {}
            }
        }
    }
    errors
}

fn bounds(limit: &Value, requests: &Value, limits: &Value, errors: &mut Vec<String>) {
    for (name, least) in limit["min"].members() {
        errors.extend(minimum(limit, name, least, requests, limits));
    }
    for (name, most) in limit["max"].members() {
        errors.extend(maximum(limit, name, most, requests, limits));
    }
    for (name, ratio) in limit["maxLimitRequestRatio"].members() {
        errors.extend(within_ratio(limit, name, ratio, requests, limits));
    }
}

fn minimum(limit: &Value, name: &str, least: &Value, requests: &Value, limits: &Value) -> Option<String> {
    let text = format!("minimum {name} usage per {} is {}", limit["type"].str(), least.str());
    let Some(asked) = requests.get(name) else { return Some(format!("{text}.  No request is specified")) };
    if compare(asked, least) == Ordering::Less {
        return Some(format!("{text}, but request is {}", asked.str()));
    }
    let below = limits.get(name).filter(|l| compare(l, least) == Ordering::Less)?;
    Some(format!("{text}, but limit is {}", below.str()))
}

fn maximum(limit: &Value, name: &str, most: &Value, requests: &Value, limits: &Value) -> Option<String> {
    let text = format!("maximum {name} usage per {} is {}", limit["type"].str(), most.str());
    let Some(cap) = limits.get(name) else { return Some(format!("{text}.  No limit is specified")) };
    if compare(cap, most) == Ordering::Greater {
        return Some(format!("{text}, but limit is {}", cap.str()));
    }
    let above = requests.get(name).filter(|r| compare(r, most) == Ordering::Greater)?;
    Some(format!("{text}, but request is {}", above.str()))
}

fn within_ratio(limit: &Value, name: &str, ratio: &Value, requests: &Value, limits: &Value) -> Option<String> {
    let text = format!("{name} max limit to request ratio per {} is {}", limit["type"].str(), ratio.str());
    let of = |amounts: &Value| amounts.get(name).map(nano).filter(|n| *n != 0);
    let Some(asked) = of(requests) else { return Some(format!("{text}, but no request is specified or request is 0")) };
    let Some(cap) = of(limits) else { return Some(format!("{text}, but no limit is specified or limit is 0")) };
    #[expect(clippy::cast_precision_loss, reason = "upstream divides floats, too")]
    let (given, most) = (cap as f64 / asked as f64, nano(ratio) as f64 / 1e9);
    (given > most).then(|| format!("{text}, but provided ratio is {given:.6}"))
}

fn nano(amount: &Value) -> i128 {
    Quantity::parse(amount.str()).map(|q| q.nano).unwrap_or_default()
}

fn compare(a: &Value, b: &Value) -> Ordering {
    nano(a).cmp(&nano(b))
}

/// What the pod as a whole asks for or is limited to, without overhead; what it says itself of cpu and memory comes
/// before what its containers say.
fn sum(pod: &Value, part: &'static str) -> Value {
    let mut total = quota::pod::of_containers(pod, part);
    let own = quota::amounts(&pod["spec"]["resources"][part]).into_iter();
    total.extend(own.filter(|(name, _)| matches!(&**name, "cpu" | "memory")));
    quota::to_value(&total)
}
