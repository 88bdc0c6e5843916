//! AlwaysPullImages (off by default): images are pulled at every start, so that each start shows that it may.

use document::Value;
use meta::Status;
use meta::field::Error;

use super::pods;
use crate::{Operation, Plugin, Review};

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

pub struct AlwaysPullImages;

impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !applies(review) {
            return Ok(());
        }
        let Some(pod) = &mut review.object else { return Ok(()) };
        let spec = pod.entry("spec");
        for list in LISTS {
            for container in spec.get_mut(list).and_then(Value::as_list_mut).into_iter().flatten() {
                container.set("imagePullPolicy", "Always");
            }
        }
        for volume in spec.get_mut("volumes").and_then(Value::as_list_mut).into_iter().flatten() {
            if let Some(image) = volume.get_mut("image") {
                image.set("pullPolicy", "Always");
            }
        }
        Ok(())
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !applies(review) {
            return Ok(());
        }
        let wrong: Vec<String> = wrong(&review.new_object()["spec"])
            .into_iter()
            .map(|error| review.forbidden(&error.to_string()).message)
            .collect();
        match wrong.as_slice() {
            [] => Ok(()),
            [one] => Err(Status::unclassified(one)),
            many => Err(Status::unclassified(format!("[{}]", many.join(", ")))),
        }
    }
}

/// New pods, and pods that get another image.
fn applies(review: &Review<'_>) -> bool {
    let images = |pod: &Value| -> Vec<String> { pods::containers(pod).map(|c| c["image"].str().to_owned()).collect() };
    review.is("", "pods")
        && match review.operation {
            Operation::Create => true,
            Operation::Update => {
                let before = images(review.old_object());
                images(review.new_object()).iter().any(|image| !before.contains(image))
            }
            _ => false,
        }
}

fn wrong(spec: &Value) -> Vec<Error> {
    let root = meta::field::Path::root("spec");
    let mut errors = Vec::new();
    for list in LISTS {
        for (n, container) in spec[list].items().iter().enumerate() {
            let at = root.child(list).index(n).child("imagePullPolicy");
            let policy = container["imagePullPolicy"].str();
            if policy != "Always" {
                errors.push(Error::not_supported(&at, policy, &["Always"]));
            }
        }
    }
    for (n, volume) in spec["volumes"].items().iter().enumerate() {
        let Some(image) = volume.get("image") else { continue };
        let policy = image["pullPolicy"].str();
        if policy != "Always" {
            let at = root.child("volumes").index(n).child("image").child("pullPolicy");
            errors.push(Error::not_supported(&at, policy, &["Always"]));
        }
    }
    errors
}
