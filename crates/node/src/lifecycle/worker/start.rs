//! Starting one container: image, lowering, create, start; and what is said when a step fails.

use std::time::{Duration, SystemTime};

use super::{Seen, Worker, report};
use crate::{
    image::Image,
    lifecycle::{lower, pull::PullFailure},
    logs, objects,
    pod::{Container, ContainerKind, Pod},
    runtime::ContainerStatus,
    sources::{Sources, Wanted},
};

/// A step that failed: the waiting reason and its message.
struct Failed {
    reason: &'static str,
    message: String,
    retry: Option<SystemTime>,
}

impl Worker {
    pub(super) async fn start(&mut self, pod: &Pod, seen: &Seen, kind: ContainerKind, name: &str) {
        let Some((_, container)) = pod.container(name) else { return };
        match self.try_start(pod, seen, kind, container).await {
            Ok(()) => {
                self.reasons.remove(name);
                self.start_not_before.remove(name);
                self.prune(seen, name).await;
            }
            Err(failed) => {
                self.reasons.insert(name.to_owned(), (failed.reason.into(), failed.message));
                let again = failed.retry.unwrap_or_else(|| SystemTime::now() + Duration::from_secs(10));
                self.start_not_before.insert(name.to_owned(), again);
                self.wake_at(again);
            }
        }
    }

    async fn try_start(
        &mut self,
        pod: &Pod,
        seen: &Seen,
        kind: ContainerKind,
        container: &Container,
    ) -> Result<(), Failed> {
        let image = self.image(pod, kind, container).await?;
        let (context, name) = (self.context.clone(), &container.name);
        let say = |warning: bool, reason: &str, message: String| {
            context.container_event(pod, kind, name, warning, reason, message);
        };
        let failed = |reason: &'static str, message: String, retry: u64| {
            say(true, "Failed", format!("Error: {message}"));
            Failed { reason, message, retry: Some(SystemTime::now() + Duration::from_secs(retry)) }
        };
        let wanted = Wanted::of_env(container);
        let sources = objects::fetch(&context.api, pod, &wanted, &mut self.tokens)
            .await
            .map_err(|message| failed("CreateContainerConfigError", message, 10))?;
        let Some(sandbox) = seen.newest_sandbox() else { return Ok(()) };
        let parts = lower::Parts {
            context: &context,
            pod,
            container,
            attempt: self.attempt(pod, seen, kind, name),
            image: &image,
            pod_ips: &if pod.spec.host_network { context.host_ips.clone() } else { seen.pod_ips() },
            sources: &sources,
            volumes: &self.volumes,
        };
        let spec = lower::container(&parts).map_err(|message| failed("CreateContainerConfigError", message, 10))?;
        let id = context
            .runtime
            .create(&sandbox.id, &spec)
            .await
            .map_err(|error| failed("CreateContainerError", error.to_string(), 10))?;
        say(false, "Created", "Container created".into());
        context.runtime.start(&id).await.map_err(|error| failed("RunContainerError", error.to_string(), 2))?;
        say(false, "Started", "Container started".into());
        Ok(())
    }

    async fn image(&mut self, pod: &Pod, kind: ContainerKind, container: &Container) -> Result<Image, Failed> {
        let context = self.context.clone();
        let say = |warning: bool, reason: &str, message: String| {
            context.container_event(pod, kind, &container.name, warning, reason, message);
        };
        let secrets = self.pull_secrets(pod).await;
        let mut inbox = self.inbox.clone();
        let pull = self.pulls.ensure(&*context.images, container, &secrets, &say);
        let outcome = tokio::select! {
            outcome = pull => outcome,
            // nobody waits for the image any more
            _ = inbox.wait_for(|o| o.as_ref().is_none_or(|o| o.deletion.is_some())) => {
                return Err(Failed { reason: "ErrImagePull", message: "pull canceled".into(), retry: None });
            }
        };
        outcome.map_err(|PullFailure { reason, message, retry }| {
            say(true, "Failed", format!("Error: {reason}"));
            Failed { reason, message, retry }
        })
    }

    async fn pull_secrets(&mut self, pod: &Pod) -> Sources {
        let wanted = Wanted::of_pulls(pod);
        let sources = objects::fetch(&self.context.api, pod, &wanted, &mut self.tokens).await.unwrap_or_default();
        let missing: Vec<&str> =
            wanted.secrets.iter().filter(|n| !sources.secrets.contains_key(*n)).map(String::as_str).collect();
        if !missing.is_empty() {
            let text = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            self.context.pod_event(pod, true, "FailedToRetrieveImagePullSecret", text);
        }
        sources
    }

    /// One more than the last attempt that runtime, status or log files know of.
    fn attempt(&self, pod: &Pod, seen: &Seen, kind: ContainerKind, name: &str) -> u32 {
        let in_runtime = seen.containers.iter().filter(|c| c.name == name).map(|c| c.attempt + 1).max();
        let status = self.said.as_ref().unwrap_or(&pod.status);
        let statuses = match kind {
            ContainerKind::Init => &status.init_container_statuses,
            ContainerKind::Regular => &status.container_statuses,
        };
        let said = statuses.iter().find(|s| s.name == name && !s.container_id.is_empty()).map(|s| s.restart_count + 1);
        in_runtime.max(said).unwrap_or_else(|| {
            let meta = &pod.metadata;
            logs::next_attempt(&logs::pod_dir(&self.context.log_dir, &meta.namespace, &meta.name, &meta.uid), name)
        })
    }

    /// Of each container the run before this one is kept, for its status and its log.
    async fn prune(&self, seen: &Seen, name: &str) {
        let mut old: Vec<&ContainerStatus> = seen.containers.iter().filter(|c| c.name == name).collect();
        old.sort_by_key(|c| std::cmp::Reverse(c.attempt));
        for container in old.iter().skip(1) {
            report("remove an old container", self.context.runtime.remove(&container.id).await);
            // only the log of a removed container goes, and a missing one is fine
            let _ = std::fs::remove_file(&container.log_path);
        }
    }
}
