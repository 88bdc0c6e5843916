//! Environment variables and the fields, resources, keys and files they come from.

use document::Value;
use meta::field::{Error, Path};
use meta::names;

use crate::amount::nano;
use crate::validation::check::{Check, each};

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const VOLUME_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Labels that the downward API converts at all.
const KNOWN_FIELDS: [&str; 14] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn variables(check: &mut Check, list: &Value, path: &Path) {
    for (at, variable) in each(list, path) {
        check.named(&at.child("name"), variable["name"].str(), names::env_name);
        value_from(check, variable, &at.child("valueFrom"));
    }
}

fn value_from(check: &mut Check, variable: &Value, path: &Path) {
    let Some(from) = variable.get("valueFrom").filter(|f| !f.is_null()) else { return };
    let mut sources = 0;
    let mut has = |name: &str| from.get(name).filter(|v| !v.is_null()).inspect(|_| sources += 1);
    if let Some(field) = has("fieldRef") {
        field_reference(check, field, &ENV_FIELDS, &path.child("fieldRef"));
    }
    if let Some(resource) = has("resourceFieldRef") {
        resource_reference(check, resource, &path.child("resourceFieldRef"), false);
    }
    for name in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(key) = has(name) {
            key_reference(check, key, &path.child(name));
        }
    }
    if let Some(file) = has("fileKeyRef") {
        let at = path.child("fileKeyRef");
        check.named(&at.child("key"), file["key"].str(), names::env_name);
        check.named(&at.child("volumeName"), file["volumeName"].str(), names::dns1123_label);
        match file["path"].str() {
            "" => check.required(&at.child("path"), ""),
            text => check.local_path(&at.child("path"), text),
        }
    }
    if sources == 0 {
        let detail =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        check.invalid(path, "", detail);
    } else if !variable["value"].str().is_empty() {
        check.invalid(path, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        check.invalid(path, "", "may not have more than one field specified at a time");
    }
}

fn key_reference(check: &mut Check, reference: &Value, path: &Path) {
    let name = reference["name"].str();
    check.format(&path.child("name"), name, &names::dns1123_subdomain(name));
    check.named(&path.child("key"), reference["key"].str(), names::config_key);
}

/// A field of a downward API volume.
pub(super) fn volume_field(check: &mut Check, field: &Value, path: &Path) {
    field_reference(check, field, &VOLUME_FIELDS, path);
}

fn field_reference(check: &mut Check, reference: &Value, fields: &[&str], path: &Path) {
    let (version, field) = (reference["apiVersion"].str(), reference["fieldPath"].str());
    if version.is_empty() {
        return check.required(&path.child("apiVersion"), "");
    }
    let at = path.child("fieldPath");
    if field.is_empty() {
        return check.required(&at, "");
    }
    if version != "v1" {
        return check.invalid(&at, field, &format!("error converting fieldPath: unsupported pod version: {version}"));
    }
    if let Some((parent, key)) = subscript(field) {
        return match parent {
            "metadata.annotations" => check.format(path, &key.to_lowercase(), &names::label_key(&key.to_lowercase())),
            "metadata.labels" => check.format(path, key, &names::label_key(key)),
            _ => {
                check.invalid(
                    &at,
                    field,
                    &format!("error converting fieldPath: field label does not support subscript: {field}"),
                );
            }
        };
    }
    let field = if field == "spec.host" { "spec.nodeName" } else { field };
    if !KNOWN_FIELDS.contains(&field) {
        check.invalid(&at, field, &format!("error converting fieldPath: field label not supported: {field}"));
    } else if !fields.contains(&field) {
        check.push(Error::not_supported(&at, field, fields));
    }
}

/// `path['key']`
fn subscript(field: &str) -> Option<(&str, &str)> {
    let inner = field.strip_suffix("']")?;
    let (parent, key) = inner.split_once("['")?;
    (!parent.is_empty()).then_some((parent, key))
}

pub(super) fn resource_reference(check: &mut Check, reference: &Value, path: &Path, volume: bool) {
    let resource = reference["resource"].str();
    let huge = ["limits.hugepages-", "requests.hugepages-"].iter().any(|p| resource.starts_with(p));
    if volume && reference["containerName"].str().is_empty() {
        check.required(&path.child("containerName"), "");
    } else if resource.is_empty() {
        check.required(&path.child("resource"), "");
    } else if !RESOURCES.contains(&resource) && !huge {
        check.push(Error::not_supported(&path.child("resource"), resource, &RESOURCES));
    }
    divisor(check, resource, &reference["divisor"], &path.child("divisor"));
}

fn divisor(check: &mut Check, resource: &str, divisor: &Value, path: &Path) {
    const SIZES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    if nano(divisor).is_none_or(|n| n == 0) {
        return;
    }
    let what = match resource {
        "limits.cpu" | "requests.cpu" => {
            if !["1m", "1"].contains(&divisor.str()) {
                check.invalid(path, resource, "only divisor's values 1m and 1 are supported with the cpu resource");
            }
            return;
        }
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        _ if resource.contains(".hugepages-") => "hugepages",
        _ => return,
    };
    if !SIZES.contains(&divisor.str()) {
        let list = SIZES.join(", ");
        check.invalid(path, resource, &format!("only divisor's values {list} are supported with the {what} resource"));
    }
}

pub(super) fn sources(check: &mut Check, list: &Value, path: &Path) {
    for (at, source) in each(list, path) {
        let prefix = source["prefix"].str();
        if !prefix.is_empty() {
            check.format(&at.child("prefix"), prefix, &names::env_name(prefix));
        }
        let mut count = 0;
        for name in ["configMapRef", "secretRef"] {
            if let Some(reference) = source.get(name).filter(|r| !r.is_null()) {
                count += 1;
                check.named(&at.child(name).child("name"), reference["name"].str(), names::dns1123_subdomain);
            }
        }
        match count {
            0 => check.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => check.invalid(path, "", "may not have more than one field specified at a time"),
        }
    }
}
