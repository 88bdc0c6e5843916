//! The pods of this node: which there are, and a worker for each. A worker is found by uid, since a name may come again
//! while the old pod is still being taken away.

use std::{collections::HashMap, sync::Arc, time::Duration};

use client::{Informer, PODS, Scope};
use document::Object;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast::error::RecvError, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    lifecycle::{context::Context, worker::Worker},
    runtime::{Event, Sandbox},
};

/// Cheap to clone.
#[derive(Clone)]
pub struct Pods(Arc<Inner>);

struct Inner {
    context: Arc<Context>,
    workers: Mutex<HashMap<String, Handle>>,
}

struct Handle {
    namespace: String,
    name: String,
    object: watch::Sender<Option<Arc<Object>>>,
    kick: Arc<Notify>,
}

impl Pods {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Pods(Arc::new(Inner { context, workers: Mutex::default() }))
    }

    /// The newest object of a pod of that name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let workers = self.0.workers.lock();
        let mut of_name = workers.values().filter(|w| w.namespace == namespace && w.name == name);
        of_name.find_map(|w| w.object.borrow().clone())
    }

    /// All pods of this node.
    pub fn list(&self) -> Vec<Arc<Object>> {
        self.0.workers.lock().values().filter_map(|w| w.object.borrow().clone()).collect()
    }

    /// Follows the API and the runtime until told to stop.
    pub(crate) async fn run(&self, shutdown: CancellationToken) {
        let context = &self.0.context;
        // what an earlier agent left, seen before any worker can make something new
        let mut left = Some(Left::see(context).await);
        let scope = Scope::all(PODS).with_fields(format!("spec.nodeName={}", context.node));
        let informer = Informer::start(&context.api, scope, Arc::clone);
        let (sender, mut changes) = mpsc::unbounded_channel();
        informer.on_change(move |change| {
            // a pod that came again under its name is another pod
            let old = change.old.as_ref().filter(|o| change.new.as_ref().is_none_or(|n| n.uid != o.uid));
            if let Some(old) = old {
                let _ = sender.send((old.uid.to_string(), None));
            }
            if let Some(new) = &change.new {
                let _ = sender.send((new.uid.to_string(), Some(new.facts.clone())));
            }
        });
        let mut events = context.runtime.events();
        let mut swept = false;
        let synced = informer.synced();
        tokio::pin!(synced);
        loop {
            tokio::select! {
                Some((uid, object)) = changes.recv() => self.change(uid, object),
                event = events.recv() => match event {
                    Ok(event) => self.kick(&event),
                    Err(RecvError::Lagged(_)) => self.kick_all(),
                    Err(RecvError::Closed) => tokio::time::sleep(Duration::from_secs(1)).await,
                },
                () = &mut synced, if !swept => {
                    swept = true;
                    let known: Vec<String> = informer.list().iter().map(|p| p.uid.to_string()).collect();
                    tokio::spawn(sweep(context.clone(), left.take().unwrap_or_default(), known));
                }
                () = shutdown.cancelled() => break,
            }
        }
        // dropping the senders ends the workers, containers go on
        self.0.workers.lock().clear();
    }

    fn change(&self, uid: String, object: Option<Arc<Object>>) {
        let mut workers = self.0.workers.lock();
        if let Some(handle) = workers.get(&uid) {
            handle.object.send_replace(object);
            return;
        }
        let Some(object) = object else { return };
        let (namespace, name) = (object.key.namespace.to_string(), object.key.name.to_string());
        let (sender, inbox) = watch::channel(Some(object));
        let kick = Arc::new(Notify::new());
        workers.insert(uid.clone(), Handle { namespace, name, object: sender, kick: kick.clone() });
        let worker = Worker::new(self.0.context.clone(), &uid, inbox, kick);
        let pods = self.clone();
        tokio::spawn(async move {
            worker.run().await;
            pods.0.workers.lock().remove(&uid);
        });
    }

    fn kick(&self, event: &Event) {
        let (Event::Started { pod_uid, .. } | Event::Exited { pod_uid, .. }) = event;
        if let Some(handle) = self.0.workers.lock().get(pod_uid) {
            handle.kick.notify_one();
        }
    }

    fn kick_all(&self) {
        self.0.workers.lock().values().for_each(|h| h.kick.notify_one());
    }
}

/// Sandboxes and folders on this machine.
#[derive(Default)]
struct Left {
    sandboxes: Vec<Sandbox>,
    folders: Vec<String>,
}

impl Left {
    async fn see(context: &Context) -> Self {
        let sandboxes = match context.runtime.list().await {
            Ok(all) => all.sandboxes,
            Err(error) => {
                tracing::warn!(%error, "failed to list containers");
                Vec::new()
            }
        };
        let folders = std::fs::read_dir(&context.pods_dir).into_iter().flatten().flatten();
        Left { sandboxes, folders: folders.filter_map(|f| f.file_name().into_string().ok()).collect() }
    }
}

/// Takes away what belongs to pods that went while no agent was here.
async fn sweep(context: Arc<Context>, left: Left, known: Vec<String>) {
    for sandbox in left.sandboxes.iter().filter(|s| !known.contains(&s.pod.uid)) {
        let pod = &sandbox.pod;
        tracing::info!(pod = pod.name, namespace = pod.namespace, "removing a pod that is gone from the API");
        if let Err(error) = context.runtime.remove_sandbox(&sandbox.id).await {
            tracing::warn!(%error, "failed to remove a sandbox");
        }
        let logs = crate::logs::pod_dir(&context.log_dir, &pod.namespace, &pod.name, &pod.uid);
        if let Err(error) = std::fs::remove_dir_all(logs)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "failed to remove logs");
        }
    }
    for uid in left.folders.iter().filter(|uid| !known.contains(uid)) {
        let volumes = crate::volumes::PodVolumes::new(&context.pods_dir, uid, context.mounter.clone());
        if let Err(error) = volumes.remove() {
            tracing::warn!(%error, uid, "failed to take volumes away");
        }
    }
}
