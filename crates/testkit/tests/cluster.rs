//! The API's behaviour in one process: what every later test leans on. Not kubectl, not pods: those are tests/e2e.

use client::{Api, ListOptions, PatchKind, Resource, WatchEvent};
use document::{Value, doc};
use futures::StreamExt as _;
use meta::UserInfo;
use testkit::{Builder, Cluster};

const CONFIG_MAPS: Resource = Resource::new("", "v1", "configmaps", "ConfigMap", true);
const SERVICE_ACCOUNTS: Resource = Resource::new("", "v1", "serviceaccounts", "ServiceAccount", true);
const PODS: Resource = Resource::new("", "v1", "pods", "Pod", true);
const NODES: Resource = Resource::new("", "v1", "nodes", "Node", false);
const ROLES: Resource = Resource::new("rbac.authorization.k8s.io", "v1", "roles", "Role", true);
const BINDINGS: Resource = Resource::new("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", true);

async fn cluster() -> Cluster {
    Builder::default().start().await.expect("the cluster starts")
}

fn config_map(name: &str) -> Value {
    doc!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

fn alice(cluster: &Cluster) -> Api {
    cluster.as_user(UserInfo::new("alice", [meta::user::AUTHENTICATED]))
}

fn role(name: &str, group: &str, resource: &str, verb: &str) -> Value {
    doc!({"metadata": {"name": name}, "rules": [{"apiGroups": [group], "resources": [resource], "verbs": [verb]}]})
}

fn binding_to_alice(role: &str) -> Value {
    doc!({
        "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": [{"kind": "User", "name": "alice"}]
    })
}

async fn account(api: &Api, name: &str) -> Value {
    let body = doc!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
    api.create(&SERVICE_ACCOUNTS, "default", body).await.expect("the account is made")
}

async fn token(api: &Api, account: &str, spec: Value) -> String {
    let body = doc!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let answer = api.create_subresource(&SERVICE_ACCOUNTS, "default", account, "token", body).await.expect("a token");
    answer["status"]["token"].str().to_owned()
}

#[tokio::test]
async fn an_object_lives_through_its_verbs() {
    let cluster = cluster().await;
    let api = cluster.admin();
    let made = api.create(&CONFIG_MAPS, "default", config_map("a")).await.unwrap();
    assert!(!made["metadata"]["uid"].str().is_empty());
    let again = api.create(&CONFIG_MAPS, "default", config_map("a")).await.unwrap_err();
    assert_eq!(again.message, "configmaps \"a\" already exists");
    let patch = doc!({"data": {"x": "y"}});
    let patched = api.patch(&CONFIG_MAPS, "default", "a", "", PatchKind::Merge, patch).await.unwrap();
    assert_eq!(patched["data"], doc!({"k": "v", "x": "y"}));
    let stale = api.update(&CONFIG_MAPS, made).await.unwrap_err();
    assert!(stale.is_conflict(), "{stale}");
    api.delete(&CONFIG_MAPS, "default", "a", Value::Null).await.unwrap();
    assert_eq!(api.get(&CONFIG_MAPS, "default", "a").await.unwrap_err().message, "configmaps \"a\" not found");
}

#[tokio::test]
async fn a_watch_sends_what_happens_after_the_list() {
    let cluster = cluster().await;
    let api = cluster.admin();
    let list = api.list(&CONFIG_MAPS, Some("default"), &ListOptions::default()).await.unwrap();
    let mut watch = api.watch(&CONFIG_MAPS, Some("default"), &ListOptions::default(), list.revision).await.unwrap();
    api.create(&CONFIG_MAPS, "default", config_map("a")).await.unwrap();
    api.delete(&CONFIG_MAPS, "default", "a", Value::Null).await.unwrap();
    assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Added(o))) if &*o.key.name == "a"));
    assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Deleted(o))) if &*o.key.name == "a"));
}

#[tokio::test]
async fn a_grant_is_in_force_at_the_next_request_and_gone_at_the_one_after_its_end() {
    let cluster = cluster().await;
    let (admin, alice) = (cluster.admin(), alice(&cluster));
    let refused = alice.list(&PODS, Some("default"), &ListOptions::default()).await.unwrap_err();
    assert_eq!(
        refused.message,
        "pods is forbidden: User \"alice\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    admin.create(&ROLES, "default", role("reader", "", "pods", "list")).await.unwrap();
    admin.create(&BINDINGS, "default", binding_to_alice("reader")).await.unwrap();
    alice.list(&PODS, Some("default"), &ListOptions::default()).await.unwrap();
    admin.delete(&BINDINGS, "default", "reader", Value::Null).await.unwrap();
    alice.list(&PODS, Some("default"), &ListOptions::default()).await.unwrap_err();
}

#[tokio::test]
async fn a_token_ends_with_its_account_and_a_new_account_does_not_revive_it() {
    let cluster = cluster().await;
    let admin = cluster.admin();
    account(&admin, "sa").await;
    let holder = cluster.as_token(&token(&admin, "sa", doc!({})).await).unwrap();
    let known = holder.get(&CONFIG_MAPS, "default", "x").await.unwrap_err();
    assert!(known.message.contains("system:serviceaccount:default:sa"), "{known}");
    admin.delete(&SERVICE_ACCOUNTS, "default", "sa", Value::Null).await.unwrap();
    assert_eq!(holder.get(&CONFIG_MAPS, "default", "x").await.unwrap_err().code, 401);
    account(&admin, "sa").await;
    assert_eq!(holder.get(&CONFIG_MAPS, "default", "x").await.unwrap_err().code, 401);
}

#[tokio::test]
async fn a_pods_token_ends_with_the_pod() {
    let cluster = cluster().await;
    let admin = cluster.admin();
    account(&admin, "default").await;
    let pod = doc!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pod = admin.create(&PODS, "default", pod).await.unwrap();
    assert_eq!(pod["spec"]["serviceAccountName"].str(), "default");
    assert!(pod["spec"]["volumes"][0]["name"].str().starts_with("kube-api-access-"));
    let uid = pod["metadata"]["uid"].str();
    let bound = doc!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid}});
    let holder = cluster.as_token(&token(&admin, "default", bound).await).unwrap();
    assert_eq!(holder.get(&CONFIG_MAPS, "default", "x").await.unwrap_err().code, 403);
    admin.delete(&PODS, "default", "p", doc!({"gracePeriodSeconds": 0})).await.unwrap();
    assert_eq!(holder.get(&CONFIG_MAPS, "default", "x").await.unwrap_err().code, 401);
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() {
    let cluster = cluster().await;
    let (admin, alice) = (cluster.admin(), alice(&cluster));
    let editor = role("roles", "rbac.authorization.k8s.io", "roles", "create");
    admin.create(&ROLES, "default", editor).await.unwrap();
    admin.create(&BINDINGS, "default", binding_to_alice("roles")).await.unwrap();
    let refused = alice.create(&ROLES, "default", role("more", "", "secrets", "get")).await.unwrap_err();
    assert_eq!(refused.code, 403);
    assert!(refused.message.contains("is attempting to grant RBAC permissions not currently held"), "{refused}");
}

#[tokio::test]
async fn controllers_and_scheduler_do_their_part() {
    let cluster = Builder::default().controllers().scheduler().start().await.expect("the cluster starts");
    let admin = cluster.admin();
    let node = doc!({
        "metadata": {"name": "n"},
        "status": {
            "allocatable": {"cpu": "2", "memory": "2Gi", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True"}]
        }
    });
    admin.create(&NODES, "", node).await.unwrap();
    // admission taints a new node until somebody says that it is ready
    let untaint = doc!({"spec": {"taints": null}});
    admin.patch(&NODES, "", "n", "", PatchKind::Merge, untaint).await.unwrap();
    let pod = doc!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    // the default account is made by a controller; admission waits a moment for it
    admin.create(&PODS, "default", pod).await.unwrap();
    let options = ListOptions { fields: "spec.nodeName=n".into(), ..ListOptions::default() };
    let list = admin.list(&PODS, Some("default"), &options).await.unwrap();
    if list.items.is_empty() {
        let mut watch = admin.watch(&PODS, Some("default"), &options, list.revision).await.unwrap();
        assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Added(o))) if &*o.key.name == "p"));
    }
}

#[tokio::test]
async fn a_restart_finds_everything_again() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Box::new(store::log::Sqlite::open(folder.path().join("state.db")).unwrap());
    let first = Builder::default().log(open()).start().await.unwrap();
    first.admin().create(&CONFIG_MAPS, "default", config_map("kept")).await.unwrap();
    let before = first.admin().get(&CONFIG_MAPS, "default", "kept").await.unwrap();
    first.close().await;
    let second = Builder::default().log(open()).start().await.unwrap();
    assert_eq!(second.admin().get(&CONFIG_MAPS, "default", "kept").await.unwrap(), before);
}

#[tokio::test]
async fn a_watch_by_the_old_path_sees_only_the_name_that_was_authorized() {
    let cluster = cluster().await;
    let admin = cluster.admin();
    for name in ["mine", "other"] {
        admin.create(&CONFIG_MAPS, "default", config_map(name)).await.unwrap();
    }
    let (certificate, key) = cluster.admin_identity();
    let credentials = client::http::Credentials::Certificate { chain: certificate.into(), key: key.into() };
    let transport =
        client::http::HttpTransport::new(&cluster.url(), cluster.authority().as_bytes(), credentials).unwrap();
    let path = "/api/v1/watch/namespaces/default/configmaps/mine?timeoutSeconds=1";
    let answer = transport.request(http::Method::GET, path, None, bytes::Bytes::new()).await.unwrap();
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains("\"name\":\"mine\"") && !text.contains("\"name\":\"other\""), "{text}");
}

#[tokio::test]
async fn a_subresource_of_a_pod_does_not_write_its_metadata() {
    let cluster = cluster().await;
    let admin = cluster.admin();
    account(&admin, "default").await;
    let pod = doc!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let mut pod = admin.create(&PODS, "default", pod).await.unwrap();
    pod.entry("metadata").set("labels", doc!({"app": "other"}));
    pod.entry("spec")
        .set("ephemeralContainers", doc!([{"name": "e", "image": "i", "terminationMessagePolicy": "File"}]));
    let changed = admin.update_subresource(&PODS, "ephemeralcontainers", pod).await.unwrap();
    assert!(changed["metadata"]["labels"].is_null());
    assert_eq!(changed["spec"]["ephemeralContainers"][0]["name"].str(), "e");
}

#[tokio::test]
async fn a_grace_without_end_is_still_a_time() {
    let cluster = cluster().await;
    let admin = cluster.admin();
    account(&admin, "default").await;
    let pod = doc!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
    admin.create(&PODS, "default", pod).await.unwrap();
    admin.delete(&PODS, "default", "p", doc!({"gracePeriodSeconds": (i64::MAX)})).await.unwrap();
    let pod = admin.get(&PODS, "default", "p").await.unwrap();
    assert!(meta::Time::parse(pod["metadata"]["deletionTimestamp"].str()).is_some(), "{:?}", pod["metadata"]);
}

#[tokio::test]
async fn a_prefix_of_letters_that_are_none_is_refused_not_a_panic() {
    let cluster = cluster().await;
    let body = doc!({"metadata": {"generateName": "é-"}});
    let refused = cluster.admin().create(&CONFIG_MAPS, "default", body).await.unwrap_err();
    assert_eq!(refused.code, 422, "{refused}");
}
