//! Volumes, claims, classes and CSI objects.

use document::Value;

use super::{Cells, Row, count, join, name_and_creation, or, plain};

pub(super) fn function(kind: &str) -> Cells {
    match kind {
        "StorageClass" => storage_class,
        "VolumeAttributesClass" => |row| vec![row.name(), row.object["driverName"].str().into(), row.age()],
        "VolumeAttachment" => volume_attachment,
        "CSIDriver" => csi_driver,
        "CSINode" => |row| vec![row.name(), count(&row.object["spec"]["drivers"]), row.age()],
        _ => name_and_creation,
    }
}

fn access_modes(modes: &Value) -> String {
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |mode: &str| modes.items().iter().any(|m| m.str() == mode);
    join(short.iter().filter(|(long, _)| has(long)).map(|(_, short)| *short), ",")
}

fn phase(row: &Row<'_>) -> Value {
    match row.object["metadata"]["deletionTimestamp"].is_null() {
        true => row.object["status"]["phase"].str().into(),
        false => "Terminating".into(),
    }
}

/// The class, from the old annotation first.
fn class(row: &Row<'_>) -> Value {
    let annotation = row.object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    annotation.unwrap_or(row.object["spec"]["storageClassName"].str()).into()
}

pub(super) fn volume(row: &Row<'_>) -> Vec<Value> {
    let (spec, status) = (&row.object["spec"], &row.object["status"]);
    let claim = &spec["claimRef"];
    let claim =
        if claim.is_null() { String::new() } else { format!("{}/{}", claim["namespace"].str(), claim["name"].str()) };
    let capacity = &spec["capacity"]["storage"];
    vec![
        row.name(),
        if capacity.is_null() { "0".into() } else { plain(capacity).into() },
        access_modes(&spec["accessModes"]).into(),
        spec["persistentVolumeReclaimPolicy"].str().into(),
        phase(row),
        claim.into(),
        class(row),
        or(&spec["volumeAttributesClassName"], "<unset>").into(),
        status["reason"].str().into(),
        row.age(),
        or(&spec["volumeMode"], "<unset>").into(),
    ]
}

pub(super) fn claim(row: &Row<'_>) -> Vec<Value> {
    let (spec, status) = (&row.object["spec"], &row.object["status"]);
    let (mut capacity, mut modes) = (String::new(), String::new());
    if !spec["volumeName"].str().is_empty() {
        let storage = &status["capacity"]["storage"];
        capacity = if storage.is_null() { "0".into() } else { plain(storage) };
        modes = access_modes(&status["accessModes"]);
    }
    vec![
        row.name(),
        phase(row),
        spec["volumeName"].str().into(),
        capacity.into(),
        modes.into(),
        class(row),
        or(&spec["volumeAttributesClassName"], "<unset>").into(),
        row.age(),
        or(&spec["volumeMode"], "<unset>").into(),
    ]
}

fn storage_class(row: &Row<'_>) -> Vec<Value> {
    let class = row.object;
    let annotations = &class["metadata"]["annotations"];
    let default = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"]
        .iter()
        .any(|key| annotations[*key].str() == "true");
    let name = class["metadata"]["name"].str();
    vec![
        if default && row.in_list { format!("{name} (default)").into() } else { name.into() },
        class["provisioner"].str().into(),
        or(&class["reclaimPolicy"], "Delete").into(),
        or(&class["volumeBindingMode"], "Immediate").into(),
        class["allowVolumeExpansion"].is_true().into(),
        row.age(),
    ]
}

fn volume_attachment(row: &Row<'_>) -> Vec<Value> {
    let spec = &row.object["spec"];
    vec![
        row.name(),
        spec["attacher"].str().into(),
        spec["source"]["persistentVolumeName"].str().into(),
        spec["nodeName"].str().into(),
        row.object["status"]["attached"].is_true().into(),
        row.age(),
    ]
}

fn csi_driver(row: &Row<'_>) -> Vec<Value> {
    let spec = &row.object["spec"];
    let tokens = match spec["tokenRequests"].as_list() {
        Some(list) => join(list.iter().map(|t| t["audience"].str()), ","),
        None => "<unset>".to_owned(),
    };
    let modes = join(spec["volumeLifecycleModes"].items().iter().map(Value::str), ",");
    vec![
        row.name(),
        spec["attachRequired"].as_bool().unwrap_or(true).into(),
        spec["podInfoOnMount"].is_true().into(),
        spec["storageCapacity"].is_true().into(),
        tokens.into(),
        spec["requiresRepublish"].is_true().into(),
        if modes.is_empty() { "<none>".into() } else { modes.into() },
        row.age(),
    ]
}
