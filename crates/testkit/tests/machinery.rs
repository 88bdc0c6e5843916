//! The rules of writes that several kinds share, against a cluster in one process: apply through `scale` and over
//! versions, patches that change kind or uid, collections deleted in pages. The expected answers are upstream's.

use client::{Api, Call, PatchKind, Resource, Verb};
use document::{Value, doc};
use meta::Status;
use testkit::{Builder, Cluster};

const DEPLOYMENTS: Resource = Resource::new("apps", "v1", "deployments", "Deployment", true);
const AUTOSCALERS_V1: Resource =
    Resource::new("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true);
const AUTOSCALERS_V2: Resource =
    Resource::new("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true);

async fn cluster() -> Cluster {
    Builder::default().start().await.expect("the cluster starts")
}

/// One write with a body of its own and parameters.
struct Ask<'a>(&'a Api, &'a Resource, &'static str);

impl Ask<'_> {
    async fn patch(&self, kind: PatchKind, sub: &'static str, query: &str, body: Value) -> Result<Value, Status> {
        let mut call = Call::new(Verb::Patch(kind), self.1, "default", self.2);
        call.subresource = sub;
        call.query = query.split('&').filter_map(|p| p.split_once('=')).map(|(n, v)| (n.into(), v.into())).collect();
        call.body = Some(body);
        self.0.call(call).await
    }

    async fn apply(&self, sub: &'static str, query: &str, body: Value) -> Result<Value, Status> {
        self.patch(PatchKind::Apply, sub, query, body).await
    }

    /// (manager, operation, apiVersion, subresource, fields) of each entry.
    async fn managers(&self) -> Vec<String> {
        let object = self.0.get(self.1, "default", self.2).await.expect("the object");
        let entry = |e: &Value| {
            let fields = document::json::to_string(&e["fieldsV1"]);
            let (manager, operation) = (e["manager"].str(), e["operation"].str());
            format!("{manager} {operation} {} {} {fields}", e["apiVersion"].str(), e["subresource"].str())
        };
        object["metadata"]["managedFields"].items().iter().map(entry).collect()
    }
}

fn deployment() -> Value {
    doc!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        }
    })
}

fn scale() -> Value {
    doc!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}})
}

fn scale_to(replicas: i64) -> Value {
    let mut scale = scale();
    scale.set("spec", doc!({"replicas": replicas}));
    scale
}

#[tokio::test]
async fn who_applies_a_scale_shares_takes_and_gives_up_the_replicas() {
    let cluster = cluster().await;
    let api = cluster.admin();
    let it = Ask(&api, &DEPLOYMENTS, "d");
    it.apply("", "fieldManager=one", deployment()).await.expect("created");
    let refused = it.apply("scale", "fieldManager=scaler", scale_to(2)).await.expect_err("a conflict");
    assert_eq!(refused.message, "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
    it.apply("scale", "fieldManager=scaler&force=true", scale_to(2)).await.expect("forced");
    let managers = it.managers().await;
    let scaler = r#"scaler Apply apps/v1 scale {"f:spec":{"f:replicas":{}}}"#;
    assert!(managers.iter().any(|m| m == scaler), "{managers:?}");
    assert!(managers.iter().any(|m| m.starts_with("one Apply") && !m.contains("f:replicas")), "{managers:?}");
    it.apply("scale", "fieldManager=scaler", scale()).await.expect("given up");
    let managers = it.managers().await;
    assert_eq!(managers.len(), 1, "{managers:?}");
    // the field goes with its last manager; a Scale without it means none
    assert_eq!(api.get(&DEPLOYMENTS, "default", "d").await.expect("it")["spec"]["replicas"], doc!(0));
}

#[tokio::test]
async fn entries_of_another_version_are_compared_and_kept_in_their_own() {
    let cluster = cluster().await;
    let api = cluster.admin();
    let target = doc!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let cpu = doc!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]);
    let v2 = doc!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"scaleTargetRef": (target.clone()), "maxReplicas": 5, "metrics": cpu}
    });
    let v1 = doc!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 6, "targetCPUUtilizationPercentage": 60}
    });
    Ask(&api, &AUTOSCALERS_V2, "h").apply("", "fieldManager=two", v2).await.expect("created");
    let it = Ask(&api, &AUTOSCALERS_V1, "h");
    let refused = it.apply("", "fieldManager=one", v1.clone()).await.expect_err("conflicts");
    assert_eq!(
        refused.message,
        "Apply failed with 2 conflicts: conflicts with \"two\":\n- .spec.maxReplicas\n- .spec.metrics"
    );
    it.apply("", "fieldManager=one&force=true", v1).await.expect("forced");
    let refs = r#""f:scaleTargetRef":{"f:apiVersion":{},"f:kind":{},"f:name":{}}"#;
    let managers = it.managers().await;
    assert!(
        managers[1].starts_with("two Apply autoscaling/v2 ") && managers[1].contains(r#"{"f:spec":{"#),
        "{managers:?}"
    );
    assert!(!managers[1].contains("f:metrics") && !managers[1].contains("f:maxReplicas"), "{managers:?}");
    assert!(managers[0].starts_with("one Apply autoscaling/v1 "), "{managers:?}, {refs}");
    let read = api.get(&AUTOSCALERS_V2, "default", "h").await.expect("it");
    assert_eq!(read["spec"]["metrics"].items()[0]["resource"]["target"]["averageUtilization"], doc!(60));
}

#[tokio::test]
async fn a_patch_may_not_change_kind_version_or_uid() {
    let cluster = cluster().await;
    let api = cluster.admin();
    api.create(&client::CONFIG_MAPS, "default", doc!({"metadata": {"name": "a"}})).await.expect("created");
    let it = Ask(&api, &client::CONFIG_MAPS, "a");
    for (patch, code, want) in [
        (doc!({"kind": "Secret"}), 422, "converting (v1.Secret) to (core.ConfigMap): unknown conversion"),
        (
            doc!({"apiVersion": "v2"}),
            422,
            "no kind \"ConfigMap\" is registered for version \"v2\" in scheme \"pkg/runtime/scheme.go:111\"",
        ),
        (doc!({"apiVersion": null}), 400, "the name of the object (a based on URL) was undeterminable"),
        (doc!({"metadata": {"uid": "x"}}), 422, "metadata.uid: Invalid value: \"x\": field is immutable"),
    ] {
        let refused = it.patch(PatchKind::Merge, "", "", patch.clone()).await.expect_err("refused");
        assert!(refused.code == code && refused.message.contains(want), "{patch:?}: {refused:?}");
    }
    let apply = doc!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b", "uid": "x"}});
    let refused = Ask(&api, &client::CONFIG_MAPS, "b").apply("", "fieldManager=m", apply).await.expect_err("refused");
    assert!(
        refused
            .message
            .ends_with("uid mismatch: the provided object specified uid x, and no existing object was found")
    );
}

#[tokio::test]
async fn a_collection_is_deleted_up_to_its_limit() {
    let cluster = cluster().await;
    let api = cluster.admin();
    for name in ["a", "b", "c"] {
        let object = doc!({"metadata": {"name": name, "labels": {"l": "x"}}});
        api.create(&client::SECRETS, "default", object).await.expect("created");
    }
    let mut call = Call::new(Verb::DeleteCollection, &client::SECRETS, "default", "");
    call.query = vec![("labelSelector".into(), "l".into()), ("limit".into(), "2".into())];
    api.call(call).await.expect("deleted");
    for (name, there) in [("a", false), ("b", false), ("c", true)] {
        assert_eq!(api.get(&client::SECRETS, "default", name).await.is_ok(), there, "{name}");
    }
}

#[tokio::test]
async fn default_objects_are_managed_by_the_server() {
    let cluster = cluster().await;
    let api = cluster.admin();
    let namespace = api.get(&client::NAMESPACES, "", "default").await.expect("it");
    let entry = &namespace["metadata"]["managedFields"].items()[0];
    assert_eq!((entry["manager"].str(), entry["operation"].str()), ("kube-apiserver", "Update"));
    let labels = doc!({"f:metadata": {"f:labels": {".": {}, "f:kubernetes.io/metadata.name": {}}}});
    assert_eq!(entry["fieldsV1"], labels);
}

#[tokio::test]
async fn an_empty_list_that_is_always_written_is_managed() {
    let cluster = cluster().await;
    let api = cluster.admin();
    let roles = Resource::new("rbac.authorization.k8s.io", "v1", "roles", "Role", true);
    let role = api.create(&roles, "default", doc!({"metadata": {"name": "r"}, "rules": []})).await.expect("created");
    assert_eq!(role["metadata"]["managedFields"].items()[0]["fieldsV1"], doc!({"f:rules": {}}));
    assert!(role["rules"].is_null());
}

const SERVICES: Resource = Resource::new("", "v1", "services", "Service", true);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creator_that_goes_away_in_the_middle_of_its_commit_leaves_no_node_port_to_be_given_twice() {
    use futures::FutureExt as _;
    let cluster = cluster().await;
    let api = cluster.admin();
    let service = |name: String, port: i64| {
        let ports = doc!([{"port": 80, "nodePort": port}]);
        doc!({"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": (ports)}})
    };
    for port in 30_000..30_050_i64 {
        // polled once, then dropped: as a request whose client disconnects
        let _ = api.create(&SERVICES, "default", service(format!("gone{port}"), port)).now_or_never();
        let second = api.create(&SERVICES, "default", service(format!("next{port}"), port)).await;
        let first = api.get(&SERVICES, "default", &format!("gone{port}")).await;
        assert!(first.is_ok() != second.is_ok(), "{port}: exactly one has it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_v1_carries_in_annotations_is_validated_and_its_status_is_not_the_clients() {
    let cluster = cluster().await;
    let api = cluster.admin();
    let autoscaler = |name: &str, annotation: &'static str, text: &str| {
        let reference = doc!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
        doc!({
            "metadata": {"name": name, "annotations": {annotation: text}},
            "spec": {"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": (reference)},
        })
    };
    let metrics = "autoscaling.alpha.kubernetes.io/metrics";
    let bad = autoscaler("bad", metrics, r#"[{"type":"Pods","pods":{"targetAverageValue":"1"}}]"#);
    let refused = api.create(&AUTOSCALERS_V1, "default", bad).await.expect_err("no name");
    assert!(refused.message.contains("spec.metrics[0].pods.metric.name: Required value"), "{refused}");
    let mut zero =
        autoscaler("zero", metrics, r#"[{"type":"External","external":{"metricName":"q","targetValue":"5"}}]"#);
    zero.entry("spec").set("minReplicas", 0);
    api.create(&AUTOSCALERS_V1, "default", zero).await.expect("an external metric scales from zero");
    let odd =
        r#"[{"type":"Pods","pods":{"metricName":"m","targetAverageValue":"1","selector":{"matchLabels":{"a":1}}}}]"#;
    api.create(&AUTOSCALERS_V1, "default", autoscaler("odd", metrics, odd)).await.expect("it is forgotten");
    let odd = api.get(&AUTOSCALERS_V2, "default", "odd").await.expect("the object");
    assert_eq!(odd["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"].as_i64(), Some(80));
    let conditions = "autoscaling.alpha.kubernetes.io/conditions";
    let said = r#"[{"type":"AbleToScale","status":"True"}]"#;
    let made = api.create(&AUTOSCALERS_V1, "default", autoscaler("said", conditions, said)).await.expect("the API");
    assert!(made["metadata"]["annotations"].is_null(), "{made:?}");
    let made = api.get(&AUTOSCALERS_V2, "default", "said").await.expect("the object");
    assert!(made["status"]["conditions"].is_null(), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_patch_to_another_version_is_read_along_that_version() {
    let cluster = cluster().await;
    let api = cluster.admin();
    let reference = doc!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let made = doc!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "scaleTargetRef": (reference)}});
    api.create(&AUTOSCALERS_V1, "default", made).await.expect("the API");
    let metric = doc!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 55}}});
    let body = doc!({"apiVersion": "autoscaling/v2", "spec": {"metrics": [(metric)]}});
    let ask = Ask(&api, &AUTOSCALERS_V1, "a");
    let patched = ask.patch(PatchKind::Merge, "", "", body).await.expect("another version is converted");
    assert_eq!(patched["spec"]["targetCPUUtilizationPercentage"].as_i64(), Some(55), "{patched:?}");
}
