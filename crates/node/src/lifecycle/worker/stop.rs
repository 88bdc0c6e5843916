//! Ending a pod: signal, grace period, kill; then its sandbox, its volumes, and, when it was deleted, its API object.

use std::time::Duration;

use client::PODS;
use document::doc;
use futures::future::join_all;

use super::{Seen, Worker, report};
use crate::{
    convert, logs,
    pod::{ContainerKind, Pod},
    runtime::ContainerState,
};

/// Containers always get this long between signal and kill.
const SHORTEST_GRACE: i64 = 2;

impl Worker {
    /// Stops everything, gives the network back, takes volumes away and says the last status.
    pub(super) async fn stop(&mut self, pod: &Pod) {
        let Some(seen) = self.seen(pod).await else {
            self.wake_in(Duration::from_secs(5));
            return;
        };
        self.announce(pod, &seen);
        if !self.stop_containers(pod, &seen).await {
            self.wake_in(Duration::from_secs(5));
            return;
        }
        for sandbox in &seen.sandboxes {
            if !report("stop a sandbox", self.context.runtime.stop_sandbox(&sandbox.id).await) {
                self.wake_in(Duration::from_secs(5));
                return;
            }
        }
        self.say(pod, true).await;
        report("take volumes away", self.volumes.tear_down());
        self.stopped = true;
    }

    fn announce(&self, pod: &Pod, seen: &Seen) {
        for run in seen.containers.iter().filter(|c| c.state == ContainerState::Running) {
            let kind = pod.container(&run.name).map_or(ContainerKind::Regular, |(kind, _)| kind);
            let text = format!("Stopping container {}", run.name);
            self.context.container_event(pod, kind, &run.name, false, "Killing", text);
        }
    }

    /// All at once. A deletion that shortens the grace period while we wait is obeyed.
    async fn stop_containers(&mut self, pod: &Pod, seen: &Seen) -> bool {
        let mut grace = grace(pod);
        let running: Vec<String> = seen
            .containers
            .iter()
            .filter(|c| matches!(c.state, ContainerState::Running | ContainerState::Created))
            .map(|c| c.id.clone())
            .collect();
        let mut inbox = self.inbox.clone();
        loop {
            let runtime = self.context.runtime.clone();
            let stops = running.iter().map(|id| {
                let runtime = runtime.clone();
                async move { runtime.stop(id, grace).await }
            });
            let shorter = async {
                loop {
                    if inbox.changed().await.is_err() {
                        return std::future::pending().await;
                    }
                    let now = match inbox.borrow_and_update().as_ref().map(|o| convert::pod(o)) {
                        Some(Ok(pod)) => self::grace(&pod),
                        Some(Err(_)) => continue,
                        // gone from the API by force: nothing to wait for
                        None => Duration::ZERO,
                    };
                    if now < grace {
                        return now;
                    }
                }
            };
            tokio::select! {
                outcomes = join_all(stops) => {
                    return outcomes.into_iter().all(|o| match o {
                        Err(error) if !error.is_not_found() => report("stop a container", Err(error)),
                        _ => true,
                    });
                }
                now = shorter => grace = now,
            }
        }
    }

    /// The API object goes last.
    pub(super) async fn delete(&mut self, pod: &Pod) {
        let meta = &pod.metadata;
        let options = doc!({"gracePeriodSeconds": 0, "preconditions": {"uid": (&meta.uid)}});
        match self.context.api.delete(&PODS, &meta.namespace, &meta.name, options).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => {
                tracing::warn!(pod = pod.full_name(), "failed to delete a pod: {}", error.message);
                self.wake_in(Duration::from_secs(5));
            }
            _ => {}
        }
    }

    /// After the object is gone: what is left on this machine.
    pub(super) async fn remove(mut self, pod: &Pod) {
        let mut pause = Duration::from_secs(1);
        while !self.try_remove(pod).await {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(60));
        }
    }

    async fn try_remove(&mut self, pod: &Pod) -> bool {
        let Some(seen) = self.seen(pod).await else { return false };
        if !self.stopped {
            self.announce(pod, &seen);
        }
        let runtime = self.context.runtime.clone();
        let running = seen.containers.iter().filter(|c| c.state == ContainerState::Running);
        let stops = running.map(|c| runtime.stop(&c.id, Duration::from_secs(2)));
        join_all(stops).await;
        for sandbox in &seen.sandboxes {
            if !report("remove a sandbox", self.context.runtime.remove_sandbox(&sandbox.id).await) {
                return false;
            }
        }
        let meta = &pod.metadata;
        let logs = logs::pod_dir(&self.context.log_dir, &meta.namespace, &meta.name, &meta.uid);
        let gone = |outcome: std::io::Result<()>| match outcome {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        report("take volumes away", self.volumes.remove()) && report("remove logs", gone(std::fs::remove_dir_all(logs)))
    }
}

fn grace(pod: &Pod) -> Duration {
    let seconds = match pod.metadata.deletion_grace_period_seconds {
        Some(seconds) if pod.is_deleting() => seconds,
        _ => pod.spec.termination_grace_period_seconds.unwrap_or(30),
    };
    Duration::from_secs(u64::try_from(seconds.max(SHORTEST_GRACE)).unwrap_or(2))
}
