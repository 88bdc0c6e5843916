//! Phases and conditions out of container states.

use super::*;
use crate::{fake, runtime::ContainerState as State};

/// `state`: `a=run b=1` as in the tests of `plan`; `want`: phase and the Ready condition's reason.
fn check(spec: &str, state: &str, terminal: bool, want: (&str, &str)) {
    let json = format!(r#"{{"metadata":{{"name":"p","namespace":"n","uid":"u","generation":3}},"spec":{spec}}}"#);
    let pod: Pod = serde_json::from_str(&json).unwrap();
    let sandboxes = [fake::sandbox("s", 0, !terminal)];
    let containers: Vec<Run> = state
        .split_whitespace()
        .map(|entry| {
            let (name, state) = entry.split_once('=').unwrap();
            let state = match state {
                "run" => State::Running,
                code => fake::exited(code.parse().unwrap(), UNIX_EPOCH),
            };
            fake::container("s", name, 0, state)
        })
        .collect();
    let old = PodStatus { phase: "Pending".into(), ..Default::default() };
    let status = compute(&Input {
        pod: &pod,
        old: &old,
        sandboxes: &sandboxes,
        containers: &containers,
        messages: &HashMap::new(),
        reasons: &Reasons::new(),
        host_ips: &[],
        terminal,
        verdict: None,
        now: UNIX_EPOCH,
    });
    let reason = status.condition("Ready").unwrap().reason.clone();
    assert_eq!((status.phase.as_str(), reason.as_str()), want, "{spec} {state}");
    assert_eq!(status.observed_generation, 3);
}

#[test]
fn phases_follow_the_containers() {
    let of = |policy: &str| format!(r#"{{"restartPolicy":"{policy}","containers":[{{"name":"a"}},{{"name":"b"}}]}}"#);
    check(&of("Always"), "", false, ("Pending", "ContainersNotReady"));
    check(&of("Always"), "a=run", false, ("Pending", "ContainersNotReady"));
    check(&of("Always"), "a=run b=run", false, ("Running", ""));
    check(&of("Always"), "a=1 b=run", false, ("Running", "ContainersNotReady"));
    check(&of("Always"), "a=1 b=1", false, ("Running", "ContainersNotReady"));
    check(&of("Never"), "a=0 b=0", true, ("Succeeded", "PodCompleted"));
    check(&of("Never"), "a=0 b=1", true, ("Failed", "PodFailed"));
    check(&of("OnFailure"), "a=0 b=1", false, ("Running", "ContainersNotReady"));
    let init = r#"{"restartPolicy":"Never","initContainers":[{"name":"i"}],"containers":[{"name":"a"}]}"#;
    check(init, "i=run", false, ("Pending", "ContainersNotReady"));
    check(init, "i=1", true, ("Failed", "PodFailed"));
    check(init, "i=0 a=run", false, ("Running", ""));
}

#[test]
fn a_status_prints_as_upstream_prints_it() {
    let status = PodStatus {
        phase: "Running".into(),
        conditions: vec![crate::pod::PodCondition {
            kind: "Ready".into(),
            status: "True".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let want = r#"{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastProbeTime":null,"lastTransitionTime":null}]}"#;
    assert_eq!(serde_json::to_string(&status).unwrap(), want);
}
