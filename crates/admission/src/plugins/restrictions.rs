//! Small refusals, all off by default: LimitPodHardAntiAffinityTopology, DenyServiceExternalIPs, and AlwaysDeny.

use meta::Status;

use crate::{Operation, Plugin, Review};

pub struct LimitPodHardAntiAffinityTopology;

impl Plugin for LimitPodHardAntiAffinityTopology {
    fn name(&self) -> &'static str {
        "LimitPodHardAntiAffinityTopology"
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        const ALLOWED: &str = "kubernetes.io/hostname";
        if !review.is("", "pods") || !matches!(review.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        let affinity = &review.new_object()["spec"]["affinity"]["podAntiAffinity"];
        let terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"].items();
        match terms.iter().map(|term| term["topologyKey"].str()).find(|key| *key != ALLOWED) {
            None => Ok(()),
            Some(key) => Err(review.forbidden(&format!(
                "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {ALLOWED} is allowed"
            ))),
        }
    }
}

pub struct DenyServiceExternalIps;

impl Plugin for DenyServiceExternalIps {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.is("", "services") || !matches!(review.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        let before = review.old_object()["spec"]["externalIPs"].items();
        let addresses = review.new_object()["spec"]["externalIPs"].items();
        if addresses.iter().all(|address| before.contains(address)) {
            return Ok(());
        }
        Err(review.forbidden("Use of external IPs is denied by admission control"))
    }
}

pub struct AlwaysDeny;

impl Plugin for AlwaysDeny {
    fn name(&self) -> &'static str {
        "AlwaysDeny"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        Err(review.forbidden("admission control is denying all modifications"))
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        self.mutate(review)
    }
}
