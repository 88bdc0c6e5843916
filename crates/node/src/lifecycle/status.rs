//! The pod's status out of spec, runtime and what was said before: a pure function, by upstream's rules (kubelet_pods.go
//! and status/generate.go are the specification).

mod conditions;
mod containers;
mod phase;

use std::{
    collections::{BTreeMap, HashMap},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    pod::{HostIp, Pod, PodStatus},
    resources,
    runtime::{ContainerStatus as Run, Sandbox},
};

pub use containers::{IMAGE_ID_LABEL, IMAGE_NAME_LABEL, RESOURCES_LABEL};

/// Why containers do not run, by name: waiting reason and message.
pub type Reasons = BTreeMap<String, (String, String)>;

/// What the status is made of.
pub struct Input<'a> {
    pub pod: &'a Pod,
    /// The status said last, which may be newer than the pod's.
    pub old: &'a PodStatus,
    pub sandboxes: &'a [Sandbox],
    pub containers: &'a [Run],
    /// Termination messages by container id.
    pub messages: &'a HashMap<String, String>,
    pub reasons: &'a Reasons,
    pub host_ips: &'a [String],
    /// Nothing runs any more and nothing will.
    pub terminal: bool,
    /// Phase, reason and message that override the computed ones (DeadlineExceeded).
    pub verdict: Option<(&'a str, &'a str, &'a str)>,
    pub now: SystemTime,
}

/// Computes the whole status.
pub fn compute(input: &Input<'_>) -> PodStatus {
    let (pod, old) = (input.pod, input.old);
    let mut status = PodStatus {
        observed_generation: pod.metadata.generation,
        qos_class: resources::qos_class(pod).into(),
        start_time: old.start_time.clone().or_else(|| Some(time(input.now))),
        other: pod.status.other.clone(),
        ..Default::default()
    };
    status.init_container_statuses = containers::init(input);
    status.container_statuses = containers::regular(input);
    status.ephemeral_container_statuses = containers::ephemeral(input);
    set_addresses(input, &mut status);
    set_phase(input, &mut status);
    status.conditions = conditions::all(input, &status);
    status
}

fn set_phase(input: &Input<'_>, status: &mut PodStatus) {
    let (pod, old) = (input.pod, input.old);
    status.phase = phase::of(pod, status, input.terminal).into();
    if input.terminal && !matches!(status.phase.as_str(), "Failed" | "Succeeded") {
        // it was taken away before it could end by itself
        status.phase = "Failed".into();
    }
    if let Some((phase, reason, message)) = input.verdict {
        (status.phase, status.reason, status.message) = (phase.into(), reason.into(), message.into());
    }
    let is_final = |phase: &str| matches!(phase, "Failed" | "Succeeded");
    for earlier in [&old.phase, &pod.status.phase] {
        if is_final(earlier) {
            status.phase.clone_from(earlier);
        }
    }
    if status.phase == old.phase && status.reason.is_empty() {
        status.reason.clone_from(&old.reason);
        status.message.clone_from(&old.message);
    }
    // a final phase is said only when nothing can run any more
    if is_final(&status.phase) && !is_final(&old.phase) && !input.terminal {
        status.phase = if old.phase.is_empty() { "Pending".into() } else { old.phase.clone() };
        (status.reason, status.message) = (old.reason.clone(), old.message.clone());
    }
}

fn set_addresses(input: &Input<'_>, status: &mut PodStatus) {
    let addresses = |ips: &[String]| ips.iter().map(|ip| HostIp { ip: ip.clone() }).collect::<Vec<_>>();
    status.host_ips = addresses(input.host_ips);
    let sandbox = input.sandboxes.iter().max_by_key(|s| s.attempt);
    let ips: Vec<String> = sandbox.map(|s| s.ips.iter().map(ToString::to_string).collect()).unwrap_or_default();
    status.pod_ips = match (input.pod.spec.host_network, ips.is_empty()) {
        (true, _) => addresses(input.host_ips),
        (false, false) => addresses(&ips),
        (false, true) if input.terminal || input.pod.is_deleting() => input.old.pod_ips.clone(),
        (false, true) => Vec::new(),
    };
    let first = |all: &[HostIp]| all.first().map(|a| a.ip.clone()).unwrap_or_default();
    (status.host_ip, status.pod_ip) = (first(&status.host_ips), first(&status.pod_ips));
}

/// RFC 3339 with whole seconds.
pub fn time(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
    meta::Time(seconds).to_string()
}

#[cfg(test)]
mod tests;
