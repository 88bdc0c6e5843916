//! Writing the status: a PUT on the newest tree that we know, again on a fresh one when somebody else was faster.

use std::time::Duration;

use client::PODS;
use document::{Value, json, object::Head};

use super::Worker;
use crate::{
    convert,
    pod::{Pod, PodStatus},
};

const ATTEMPTS: usize = 5;

impl Worker {
    /// Writes the status if it differs from what the API has.
    pub(super) async fn write(&mut self, pod: &Pod, status: PodStatus) {
        if self.said.as_ref() == Some(&status) || (self.said.is_none() && pod.status == status) {
            self.said = Some(status);
            return;
        }
        let mut base = match self.newest_base() {
            Some(base) => base,
            None => return,
        };
        for _ in 0..ATTEMPTS {
            if base["metadata"]["uid"].str() != pod.metadata.uid {
                return;
            }
            base.set("status", status_tree(&status, &base["status"]));
            match self.context.api.update_status(&PODS, base).await {
                Ok(written) => {
                    self.base = Some(written);
                    self.said = Some(status);
                    return;
                }
                Err(error) if error.is_conflict() => {
                    match self.context.api.get(&PODS, &pod.metadata.namespace, &pod.metadata.name).await {
                        Ok(fresh) => base = fresh,
                        Err(error) => return self.failed(pod, &error),
                    }
                }
                Err(error) => return self.failed(pod, &error),
            }
        }
        self.wake_in(Duration::from_secs(1));
    }

    fn failed(&mut self, pod: &Pod, error: &meta::Status) {
        if !error.is_not_found() {
            tracing::warn!(pod = pod.full_name(), "failed to write a pod's status: {}", error.message);
            self.wake_in(Duration::from_secs(2));
        }
    }

    /// The newer of what was written last and what the watch has brought.
    fn newest_base(&self) -> Option<Value> {
        let watched = self.inbox.borrow().clone();
        let revision = |v: &Value| v["metadata"]["resourceVersion"].str().parse::<u64>().unwrap_or(0);
        let ours = self.base.as_ref().filter(|b| watched.as_ref().is_none_or(|w| revision(b) > w.revision.0));
        if let Some(base) = ours {
            return Some(base.clone());
        }
        let mut bytes = Vec::new();
        watched?.write_json(Head::Full { kind: "Pod", api_version: "v1" }, &mut bytes);
        json::parse(&bytes).ok()
    }
}

/// The status as a tree; conditions of others are those of the newest tree.
fn status_tree(status: &PodStatus, newest: &Value) -> Value {
    let mut tree = convert::tree(status);
    let ours: Vec<Value> = tree["conditions"].items().to_vec();
    let is_ours = |c: &Value| ours.iter().any(|o| o["type"] == c["type"]);
    let mut all: Vec<Value> = newest["conditions"].items().iter().filter(|c| !is_ours(c)).cloned().collect();
    all.extend(ours.clone());
    tree.set("conditions", all);
    tree
}
