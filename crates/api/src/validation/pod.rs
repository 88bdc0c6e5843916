//! Pods: metadata and spec of a create, and what an update of each endpoint may change. The spec itself, which
//! templates share, is checked in the files beside this one.

mod affinity;
mod container;
mod environment;
mod probe;
mod resize;
mod resources;
mod security;
mod spec;
mod status;
mod update;
mod volume;
mod windows;

use document::Value;
use meta::field::{Error, Path};

use super::check::Check;

pub(super) use resources::{container_resource_name, may_overcommit, quantity_value, resource_name};
pub(super) use spec::pod_spec;
pub(super) use volume::{csi_driver_name, host_path};

pub(super) fn tolerations(check: &mut Check, list: &Value, path: &Path) {
    affinity::tolerations(check, list, path);
}

/// A node selector as volumes use it.
pub(super) fn node_selector(check: &mut Check, selector: &Value, path: &Path) {
    affinity::node_selector(check, selector, path, true);
}

const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

pub(super) fn create(pod: &Value) -> Vec<Error> {
    let mut check = Check::default();
    annotations(&mut check, pod);
    body(&mut check, pod);
    let spec = &pod["spec"];
    let path = Path::root("spec");
    if !spec["ephemeralContainers"].is_empty() {
        check.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
    }
    if !spec["nodeName"].str().is_empty() && !spec["schedulingGates"].is_empty() {
        check.forbidden(&path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
    check.errors
}

pub(super) fn update(subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    match subresource {
        "status" => {
            update::annotations(&mut check, new, old);
            status::update(&mut check, new, old);
        }
        "ephemeralcontainers" => {
            annotations(&mut check, new);
            body(&mut check, new);
            update::annotations(&mut check, new, old);
            update::ephemeral_containers(&mut check, new, old);
        }
        "resize" => {
            annotations(&mut check, new);
            body(&mut check, new);
            resize::resize(&mut check, new, old);
        }
        _ => {
            annotations(&mut check, new);
            body(&mut check, new);
            update::annotations(&mut check, new, old);
            update::spec(&mut check, &new["spec"], &old["spec"]);
        }
    }
    check.errors
}

fn annotations(check: &mut Check, pod: &Value) {
    let annotations = &pod["metadata"]["annotations"];
    let path = Path::from("metadata.annotations");
    if let Some(mirror) = annotations.get(MIRROR)
        && pod["spec"]["nodeName"].str().is_empty()
    {
        check.invalid(&path.key(MIRROR), mirror.str(), "must set spec.nodeName if mirror pod annotation is set");
    }
    if let Some(cost) = annotations.get(DELETION_COST)
        && !is_cost(cost.str())
    {
        check.invalid(&path.key(DELETION_COST), cost.str(), "must be a 32bit integer");
    }
    seccomp_annotation(check, annotations, &path);
}

/// The annotation of old that stood for a seccomp profile.
fn seccomp_annotation(check: &mut Check, annotations: &Value, path: &Path) {
    const KEY: &str = "seccomp.security.alpha.kubernetes.io/pod";
    let Some(profile) = annotations.get(KEY).map(Value::str) else { return };
    let local = profile.strip_prefix("localhost/").is_some_and(|p| !p.is_empty());
    if !local && !["runtime/default", "docker/default", "unconfined"].contains(&profile) {
        check.invalid(&path.child(KEY), profile, "must be a valid seccomp profile");
    }
}

/// A 32-bit number in its shortest form.
fn is_cost(text: &str) -> bool {
    text.parse::<i32>().is_ok_and(|n| n.to_string() == text)
}

fn body(check: &mut Check, pod: &Value) {
    let (spec, path) = (&pod["spec"], Path::root("spec"));
    pod_spec(check, spec, &path, Some(&pod["metadata"]));
    if spec["serviceAccountName"].str().is_empty() {
        for (v, volume) in spec["volumes"].items().iter().enumerate() {
            for (s, source) in volume["projected"]["sources"].items().iter().enumerate() {
                if source.get("serviceAccountToken").is_some() {
                    let at =
                        path.child("volumes").index(v).child("projected.sources").index(s).child("serviceAccountToken");
                    check.forbidden(&at, "must not be specified when serviceAccountName is not set");
                }
            }
        }
    }
    check.non_negative(&path.child("terminationGracePeriodSeconds"), &spec["terminationGracePeriodSeconds"]);
    for list in ["containers", "initContainers"] {
        for (n, container) in spec[list].items().iter().enumerate() {
            container::untrimmed_image(check, container, &path.child(list).index(n));
        }
    }
}
