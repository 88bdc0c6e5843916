//! Lanyard's users in Rust: kube-rs with its default settings. Without an argument it runs in a pod; otherwise the argument
//! names a scenario, which speaks to the server of $KUBECONFIG, states facts, and ends with 1 when one does not hold.

mod apply;
mod controller;
mod in_cluster;
mod watcher;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub(crate) const SOON: Duration = Duration::from_secs(40);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Some(scenario) = std::env::args().nth(1) else { return in_cluster::run().await };
    let harness = Harness::new(&scenario).await?;
    let done = match scenario.as_str() {
        "watcher" => watcher::run(&harness).await,
        "apply" => apply::run(&harness).await,
        "controller" => controller::run(&harness).await,
        other => bail!("unknown scenario {other:?}"),
    };
    done.with_context(|| scenario.clone())?;
    println!("done");
    Ok(())
}

/// A client and a namespace.
pub(crate) struct Harness {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Harness {
    async fn new(name: &str) -> Result<Self> {
        let client = Client::try_default().await.context("failed to find the cluster")?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let wanted = object(json!({"metadata": {"generateName": format!("{name}-")}}))?;
        let namespace = namespaces.create(&PostParams::default(), &wanted).await?.name_any();
        let harness = Self { client, namespace };
        let accounts: Api<ServiceAccount> = harness.api();
        eventually("the namespace is furnished", async || accounts.get("default").await.map(drop).map_err(Into::into))
            .await?;
        Ok(harness)
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// Has the server killed and started again on the same data; what runs here goes on meanwhile.
pub(crate) async fn restart() -> Result<()> {
    println!("RESTART");
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    Ok(())
}

pub(crate) fn fact(text: &str) {
    println!("fact: {text}");
}

/// An object from JSON.
pub(crate) fn object<K: DeserializeOwned>(value: Value) -> Result<K> {
    Ok(serde_json::from_value(value)?)
}

pub(crate) fn config_map(name: &str, value: &str) -> Result<ConfigMap> {
    object(json!({"metadata": {"name": name}, "data": {"value": value}}))
}

pub(crate) async fn eventually(what: &str, mut attempt: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + SOON;
    loop {
        match attempt().await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > end => return Err(error).with_context(|| format!("not in time: {what}")),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
