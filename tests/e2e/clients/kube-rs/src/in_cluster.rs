//! In a pod, with nothing configured: lists the pods of its namespace, waits for a watch event, is refused secrets.

use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use std::time::Duration;

pub(crate) async fn run() -> Result<()> {
    let client = Client::try_default().await.context("failed to find the cluster")?;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    for pod in pods.list(&ListParams::default()).await.context("failed to list pods")? {
        let phase = pod.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default();
        println!("pod {} {phase}", pod.name_any());
    }
    let mut events = pods.watch(&WatchParams::default(), "0").await.context("failed to watch pods")?.boxed();
    let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await.context("no event came")?;
    match event.context("the watch ended")?.context("the watch failed")? {
        WatchEvent::Added(pod) => println!("added {}", pod.name_any()),
        other => println!("another event: {other:?}"),
    }
    let secrets: Api<Secret> = Api::default_namespaced(client);
    match secrets.list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) => println!("{}: {}", status.code, status.message),
        other => println!("secrets were not refused: {other:?}"),
    }
    Ok(())
}
