//! ResourceQuotas in one process: usage is charged with the object, in one transaction, however many create at once,
//! and given back by the controller.

use client::{Api, ListOptions, NAMESPACES, PODS, RESOURCE_QUOTAS, Resource, WatchEvent};
use document::{Value, doc};
use futures::StreamExt as _;
use testkit::{Builder, Cluster};

const SECRETS: Resource = client::SECRETS;

async fn cluster() -> Cluster {
    Builder::default().controllers().start().await.expect("the cluster starts")
}

/// A namespace with a quota whose status the controller has written.
async fn with_quota(api: &Api, hard: Value) {
    api.create(&NAMESPACES, "", doc!({"metadata": {"name": "n"}})).await.expect("the API answers");
    let quota = doc!({"metadata": {"name": "q"}, "spec": {"hard": hard}});
    api.create(&RESOURCE_QUOTAS, "n", quota).await.expect("the API answers");
    wait(api, |status| !status["used"].is_null()).await;
}

/// Waits until the quota's status is as wanted.
async fn wait(api: &Api, wanted: impl Fn(&Value) -> bool) {
    let list = api.list(&RESOURCE_QUOTAS, Some("n"), &ListOptions::default()).await.expect("the API answers");
    let status = |object: &document::Object| client::object::item(object)["status"].clone();
    if list.items.iter().any(|quota| wanted(&status(quota))) {
        return;
    }
    let mut watch =
        api.watch(&RESOURCE_QUOTAS, Some("n"), &ListOptions::default(), list.revision).await.expect("the API answers");
    while let Some(Ok(event)) = watch.next().await {
        if let WatchEvent::Modified(quota) = event
            && wanted(&status(&quota))
        {
            return;
        }
    }
    panic!("the watch ended");
}

async fn used(api: &Api) -> Value {
    api.get(&RESOURCE_QUOTAS, "n", "q").await.expect("the API answers")["status"]["used"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_creators_at_once_never_pass_the_limit_and_none_is_lost() {
    let cluster = cluster().await;
    let api = cluster.admin();
    with_quota(&api, doc!({"secrets": "20"})).await;
    let creations = (0..50).map(|n| {
        let api = api.clone();
        tokio::spawn(async move { api.create(&SECRETS, "n", doc!({"metadata": {"name": (format!("s{n}"))}})).await })
    });
    let mut made = 0;
    for creation in creations.collect::<Vec<_>>() {
        match creation.await.unwrap() {
            Ok(_) => made += 1,
            Err(refused) => assert!(refused.message.contains("exceeded quota: q, requested: secrets=1"), "{refused}"),
        }
    }
    assert_eq!((made, used(&api).await), (20, doc!({"secrets": "20"})));
}

#[tokio::test]
async fn what_is_deleted_is_given_back_and_what_was_refused_was_never_charged() {
    let cluster = cluster().await;
    let api = cluster.admin();
    with_quota(&api, doc!({"secrets": "1"})).await;
    let secret = |name: &str| doc!({"metadata": {"name": name}});
    let first = api.create(&SECRETS, "n", secret("a")).await.unwrap();
    let quota = api.get(&RESOURCE_QUOTAS, "n", "q").await.unwrap();
    assert_eq!(quota["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"], "one transaction");
    let manager = quota["metadata"]["managedFields"].items().iter().find(|m| m["manager"].str() == "kube-apiserver");
    assert_eq!(manager.map(|m| m["subresource"].str()), Some("status"));
    api.create(&SECRETS, "n", secret("b")).await.unwrap_err();
    api.delete(&SECRETS, "n", "a", Value::Null).await.unwrap();
    wait(&api, |status| status["used"]["secrets"].str() == "0").await;
    api.create(&SECRETS, "n", secret("b")).await.unwrap();
    assert_eq!(used(&api).await, doc!({"secrets": "1"}));
}

#[tokio::test]
async fn a_pod_that_ends_is_not_charged_for_any_more() {
    let cluster = cluster().await;
    let api = cluster.admin();
    with_quota(&api, doc!({"pods": "1", "requests.cpu": "1"})).await;
    let pod = doc!({"metadata": {"name": "p"}, "spec": {
        "automountServiceAccountToken": false,
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "600m"}}}]
    }});
    let mut pod = api.create(&PODS, "n", pod).await.unwrap();
    assert_eq!(used(&api).await, doc!({"pods": "1", "requests.cpu": "600m"}));
    pod.set("status", doc!({"phase": "Succeeded"}));
    api.update_status(&PODS, pod).await.unwrap();
    wait(&api, |status| status["used"] == doc!({"pods": "0", "requests.cpu": "0"})).await;
}
