//! Container statuses: the newest attempt is `state`, the one before `lastState`; what the runtime has forgotten is
//! taken from what was said before.

use super::{Input, time};
use crate::{
    lifecycle::{plan::IMAGE_LABEL, refuse},
    pod::{
        Container, ContainerKind, ContainerState, ContainerStatus, PodStatus, ResourceRequirements, Running,
        Terminated, VolumeMountStatus, Waiting,
    },
    runtime::{self, ContainerStatus as Run},
};

/// Label of a container: the image's full name, as upstream's runtimes report it.
pub const IMAGE_NAME_LABEL: &str = "imageName";
/// Label of a container: the image's digest reference.
pub const IMAGE_ID_LABEL: &str = "imageID";
/// Label of a container: the requests and limits that it was made with, as JSON. Those of the spec may be newer.
pub const RESOURCES_LABEL: &str = "resources";

const LOST: &str = "The container could not be located when the pod was terminated";

pub(super) fn init(input: &Input<'_>) -> Vec<ContainerStatus> {
    let old = |status: &PodStatus| status.init_container_statuses.clone();
    let all = input.pod.spec.init_containers.iter();
    all.map(|c| one(input, ContainerKind::Init, c, &old(input.old))).collect()
}

/// Sorted by name, as upstream sorts them.
pub(super) fn regular(input: &Input<'_>) -> Vec<ContainerStatus> {
    let old = &input.old.container_statuses;
    let all = input.pod.spec.containers.iter();
    let mut statuses: Vec<_> = all.map(|c| one(input, ContainerKind::Regular, c, old)).collect();
    statuses.sort_by(|a, b| a.name.cmp(&b.name));
    statuses
}

/// Ephemeral containers are not built: they wait, and say why.
pub(super) fn ephemeral(input: &Input<'_>) -> Vec<ContainerStatus> {
    let all = input.pod.spec.ephemeral_containers.iter();
    all.map(|c| ContainerStatus {
        name: c.name.clone(),
        image: c.image.clone(),
        state: ContainerState::waiting(refuse::REASON, refuse::EPHEMERAL),
        ..Default::default()
    })
    .collect()
}

fn one(input: &Input<'_>, kind: ContainerKind, container: &Container, old: &[ContainerStatus]) -> ContainerStatus {
    let old = old.iter().find(|s| s.name == container.name);
    let mut runs: Vec<&Run> = input.containers.iter().filter(|c| c.name == container.name).collect();
    runs.sort_by_key(|c| std::cmp::Reverse((c.attempt, c.created_at)));
    let mut status = match runs.first() {
        Some(run) => from_run(input, container, run, runs.get(1).copied(), old),
        None => without_run(input, container, old),
    };
    put_reason(input, kind, container, &mut status);
    status.volume_mounts = mounts(container);
    let running = status.state.running.is_some();
    status.started = Some(running);
    status.ready = match kind {
        ContainerKind::Regular => running,
        ContainerKind::Init => status.state.terminated.as_ref().is_some_and(|t| t.exit_code == 0),
    };
    status
}

fn from_run(
    input: &Input<'_>,
    container: &Container,
    run: &Run,
    before: Option<&Run>,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    let label = |name: &str, other: &str| {
        run.labels.get(name).filter(|v| !v.is_empty()).cloned().unwrap_or_else(|| other.into())
    };
    let id = full_id(run);
    let made_with = run.labels.get(RESOURCES_LABEL).and_then(|text| serde_json::from_str(text).ok());
    let resources: ResourceRequirements = made_with.unwrap_or_else(|| container.resources.clone());
    let mut status = ContainerStatus {
        name: container.name.clone(),
        restart_count: run.attempt.max(old.map_or(0, |o| o.restart_count)),
        image: label(IMAGE_NAME_LABEL, &label(IMAGE_LABEL, &container.image)),
        image_id: label(IMAGE_ID_LABEL, &run.image_id),
        container_id: id.clone(),
        state: state_of(input, run),
        allocated_resources: resources.requests.clone(),
        resources: Some(resources),
        ..Default::default()
    };
    status.last_state = match (before, old) {
        (Some(before), _) => state_of(input, before),
        (None, Some(old)) if old.container_id != id && old.state.terminated.is_some() => old.state.clone(),
        (None, Some(old)) => ContainerState { terminated: old.last_state.terminated.clone(), ..Default::default() },
        (None, None) => ContainerState::default(),
    };
    status
}

/// The runtime does not know the container: it waits, unless it was said to have ended.
fn without_run(input: &Input<'_>, container: &Container, old: Option<&ContainerStatus>) -> ContainerStatus {
    let creating = if input.pod.spec.init_containers.is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone(),
        state: ContainerState::waiting(creating, ""),
        ..Default::default()
    };
    let Some(old) = old else { return status };
    if old.state.terminated.is_some() {
        return old.clone();
    }
    status.restart_count = old.restart_count;
    status.last_state = old.last_state.clone();
    if old.state.running.is_some() {
        let lost = Terminated {
            reason: "ContainerStatusUnknown".into(),
            message: LOST.into(),
            exit_code: 137,
            container_id: old.container_id.clone(),
            ..Default::default()
        };
        if input.terminal || input.pod.is_deleting() {
            status.state = ContainerState { terminated: Some(lost), ..Default::default() };
        } else {
            status.last_state = ContainerState { terminated: Some(lost), ..Default::default() };
            status.restart_count += 1;
        }
    }
    status
}

/// A container that should run and does not waits, for the reason that the last attempt left.
fn put_reason(input: &Input<'_>, kind: ContainerKind, container: &Container, status: &mut ContainerStatus) {
    let Some((reason, message)) = input.reasons.get(&container.name) else { return };
    let restarts = match &status.state.terminated {
        Some(ended) => input.pod.spec.restarts(kind, ended.exit_code),
        None => status.state.running.is_none(),
    };
    if !restarts || input.terminal {
        return;
    }
    if status.state.terminated.is_some() {
        status.last_state = std::mem::take(&mut status.state);
    }
    status.state = ContainerState {
        waiting: Some(Waiting { reason: reason.clone(), message: message.clone() }),
        ..Default::default()
    };
}

fn state_of(input: &Input<'_>, run: &Run) -> ContainerState {
    match &run.state {
        runtime::ContainerState::Created => ContainerState { waiting: Some(Waiting::default()), ..Default::default() },
        runtime::ContainerState::Running => {
            let running = Running { started_at: run.started_at.map(time) };
            ContainerState { running: Some(running), ..Default::default() }
        }
        runtime::ContainerState::Exited { code, reason, message, finished_at } => {
            let said = input.messages.get(&run.id).map(String::as_str).unwrap_or_default();
            let join = if message.is_empty() || said.is_empty() { "" } else { ": " };
            let limit = 12 * 1024 / (input.pod.spec.containers.len() + input.pod.spec.init_containers.len()).max(1);
            let terminated = Terminated {
                exit_code: *code,
                signal: 0,
                reason: (*reason).into(),
                message: cut(format!("{message}{join}{said}"), limit),
                // upstream's runtimes report the epoch for a container that never started
                started_at: Some(time(run.started_at.unwrap_or(std::time::UNIX_EPOCH))),
                finished_at: Some(time(*finished_at)),
                container_id: full_id(run),
            };
            ContainerState { terminated: Some(terminated), ..Default::default() }
        }
    }
}

fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

fn full_id(run: &Run) -> String {
    format!("lanyard://{}", run.id)
}

fn mounts(container: &Container) -> Vec<VolumeMountStatus> {
    let all = container.volume_mounts.iter();
    all.map(|m| VolumeMountStatus {
        name: m.name.clone(),
        mount_path: m.mount_path.clone(),
        read_only: m.read_only,
        recursive_read_only: m.read_only.then(|| "Disabled".into()),
    })
    .collect()
}
