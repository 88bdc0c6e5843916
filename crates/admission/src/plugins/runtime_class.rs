//! RuntimeClass: a pod's class must exist; its overhead, node selector and tolerations become the pod's.

use document::Value;
use meta::{Key, ResourceId, Status};

use super::tolerations::merge;
use crate::{Operation, Plugin, Review};

pub struct RuntimeClass;

impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.is("", "pods") || review.operation != Operation::Create {
            return Ok(());
        }
        let Some(class) = class_of(review)? else { return Ok(()) };
        overhead(review, &class)?;
        match class.get("scheduling") {
            Some(given) => scheduling(review, given),
            None => Ok(()),
        }
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.is("", "pods") || review.operation != Operation::Create {
            return Ok(());
        }
        let class = class_of(review)?.unwrap_or_default();
        let pod = &review.new_object()["spec"]["overhead"];
        let fixed = &class["overhead"]["podFixed"];
        if class.get("overhead").is_some() {
            return if pod == fixed { Ok(()) } else { Err(review.forbidden(MISMATCH)) };
        }
        if pod.is_empty() {
            return Ok(());
        }
        Err(review.forbidden("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
    }
}

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

fn class_of(review: &Review<'_>) -> Result<Option<Value>, Status> {
    let Some(name) = review.new_object()["spec"]["runtimeClassName"].as_str() else { return Ok(None) };
    if name.is_empty() {
        // upstream's client asks for nothing
        return Err(Status::unclassified("resource name may not be empty"));
    }
    match review.world.read(&Key::new(ResourceId::from_text("runtimeclasses.node.k8s.io"), "", name)) {
        Some(class) => Ok(Some(class)),
        None => Err(review.forbidden(&format!("pod rejected: RuntimeClass {name:?} not found"))),
    }
}

fn overhead(review: &mut Review<'_>, class: &Value) -> Result<(), Status> {
    let Some(overhead) = class.get("overhead") else { return Ok(()) };
    let fixed = overhead["podFixed"].clone();
    let given = &review.new_object()["spec"]["overhead"];
    if !given.is_empty() && given != &fixed {
        return Err(review.forbidden(MISMATCH));
    }
    if let Some(pod) = &mut review.object {
        pod.entry("spec").set("overhead", fixed);
    }
    Ok(())
}

fn scheduling(review: &mut Review<'_>, scheduling: &Value) -> Result<(), Status> {
    let selector = review.new_object()["spec"]["nodeSelector"].clone();
    for (key, value) in scheduling["nodeSelector"].members() {
        if let Some(own) = selector.get(key).filter(|own| *own != value) {
            let (value, own) = (value.str(), own.str());
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
            );
            return Err(review.forbidden(&why));
        }
    }
    let Some(pod) = &mut review.object else { return Ok(()) };
    let spec = pod.entry("spec");
    for (key, value) in scheduling["nodeSelector"].members() {
        spec.entry("nodeSelector").set(key.to_owned(), value.clone());
    }
    let merged = merge(spec["tolerations"].items(), scheduling["tolerations"].items());
    if !merged.is_empty() {
        spec.set("tolerations", merged);
    }
    Ok(())
}
