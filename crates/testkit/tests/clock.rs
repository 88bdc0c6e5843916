//! A clock that is set forwards and backwards by decades under a running cluster: requests, controllers, tokens and
//! leases go on, nothing panics, nothing spins. A binary of its own, since a process has one clock.

use std::time::Duration;

use client::{Api, ListOptions, PatchKind, Resource, WatchEvent};
use document::{Value, doc};
use futures::StreamExt as _;
use meta::{MicroTime, Revision, Time};
use testkit::{Builder, Cluster};

const NAMESPACES: Resource = Resource::new("", "v1", "namespaces", "Namespace", false);
const CONFIG_MAPS: Resource = Resource::new("", "v1", "configmaps", "ConfigMap", true);
const SERVICE_ACCOUNTS: Resource = Resource::new("", "v1", "serviceaccounts", "ServiceAccount", true);
const PODS: Resource = Resource::new("", "v1", "pods", "Pod", true);
const EVENTS: Resource = Resource::new("", "v1", "events", "Event", true);
const LEASES: Resource = Resource::new("coordination.k8s.io", "v1", "leases", "Lease", true);
const REVIEWS: Resource =
    Resource::new("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", false);

async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), wait).await.is_ok(), "{what}");
}

async fn token(api: &Api, namespace: &str) -> String {
    let body = doc!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let answer = api.create_subresource(&SERVICE_ACCOUNTS, namespace, "default", "token", body).await.expect("a token");
    answer["status"]["token"].str().to_owned()
}

/// The code that the token's holder gets when it asks who it is.
async fn who(cluster: &Cluster, token: &str) -> u16 {
    let body = doc!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let holder = cluster.as_token(token).expect("a client");
    holder.create(&REVIEWS, "", body).await.map_or_else(|refused| refused.code, |_| 201)
}

fn near_now(time: &Value) -> bool {
    Time::parse(time.str()).is_some_and(|t| (Time::now().0 - t.0).abs() < 120)
}

/// Seconds of processor time that this process has used.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    (fields[11].parse::<f64>().expect("utime") + fields[12].parse::<f64>().expect("stime")) / 100.0
}

/// A life under the clock as it is now.
async fn live(cluster: &Cluster, api: &Api, name: &str) -> Revision {
    let namespace = doc!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let made = api.create(&NAMESPACES, "", namespace).await.expect("a namespace");
    assert!(near_now(&made["metadata"]["creationTimestamp"]), "{:?}", made["metadata"]);
    eventually("the account controller works", async || api.get(&SERVICE_ACCOUNTS, name, "default").await.is_ok())
        .await;
    let map = doc!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}});
    api.create(&CONFIG_MAPS, name, map).await.expect("a ConfigMap");
    let patch = doc!({"data": {"k": "v"}});
    let patched = api.patch(&CONFIG_MAPS, name, "m", "", PatchKind::Merge, patch).await.expect("a patch");
    assert!(patched["metadata"]["managedFields"].items().iter().any(|e| near_now(&e["time"])), "{patched:?}");

    let now = MicroTime::now().to_string();
    let lease = doc!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"holderIdentity": "h", "leaseDurationSeconds": 15, "acquireTime": (now.clone()), "renewTime": now}});
    let mut lease = api.create(&LEASES, name, lease).await.expect("a lease");
    lease.entry("spec").set("renewTime", MicroTime::now().to_string());
    api.update(&LEASES, lease).await.expect("a renewal");
    let event = doc!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "R", "type": "Normal",
        "involvedObject": {"kind": "ConfigMap", "name": "m", "namespace": name},
        "firstTimestamp": (Time::now().to_string()), "lastTimestamp": (Time::now().to_string()), "count": 1});
    api.create(&EVENTS, name, event).await.expect("an event");

    let pod = doc!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
    api.create(&PODS, name, pod).await.expect("a pod");
    let options = doc!({"gracePeriodSeconds": 30});
    let dying = api.delete(&PODS, name, "p", options).await.expect("a deletion");
    let dies = Time::parse(dying["metadata"]["deletionTimestamp"].str()).expect("a time");
    assert!((dies.0 - Time::now().0 - 30).abs() < 60, "{dies}");
    api.delete(&PODS, name, "p", doc!({"gracePeriodSeconds": 0})).await.expect("a forced deletion");

    assert_eq!(who(cluster, &token(api, name).await).await, 201, "a new token is good at once");
    api.delete(&NAMESPACES, "", name, Value::Null).await.expect("a deletion");
    eventually("the namespace controller works", async || api.get(&NAMESPACES, "", name).await.is_err()).await;
    api.list(&CONFIG_MAPS, None, &ListOptions::default()).await.expect("a list").revision
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_disturbs_nothing_but_what_has_an_end() {
    const YEAR: i64 = 365 * 86_400;
    let cluster = Builder::default().controllers().scheduler().start().await.expect("the cluster starts");
    let api = cluster.admin();
    let mut newest = live(&cluster, &api, "before").await;
    let old = token(&api, "default").await;
    assert_eq!(who(&cluster, &old).await, 201);
    let mut watch = api.watch(&CONFIG_MAPS, Some("default"), &ListOptions::default(), newest).await.expect("a watch");
    for (n, years) in [20, -20, -100, 5, -1].into_iter().enumerate() {
        meta::time::jump(years * YEAR);
        assert_eq!(who(&cluster, &old).await, 401, "a token of another time, {years} years on");
        let revision = live(&cluster, &api, &format!("after-{n}")).await;
        assert!(revision > newest, "revisions rise, {years} years on");
        newest = revision;
        let name = format!("m{n}");
        let map = doc!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": (name.clone())}});
        api.create(&CONFIG_MAPS, "default", map).await.expect("a ConfigMap");
        while let Some(event) = watch.next().await {
            if matches!(event, Ok(WatchEvent::Added(o)) if *o.key.name == *name) {
                break;
            }
        }
        let before = cpu();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(cpu() - before < 0.5, "something spins, {years} years on");
    }
    meta::time::jump(0);
    assert_eq!(who(&cluster, &old).await, 201, "the time of the token is back");
}
