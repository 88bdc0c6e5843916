//! Tokens that a node asks for: bound to a pod that runs on it, for an audience that the pod uses.

use document::Value;
use meta::{Attributes, Key, ResourceId, Status};

use super::pod::existing;
use super::{refuse, require};
use crate::Review;

pub(super) fn admit(me: &str, review: &Review<'_>) -> Result<(), Status> {
    let spec = &review.new_object()["spec"];
    let bound = &spec["boundObjectRef"];
    let to_pod = bound["apiVersion"].str() == "v1" && bound["kind"].str() == "Pod" && !bound["name"].str().is_empty();
    require(to_pod, review, || "node requested token not bound to a pod".into())?;
    let uid = bound["uid"].str();
    require(!uid.is_empty(), review, || "node requested token with a pod binding without a uid".into())?;
    let pod = existing(review, bound["name"].str())?;
    require(pod["metadata"]["uid"].str() == uid, review, || {
        format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        )
    })?;
    require(pod["spec"]["nodeName"].str() == me, review, || {
        "node requested token bound to a pod scheduled on a different node".into()
    })?;
    audience(review, spec, &pod)
}

fn audience(review: &Review<'_>, spec: &Value, pod: &Value) -> Result<(), Status> {
    let audience = match spec["audiences"].items() {
        [] => "",
        [one] => one.str(),
        _ => return refuse(review, "node may only request 0 or 1 audiences"),
    };
    if pod["spec"]["volumes"].items().iter().any(|v| volume_uses(review, pod, v, audience)) {
        return Ok(());
    }
    let allowed = may(review, "request-serviceaccounts-token-audience", audience, review.name);
    require(allowed, review, || {
        format!("{} is not authorized to request tokens for audience {audience:?}", review.user.name)
    })
}

fn volume_uses(review: &Review<'_>, pod: &Value, volume: &Value, audience: &str) -> bool {
    let mut sources = volume["projected"]["sources"].items().iter().filter_map(|s| s.get("serviceAccountToken"));
    if sources.any(|t| t["audience"].str() == audience) {
        return true;
    }
    let driver = match volume {
        v if v.get("ephemeral").is_some() => {
            let claim = format!("{}-{}", pod["metadata"]["name"].str(), v["name"].str());
            driver_of_claim(review, &claim)
        }
        v if v.get("persistentVolumeClaim").is_some() => {
            driver_of_claim(review, v["persistentVolumeClaim"]["claimName"].str())
        }
        v => v.get("csi").map(|csi| csi["driver"].str().to_owned()),
    };
    let Some(driver) = driver.filter(|d| !d.is_empty()) else { return false };
    let driver = review.world.read(&Key::new(ResourceId::from_text("csidrivers.storage.k8s.io"), "", &driver));
    driver.is_some_and(|d| d["spec"]["tokenRequests"].items().iter().any(|t| t["audience"].str() == audience))
}

fn driver_of_claim(review: &Review<'_>, claim: &str) -> Option<String> {
    let claim = review.world.read(&review.key("persistentvolumeclaims", claim))?;
    let name = claim["spec"]["volumeName"].str();
    let volume = review.world.read(&Key::new(ResourceId::from_text("persistentvolumes"), "", name))?;
    volume["spec"]["csi"]["driver"].as_str().map(str::to_owned)
}

/// A special verb on a made-up resource, asked for the same user.
pub(super) fn may(review: &Review<'_>, verb: &str, resource: &str, name: &str) -> bool {
    (review.may)(Attributes::resource(verb, "", "v1", resource, review.namespace, name))
}
