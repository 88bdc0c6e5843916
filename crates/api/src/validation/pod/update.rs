//! What an update of a pod may change: images, tolerations, a deadline; while gated also where it may be scheduled.

use document::Value;
use meta::field::Path;

use super::MIRROR;
use super::affinity;
use crate::validation::check::{Check, each, same};
use crate::validation::diff::diff;
use crate::validation::shown;

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn annotations(check: &mut Check, new: &Value, old: &Value) {
    let (new, old) = (&new["metadata"]["annotations"], &old["metadata"]["annotations"]);
    let path = Path::from("metadata.annotations");
    for (key, _) in old.members().filter(|(k, v)| new.get(k) != Some(v)) {
        if key.starts_with(APP_ARMOR) {
            check.forbidden(&path.key(key), "may not remove or update AppArmor annotations");
        } else if key == MIRROR {
            check.forbidden(&path.key(key), "may not remove or update mirror pod annotation");
        }
    }
    for (key, _) in new.members().filter(|(k, _)| old.get(k).is_none()) {
        if key.starts_with(APP_ARMOR) {
            check.forbidden(&path.key(key), "may not add AppArmor annotations");
        } else if key == MIRROR {
            check.forbidden(&path.key(key), "may not add mirror pod annotation");
        }
    }
}

pub(super) fn spec(check: &mut Check, new: &Value, old: &Value) {
    let path = Path::root("spec");
    for list in ["containers", "initContainers"] {
        if new[list].items().len() != old[list].items().len() {
            return check.forbidden(&path.child(list), "pod updates may not add or remove containers");
        }
        for (at, container) in each(&new[list], &path.child(list)) {
            let image = container["image"].str();
            if image.is_empty() {
                check.required(&at.child("image"), "");
            }
            super::container::untrimmed_image(check, container, &at);
        }
    }
    if !deadline(check, new, old, &path) {
        return;
    }
    tolerations(check, new, old, &path.child("tolerations"));
    gates(check, new, old, &path.child("schedulingGates"));
    let munged = munge(check, new, old, &path);
    if munged.members().chain(old.members()).any(|(n, _)| !same(&munged[n], &old[n])) {
        let changed = diff(old, &munged, "io.k8s.api.core.v1.PodSpec");
        check.forbidden(&path, &format!("pod updates may not change fields other than {UPDATABLE}\n{changed}"));
    }
}

/// False when upstream stops here.
fn deadline(check: &mut Check, new: &Value, old: &Value, path: &Path) -> bool {
    let at = path.child("activeDeadlineSeconds");
    match (new["activeDeadlineSeconds"].as_i64(), old["activeDeadlineSeconds"].as_i64()) {
        (Some(n), _) if !(0..=i64::from(i32::MAX)).contains(&n) => {
            check.invalid(&at, n, "must be between 0 and 2147483647, inclusive");
            false
        }
        (Some(n), Some(before)) if before < n => {
            check.invalid(&at, n, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            check.invalid(&at, shown(&Value::Null), "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn tolerations(check: &mut Check, new: &Value, old: &Value, path: &Path) {
    let without_seconds = |t: &Value| {
        let mut t = t.clone();
        t.remove("tolerationSeconds");
        t
    };
    let now: Vec<Value> = new["tolerations"].items().iter().map(without_seconds).collect();
    if old["tolerations"].items().iter().any(|t| !now.contains(&without_seconds(t))) {
        return check.forbidden(path, "existing toleration can not be modified except its tolerationSeconds");
    }
    affinity::tolerations(check, &new["tolerations"], path);
}

fn gates(check: &mut Check, new: &Value, old: &Value, path: &Path) {
    for (at, gate) in each(&new["schedulingGates"], path) {
        let name = gate["name"].str();
        if !old["schedulingGates"].items().iter().any(|g| g["name"].str() == name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            check.forbidden(&at.child("name"), &detail);
        }
    }
}

/// The new spec with everything put back that may change.
fn munge(check: &mut Check, new: &Value, old: &Value, path: &Path) -> Value {
    let mut spec = new.clone();
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_list_mut).into_iter().flatten();
        for (container, before) in containers.zip(old[list].items()) {
            container.set("image", before["image"].clone());
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        put_back(&mut spec, old, field);
    }
    let grace = "terminationGracePeriodSeconds";
    if old[grace].as_i64().is_some_and(|n| n < 0) && spec[grace].as_i64() == Some(1) {
        put_back(&mut spec, old, grace);
    }
    if !old["schedulingGates"].is_empty() {
        gated(check, &mut spec, old, path);
    }
    spec
}

fn put_back(spec: &mut Value, old: &Value, field: &'static str) {
    match old.get(field) {
        Some(value) => spec.set(field, value.clone()),
        None => drop(spec.remove(field)),
    }
}

/// A gated pod's node constraints may be tightened.
fn gated(check: &mut Check, spec: &mut Value, old: &Value, path: &Path) {
    let selector = spec["nodeSelector"].clone();
    if !same(&selector, &old["nodeSelector"]) {
        if old["nodeSelector"].members().any(|(k, v)| selector.get(k) != Some(v)) {
            let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            check.invalid(&path.child("nodeSelector"), shown(&selector), detail);
        }
        put_back(spec, old, "nodeSelector");
    }
    let (now, before) = (spec["affinity"]["nodeAffinity"].clone(), &old["affinity"]["nodeAffinity"]);
    if same(&now, before) {
        return;
    }
    node_affinity(check, &now, before, &path.child("affinity").child("nodeAffinity"));
    let affinity = spec.entry("affinity");
    put_back(affinity, &old["affinity"], "nodeAffinity");
    if affinity.is_empty() && old["affinity"].is_null() {
        spec.remove("affinity");
    }
}

fn node_affinity(check: &mut Check, new: &Value, old: &Value, path: &Path) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const TERMS: &str = "nodeSelectorTerms";
    let (now, before) = (&new[REQUIRED][TERMS], old[REQUIRED][TERMS].items());
    let at = path.child(REQUIRED).child(TERMS);
    if before.is_empty() {
        return;
    }
    if now.items().len() != before.len() {
        return check.invalid(
            &at,
            shown(now),
            "no additions/deletions to non-empty NodeSelectorTerms list are allowed",
        );
    }
    for (n, term) in before.iter().enumerate() {
        let kept = |field: &str| term[field].items().iter().zip(now[n][field].items()).filter(|(a, b)| a == b).count();
        let all_kept = ["matchExpressions", "matchFields"].iter().all(|f| kept(f) == term[*f].items().len());
        let both_empty = term["matchExpressions"].is_empty() && term["matchFields"].is_empty();
        if !all_kept || (both_empty && !now[n].is_empty()) {
            check.invalid(&at.index(n), shown(&now[n]), "only additions are allowed (no mutations or deletions)");
        }
    }
}

pub(super) fn ephemeral_containers(check: &mut Check, new: &Value, old: &Value) {
    if old["metadata"]["annotations"].get(MIRROR).is_some() {
        check.errors.clear();
        return check.forbidden(&Path::from("[]"), "static pods do not support ephemeral containers");
    }
    let path = Path::from("spec.ephemeralContainers");
    for before in old["spec"]["ephemeralContainers"].items() {
        let name = before["name"].str();
        match new["spec"]["ephemeralContainers"].items().iter().find(|c| c["name"].str() == name) {
            None => check.forbidden(&path, &format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(now) if now != before => {
                let changed = diff(before, now, "io.k8s.api.core.v1.EphemeralContainer");
                check
                    .forbidden(&path, &format!("existing ephemeral containers {name:?} may not be changed\n{changed}"));
            }
            Some(_) => {}
        }
    }
}
