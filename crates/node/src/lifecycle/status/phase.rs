//! The phase of a pod, counted from its container statuses.

use crate::pod::{Container, ContainerKind, ContainerStatus, Pod, PodStatus};

/// The phase; `terminal` says that nothing will run any more.
pub(super) fn of(pod: &Pod, status: &PodStatus, terminal: bool) -> &'static str {
    let init = count(pod, ContainerKind::Init, &pod.spec.init_containers, &status.init_container_statuses);
    if init.failed_for_good > 0 {
        return "Failed";
    }
    let init_pending = init.unknown + init.waiting + init.running;
    let all = count(pod, ContainerKind::Regular, &pod.spec.containers, &status.container_statuses);
    if init_pending > 0 || all.waiting > 0 {
        return "Pending";
    }
    if all.running > 0 && all.unknown == 0 {
        return "Running";
    }
    if all.running == 0 && all.stopped > 0 && all.unknown == 0 {
        if !terminal && all.stopped != all.stopped_for_good {
            return "Running";
        }
        return if all.stopped == all.succeeded { "Succeeded" } else { "Failed" };
    }
    "Pending"
}

#[derive(Default)]
struct Counts {
    unknown: usize,
    waiting: usize,
    running: usize,
    stopped: usize,
    stopped_for_good: usize,
    succeeded: usize,
    failed_for_good: usize,
}

fn count(pod: &Pod, kind: ContainerKind, containers: &[Container], statuses: &[ContainerStatus]) -> Counts {
    let mut counts = Counts::default();
    for container in containers {
        let Some(status) = statuses.iter().find(|s| s.name == container.name) else {
            counts.unknown += 1;
            continue;
        };
        let last = status.last_state.terminated.as_ref();
        let (ended, now) = match (&status.state.running, &status.state.terminated, &status.state.waiting) {
            (Some(_), ..) => {
                counts.running += 1;
                continue;
            }
            (_, Some(ended), _) => (Some(ended), true),
            (_, _, Some(_)) => (last, false),
            _ => (None, false),
        };
        let Some(ended) = ended else {
            counts.waiting += 1;
            continue;
        };
        counts.stopped += 1;
        let for_good = !pod.spec.restarts(kind, ended.exit_code);
        counts.stopped_for_good += usize::from(for_good);
        counts.succeeded += usize::from(ended.exit_code == 0 && now);
        counts.failed_for_good += usize::from(for_good && ended.exit_code != 0);
    }
    counts
}
