//! Volumes, claims and classes.

use std::collections::{BTreeMap, BTreeSet};

use document::Value;
use meta::field::{Error, Path, Shown};
use meta::names;

use super::check::{Check, each, same};
use super::diff::diff;
use super::shown;
use super::volume_source::{self, Owner};
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
    let namespace = source["namespace"].str();
    if !namespace.is_empty() {
        check.format(&path.child("namespace"), namespace, &names::dns1123_label(namespace));
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
        claim_status(&mut check, &new["status"], &Path::root("status"));
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

/// What the resizer and the binder may say of a claim.
fn claim_status(check: &mut Check, status: &Value, path: &Path) {
    const STATES: [&str; 5] = [
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    let at = path.child("capacity");
    for (name, amount) in status["capacity"].members() {
        not_negative(check, amount, &at.key(name));
    }
    let at = path.child("allocatedResourceStatuses");
    for (name, state) in status["allocatedResourceStatuses"].members() {
        claimed_resource(check, name, &at);
        if !STATES.contains(&state.str()) {
            check.push(Error::not_supported(&at, name, &STATES));
        }
    }
    let at = path.child("allocatedResources");
    for (name, amount) in status["allocatedResources"].members() {
        if claimed_resource(check, name, &at) {
            not_negative(check, amount, &at.key(name));
        }
    }
}

fn not_negative(check: &mut Check, amount: &Value, path: &Path) {
    if let Some(n) = nano(amount).filter(|n| *n < 0) {
        let whole = i64::try_from(n.div_euclid(1_000_000_000)).unwrap_or(i64::MIN);
        check.invalid(path, whole, "must be a valid resource quantity");
    }
}

/// Storage, or something of a domain that is not Kubernetes' own.
fn claimed_resource(check: &mut Check, name: &str, path: &Path) -> bool {
    let wrong = names::label_key(name);
    if !wrong.is_empty() {
        check.format(path, name, &wrong);
        return false;
    }
    let own = match name.split_once('/') {
        None => name != "storage",
        Some((domain, _)) => ["kubernetes.io", "k8s.io"].iter().any(|d| domain.ends_with(d)),
    };
    if own {
        check.push(Error::not_supported(path, name, &["storage"]));
    }
    !own
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
        not_negative(&mut check, amount, &at.key(name));
        positive(&mut check, amount, &at.key(name));
    }
    let policies = ["Delete", "Recycle", "Retain"];
    check.optional_one_of(
        &path.child("persistentVolumeReclaimPolicy"),
        &spec["persistentVolumeReclaimPolicy"],
        &policies,
    );
    let has_affinity = node_affinity(&mut check, spec, &path.child("nodeAffinity"));
    sources(&mut check, object, &path, has_affinity);
    if spec["hostPath"]["path"].str() == "/" && spec["persistentVolumeReclaimPolicy"].str() == "Recycle" {
        let at = path.child("persistentVolumeReclaimPolicy");
        check.forbidden(&at, "may not be 'recycle' for a hostPath mount of '/'");
    }
    let class = spec["storageClassName"].str();
    if !class.is_empty() {
        check.format(&path.child("storageClassName"), class, &names::dns1123_subdomain(class));
    }
    check.optional_one_of(&path.child("volumeMode"), &spec["volumeMode"], &VOLUME_MODES);
    attributes_class(&mut check, spec, &path);
    check.errors
}

/// The volume that an attachment describes itself: CSI only, and of no claim.
pub(super) fn inline_volume(check: &mut Check, spec: &Value, path: &Path) {
    const CONTEXT: &str = "in the context of inline volumes";
    for field in ["claimRef", "capacity"] {
        if !spec[field].is_null() {
            check.forbidden(&path.child(field), &format!("may not be specified {CONTEXT}"));
        }
    }
    if spec["csi"].is_null() {
        check.required(&path.child("csi"), &format!("has to be specified {CONTEXT}"));
    }
    let at = path.child("accessModes");
    if spec["accessModes"].is_empty() {
        check.required(&at, "");
    }
    access_modes(check, &spec["accessModes"], &at);
    let policy = spec["persistentVolumeReclaimPolicy"].str();
    if !policy.is_empty() && policy != "Retain" {
        check.forbidden(&path.child("persistentVolumeReclaimPolicy"), &format!("may only be Retain {CONTEXT}"));
    }
    if !spec["nodeAffinity"].is_null() {
        check.forbidden(&path.child("nodeAffinity"), &format!("may not be specified {CONTEXT}"));
    }
    sources(check, &document::doc!({"spec": (spec.clone())}), path, true);
    if !spec["storageClassName"].str().is_empty() {
        check.forbidden(&path.child("storageClassName"), &format!("may not be specified {CONTEXT}"));
    }
    if spec["volumeMode"].as_str().is_some_and(|mode| mode != "Filesystem") {
        let detail = format!("may not specify volumeMode other than Filesystem {CONTEXT}");
        check.forbidden(&path.child("volumeMode"), &detail);
    }
}

fn node_affinity(check: &mut Check, spec: &Value, path: &Path) -> bool {
    let Some(affinity) = spec.get("nodeAffinity").filter(|a| !a.is_null()) else { return false };
    match affinity.get("required").filter(|r| !r.is_null()) {
        None => check.required(&path.child("required"), "must specify required node constraints"),
        Some(required) => super::pod_node_selector(check, required, &path.child("required")),
    }
    true
}

fn sources(check: &mut Check, object: &Value, path: &Path, has_affinity: bool) {
    let (spec, name) = (&object["spec"], object["metadata"]["name"].str());
    let mut count = 0;
    for kind in SOURCES {
        let Some(source) = spec.get(kind).filter(|s| !s.is_null()) else { continue };
        count += 1;
        // upstream forgot to count before it looks at this one
        if count > 1 && kind != "flexVolume" {
            let at = path.child(if kind == "cephfs" { "cephFS" } else { kind });
            check.forbidden(&at, "may not specify more than 1 volume type");
            continue;
        }
        let at = path.child(kind);
        match kind {
            "hostPath" => super::pod_host_path(check, source, &at),
            "local" => {
                match source["path"].str() {
                    "" => check.required(&at.child("path"), ""),
                    text => check.no_backsteps(&at.child("path"), text),
                }
                if !has_affinity {
                    check.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
                }
            }
            "csi" => volume_source::csi_volume(check, source, &at),
            _ => volume_source::source(check, kind, source, path, Owner::Volume { name }),
        }
    }
    if count == 0 {
        check.required(path, "must specify a volume type");
    }
}

/// Only CSI volumes have attributes, of a class with a name.
fn attributes_class(check: &mut Check, spec: &Value, path: &Path) {
    let Some(class) = spec["volumeAttributesClassName"].as_str() else { return };
    let at = path.child("volumeAttributesClassName");
    match class {
        "" => check.required(&at, "an empty string is disallowed"),
        _ => check.format(&at, class, &names::dns1123_subdomain(class)),
    }
    if spec["csi"].is_null() {
        check.required(&path.child("csi"), "has to be specified when using volumeAttributesClassName");
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
        let (now, before) = (&now["nodeAffinity"], &before["nodeAffinity"]);
        if !same(now, before) {
            let detail = "field is immutable, except for updating from beta label to GA";
            check.invalid(&Path::root("nodeAffinity"), shown(now), detail);
        }
    }
    let class = "volumeAttributesClassName";
    if !before[class].is_null() && now[class].is_null() {
        check.forbidden(&Path::root("spec").child(class), "update from non-nil value to nil is forbidden");
    }
    check.errors
}

pub(super) fn class(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let mut late = Check::default();
    match object["provisioner"].str() {
        "" => late.required(&Path::root("provisioner"), ""),
        name => provisioner(&mut check, name, &Path::root("provisioner")),
    }
    parameters(&mut check, &object["parameters"]);
    if !object["reclaimPolicy"].str().is_empty() {
        check.optional_one_of(&Path::root("reclaimPolicy"), &object["reclaimPolicy"], &["Delete", "Retain"]);
    }
    let modes = ["Immediate", "WaitForFirstConsumer"];
    match object["volumeBindingMode"].as_str() {
        None => check.required(&Path::root("volumeBindingMode"), ""),
        Some(mode) if !modes.contains(&mode) => {
            check.push(Error::not_supported(&Path::root("volumeBindingMode"), mode, &modes));
        }
        Some(_) => {}
    }
    topologies(&mut check, &object["allowedTopologies"]);
    check.errors.append(&mut late.errors);
    check.errors
}

/// The name of a provisioner or driver: a qualified one, whatever its case.
pub(super) fn provisioner(check: &mut Check, name: &str, path: &Path) {
    match name {
        "" => check.required(path, ""),
        _ => {
            let name = name.to_lowercase();
            check.format(path, &name, &names::label_key(&name));
        }
    }
}

/// Terms of labels of nodes; no key, value or term is said twice.
fn topologies(check: &mut Check, list: &Value) {
    let mut terms: BTreeSet<BTreeMap<&str, BTreeSet<&str>>> = BTreeSet::new();
    for (at, term) in each(list, &Path::root("allowedTopologies")) {
        let mut this: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let at = at.child("matchLabelExpressions");
        for (at, expression) in each(&term["matchLabelExpressions"], &at) {
            let key = expression["key"].str();
            let mut values = BTreeSet::new();
            if expression["values"].is_empty() {
                check.required(&at.child("values"), "");
            }
            for (at, value) in each(&expression["values"], &at.child("values")) {
                if !values.insert(value.str()) {
                    check.push(Error::duplicate(&at, value.str()));
                }
            }
            check.format(&at.child("key"), key, &names::label_key(key));
            if this.insert(key, values).is_some() {
                check.push(Error::duplicate(&at.child("key"), key));
            }
        }
        if this.is_empty() || !terms.insert(this) {
            check.push(Error::duplicate(&at, ""));
        }
    }
}

pub(super) fn parameters(check: &mut Check, parameters: &Value) {
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
