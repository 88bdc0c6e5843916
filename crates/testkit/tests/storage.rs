//! Storage in use stays: the finalizers that admission gives, and the controllers that take them off. And a namespace
//! that is made for what is created in it.

use std::time::Duration;

use client::{Api, ListOptions, NAMESPACES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, WatchEvent};
use document::{Value, doc};
use futures::StreamExt as _;
use testkit::Builder;

fn claim(name: &str) -> Value {
    doc!({"metadata": {"name": name}, "spec": {
        "storageClassName": "x", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}
    }})
}

/// Waits until a claim is as wanted; `None`: it is gone.
async fn wait(api: &Api, name: &str, wanted: impl Fn(Option<&Value>) -> bool) {
    let waiting = tokio::time::timeout(Duration::from_secs(60), wait_on(api, name, wanted));
    assert!(waiting.await.is_ok(), "claim {name} did not come to it within a minute");
}

async fn wait_on(api: &Api, name: &str, wanted: impl Fn(Option<&Value>) -> bool) {
    let list =
        api.list(&PERSISTENT_VOLUME_CLAIMS, Some("default"), &ListOptions::default()).await.expect("the API answers");
    let now = list.items.iter().find(|o| &*o.key.name == name).map(|o| client::object::item(o));
    if wanted(now.as_ref()) {
        return;
    }
    let options = ListOptions::default();
    let mut watch =
        api.watch(&PERSISTENT_VOLUME_CLAIMS, Some("default"), &options, list.revision).await.expect("the API answers");
    while let Some(Ok(event)) = watch.next().await {
        match event {
            WatchEvent::Deleted(o) if &*o.key.name == name && wanted(None) => return,
            WatchEvent::Modified(o) if &*o.key.name == name && wanted(Some(&client::object::item(&o))) => return,
            _ => {}
        }
    }
    panic!("the watch ended");
}

#[tokio::test]
async fn a_claim_goes_when_the_last_pod_on_a_node_that_uses_it_has_gone() {
    let cluster = Builder::default().controllers().start().await.unwrap();
    let api = cluster.admin();
    api.create(&PERSISTENT_VOLUME_CLAIMS, "default", claim("c")).await.unwrap();
    let volume = doc!({"metadata": {"name": "v"}, "spec": {
        "storageClassName": "x", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/v"},
        "claimRef": {"namespace": "default", "name": "c"}
    }});
    api.create(&PERSISTENT_VOLUMES, "", volume).await.unwrap();
    let unused = |status: &'static str| {
        move |claim: Option<&Value>| {
            let conditions = claim.map(|c| c["status"]["conditions"].items().to_vec()).unwrap_or_default();
            conditions.iter().any(|c| c["type"].str() == "Unused" && c["status"].str() == status)
        }
    };
    wait(&api, "c", unused("True")).await;
    let pod = doc!({"metadata": {"name": "p"}, "spec": {
        "nodeName": "n", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    }});
    api.create(&PODS, "default", pod).await.unwrap();
    wait(&api, "c", unused("False")).await;
    api.delete(&PERSISTENT_VOLUME_CLAIMS, "default", "c", Value::Null).await.unwrap();
    // the same controller deals with this one later: by then it has let the other be
    api.create(&PERSISTENT_VOLUME_CLAIMS, "default", claim("d")).await.unwrap();
    api.delete(&PERSISTENT_VOLUME_CLAIMS, "default", "d", Value::Null).await.unwrap();
    wait(&api, "d", |claim| claim.is_none()).await;
    assert!(api.get(&PERSISTENT_VOLUME_CLAIMS, "default", "c").await.is_ok());
    api.delete(&PODS, "default", "p", doc!({"gracePeriodSeconds": 0})).await.unwrap();
    wait(&api, "c", |claim| claim.is_none()).await;
}

#[tokio::test]
async fn a_namespace_is_made_for_what_is_created_in_it_when_that_is_asked_for() {
    let cluster = Builder::default().admission_plugin("NamespaceAutoProvision").start().await.unwrap();
    let api = cluster.admin();
    api.create(&PERSISTENT_VOLUME_CLAIMS, "new", claim("c")).await.unwrap();
    assert_eq!(api.get(&NAMESPACES, "", "new").await.unwrap()["status"]["phase"].str(), "Active");
}
