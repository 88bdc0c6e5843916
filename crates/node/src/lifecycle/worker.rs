//! One task per pod: observes, plans, performs, says how it stands; until the pod is gone from the API.
//!
//! ```text
//! running ──(deleted, deadline, all ended)──▶ stopping ──▶ finished ──(gone from the API)──▶ removed
//! ```

mod start;
mod stop;
mod write;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use document::{Object, Value};
use tokio::sync::{Notify, watch};

use super::{
    clock::Clocks,
    context::Context,
    lower,
    plan::{self, Action, Observed},
    pull::Pulls,
    refuse,
    status::{self, Input, Reasons},
};
use crate::{
    backoff::{Backoff, go_duration},
    convert, logs, objects,
    pod::{ContainerKind, Pod, PodStatus},
    runtime::{ContainerState, ContainerStatus, Sandbox},
    volumes::{self, Facts, PodVolumes},
};

/// The newest object of a pod; `None` when it is gone.
pub(crate) type Inbox = watch::Receiver<Option<Arc<Object>>>;

/// The pod's task.
pub(crate) struct Worker {
    context: Arc<Context>,
    inbox: Inbox,
    kick: Arc<Notify>,
    volumes: PodVolumes,
    tokens: objects::Tokens,
    pulls: Pulls,
    crashes: Backoff,
    reasons: Reasons,
    messages: HashMap<String, String>,
    /// The status said last, and the tree that it was said with.
    said: Option<PodStatus>,
    base: Option<Value>,
    refused: bool,
    volumes_fresh_until: Option<SystemTime>,
    mount_delay: Duration,
    /// A failed mount is not tried again before; nor a failed start, by container; nor is a back-off told twice.
    mount_not_before: Option<SystemTime>,
    start_not_before: HashMap<String, SystemTime>,
    told: HashMap<String, SystemTime>,
    /// Labels and annotations that the volumes were written with.
    shown: Option<(BTreeMap<String, String>, BTreeMap<String, String>)>,
    stopped: bool,
    verdict: Option<(&'static str, &'static str, &'static str)>,
    wake: Option<SystemTime>,
    clocks: Clocks,
}

/// What the runtime knows of the pod.
pub(super) struct Seen {
    sandboxes: Vec<Sandbox>,
    containers: Vec<ContainerStatus>,
}

impl Seen {
    fn observed(&self) -> Observed<'_> {
        Observed { sandboxes: &self.sandboxes, containers: &self.containers }
    }

    fn newest_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.iter().max_by_key(|s| s.attempt)
    }

    fn pod_ips(&self) -> Vec<String> {
        self.newest_sandbox().map(|s| s.ips.iter().map(ToString::to_string).collect()).unwrap_or_default()
    }
}

impl Worker {
    pub(crate) fn new(context: Arc<Context>, uid: &str, inbox: Inbox, kick: Arc<Notify>) -> Self {
        let volumes = PodVolumes::new(&context.pods_dir, uid, context.mounter.clone());
        Worker {
            context,
            inbox,
            kick,
            volumes,
            tokens: objects::Tokens::default(),
            pulls: Pulls::default(),
            crashes: Backoff::default(),
            reasons: Reasons::new(),
            messages: HashMap::new(),
            said: None,
            base: None,
            refused: false,
            volumes_fresh_until: None,
            mount_delay: Duration::from_millis(500),
            mount_not_before: None,
            start_not_before: HashMap::new(),
            told: HashMap::new(),
            shown: None,
            stopped: false,
            verdict: None,
            wake: None,
            clocks: Clocks::now(),
        }
    }

    /// Works until the pod is gone from the API and from this node.
    pub(crate) async fn run(mut self) {
        let mut last: Option<Pod> = None;
        loop {
            let object = self.inbox.borrow_and_update().clone();
            let Some(object) = object else { break };
            self.wake = None;
            self.check_clock();
            match convert::pod(&object) {
                Ok(pod) => {
                    self.step(&pod).await;
                    last = Some(pod);
                }
                Err(error) => tracing::error!(key = ?object.key, %error, "failed to decode a pod"),
            }
            if self.rest().await.is_err() {
                // the agent ends; containers go on
                return;
            }
        }
        if let Some(pod) = last {
            self.remove(&pod).await;
        }
    }

    /// When the machine's clock was set, nothing waits for what was written down before, and tokens are made anew.
    fn check_clock(&mut self) {
        let now = Clocks::now();
        if self.clocks.was_set(&now) {
            tracing::warn!("the clock was set: whatever waited is tried again");
            self.mount_not_before = None;
            self.start_not_before.clear();
            self.tokens.make_stale();
            self.volumes_fresh_until = self.volumes_fresh_until.map(|_| SystemTime::UNIX_EPOCH);
        }
        self.clocks = now;
    }

    /// Waits for something to happen; an error when the agent ends. Looks at the clock from time to time.
    async fn rest(&mut self) -> Result<(), ()> {
        const LOOK: Duration = Duration::from_secs(60);
        let pause = match self.wake {
            Some(at) => at.duration_since(SystemTime::now()).unwrap_or(Duration::from_millis(1)).min(LOOK),
            None => Duration::from_secs(3600),
        };
        tokio::select! {
            changed = self.inbox.changed() => changed.map_err(drop),
            () = self.kick.notified() => Ok(()),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    pub(super) fn wake_at(&mut self, at: SystemTime) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    pub(super) fn wake_in(&mut self, pause: Duration) {
        self.wake_at(SystemTime::now() + pause);
    }

    async fn step(&mut self, pod: &Pod) {
        self.check_deadline(pod);
        let over = pod.is_deleting() || self.verdict.is_some() || pod.is_terminal();
        if over || self.stopped {
            if !self.stopped {
                self.stop(pod).await;
            }
            if self.stopped && pod.is_deleting() {
                self.delete(pod).await;
            }
            return;
        }
        self.sync(pod).await;
        if self.stopped && pod.is_deleting() {
            self.delete(pod).await;
        }
    }

    fn check_deadline(&mut self, pod: &Pod) {
        let Some(seconds) = pod.spec.active_deadline_seconds else { return };
        let started = self.said.as_ref().and_then(|s| s.start_time.clone()).or_else(|| pod.status.start_time.clone());
        let Some(started) = started.and_then(|t| meta::Time::parse(&t)) else {
            self.wake_in(Duration::from_secs(1));
            return;
        };
        let deadline = started.0 + seconds;
        let now = meta::Time::now().0;
        if now < deadline {
            self.wake_in(Duration::from_secs(u64::try_from(deadline - now).unwrap_or(1)));
        } else if self.verdict.is_none() && !pod.is_terminal() {
            const MESSAGE: &str = "Pod was active on the node longer than the specified deadline";
            self.context.pod_event(pod, false, "DeadlineExceeded", MESSAGE);
            self.verdict = Some(("Failed", "DeadlineExceeded", MESSAGE));
        }
    }

    async fn sync(&mut self, pod: &Pod) {
        if let Some(message) = refuse::refusal(pod) {
            self.refuse(pod, message).await;
            return;
        }
        for container in &pod.spec.ephemeral_containers {
            if self.told.insert(format!("ephemeral/{}", container.name), SystemTime::UNIX_EPOCH).is_none() {
                let message = format!("{} (container {:?})", refuse::EPHEMERAL, container.name);
                self.context.pod_event(pod, true, refuse::REASON, message);
            }
        }
        if self.said.is_none() {
            // the first word: accepted, containers are being created
            self.say(pod, false).await;
        }
        if !self.refresh_volumes(pod).await {
            self.say(pod, false).await;
            return;
        }
        self.perform_all(pod).await;
        if self.stopped {
            return;
        }
        self.say(pod, false).await;
    }

    async fn refuse(&mut self, pod: &Pod, message: String) {
        if !self.refused {
            self.context.pod_event(pod, true, refuse::REASON, message.clone());
            self.refused = true;
        }
        for (_, container) in pod.all_containers() {
            self.reasons.insert(container.name.clone(), (refuse::REASON.into(), message.clone()));
        }
        self.say(pod, false).await;
    }

    /// Volumes exist and are fresh; `false`: not yet.
    async fn refresh_volumes(&mut self, pod: &Pod) -> bool {
        let now = SystemTime::now();
        let wanted = volumes::wanted(pod);
        let generated = !wanted.is_empty() || pod.spec.volumes.iter().any(|v| v.downward_api.is_some());
        // the downward API shows labels and annotations
        let shown = (pod.metadata.labels.clone(), pod.metadata.annotations.clone());
        let same = self.shown.as_ref() == Some(&shown);
        if let Some(until) = self.volumes_fresh_until.filter(|until| now < *until && same) {
            if generated {
                self.wake_at(until);
            }
            return true;
        }
        if let Some(at) = self.mount_not_before.filter(|at| now < *at) {
            self.wake_at(at);
            return self.volumes_fresh_until.is_some();
        }
        let context = self.context.clone();
        let outcome = match objects::fetch(&context.api, pod, &wanted, &mut self.tokens).await {
            Ok(sources) => {
                let pod_ips = self.seen(pod).await.map(|s| s.pod_ips()).unwrap_or_default();
                let facts = Facts { host_ips: &context.host_ips, pod_ips: &pod_ips, capacity: context.capacity };
                self.volumes.set_up(pod, &sources, &facts)
            }
            Err(cause) => Err(format!("MountVolume.SetUp failed for volumes of the pod : {cause}")),
        };
        match outcome {
            Ok(()) => {
                self.mount_delay = Duration::from_millis(500);
                self.shown = Some(shown);
                let next = now + context.refresh;
                let until = self.tokens.refresh_at().map_or(next, |at| at.min(next));
                self.volumes_fresh_until = Some(until);
                if generated {
                    self.wake_at(until);
                }
                true
            }
            Err(message) => {
                context.pod_event(pod, true, "FailedMount", message);
                let again = now + self.mount_delay;
                self.mount_not_before = Some(again);
                self.wake_at(again);
                self.mount_delay = (self.mount_delay * 2).min(Duration::from_secs(122));
                // a pod that runs goes on with the files that it has
                self.volumes_fresh_until.is_some()
            }
        }
    }

    async fn perform_all(&mut self, pod: &Pod) {
        let mut tried = Vec::new();
        loop {
            let Some(seen) = self.seen(pod).await else {
                self.wake_in(Duration::from_secs(5));
                return;
            };
            let uid = &pod.metadata.uid;
            let crashes = &self.crashes;
            let now = SystemTime::now();
            let delay = |name: &str, ended: SystemTime| crashes.until(&format!("{uid}/{name}"), ended, now);
            let mut actions = plan::plan(pod, &seen.observed(), &delay);
            actions.retain(
                |a| !matches!(a, Action::Start { name, .. } | Action::BackOff { name, .. } if tried.contains(name)),
            );
            let waits = |name: &String| self.start_not_before.get(name).copied().filter(|at| now < *at);
            let held: Vec<SystemTime> = actions
                .iter()
                .filter_map(|a| if let Action::Start { name, .. } = a { waits(name) } else { None })
                .collect();
            actions.retain(|a| !matches!(a, Action::Start { name, .. } if waits(name).is_some()));
            held.into_iter().for_each(|at| self.wake_at(at));
            if actions.is_empty() {
                return;
            }
            for action in actions {
                if let Action::Start { name, .. } | Action::BackOff { name, .. } = &action {
                    tried.push(name.clone());
                }
                if !self.perform(pod, &seen, action).await || self.is_leaving() {
                    return;
                }
            }
        }
    }

    /// One action; `false` ends this round.
    async fn perform(&mut self, pod: &Pod, seen: &Seen, action: Action) -> bool {
        let context = self.context.clone();
        match action {
            Action::StopSandbox(id) => {
                context.pod_event(
                    pod,
                    false,
                    "SandboxChanged",
                    "Pod sandbox changed, it will be killed and re-created.",
                );
                report("stop a sandbox", context.runtime.stop_sandbox(&id).await)
            }
            Action::RunSandbox { attempt } => {
                match context.runtime.run_sandbox(&lower::sandbox(&context, pod, attempt)).await {
                    Ok(_) => {
                        // its address is worth a word before images are pulled
                        self.say(pod, false).await;
                        true
                    }
                    Err(error) => {
                        context.pod_event(
                            pod,
                            true,
                            "FailedCreatePodSandBox",
                            format!("Failed to create pod sandbox: {error}"),
                        );
                        self.wake_in(Duration::from_secs(10));
                        false
                    }
                }
            }
            Action::Remove(id) => report("remove a container", context.runtime.remove(&id).await),
            Action::Restart { id, name } => {
                let text = format!("Container {name} definition changed, will be restarted");
                context.container_event(pod, ContainerKind::Regular, &name, false, "Killing", text);
                let grace = Duration::from_secs(
                    u64::try_from(pod.spec.termination_grace_period_seconds.unwrap_or(30)).unwrap_or(30),
                );
                report("stop a container", context.runtime.stop(&id, grace).await)
            }
            Action::Start { kind, name, ended } => {
                if let Some(ended) = ended {
                    self.crashes.next(&format!("{}/{name}", pod.metadata.uid), ended);
                }
                self.start(pod, seen, kind, &name).await;
                true
            }
            Action::BackOff { kind, name, until } => {
                if self.told.insert(name.clone(), until) != Some(until) {
                    let text = format!("Back-off restarting failed container {name} in pod {}", pod.full_name());
                    context.container_event(pod, kind, &name, true, "BackOff", text);
                }
                let delay = go_duration(self.crashes.delay(&format!("{}/{name}", pod.metadata.uid)));
                let message = format!("back-off {delay} restarting failed container={name} pod={}", pod.full_name());
                self.reasons.insert(name, ("CrashLoopBackOff".into(), message));
                self.wake_at(until);
                true
            }
            Action::Finish => {
                self.stop(pod).await;
                false
            }
        }
    }

    /// Whether the pod is being deleted or gone meanwhile.
    fn is_leaving(&self) -> bool {
        self.inbox.borrow().as_ref().is_none_or(|o| o.deletion.is_some())
    }

    pub(super) async fn seen(&self, pod: &Pod) -> Option<Seen> {
        match self.context.runtime.list().await {
            Ok(mut all) => {
                all.sandboxes.retain(|s| s.pod.uid == pod.metadata.uid);
                all.containers.retain(|c| c.pod.uid == pod.metadata.uid);
                Some(Seen { sandboxes: all.sandboxes, containers: all.containers })
            }
            Err(error) => {
                tracing::warn!(%error, "failed to list containers");
                None
            }
        }
    }

    /// Computes and writes the status.
    pub(super) async fn say(&mut self, pod: &Pod, terminal: bool) {
        let Some(seen) = self.seen(pod).await else { return };
        self.read_messages(pod, &seen);
        let old = self.said.as_ref().unwrap_or(&pod.status);
        let status = status::compute(&Input {
            pod,
            old,
            sandboxes: &seen.sandboxes,
            containers: &seen.containers,
            messages: &self.messages,
            reasons: &self.reasons,
            host_ips: &self.context.host_ips,
            terminal,
            verdict: self.verdict,
            now: SystemTime::now(),
        });
        self.write(pod, status).await;
    }

    /// Termination messages of containers that have ended, read once.
    fn read_messages(&mut self, pod: &Pod, seen: &Seen) {
        for run in &seen.containers {
            let ContainerState::Exited { code, .. } = &run.state else { continue };
            let Some((_, container)) = pod.container(&run.name) else { continue };
            if self.messages.contains_key(&run.id) {
                continue;
            }
            let path = lower::termination_log(self.volumes.dir(), &run.name, run.attempt);
            let mut text = read_at_most(&path, 4096);
            if text.is_empty() && *code != 0 && container.termination_message_policy == "FallbackToLogsOnError" {
                text = logs::last_text(&run.log_path);
            }
            self.messages.insert(run.id.clone(), text);
        }
    }
}

/// The end of a file, at most so many bytes.
fn read_at_most(path: &std::path::Path, bytes: u64) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut content = Vec::new();
        file.take(bytes).read_to_end(&mut content)?;
        Ok(content)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

pub(super) fn report<E: std::fmt::Display>(step: &str, outcome: Result<(), E>) -> bool {
    match outcome {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "failed to {step}");
            false
        }
    }
}
