//! Storage in use stays: the finalizers that admission gives, and the controllers that take them off. And a namespace
//! that is made for what is created in it.

use std::time::Duration;

use client::{
    Api, ListOptions, NAMESPACES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, PatchKind, STORAGE_CLASSES,
    WatchEvent,
};
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

fn volume(name: &str, size: &str, claim: Value) -> Value {
    doc!({"metadata": {"name": name}, "spec": {
        "storageClassName": "x", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size},
        "hostPath": {"path": "/v"}, "claimRef": (claim),
    }})
}

fn is(phase: &'static str) -> impl Fn(Option<&Value>) -> bool {
    move |claim| claim.is_some_and(|c| c["status"]["phase"].str() == phase)
}

#[tokio::test]
async fn a_claim_is_bound_to_what_fits_and_is_lost_with_its_volume() {
    let cluster = Builder::default().controllers().start().await.unwrap();
    let api = cluster.admin();
    let create = async |claim: Value| api.create(&PERSISTENT_VOLUME_CLAIMS, "default", claim).await.unwrap();
    // the volume that it names is too small; a larger one of that name is not
    let mut named = claim("named");
    named.entry("spec").set("volumeName", "v");
    api.create(&PERSISTENT_VOLUMES, "", volume("v", "1Mi", Value::Null)).await.unwrap();
    create(named).await;
    // bound after it: the single worker has looked at the first by then
    create(claim("other")).await;
    api.create(&PERSISTENT_VOLUMES, "", volume("w", "2Gi", Value::Null)).await.unwrap();
    wait(&api, "other", is("Bound")).await;
    let found = api.get(&PERSISTENT_VOLUME_CLAIMS, "default", "named").await.unwrap();
    assert_eq!(found["status"]["phase"].str(), "Pending");
    let larger = doc!({"spec": {"capacity": {"storage": "3Gi"}}});
    api.patch(&PERSISTENT_VOLUMES, "", "v", "", PatchKind::Merge, larger).await.unwrap();
    wait(&api, "named", is("Bound")).await;
    // what a resizer says of a bound claim stays
    let grown = doc!({"status": {"capacity": {"storage": "1Gi"}}});
    api.patch(&PERSISTENT_VOLUME_CLAIMS, "default", "other", "status", PatchKind::Merge, grown).await.unwrap();
    let label = doc!({"metadata": {"labels": {"a": "b"}, "finalizers": null}});
    api.patch(&PERSISTENT_VOLUMES, "", "v", "", PatchKind::Merge, label).await.unwrap();
    api.delete(&PERSISTENT_VOLUMES, "", "v", Value::Null).await.unwrap();
    let gone = doc!({"metadata": {"finalizers": null}});
    // it may have gone already, if its protection was not yet there
    let _ = api.patch(&PERSISTENT_VOLUMES, "", "v", "", PatchKind::Merge, gone).await;
    wait(&api, "named", is("Lost")).await;
    let found = api.get(&PERSISTENT_VOLUME_CLAIMS, "default", "other").await.unwrap();
    assert_eq!(found["status"]["capacity"]["storage"].str(), "1Gi");
}

#[tokio::test]
async fn a_class_that_waits_for_a_consumer_binds_only_what_is_kept_for_the_claim() {
    let cluster = Builder::default().controllers().start().await.unwrap();
    let api = cluster.admin();
    let class = doc!({"metadata": {"name": "x"}, "provisioner": "p", "volumeBindingMode": "WaitForFirstConsumer"});
    api.create(&STORAGE_CLASSES, "", class).await.unwrap();
    let mut selected = claim("selected");
    selected.entry("metadata").set("annotations", doc!({"volume.kubernetes.io/selected-node": "n"}));
    api.create(&PERSISTENT_VOLUME_CLAIMS, "default", selected).await.unwrap();
    api.create(&PERSISTENT_VOLUME_CLAIMS, "default", claim("kept")).await.unwrap();
    api.create(&PERSISTENT_VOLUMES, "", volume("free", "1Gi", Value::Null)).await.unwrap();
    let reference = doc!({"namespace": "default", "name": "kept"});
    api.create(&PERSISTENT_VOLUMES, "", volume("for-it", "9Gi", reference)).await.unwrap();
    wait(&api, "kept", is("Bound")).await;
    let kept = api.get(&PERSISTENT_VOLUME_CLAIMS, "default", "kept").await.unwrap();
    assert_eq!(kept["spec"]["volumeName"].str(), "for-it");
    let selected = api.get(&PERSISTENT_VOLUME_CLAIMS, "default", "selected").await.unwrap();
    assert_eq!(selected["spec"]["volumeName"].str(), "", "its volume is still to be made");
}
