//! Priority: a pod's class becomes its number and preemption policy; there is one default class at most.

use document::Value;
use meta::{Key, ResourceId, Status};

use crate::{Operation, Plugin, Review};

const CLASSES: &str = "priorityclasses.scheduling.k8s.io";

pub struct Priority;

impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.is("", "pods") {
            return Ok(());
        }
        match review.operation {
            Operation::Create => create(review),
            Operation::Update => {
                keep(review);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let writes = matches!(review.operation, Operation::Create | Operation::Update);
        if !review.is("scheduling.k8s.io", "priorityclasses")
            || !writes
            || !review.new_object()["globalDefault"].is_true()
        {
            return Ok(());
        }
        let Some(default) = default_class(review) else { return Ok(()) };
        let (name, own) = (default["metadata"]["name"].str(), review.new_object()["metadata"]["name"].str());
        if review.operation == Operation::Create || name != own {
            let why = format!("PriorityClass {name} is already marked as default. Only one default can exist");
            return Err(review.forbidden(&why));
        }
        Ok(())
    }
}

/// What a create settled stays.
fn keep(review: &mut Review<'_>) {
    let Some(old) = review.old.clone() else { return };
    let Some(pod) = &mut review.object else { return };
    for field in ["priority", "preemptionPolicy"] {
        if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
            pod.entry("spec").set(field, old["spec"][field].clone());
        }
    }
}

fn default_class(review: &Review<'_>) -> Option<Value> {
    let marked = review.world.all_with(CLASSES, None, "\"globalDefault\":true");
    let classes = marked.into_iter().filter(|c| c["globalDefault"].is_true());
    classes.min_by_key(|c| c["value"].as_i64().unwrap_or_default())
}

/// Name, number and preemption policy that the pod's class stands for.
fn class_of(name: &str, review: &Review<'_>) -> Result<(String, i64, Option<String>), Status> {
    let found = if name.is_empty() {
        default_class(review)
    } else {
        let class = review.world.read(&Key::new(ResourceId::from_text(CLASSES), "", name));
        if class.is_none() {
            return Err(review.forbidden(&format!("no PriorityClass with name {name} was found")));
        }
        class
    };
    let Some(class) = found else { return Ok((String::new(), 0, Some("PreemptLowerPriority".into()))) };
    let policy = class["preemptionPolicy"].as_str().map(str::to_owned);
    Ok((class["metadata"]["name"].str().to_owned(), class["value"].as_i64().unwrap_or_default(), policy))
}

fn create(review: &mut Review<'_>) -> Result<(), Status> {
    let spec = &review.new_object()["spec"];
    let (class, priority, policy) = class_of(spec["priorityClassName"].str(), review)?;
    if let Some(given) = spec["priority"].as_i64().filter(|p| *p != priority) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        );
        return Err(review.forbidden(&why));
    }
    if let (Some(given), Some(computed)) = (spec["preemptionPolicy"].as_str(), policy.as_deref())
        && given != computed
    {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {computed} from the given PriorityClass name"
        );
        return Err(review.forbidden(&why));
    }
    if let Some(pod) = &mut review.object {
        let spec = pod.entry("spec");
        if !class.is_empty() {
            spec.set("priorityClassName", class);
        }
        spec.set("priority", priority);
        if let Some(policy) = policy {
            spec.set("preemptionPolicy", policy);
        }
    }
    Ok(())
}
