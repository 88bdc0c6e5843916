//! PodResizeValidator: a pod on a node is resized only where the node can do it and has room for it.
//! NodeDeclaredFeatureValidator: and where the node says that it knows how.

use document::Value;
use meta::field::Cause;
use meta::{Key, Quantity, ResourceId, Status};

use crate::{Operation, Plugin, Review};

pub struct PodResizeValidator;

impl Plugin for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.is_sub("", "pods", "resize") || !changes_pod_on_node(review) {
            return Ok(());
        }
        let node = node_of(review)?;
        let (name, os) = (node["metadata"]["name"].str(), &node["metadata"]["labels"]["kubernetes.io/os"]);
        if !matches!(os.str(), "" | "linux") {
            let why = format!("pod resize is only supported on linux nodes, node {name:?} is {:?}", os.str());
            return Err(with_cause(review.forbidden(&why), "UnsupportedPlatform"));
        }
        match lacking(review.new_object(), &node["status"]["allocatable"]) {
            None => Ok(()),
            Some(what) => {
                let why = format!("node didn't have enough allocatable resources: {what}");
                Err(with_cause(review.forbidden(&why), "NodeCapacity"))
            }
        }
    }
}

pub struct NodeDeclaredFeatureValidator;

impl Plugin for NodeDeclaredFeatureValidator {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatureValidator"
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let may_change = review.is("", "pods") || review.is_sub("", "pods", "resize");
        if !may_change || !changes_pod_on_node(review) {
            return Ok(());
        }
        let needed = needed_features(&review.new_object()["spec"], &review.old_object()["spec"]);
        if needed.is_empty() {
            return Ok(());
        }
        let node = node_of(review)?;
        let declared = node["status"]["declaredFeatures"].items();
        let missing: Vec<&str> = needed.into_iter().filter(|f| !declared.iter().any(|d| d.str() == *f)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let name = node["metadata"]["name"].str();
        Err(review.forbidden(&format!(
            "pod update requires features {} which are not available on node {name:?}",
            missing.join(", ")
        )))
    }
}

/// A change of the spec of a pod that has its node.
fn changes_pod_on_node(review: &Review<'_>) -> bool {
    let (new, old) = (review.new_object(), review.old_object());
    review.operation == Operation::Update
        && !new["spec"]["nodeName"].str().is_empty()
        && new["metadata"]["generation"] != old["metadata"]["generation"]
}

fn node_of(review: &Review<'_>) -> Result<Value, Status> {
    let name = review.new_object()["spec"]["nodeName"].str();
    let node = review.world.read(&Key::new(ResourceId::from_text("nodes"), "", name));
    node.ok_or_else(|| review.forbidden(&format!("node {name:?} not found")))
}

fn with_cause(mut status: Status, reason: &'static str) -> Status {
    if let Some(details) = &mut status.details {
        details.causes.push(Cause { reason: reason.into(), message: String::new(), field: String::new() });
    }
    status
}

fn lacking(pod: &Value, allocatable: &Value) -> Option<String> {
    let requests = api::quota::pod::spec_requests(pod);
    let zero = || Quantity::new(0, Default::default());
    let of = |name: &str| {
        let asked = requests.get(name).cloned().unwrap_or_else(zero);
        (asked, Quantity::parse(allocatable[name].str()).unwrap_or_else(|_| zero()))
    };
    let ((cpu, has_cpu), (memory, has_memory)) = (of("cpu"), of("memory"));
    let mut lacking = Vec::new();
    if cpu > has_cpu {
        let (asked, has) = (cpu.milli_value(), has_cpu.milli_value());
        lacking.push(format!("cpu, requested: {asked}, allocatable: {has}"));
    }
    if memory > has_memory {
        lacking.push(format!("memory, requested: {}, allocatable: {}", memory.value(), has_memory.value()));
    }
    (!lacking.is_empty()).then(|| lacking.join("; "))
}

/// Whether the new specification changes something of the old one.
type Change = fn(&Value, &Value) -> bool;

/// Features of a node that this change needs, in upstream's order.
fn needed_features(new: &Value, old: &Value) -> Vec<&'static str> {
    let checks: [(&str, Change); 3] = [
        ("InPlacePodLevelResourcesVerticalScaling", |new, old| new["resources"] != old["resources"]),
        ("InPlacePodVerticalScalingInitContainers", resizes_init_containers),
        ("InPlacePodVerticalScalingMemoryBackedVolumes", resizes_memory_volumes),
    ];
    checks.into_iter().filter(|(_, needs)| needs(new, old)).map(|(name, _)| name).collect()
}

fn resizes_init_containers(new: &Value, old: &Value) -> bool {
    let pairs = old["initContainers"].items().iter().zip(new["initContainers"].items());
    let mut starting = pairs.filter(|(old, _)| old["restartPolicy"].str() != "Always");
    starting.any(|(old, new)| old["resources"] != new["resources"])
}

fn resizes_memory_volumes(new: &Value, old: &Value) -> bool {
    let (new, old) = (new["volumes"].items(), old["volumes"].items());
    let size = |volume: &Value| Quantity::parse(volume["emptyDir"]["sizeLimit"].str()).ok();
    let resized = |(new, old): (&Value, &Value)| {
        let sizes = size(new).zip(size(old));
        new["name"] == old["name"]
            && new["emptyDir"]["medium"].str() == "Memory"
            && sizes.is_some_and(|(new, old)| new.nano != old.nano)
    };
    new.len() == old.len() && new.iter().zip(old).any(resized)
}
