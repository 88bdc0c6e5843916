//! Tokens that a node asks for: bound to a pod that runs on it, for an audience that the pod uses.

use document::Value;
use meta::goquote::quote;
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
    let mut errors = Vec::new();
    for volume in pod["spec"]["volumes"].items() {
        match volume_uses(review, pod, volume, audience) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // each text once, as upstream joins them
            Err(why) if errors.contains(&why) => {}
            Err(why) => errors.push(why),
        }
    }
    match errors.as_slice() {
        [] => {}
        [one] => return refuse(review, format!("error validating audience {}: {one}", quote(audience))),
        all => {
            return refuse(review, format!("error validating audience {}: [{}]", quote(audience), all.join(", ")));
        }
    }
    let allowed = may(review, "request-serviceaccounts-token-audience", audience, review.name);
    require(allowed, review, || {
        format!("{} is not authorized to request tokens for audience {audience:?}", review.user.name)
    })
}

/// The error says what stands in the way of knowing.
fn volume_uses(review: &Review<'_>, pod: &Value, volume: &Value, audience: &str) -> Result<bool, String> {
    let mut sources = volume["projected"]["sources"].items().iter().filter_map(|s| s.get("serviceAccountToken"));
    if sources.any(|t| t["audience"].str() == audience) {
        return Ok(true);
    }
    let name = match volume {
        v if v.get("ephemeral").is_some() => {
            let claim = format!("{}-{}", pod["metadata"]["name"].str(), v["name"].str());
            driver_of_claim(review, &claim)?
        }
        v if v.get("persistentVolumeClaim").is_some() => {
            driver_of_claim(review, v["persistentVolumeClaim"]["claimName"].str())?
        }
        v => v["csi"]["driver"].str().to_owned(),
    };
    if name.is_empty() {
        return Ok(false);
    }
    let key = Key::new(ResourceId::from_text("csidrivers.storage.k8s.io"), "", &name);
    let driver = review.world.read(&key);
    let driver = driver.ok_or_else(|| format!("csidriver.storage.k8s.io {} not found", quote(&name)))?;
    Ok(driver["spec"]["tokenRequests"].items().iter().any(|t| t["audience"].str() == audience))
}

/// Empty: its volume is of no CSI driver.
fn driver_of_claim(review: &Review<'_>, name: &str) -> Result<String, String> {
    let claim = review.world.read(&review.key("persistentvolumeclaims", name));
    let claim = claim.ok_or_else(|| format!("persistentvolumeclaim {} not found", quote(name)))?;
    let name = claim["spec"]["volumeName"].str();
    let volume = review.world.read(&Key::new(ResourceId::from_text("persistentvolumes"), "", name));
    let volume = volume.ok_or_else(|| format!("persistentvolume {} not found", quote(name)))?;
    Ok(volume["spec"]["csi"]["driver"].str().to_owned())
}

/// A special verb on a made-up resource, asked for the same user.
pub(super) fn may(review: &Review<'_>, verb: &str, resource: &str, name: &str) -> bool {
    (review.may)(Attributes::resource(verb, "", "v1", resource, review.namespace, name))
}
