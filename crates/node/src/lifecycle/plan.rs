//! What to do next for a pod that should run: a pure function of its spec and of what is observed. The worker performs
//! the actions, observes again and asks again, until nothing is left to do at once.
//!
//! ```text
//! no ready sandbox ──RunSandbox──▶ init 0 ─exit 0─▶ … init n ─exit 0─▶ all containers
//!        ▲                            │ exit ≠ 0: BackOff/Start again, or Finish (Never)     │ exited: BackOff/Start/stay
//!        └──────── sandbox gone ──────┴──────────────────────────────────────────────────────┘ all stay ▶ Finish
//! ```

use std::time::SystemTime;

use crate::{
    pod::{Container, ContainerKind, Pod},
    runtime::{ContainerState, ContainerStatus, Sandbox, SandboxState},
};

/// Label of a container: the `image` of its spec, to see that it was changed.
pub const IMAGE_LABEL: &str = "image";

/// What is the case.
pub struct Observed<'a> {
    /// The pod's sandboxes.
    pub sandboxes: &'a [Sandbox],
    /// The pod's containers, old attempts included.
    pub containers: &'a [ContainerStatus],
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Stop what is left of a sandbox that is gone.
    StopSandbox(String),
    /// Make a sandbox.
    RunSandbox { attempt: u32 },
    /// Remove a container that was created and never started.
    Remove(String),
    /// Stop a running container because its definition changed.
    Restart { id: String, name: String },
    /// Pull, create and start a container; `failed_at` is the end of the run before.
    Start { kind: ContainerKind, name: String, ended: Option<SystemTime> },
    /// Wait for the back-off of a crashed container.
    BackOff { kind: ContainerKind, name: String, until: SystemTime },
    /// Nothing will run any more: the pod has succeeded or failed.
    Finish,
}

/// When a container that ended at that time may start again; `None` is now.
pub type Delay<'a> = &'a dyn Fn(&str, SystemTime) -> Option<SystemTime>;

/// Decides the next steps. Empty: wait for something to happen.
pub fn plan(pod: &Pod, observed: &Observed<'_>, delay: Delay<'_>) -> Vec<Action> {
    let newest = observed.sandboxes.iter().max_by_key(|s| s.attempt);
    match newest.filter(|s| s.state == SandboxState::Ready) {
        Some(sandbox) => in_sandbox(pod, observed, &sandbox.id, delay),
        None => without_sandbox(pod, observed, newest),
    }
}

fn without_sandbox(pod: &Pod, observed: &Observed<'_>, newest: Option<&Sandbox>) -> Vec<Action> {
    let Some(old) = newest else { return vec![Action::RunSandbox { attempt: 0 }] };
    let ended = |c: &Container| matches!(latest(observed, None, &c.name), Some(Seen::Exited { .. }));
    let stays = pod.spec.restarts_never() && pod.spec.containers.iter().any(ended);
    if stays || is_finished(pod, observed) {
        return vec![Action::Finish];
    }
    vec![Action::StopSandbox(old.id.clone()), Action::RunSandbox { attempt: old.attempt + 1 }]
}

fn in_sandbox(pod: &Pod, observed: &Observed<'_>, sandbox: &str, delay: Delay<'_>) -> Vec<Action> {
    let spec = &pod.spec;
    let initialized = spec.containers.iter().any(|c| latest(observed, Some(sandbox), &c.name).is_some());
    if !initialized {
        for container in &spec.init_containers {
            match latest(observed, Some(sandbox), &container.name) {
                Some(Seen::Exited { code: 0, .. }) => continue,
                Some(Seen::Running { .. }) => return Vec::new(),
                Some(Seen::Exited { code, .. }) if !spec.restarts(ContainerKind::Init, code) => {
                    return vec![Action::Finish];
                }
                seen => return start(ContainerKind::Init, container, seen, delay),
            }
        }
    }
    if is_finished(pod, observed) {
        return vec![Action::Finish];
    }
    let mut actions = Vec::new();
    for container in &spec.containers {
        match latest(observed, Some(sandbox), &container.name) {
            Some(Seen::Running { id, image }) => {
                if image.is_some_and(|image| *image != container.image) {
                    actions.push(Action::Restart { id: id.into(), name: container.name.clone() });
                }
            }
            Some(Seen::Exited { code, .. }) if !spec.restarts(ContainerKind::Regular, code) => {}
            None if stays_ended(pod, observed, container) => {}
            seen => actions.extend(start(ContainerKind::Regular, container, seen, delay)),
        }
    }
    actions
}

/// A container of an older sandbox that ended for good does not start again in the new one.
fn stays_ended(pod: &Pod, observed: &Observed<'_>, container: &Container) -> bool {
    match latest(observed, None, &container.name) {
        Some(Seen::Exited { code, .. }) => !pod.spec.restarts(ContainerKind::Regular, code),
        _ => false,
    }
}

fn start(kind: ContainerKind, container: &Container, seen: Option<Seen<'_>>, delay: Delay<'_>) -> Vec<Action> {
    let name = container.name.clone();
    match seen {
        Some(Seen::Created { id }) => vec![Action::Remove(id.into()), Action::Start { kind, name, ended: None }],
        Some(Seen::Exited { at, .. }) => match delay(&name, at) {
            Some(until) => vec![Action::BackOff { kind, name, until }],
            None => vec![Action::Start { kind, name, ended: Some(at) }],
        },
        _ => vec![Action::Start { kind, name, ended: None }],
    }
}

/// Whether every container has ended for good.
pub fn is_finished(pod: &Pod, observed: &Observed<'_>) -> bool {
    let ended = |c: &Container| match latest(observed, None, &c.name) {
        Some(Seen::Exited { code, .. }) => !pod.spec.restarts(ContainerKind::Regular, code),
        _ => false,
    };
    !pod.spec.containers.is_empty() && pod.spec.containers.iter().all(ended)
}

/// The newest attempt of a container, in one sandbox or in any.
enum Seen<'a> {
    Created { id: &'a str },
    Running { id: &'a str, image: Option<&'a String> },
    Exited { code: i32, at: SystemTime },
}

fn latest<'a>(observed: &Observed<'a>, sandbox: Option<&str>, name: &str) -> Option<Seen<'a>> {
    let of_name = observed.containers.iter().filter(|c| c.name == name && sandbox.is_none_or(|s| c.sandbox == s));
    let newest = of_name.max_by_key(|c| (c.attempt, c.created_at))?;
    Some(match &newest.state {
        ContainerState::Created => Seen::Created { id: &newest.id },
        ContainerState::Running => Seen::Running { id: &newest.id, image: newest.labels.get(IMAGE_LABEL) },
        ContainerState::Exited { code, finished_at, .. } => Seen::Exited { code: *code, at: *finished_at },
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fake;

    const AT: SystemTime = SystemTime::UNIX_EPOCH;

    /// `state` is like `i=0 a=run b=1`: exit codes or `run` or `new`, all in the sandbox that `sandbox` says is ready.
    fn check(spec: &str, sandbox: Option<bool>, state: &str, want: &[Action]) {
        check_with(spec, sandbox, state, None, want);
    }

    fn check_with(spec: &str, sandbox: Option<bool>, state: &str, until: Option<SystemTime>, want: &[Action]) {
        let pod: Pod = serde_json::from_str(&format!(r#"{{"spec":{spec}}}"#)).unwrap();
        let sandboxes: Vec<Sandbox> = sandbox.map(|ready| fake::sandbox("s0", 0, ready)).into_iter().collect();
        let containers: Vec<ContainerStatus> = state
            .split_whitespace()
            .map(|entry| {
                let (name, state) = entry.split_once('=').unwrap();
                let state = match state {
                    "run" => ContainerState::Running,
                    "new" => ContainerState::Created,
                    code => fake::exited(code.parse().unwrap(), AT),
                };
                fake::container("s0", name, 0, state)
            })
            .collect();
        let observed = Observed { sandboxes: &sandboxes, containers: &containers };
        assert_eq!(plan(&pod, &observed, &|_, _| until), want, "{spec} {sandbox:?} {state}");
    }

    fn init(name: &str) -> Action {
        Action::Start { kind: ContainerKind::Init, name: name.into(), ended: None }
    }

    fn fresh(name: &str) -> Action {
        Action::Start { kind: ContainerKind::Regular, name: name.into(), ended: None }
    }

    fn again(kind: ContainerKind, name: &str) -> Action {
        Action::Start { kind, name: name.into(), ended: Some(AT) }
    }

    const TWO: &str = r#"{"restartPolicy":"Always","containers":[{"name":"a"},{"name":"b"}]}"#;
    const INIT: &str =
        r#"{"restartPolicy":"Always","initContainers":[{"name":"i"},{"name":"j"}],"containers":[{"name":"a"}]}"#;

    #[test]
    fn a_pod_starts_with_a_sandbox_then_init_containers_then_containers() {
        check(TWO, None, "", &[Action::RunSandbox { attempt: 0 }]);
        check(TWO, Some(true), "", &[fresh("a"), fresh("b")]);
        check(TWO, Some(true), "a=run b=run", &[]);
        check(INIT, Some(true), "", &[init("i")]);
        check(INIT, Some(true), "i=run", &[]);
        check(INIT, Some(true), "i=0", &[init("j")]);
        check(INIT, Some(true), "i=0 j=0", &[fresh("a")]);
        check(INIT, Some(true), "i=0 j=1", &[again(ContainerKind::Init, "j")]);
        check(INIT, Some(true), "a=run", &[]);
    }

    #[test]
    fn restart_policy_decides_what_starts_again() {
        let of = |policy: &str| TWO.replace("Always", policy);
        check(TWO, Some(true), "a=0 b=run", &[again(ContainerKind::Regular, "a")]);
        check(&of("OnFailure"), Some(true), "a=0 b=run", &[]);
        check(&of("OnFailure"), Some(true), "a=1 b=run", &[again(ContainerKind::Regular, "a")]);
        check(&of("OnFailure"), Some(true), "a=0 b=0", &[Action::Finish]);
        check(&of("Never"), Some(true), "a=1 b=run", &[]);
        check(&of("Never"), Some(true), "a=1 b=0", &[Action::Finish]);
        check(&INIT.replace("Always", "Never"), Some(true), "i=3", &[Action::Finish]);
    }

    #[test]
    fn a_crash_waits_for_its_back_off() {
        let until = AT + Duration::from_secs(10);
        let wait = Action::BackOff { kind: ContainerKind::Regular, name: "a".into(), until };
        check_with(TWO, Some(true), "a=1 b=run", Some(until), &[wait]);
    }

    #[test]
    fn a_lost_sandbox_is_replaced_unless_the_pod_never_restarts() {
        let replace = [Action::StopSandbox("s0".into()), Action::RunSandbox { attempt: 1 }];
        check(TWO, Some(false), "a=137 b=137", &replace);
        check(&TWO.replace("Always", "Never"), Some(false), "a=137 b=137", &[Action::Finish]);
        check(&TWO.replace("Always", "OnFailure"), Some(false), "a=0 b=0", &[Action::Finish]);
    }

    #[test]
    fn a_container_that_was_never_started_is_made_anew() {
        check(TWO, Some(true), "a=new b=run", &[Action::Remove("s0-a-0".into()), fresh("a")]);
    }
}
