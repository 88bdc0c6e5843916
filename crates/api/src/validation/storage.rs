//! Volumes, claims and classes.

use document::Value;
use meta::field::{Error, Path, Shown};
use meta::names;

use super::check::{Check, same};
use super::diff::diff;
use super::shown;
use crate::amount::nano;

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

fn access_modes(check: &mut Check, modes: &Value, path: &Path) {
    for mode in modes.items().iter().filter(|m| !ACCESS_MODES.contains(&m.str())) {
        check.push(Error::not_supported(path, mode.str(), &ACCESS_MODES));
    }
    let single = modes.items().iter().any(|m| m.str() == "ReadWriteOncePod");
    let other = modes.items().iter().any(|m| m.str() != "ReadWriteOncePod" && ACCESS_MODES.contains(&m.str()));
    if single && other {
        check.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}

fn positive(check: &mut Check, amount: &Value, path: &Path) {
    if nano(amount).is_some_and(|n| n <= 0) {
        check.invalid(path, amount.str(), "must be greater than zero");
    }
}

pub(super) fn claim(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    claim_spec(&mut check, &object["spec"], &Path::root("spec"));
    check.errors
}

/// Also of templates.
pub(super) fn claim_spec(check: &mut Check, spec: &Value, path: &Path) {
    let at = path.child("accessModes");
    if spec["accessModes"].is_empty() {
        check.required(&at, "at least 1 access mode is required");
    }
    check.label_selector(&path.child("selector"), &spec["selector"]);
    access_modes(check, &spec["accessModes"], &at);
    let at = path.child("resources").key("storage");
    match spec["resources"]["requests"].get("storage") {
        None => check.required(&at, ""),
        Some(amount) => positive(check, amount, &at),
    }
    let class = spec["storageClassName"].str();
    if !class.is_empty() {
        check.format(&path.child("storageClassName"), class, &names::dns1123_subdomain(class));
    }
    check.optional_one_of(&path.child("volumeMode"), &spec["volumeMode"], &VOLUME_MODES);
    for field in ["dataSource", "dataSourceRef"] {
        if let Some(source) = spec.get(field).filter(|s| !s.is_null()) {
            data_source(check, source, &path.child(field));
        }
    }
    data_sources_agree(check, spec, path);
    let class = spec["volumeAttributesClassName"].str();
    if !class.is_empty() {
        check.format(&path.child("volumeAttributesClassName"), class, &names::dns1123_subdomain(class));
    }
}

fn data_source(check: &mut Check, source: &Value, path: &Path) {
    for field in ["name", "kind"] {
        if source[field].str().is_empty() {
            check.required(&path.child(field), "");
        }
    }
    let (group, kind) = (source["apiGroup"].str(), source["kind"].str());
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        check.invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    }
    if !group.is_empty() {
        check.format(&path.child("apiGroup"), group, &names::dns1123_subdomain(group));
    }
}

fn data_sources_agree(check: &mut Check, spec: &Value, path: &Path) {
    let (source, reference) = (&spec["dataSource"], &spec["dataSourceRef"]);
    if source.is_null() || reference.is_null() {
        return;
    }
    // The value that upstream prints is the path object itself: an empty struct.
    let value = || Shown::json("{}");
    if !reference["namespace"].str().is_empty() {
        check.invalid(path, value(), "may not be specified when dataSourceRef.namespace is specified");
    } else if ["apiGroup", "kind", "name"].iter().any(|f| source[*f].str() != reference[*f].str()) {
        check.invalid(path, value(), "must match dataSourceRef");
    }
}

pub(super) fn claim_update(subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    if subresource == "status" {
        return check.errors;
    }
    check.errors.extend(claim(new));
    let (mut now, mut before) = (new["spec"].clone(), old["spec"].clone());
    if before["volumeName"].str().is_empty() {
        before.remove("volumeName");
        now.remove("volumeName");
    }
    let bound = new["status"]["phase"].str() == "Bound";
    if bound {
        for spec in [&mut now, &mut before] {
            spec.remove("volumeAttributesClassName");
            spec.entry("resources").entry("requests").remove("storage");
        }
    }
    if before["storageClassName"].is_null() {
        before.remove("storageClassName");
        now.remove("storageClassName");
    }
    let path = Path::root("spec");
    let names: Vec<&str> = now.members().chain(before.members()).map(|(n, _)| n).collect();
    if names.iter().any(|n| !same(&now[*n], &before[*n])) {
        let changed = diff(&before, &now, "io.k8s.api.core.v1.PersistentVolumeClaimSpec");
        let detail = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{changed}"
        );
        check.forbidden(&path, &detail);
    }
    let size = |object: &Value| nano(object.at(["spec", "resources", "requests", "storage"])).unwrap_or_default();
    let granted = nano(old.at(["status", "capacity", "storage"])).unwrap_or_default();
    if size(new) < size(old) && size(new) <= granted {
        check.forbidden(&Path::from("spec.resources.requests.storage"), "field can not be less than status.capacity");
    }
    check.immutable(&Path::root("volumeMode"), &new["spec"]["volumeMode"], &old["spec"]["volumeMode"]);
    check.errors
}

/// Sources that a PersistentVolume may have.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

pub(super) fn volume(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let at = path.child("accessModes");
    if spec["accessModes"].is_empty() {
        check.required(&at, "");
    }
    access_modes(&mut check, &spec["accessModes"], &at);
    let capacity = &spec["capacity"];
    let at = path.child("capacity");
    if capacity.is_empty() {
        check.required(&at, "");
    }
    if capacity.get("storage").is_none() || capacity.as_map().is_some_and(|m| m.len() > 1) {
        check.push(Error::not_supported(&at, shown(capacity), &["storage"]));
    }
    for (name, amount) in capacity.members() {
        if nano(amount).is_some_and(|n| n < 0) {
            check.invalid(&at.key(name), amount.str(), "must be a valid resource quantity");
        }
        positive(&mut check, amount, &at.key(name));
    }
    let policies = ["Delete", "Recycle", "Retain"];
    check.optional_one_of(
        &path.child("persistentVolumeReclaimPolicy"),
        &spec["persistentVolumeReclaimPolicy"],
        &policies,
    );
    let has_affinity = node_affinity(&mut check, spec, &path.child("nodeAffinity"));
    sources(&mut check, spec, &path, has_affinity);
    if spec["hostPath"]["path"].str() == "/" && spec["persistentVolumeReclaimPolicy"].str() == "Recycle" {
        let at = path.child("persistentVolumeReclaimPolicy");
        check.forbidden(&at, "may not be 'recycle' for a hostPath mount of '/'");
    }
    let class = spec["storageClassName"].str();
    if !class.is_empty() {
        check.format(&path.child("storageClassName"), class, &names::dns1123_subdomain(class));
    }
    check.optional_one_of(&path.child("volumeMode"), &spec["volumeMode"], &VOLUME_MODES);
    check.errors
}

fn node_affinity(check: &mut Check, spec: &Value, path: &Path) -> bool {
    let Some(affinity) = spec.get("nodeAffinity").filter(|a| !a.is_null()) else { return false };
    match affinity.get("required").filter(|r| !r.is_null()) {
        None => {
            check.required(&path.child("required"), "must specify required node constraints");
            false
        }
        Some(required) => {
            super::pod_node_selector(check, required, &path.child("required"));
            true
        }
    }
}

fn sources(check: &mut Check, spec: &Value, path: &Path, has_affinity: bool) {
    let mut count = 0;
    for kind in SOURCES {
        let Some(source) = spec.get(kind).filter(|s| !s.is_null()) else { continue };
        let at = path.child(kind);
        count += 1;
        if count > 1 {
            check.forbidden(&at, "may not specify more than 1 volume type");
            continue;
        }
        match kind {
            "hostPath" => super::pod_host_path(check, source, &at),
            "local" => {
                if source["path"].str().is_empty() {
                    check.required(&at.child("path"), "");
                }
                check.no_backsteps(&at.child("path"), source["path"].str());
                if !has_affinity {
                    check.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
                }
            }
            "csi" => {
                super::pod_csi_driver(check, source["driver"].str(), &at.child("driver"));
                if source["volumeHandle"].str().is_empty() {
                    check.required(&at.child("volumeHandle"), "");
                }
            }
            "nfs" => {
                for field in ["server", "path"] {
                    if source[field].str().is_empty() {
                        check.required(&at.child(field), "");
                    }
                }
                if !source["path"].str().starts_with('/') {
                    check.invalid(&at.child("path"), source["path"].str(), "must be an absolute path");
                }
            }
            _ => {}
        }
    }
    if count == 0 {
        check.required(path, "must specify a volume type");
    }
}

/// The part of a volume's spec that says what it is.
fn kind_of_volume(spec: &Value) -> Value {
    Value::of(spec.members().filter(|(n, _)| SOURCES.contains(n)).map(|(n, v)| (n.to_owned(), v.clone())))
}

pub(super) fn volume_update(subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    if subresource == "status" {
        return check.errors;
    }
    check.errors.extend(volume(new));
    let (now, before) = (&new["spec"], &old["spec"]);
    if SOURCES.iter().any(|s| !same(&now[*s], &before[*s])) {
        let changed = diff(&kind_of_volume(before), &kind_of_volume(now), "io.k8s.api.core.v1.PersistentVolumeSource");
        let detail = format!("spec.persistentvolumesource is immutable after creation\n{changed}");
        check.forbidden(&Path::from("spec.persistentvolumesource"), &detail);
    }
    check.immutable(&Path::root("volumeMode"), &now["volumeMode"], &before["volumeMode"]);
    if !before["nodeAffinity"].is_null() {
        check.immutable(&Path::root("nodeAffinity"), &now["nodeAffinity"], &before["nodeAffinity"]);
    }
    check.errors
}

pub(super) fn class(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let provisioner = object["provisioner"].str();
    let mut late = Check::default();
    if provisioner.is_empty() {
        late.required(&Path::root("provisioner"), "");
    } else {
        check.format(&Path::root("provisioner"), provisioner, &names::label_key(&provisioner.to_lowercase()));
    }
    parameters(&mut check, &object["parameters"]);
    check.optional_one_of(&Path::root("reclaimPolicy"), &object["reclaimPolicy"], &["Delete", "Retain"]);
    let modes = ["Immediate", "WaitForFirstConsumer"];
    check.one_of(&Path::root("volumeBindingMode"), object["volumeBindingMode"].str(), &modes);
    for (n, term) in object["allowedTopologies"].items().iter().enumerate() {
        let at = Path::root("allowedTopologies").index(n).child("matchLabelExpressions");
        for (m, expression) in term["matchLabelExpressions"].items().iter().enumerate() {
            let (at, key) = (at.index(m), expression["key"].str());
            if expression["values"].is_empty() {
                check.required(&at.child("values"), "");
            }
            check.format(&at.child("key"), key, &names::label_key(key));
        }
    }
    check.errors.append(&mut late.errors);
    check.errors
}

fn parameters(check: &mut Check, parameters: &Value) {
    let path = Path::root("parameters");
    let count = parameters.as_map().map_or(0, document::Map::len);
    if count > 512 {
        check.push(Error::too_long_bytes(&Path::from("Provisioner Parameters exceeds max allowed"), 512));
        return;
    }
    let mut size = 0;
    for (key, value) in parameters.members() {
        if key.is_empty() {
            check.invalid(&path, key, "field can not be empty.");
        }
        size += key.len() + value.str().len();
    }
    if size > 256 << 10 {
        check.push(Error::too_long_bytes(&path, 256 << 10));
    }
}

pub(super) fn class_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check { errors: class(new) };
    for field in ["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"] {
        if !same(&new[field], &old[field]) {
            check.invalid(&Path::root(field), Shown::null(), "field is immutable");
        }
    }
    check.errors
}
