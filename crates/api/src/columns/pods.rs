//! Pods: what state their containers are in, in one word.

use document::Value;
use meta::Time;

use super::{Row, or};

/// What the containers' states add up to.
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Time>,
}

pub(super) fn pod(row: &Row<'_>) -> Vec<Value> {
    let pod = row.object;
    let summary = summarize(pod);
    let restarts = match summary.last_restart {
        Some(at) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, super::human::duration(row.now.0 - at.0))
        }
        _ => summary.restarts.to_string(),
    };
    vec![
        row.name(),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        row.age(),
        or(&pod["status"]["podIPs"][0]["ip"], "<none>").into(),
        or(&pod["spec"]["nodeName"], "<none>").into(),
        or(&pod["status"]["nominatedNodeName"], "<none>").into(),
        readiness_gates(pod).into(),
    ]
}

fn summarize(pod: &Value) -> Summary {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let inits = spec["initContainers"].items();
    let sidecars = inits.iter().filter(|c| is_sidecar(c)).count();
    let mut summary = Summary {
        reason: or(&status["reason"], status["phase"].str()).to_owned(),
        ready: 0,
        total: spec["containers"].items().len() + sidecars,
        restarts: 0,
        last_restart: None,
    };
    if status["conditions"]
        .items()
        .iter()
        .any(|c| c["type"].str() == "PodScheduled" && c["reason"].str() == "SchedulingGated")
    {
        summary.reason = "SchedulingGated".into();
    }
    let (initializing, sidecar_restarts) = summary.init_containers(pod);
    if !initializing || is_true(status, "Initialized") {
        (summary.restarts, summary.last_restart) = sidecar_restarts;
        summary.containers(status);
    }
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        if status["reason"].str() == "NodeLost" {
            summary.reason = "Unknown".into();
        } else if !matches!(status["phase"].str(), "Succeeded" | "Failed") {
            summary.reason = "Terminating".into();
        }
    }
    summary
}

impl Summary {
    /// Whether the pod still initializes, and the restarts of its sidecars.
    fn init_containers(&mut self, pod: &Value) -> (bool, (i64, Option<Time>)) {
        let inits = pod["spec"]["initContainers"].items();
        let mut sidecar_restarts = (0, None);
        for (n, container) in pod["status"]["initContainerStatuses"].items().iter().enumerate() {
            let sidecar = inits.iter().any(|c| c["name"] == container["name"] && is_sidecar(c));
            self.count_restarts(container);
            if sidecar {
                sidecar_restarts.0 += container["restartCount"].as_i64().unwrap_or(0);
                sidecar_restarts.1 = sidecar_restarts.1.max(last_end(container));
            }
            let (terminated, waiting) = (&container["state"]["terminated"], &container["state"]["waiting"]);
            if !terminated.is_null() && exit_code(terminated) == 0 {
                continue;
            }
            if sidecar && container["started"].is_true() {
                self.ready += usize::from(container["ready"].is_true());
                continue;
            }
            self.reason = if !terminated.is_null() {
                format!("Init:{}", ended(terminated))
            } else if !matches!(waiting["reason"].str(), "" | "PodInitializing") {
                format!("Init:{}", waiting["reason"].str())
            } else {
                format!("Init:{n}/{}", inits.len())
            };
            return (true, sidecar_restarts);
        }
        (false, sidecar_restarts)
    }

    fn containers(&mut self, status: &Value) {
        let (mut running, mut failed) = (false, String::new());
        for container in status["containerStatuses"].items().iter().rev() {
            self.count_restarts(container);
            let (terminated, waiting) = (&container["state"]["terminated"], &container["state"]["waiting"]);
            if !waiting["reason"].str().is_empty() {
                self.reason = waiting["reason"].str().to_owned();
            } else if !terminated.is_null() {
                self.reason = ended(terminated);
                if exit_code(terminated) != 0 {
                    failed.clone_from(&self.reason);
                }
            } else if container["ready"].is_true() && !container["state"]["running"].is_null() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" {
            if running && is_true(status, "Ready") {
                self.reason = "Running".into();
            } else if !failed.is_empty() {
                self.reason = failed;
            } else if running {
                self.reason = "NotReady".into();
            }
        }
    }

    fn count_restarts(&mut self, container: &Value) {
        self.restarts += container["restartCount"].as_i64().unwrap_or(0);
        self.last_restart = self.last_restart.max(last_end(container));
    }
}

fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"].str() == "Always"
}

fn is_true(status: &Value, condition: &str) -> bool {
    status["conditions"].items().iter().any(|c| c["type"].str() == condition && c["status"].str() == "True")
}

fn last_end(container: &Value) -> Option<Time> {
    Time::parse(container["lastState"]["terminated"]["finishedAt"].str())
}

fn exit_code(terminated: &Value) -> i64 {
    terminated["exitCode"].as_i64().unwrap_or(0)
}

fn ended(terminated: &Value) -> String {
    match (terminated["reason"].str(), terminated["signal"].as_i64().unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", exit_code(terminated)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = pod["spec"]["readinessGates"].items();
    if gates.is_empty() {
        return "<none>".into();
    }
    let passed = gates.iter().filter(|g| is_true(&pod["status"], g["conditionType"].str())).count();
    format!("{passed}/{}", gates.len())
}
