//! A Controller with the finalizer helper and an owned kind, over a restart.

use crate::{Harness, eventually, fact, object, restart};
use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer::{Error, Event, finalizer};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const FINALIZER: &str = "example.com/settle";

struct Shared {
    client: Client,
    cleaned: AtomicUsize,
}

async fn reconcile(map: Arc<ConfigMap>, context: Arc<Shared>) -> Result<Action, Error<kube::Error>> {
    let namespace = map.namespace().unwrap_or_default();
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
    finalizer(&maps, FINALIZER, map, async |event| match event {
        Event::Apply(map) => {
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": map.name_any(), "ownerReferences": [map.controller_owner_ref(&())]},
                "stringData": map.data,
            });
            secrets.patch(&map.name_any(), &PatchParams::apply("controller").force(), &Patch::Apply(secret)).await?;
            Ok(Action::await_change())
        }
        Event::Cleanup(_) => {
            context.cleaned.fetch_add(1, Ordering::Relaxed);
            Ok(Action::await_change())
        }
    })
    .await
}

pub(crate) async fn run(harness: &Harness) -> Result<()> {
    let maps: Api<ConfigMap> = harness.api();
    let secrets: Api<Secret> = harness.api();
    let context = Arc::new(Shared { client: harness.client.clone(), cleaned: AtomicUsize::new(0) });
    let selected = watcher::Config::default().labels("controlled=yes");
    let controller = Controller::new(maps.clone(), selected).owns(secrets.clone(), watcher::Config::default());
    let retry = |_: Arc<ConfigMap>, _: &Error<kube::Error>, _| Action::requeue(Duration::from_millis(200));
    tokio::spawn(controller.run(reconcile, retry, context.clone()).for_each(|_| std::future::ready(())));

    let name = |number: usize| format!("map-{number}");
    for number in 0..6 {
        let map = json!({"metadata": {"name": name(number), "labels": {"controlled": "yes"}}, "data": {"value": "a"}});
        maps.create(&PostParams::default(), &object(map)?).await?;
    }
    let settled = async |value: &str| {
        eventually("each has its secret", async || {
            for number in 0..6 {
                let secret = secrets.get(&name(number)).await?;
                let found = secret.data.unwrap_or_default().remove("value").unwrap_or_default();
                ensure!(found.0 == value.as_bytes(), "{} has {:?}", name(number), found.0);
                let map = maps.get(&name(number)).await?;
                ensure!(map.finalizers() == [FINALIZER], "finalizers are {:?}", map.finalizers());
            }
            Ok(())
        })
        .await
    };
    settled("a").await?;
    secrets.delete(&name(0), &DeleteParams::default()).await?;
    settled("a").await?;
    fact("a controller makes what it owns, and makes it again");

    restart().await?;
    for number in 0..6 {
        maps.patch(&name(number), &PatchParams::default(), &Patch::Merge(json!({"data": {"value": "b"}}))).await?;
    }
    settled("b").await?;
    fact("it goes on after a restart");

    for number in 0..6 {
        maps.delete(&name(number), &DeleteParams::default()).await?;
    }
    eventually("all are gone", async || {
        for number in 0..6 {
            ensure!(maps.get_opt(&name(number)).await?.is_none(), "{} is there", name(number));
            ensure!(secrets.get_opt(&name(number)).await?.is_none(), "its secret {} is there", name(number));
        }
        Ok(())
    })
    .await
    .context("after deletion")?;
    let cleaned = context.cleaned.load(Ordering::Relaxed);
    ensure!(cleaned >= 6, "only {cleaned} were cleaned up");
    fact("finalizers ran, and secrets were collected");
    Ok(())
}
