//! Server-side apply with its conflicts, pages, optimistic locking of a Lease, and errors as kube-rs tells them.

use crate::{Harness, config_map, fact, object};
use anyhow::{Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Error, ResourceExt};
use serde_json::json;

fn deployment(image: &str, replicas: Option<i32>) -> serde_json::Value {
    let mut value = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": image}]}},
        },
    });
    if let Some(replicas) = replicas {
        value["spec"]["replicas"] = replicas.into();
    }
    value
}

pub(crate) async fn run(harness: &Harness) -> Result<()> {
    applied(harness).await?;
    locked(harness).await?;
    paged(harness).await
}

async fn applied(harness: &Harness) -> Result<()> {
    let deployments: Api<Deployment> = harness.api();
    let (one, two) = (PatchParams::apply("one"), PatchParams::apply("two"));
    let made = deployments.patch("web", &one, &Patch::Apply(deployment("example.com/app:1", Some(0)))).await?;
    let again = deployments.patch("web", &one, &Patch::Apply(deployment("example.com/app:1", Some(0)))).await?;
    ensure!(made.resource_version() == again.resource_version(), "the same apply wrote again");
    match deployments.patch("web", &two, &Patch::Apply(deployment("example.com/app:2", None))).await {
        Err(Error::Api(status)) if status.code == 409 && status.reason == "Conflict" => {
            let wanted = "Apply failed with 1 conflict: conflict with \"one\": .spec.template.spec.containers[name=\"main\"].image";
            ensure!(status.message == wanted, "the conflict says {}", status.message);
        }
        other => bail!("no conflict: {other:?}"),
    }
    let forced =
        deployments.patch("web", &two.clone().force(), &Patch::Apply(deployment("example.com/app:2", None))).await?;
    ensure!(forced.metadata.generation == Some(2), "forced: {forced:?}");
    let managers: Vec<&str> =
        forced.metadata.managed_fields.iter().flatten().filter_map(|m| m.manager.as_deref()).collect();
    ensure!(managers.contains(&"one") && managers.contains(&"two"), "managers are {managers:?}");
    let merged = deployments
        .patch("web", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"annotations": {"a": "b"}}})))
        .await?;
    ensure!(merged.annotations()["a"] == "b", "merged: {merged:?}");
    let strategic =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "example.com/side:1"}]}}}});
    let patched = deployments.patch("web", &PatchParams::default(), &Patch::Strategic(strategic)).await?;
    let containers = patched.spec.template.spec.map(|s| s.containers.len());
    ensure!(containers == Some(2), "a strategic patch gave {containers:?} containers");
    let status = deployments
        .patch_status("web", &PatchParams::default(), &Patch::Merge(json!({"status": {"replicas": 1}})))
        .await?;
    ensure!(status.status.and_then(|s| s.replicas) == Some(1), "the status was not patched");
    let scale = deployments
        .patch_scale("web", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 3}})))
        .await?;
    ensure!(scale.spec.and_then(|s| s.replicas) == Some(3), "the scale was not patched");
    fact("apply, conflicts, force, merge and strategic patches, status and scale");
    Ok(())
}

async fn locked(harness: &Harness) -> Result<()> {
    let leases: Api<Lease> = harness.api();
    let wanted = json!({"metadata": {"name": "lock"}, "spec": {"holderIdentity": "a", "leaseDurationSeconds": 10,
        "acquireTime": "2026-01-02T03:04:05.000006Z", "renewTime": "2026-01-02T03:04:05.123456Z"}});
    let made: Lease = leases.create(&PostParams::default(), &object(wanted)?).await?;
    let mut mine = made.clone();
    let mut theirs = made;
    if let (Some(mine), Some(theirs)) = (&mut mine.spec, &mut theirs.spec) {
        mine.holder_identity = Some("mine".into());
        theirs.holder_identity = Some("theirs".into());
    }
    let first = leases.replace("lock", &PostParams::default(), &mine).await?;
    ensure!(
        first.spec.as_ref().and_then(|s| s.renew_time.clone()) == mine.spec.and_then(|s| s.renew_time),
        "the time changed"
    );
    match leases.replace("lock", &PostParams::default(), &theirs).await {
        Err(Error::Api(status)) if status.code == 409 => {}
        other => bail!("a stale lease was taken: {other:?}"),
    }
    fact("a lease has one holder");
    Ok(())
}

async fn paged(harness: &Harness) -> Result<()> {
    let maps: Api<ConfigMap> = harness.api();
    for number in 0..25 {
        maps.create(&PostParams::default(), &config_map(&format!("page-{number:02}"), "")?).await?;
    }
    let (mut names, mut pages, mut more) = (Vec::new(), 0, None);
    loop {
        let mut params = ListParams::default().limit(10);
        params.continue_token = more;
        let page = maps.list(&params).await?;
        names.extend(page.iter().map(ResourceExt::name_any));
        pages += 1;
        more = page.metadata.continue_.filter(|token| !token.is_empty());
        if more.is_none() {
            break;
        }
    }
    let all = maps.list(&ListParams::default()).await?;
    ensure!(pages == 3 && names.len() == all.items.len(), "{} names in {pages} pages", names.len());
    ensure!(names.is_sorted(), "pages are not in order");
    fact("pages");
    Ok(())
}
