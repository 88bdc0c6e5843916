//! PodTopologyLabels: a pod that is bound gets its node's zone and region labels.

use meta::{Key, ResourceId, Status};

use crate::{Operation, Plugin, Review};

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub struct PodTopologyLabels;

impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if review.operation != Operation::Create {
            return Ok(());
        }
        let object = review.new_object();
        let binding = review.is_sub("", "pods", "binding");
        let node = if binding && object["target"]["kind"].str() == "Node" {
            object["target"]["name"].str()
        } else if review.is("", "pods") {
            object["spec"]["nodeName"].str()
        } else {
            ""
        };
        if node.is_empty() {
            return Ok(());
        }
        let Some(node) = review.world.read(&Key::new(ResourceId::from_text("nodes"), "", node)) else { return Ok(()) };
        let Some(object) = &mut review.object else { return Ok(()) };
        for label in LABELS {
            if let Some(value) = node["metadata"]["labels"].get(label) {
                object.entry("metadata").entry("labels").set(label, value.clone());
            }
        }
        Ok(())
    }
}
