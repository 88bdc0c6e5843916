//! The five conditions that the node owns, in upstream's order, after those of others.

use super::{Input, time};
use crate::{
    pod::{ContainerStatus, PodCondition, PodStatus},
    runtime::SandboxState,
};

const OWNED: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// A condition before it has times.
struct Verdict {
    status: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn yes() -> Self {
        Verdict { status: true, reason: "", message: String::new() }
    }

    fn no(reason: &'static str, message: String) -> Self {
        Verdict { status: false, reason, message }
    }
}

pub(super) fn all(input: &Input<'_>, status: &PodStatus) -> Vec<PodCondition> {
    let foreign = input.pod.status.conditions.iter().filter(|c| !OWNED.contains(&c.kind.as_str()));
    let mut conditions: Vec<PodCondition> = foreign.cloned().collect();
    let ready = containers_ready(input, status);
    let verdicts = [sandbox(input), initialized(input, status), pod_ready(input, &ready), ready, Verdict::yes()];
    for (kind, verdict) in OWNED.iter().zip(verdicts) {
        conditions.push(with_times(input, kind, verdict));
    }
    conditions
}

/// The transition time stays while the status does.
fn with_times(input: &Input<'_>, kind: &str, verdict: Verdict) -> PodCondition {
    let status = if verdict.status { "True" } else { "False" };
    let before = input.old.condition(kind).or_else(|| input.pod.status.condition(kind));
    let since = before.filter(|c| c.status == status).and_then(|c| c.last_transition_time.clone());
    PodCondition {
        kind: kind.into(),
        observed_generation: input.pod.metadata.generation,
        status: status.into(),
        last_probe_time: None,
        last_transition_time: Some(since.unwrap_or_else(|| time(input.now))),
        reason: verdict.reason.into(),
        message: verdict.message,
    }
}

fn sandbox(input: &Input<'_>) -> Verdict {
    match input.sandboxes.iter().max_by_key(|s| s.attempt) {
        Some(sandbox) if sandbox.state == SandboxState::Ready => Verdict::yes(),
        Some(_) => Verdict::no("PodSandboxNotReady", "pod sandbox is not ready".into()),
        None => Verdict::no("PodSandboxNotReady", "no pod sandbox exists".into()),
    }
}

fn initialized(input: &Input<'_>, status: &PodStatus) -> Verdict {
    let statuses = &status.init_container_statuses;
    let (unknown, incomplete) = split(input.pod.spec.init_containers.iter().map(|c| c.name.as_str()), statuses);
    if status.phase == "Succeeded" && unknown.is_empty() {
        return Verdict { status: true, reason: "PodCompleted", message: String::new() };
    }
    let started = |c: &ContainerStatus| {
        c.state.running.is_some() || c.state.terminated.is_some() || c.last_state.terminated.is_some()
    };
    if status.container_statuses.iter().any(started) {
        return Verdict::yes();
    }
    match message(&unknown, &incomplete, "incomplete") {
        text if text.is_empty() => Verdict::yes(),
        text => Verdict::no("ContainersNotInitialized", text),
    }
}

fn containers_ready(input: &Input<'_>, status: &PodStatus) -> Verdict {
    let (unknown, unready) =
        split(input.pod.spec.containers.iter().map(|c| c.name.as_str()), &status.container_statuses);
    match status.phase.as_str() {
        "Succeeded" if unknown.is_empty() => return Verdict::no("PodCompleted", String::new()),
        "Failed" => return Verdict::no("PodFailed", String::new()),
        _ => {}
    }
    match message(&unknown, &unready, "unready") {
        text if text.is_empty() => Verdict::yes(),
        text => Verdict::no("ContainersNotReady", text),
    }
}

fn pod_ready(input: &Input<'_>, containers: &Verdict) -> Verdict {
    if !containers.status {
        return Verdict::no(containers.reason, containers.message.clone());
    }
    let mut missing = Vec::new();
    for gate in &input.pod.spec.readiness_gates {
        let kind = &gate.condition_type;
        match input.pod.status.condition(kind) {
            None => missing.push(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
            Some(c) if c.status != "True" => {
                missing.push(format!("the status of pod readiness gate {kind:?} is not \"True\", but {}", c.status));
            }
            Some(_) => {}
        }
    }
    if missing.is_empty() { Verdict::yes() } else { Verdict::no("ReadinessGatesNotReady", missing.join(", ")) }
}

/// Names without a status, and names that are not ready.
fn split<'a>(names: impl Iterator<Item = &'a str>, statuses: &[ContainerStatus]) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for name in names {
        match statuses.iter().find(|s| s.name == name) {
            None => unknown.push(name),
            Some(status) if !status.ready => unready.push(name),
            Some(_) => {}
        }
    }
    (unknown, unready)
}

fn message(unknown: &[&str], unready: &[&str], word: &str) -> String {
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("containers with unknown status: [{}]", unknown.join(" ")));
    }
    if !unready.is_empty() {
        parts.push(format!("containers with {word} status: [{}]", unready.join(" ")));
    }
    parts.join(", ")
}
