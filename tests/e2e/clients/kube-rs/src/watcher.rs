//! Watchers and reflectors, with both ways of the first list: what they have seen is what is there, also after the server
//! was killed, and no version of an object is told twice by a watch.

use crate::{Harness, config_map, eventually, fact, restart};
use anyhow::{Result, bail, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What a watcher has told.
#[derive(Default)]
struct Told {
    /// Versions by watch, without lists.
    versions: BTreeMap<String, usize>,
    deleted: BTreeMap<String, usize>,
    lists: usize,
}

struct Watching {
    name: &'static str,
    store: Store<ConfigMap>,
    told: Arc<Mutex<Told>>,
}

fn watch(harness: &Harness, name: &'static str, config: watcher::Config) -> Watching {
    let (store, writer) = reflector::store();
    let told = Arc::new(Mutex::new(Told::default()));
    let notes = told.clone();
    let events = watcher::watcher(harness.api::<ConfigMap>(), config).default_backoff().reflect(writer);
    tokio::spawn(events.for_each(move |event| {
        // errors are what a restart gives; the watcher goes on
        if let (Ok(event), Ok(mut told)) = (event, notes.lock()) {
            match event {
                Event::Apply(o) => *told.versions.entry(o.resource_version().unwrap_or_default()).or_default() += 1,
                Event::Delete(o) => *told.deleted.entry(o.uid().unwrap_or_default()).or_default() += 1,
                Event::InitDone => told.lists += 1,
                Event::Init | Event::InitApply(_) => {}
            }
        }
        std::future::ready(())
    }));
    Watching { name, store, told }
}

impl Watching {
    /// The store is the list, and nothing came twice.
    fn check(&self, wanted: &BTreeMap<String, String>) -> Result<()> {
        let held = self.store.state();
        let held: BTreeMap<_, _> =
            held.iter().map(|o| (o.name_any(), o.resource_version().unwrap_or_default())).collect();
        ensure!(held == *wanted, "{}: {} are held, {} are there", self.name, held.len(), wanted.len());
        let Ok(told) = self.told.lock() else { bail!("a watcher panicked") };
        let twice = told.versions.iter().chain(&told.deleted).find(|(_, count)| **count > 1);
        ensure!(twice.is_none(), "{}: told twice: {twice:?}", self.name);
        Ok(())
    }
}

async fn change(maps: &Api<ConfigMap>, from: usize, to: usize) -> Result<()> {
    for number in from..to {
        let mut made = maps.create(&PostParams::default(), &config_map(&format!("map-{number}"), "one")?).await?;
        made.data = Some(BTreeMap::from([("value".to_owned(), "two".to_owned())]));
        maps.replace(&made.name_any(), &PostParams::default(), &made).await?;
        if number % 2 == 1 {
            maps.delete(&made.name_any(), &DeleteParams::default()).await?;
        }
    }
    Ok(())
}

async fn settled(maps: &Api<ConfigMap>, watching: &[Watching]) -> Result<()> {
    eventually("the watchers have seen everything once", async || {
        let list = maps.list(&ListParams::default()).await?;
        let wanted = list.iter().map(|o| (o.name_any(), o.resource_version().unwrap_or_default())).collect();
        watching.iter().try_for_each(|w| w.check(&wanted))
    })
    .await
}

pub(crate) async fn run(harness: &Harness) -> Result<()> {
    let maps: Api<ConfigMap> = harness.api();
    change(&maps, 0, 20).await?;
    let watching = [
        watch(harness, "lists", watcher::Config::default()),
        watch(harness, "streams", watcher::Config::default().streaming_lists()),
    ];
    settled(&maps, &watching).await?;
    change(&maps, 20, 40).await?;
    settled(&maps, &watching).await?;
    fact("reflectors hold what is there, by list and by stream");
    for round in 0..2 {
        restart().await?;
        change(&maps, 100 + 20 * round, 110 + 20 * round).await?;
        settled(&maps, &watching).await?;
        change(&maps, 110 + 20 * round, 120 + 20 * round).await?;
        settled(&maps, &watching).await?;
    }
    fact("restarts lose nothing and repeat nothing");
    for watcher in &watching {
        let lists = watcher.told.lock().map(|t| t.lists).unwrap_or_default();
        println!("{}: {lists} lists", watcher.name);
    }
    Ok(())
}
