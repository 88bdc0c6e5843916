//! The Node object, its status and its Lease: what the cluster knows of this machine, kept fresh.

mod machine;

use std::{collections::BTreeMap, time::Duration};

use client::{Api, LEASES, NODES, Recorder, events::Reference};
use document::{Value, doc};
use meta::{MicroTime, Status, Time};
use tokio_util::sync::CancellationToken;

use crate::{agent::Config, image::ImageService, resources::Capacity, runtime::PodRuntime};

const LEASE_NAMESPACE: &str = "kube-node-lease";
const LEASE_SECONDS: i64 = 40;
const RENEW: Duration = Duration::from_secs(10);
/// A status that did not change is written this often.
const REPORT: Duration = Duration::from_secs(300);

/// Keeps the node known.
pub(crate) struct Registration {
    api: Api,
    name: String,
    addresses: Vec<String>,
    labels: BTreeMap<String, String>,
    port: u16,
    capacity: Capacity,
    version: String,
    runtime: std::sync::Arc<dyn PodRuntime>,
    images: std::sync::Arc<dyn ImageService>,
    recorder: Recorder,
    machine: machine::Machine,
}

impl Registration {
    pub(crate) fn new(config: &Config, port: u16, recorder: Recorder) -> Self {
        let machine = machine::Machine::read();
        let mut labels: BTreeMap<String, String> = config.labels.iter().cloned().collect();
        for (key, value) in [
            ("kubernetes.io/hostname", config.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", machine.architecture),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", machine.architecture),
        ] {
            labels.insert(key.into(), value.into());
        }
        Registration {
            api: config.api.clone(),
            name: config.name.clone(),
            addresses: config.node_ips.iter().map(ToString::to_string).collect(),
            labels,
            port,
            capacity: config.capacity,
            version: config.version.clone(),
            runtime: config.runtime.clone(),
            images: config.images.clone(),
            recorder,
            machine,
        }
    }

    /// Registers, then renews lease and status until told to stop.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut pause = Duration::from_millis(100);
        while let Err(error) = self.register().await {
            tracing::warn!("failed to register the node: {}", error.message);
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(7)),
                () = shutdown.cancelled() => return,
            }
        }
        let mut reported: Option<(Value, tokio::time::Instant)> = None;
        loop {
            let mut done = self.report(&mut reported).await;
            if done.as_ref().is_err_and(Status::is_conflict) {
                // somebody else wrote the node meanwhile: once more on top of that
                done = self.report(&mut reported).await;
            }
            if let Err(error) = done {
                tracing::warn!("failed to report the node's status: {}", error.message);
            }
            if let Err(error) = self.renew().await {
                tracing::warn!("failed to renew the node's lease: {}", error.message);
            }
            tokio::select! {
                () = tokio::time::sleep(RENEW) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn register(&self) -> Result<(), Status> {
        let node = doc!({
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {"name": (&self.name), "labels": (self.labels_tree())},
            "spec": {},
            "status": (self.status(&Value::Null))
        });
        match self.api.create(&NODES, "", node).await {
            Err(error) if error.is_already_exists() => self.reconcile().await?,
            outcome => drop(outcome?),
        }
        if let Ok(node) = self.api.get(&NODES, "", &self.name).await {
            self.recorder.normal(&self.reference(&node), "Starting", "Starting kubelet.");
        }
        Ok(())
    }

    /// As upstream's events name a node: its uid is its name, unless it is known.
    fn reference(&self, node: &Value) -> Reference {
        Reference { resource_version: String::new(), ..Reference::to(&NODES, node) }
    }

    /// Labels of an older registration are brought up to date.
    async fn reconcile(&self) -> Result<(), Status> {
        let node = self.api.get(&NODES, "", &self.name).await?;
        let has = &node["metadata"]["labels"];
        if self.labels.iter().all(|(k, v)| has[k.as_str()].str() == v) {
            return Ok(());
        }
        let patch = doc!({"metadata": {"labels": (self.labels_tree())}});
        self.api.patch(&NODES, "", &self.name, "", client::PatchKind::Strategic, patch).await.map(drop)
    }

    fn labels_tree(&self) -> Value {
        Value::of(self.labels.iter().map(|(k, v)| (k.clone(), v.clone())))
    }

    /// Writes the status when it changed or has become old.
    async fn report(&self, reported: &mut Option<(Value, tokio::time::Instant)>) -> Result<(), Status> {
        let node = match self.api.get(&NODES, "", &self.name).await {
            Err(error) if error.is_not_found() => {
                self.register().await?;
                self.api.get(&NODES, "", &self.name).await?
            }
            outcome => outcome?,
        };
        let status = self.status(&node["status"]);
        let bare = without_heartbeats(&status);
        let same = bare == without_heartbeats(&node["status"]);
        let fresh = reported.as_ref().is_some_and(|(last, at)| *last == bare && at.elapsed() < REPORT);
        if same && fresh {
            return Ok(());
        }
        let was_ready = condition(&node["status"], "Ready")["status"].str() == "True";
        let about = self.reference(&node);
        // of the status alone, since the taints are not this node's to write; on what was read, since others have conditions
        let mut patch = doc!({
            "metadata": {"resourceVersion": (node["metadata"]["resourceVersion"].str())},
            "status": (status.clone()),
        });
        if status["images"].is_null() {
            patch.entry("status").set("images", Value::Null);
        }
        self.api.patch(&NODES, "", &self.name, "status", client::PatchKind::Merge, patch).await?;
        *reported = Some((bare, tokio::time::Instant::now()));
        let is_ready = condition(&status, "Ready")["status"].str() == "True";
        if is_ready != was_ready {
            let reason = if is_ready { "NodeReady" } else { "NodeNotReady" };
            self.recorder.normal(&about, reason, format!("Node {} status is now: {reason}", self.name));
        }
        Ok(())
    }

    fn status(&self, old: &Value) -> Value {
        let mut addresses: Vec<Value> =
            self.addresses.iter().map(|ip| doc!({"type": "InternalIP", "address": ip})).collect();
        addresses.push(doc!({"type": "Hostname", "address": (&self.name)}));
        let resources = self.resources();
        let mut status = old.clone();
        status.set("capacity", resources.clone());
        status.set("allocatable", resources);
        status.set("conditions", self.conditions(old));
        status.set("addresses", addresses);
        status.set("daemonEndpoints", doc!({"kubeletEndpoint": {"Port": (i64::from(self.port))}}));
        status.set("nodeInfo", self.node_info());
        status.remove("images");
        let images = self.images();
        if !images.is_empty() {
            status.set("images", images);
        }
        status
    }

    fn resources(&self) -> Value {
        let c = self.capacity;
        let cpu = if c.milli_cpu % 1000 == 0 { (c.milli_cpu / 1000).to_string() } else { format!("{}m", c.milli_cpu) };
        doc!({
            "cpu": cpu,
            "ephemeral-storage": (format!("{}Ki", c.ephemeral_storage / 1024)),
            "memory": (format!("{}Ki", c.memory / 1024)),
            "pods": (c.pods.to_string())
        })
    }

    fn node_info(&self) -> Value {
        let (m, runtime) = (&self.machine, self.runtime.info());
        doc!({
            "machineID": (&m.machine_id),
            "systemUUID": (&m.system_uuid),
            "bootID": (&m.boot_id),
            "kernelVersion": (&m.kernel),
            "osImage": (&m.os_image),
            "containerRuntimeVersion": (format!("{}://{}", runtime.name, runtime.version)),
            "kubeletVersion": (&self.version),
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": (m.architecture)
        })
    }

    /// The fifty largest, as upstream.
    fn images(&self) -> Vec<Value> {
        let mut images = self.images.list();
        images.sort_by_key(|i| std::cmp::Reverse(i.size));
        let names = |i: &crate::image::Image| {
            let all = i.digests.iter().chain(&i.tags).take(5);
            Value::list(all.cloned())
        };
        let all = images.iter().filter(|i| !(i.tags.is_empty() && i.digests.is_empty())).take(50);
        all.map(|i| doc!({"names": (names(i)), "sizeBytes": (i64::try_from(i.size).unwrap_or(i64::MAX))})).collect()
    }

    fn conditions(&self, old: &Value) -> Vec<Value> {
        let missing = self.runtime.info().missing;
        let ready = if missing.is_empty() {
            (true, "KubeletReady", "kubelet is posting ready status".to_owned())
        } else {
            (false, "KubeletNotReady", format!("this machine cannot run pods: {}", missing.join(", ")))
        };
        let (memory, disk, pids) = self.machine.pressures();
        let all = [
            (
                "MemoryPressure",
                memory,
                if memory { "KubeletHasInsufficientMemory" } else { "KubeletHasSufficientMemory" },
                format!("kubelet has {} memory available", sufficient(memory)),
            ),
            (
                "DiskPressure",
                disk,
                if disk { "KubeletHasDiskPressure" } else { "KubeletHasNoDiskPressure" },
                format!("kubelet has {}disk pressure", if disk { "" } else { "no " }),
            ),
            (
                "PIDPressure",
                pids,
                if pids { "KubeletHasInsufficientPID" } else { "KubeletHasSufficientPID" },
                format!("kubelet has {} PID available", sufficient(pids)),
            ),
            ("Ready", ready.0, ready.1, ready.2),
        ];
        let foreign =
            old["conditions"].items().iter().filter(|c| !all.iter().any(|(kind, ..)| c["type"].str() == *kind));
        let mut conditions: Vec<Value> = foreign.cloned().collect();
        let now = Time::now().to_string();
        for (kind, status, reason, message) in &all {
            let status = if *status { "True" } else { "False" };
            let before = condition(old, kind);
            let since =
                before["lastTransitionTime"].as_str().filter(|_| before["status"].str() == status).unwrap_or(&now);
            conditions.push(doc!({
                "type": (*kind),
                "status": status,
                "lastHeartbeatTime": (&now),
                "lastTransitionTime": since,
                "reason": (*reason),
                "message": message
            }));
        }
        conditions
    }

    async fn renew(&self) -> Result<(), Status> {
        let now = MicroTime::now().to_string();
        match self.api.get(&LEASES, LEASE_NAMESPACE, &self.name).await {
            Ok(mut lease) => {
                *lease.at_mut(["spec", "renewTime"]) = now.into();
                *lease.at_mut(["spec", "holderIdentity"]) = (&self.name).into();
                *lease.at_mut(["spec", "leaseDurationSeconds"]) = LEASE_SECONDS.into();
                self.api.update(&LEASES, lease).await.map(drop)
            }
            Err(error) if error.is_not_found() => {
                let node = self.api.get(&NODES, "", &self.name).await?;
                let lease = doc!({
                    "metadata": {
                        "name": (&self.name),
                        "namespace": LEASE_NAMESPACE,
                        "ownerReferences": [
                            {"apiVersion": "v1", "kind": "Node", "name": (&self.name), "uid": (node["metadata"]["uid"].str())}
                        ]
                    },
                    "spec": {"holderIdentity": (&self.name), "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}
                });
                self.api.create(&LEASES, LEASE_NAMESPACE, lease).await.map(drop)
            }
            Err(error) => Err(error),
        }
    }
}

fn sufficient(pressure: bool) -> &'static str {
    if pressure { "insufficient" } else { "sufficient" }
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    static NONE: Value = Value::Null;
    status["conditions"].items().iter().find(|c| c["type"].str() == kind).unwrap_or(&NONE)
}

/// What must be written when it changes: everything but the time of the report.
fn without_heartbeats(status: &Value) -> Value {
    let mut bare = status.clone();
    if let Some(conditions) = bare.get_mut("conditions").and_then(Value::as_list_mut) {
        for condition in conditions {
            condition.remove("lastHeartbeatTime");
        }
    }
    bare
}
