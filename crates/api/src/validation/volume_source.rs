//! Types of volume that pods and PersistentVolumes have alike, most of them by drivers that upstream has removed: which
//! fields each needs, and its own rules. Not here: what only pods have (`pod::volume`).

use document::Value;
use meta::field::{Error, Path};
use meta::names;

use super::check::Check;
use super::pod::csi_driver_name;
use super::shown;

/// Whose source it is: some rules differ, and some name the volume.
#[derive(Clone, Copy)]
pub(super) enum Owner<'a> {
    Pod { volume: &'a str },
    Volume { name: &'a str },
}

/// Type, where upstream reports its fields, and those that must not be empty, in upstream's order.
const REQUIRED: [(&str, &str, &[&str]); 16] = [
    ("gcePersistentDisk", "persistentDisk", &["pdName"]),
    ("awsElasticBlockStore", "awsElasticBlockStore", &["volumeID"]),
    ("gitRepo", "gitRepo", &["repository"]),
    ("nfs", "nfs", &["server", "path"]),
    ("glusterfs", "glusterfs", &["endpoints", "path"]),
    ("rbd", "rbd", &["monitors", "image"]),
    ("cinder", "cinder", &["volumeID"]),
    ("cephfs", "cephfs", &["monitors"]),
    ("flexVolume", "flexVolume", &["driver"]),
    ("azureFile", "azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", "vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", "photonPersistentDisk", &["pdID"]),
    ("portworxVolume", "portworxVolume", &["volumeID"]),
    ("azureDisk", "azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", "scaleIO", &["gateway", "system", "volumeName"]),
    ("storageos", "storageos", &["volumeName"]),
];

/// One source of type `kind`; `parent` is the path of what holds it.
pub(super) fn source(check: &mut Check, kind: &str, source: &Value, parent: &Path, owner: Owner<'_>) {
    let row = REQUIRED.iter().find(|(k, ..)| *k == kind);
    let path = parent.child(row.map_or(kind, |(_, at, _)| at));
    for field in row.map_or(&[][..], |(.., fields)| fields) {
        if source[*field].is_empty() {
            check.required(&path.child(field), "");
        }
    }
    match kind {
        "gcePersistentDisk" | "awsElasticBlockStore" => partition(check, source, &path),
        "gitRepo" => check.descending_path(&path.child("directory"), source["directory"].str()),
        "nfs" if !source["path"].str().starts_with('/') => {
            check.invalid(&path.child("path"), source["path"].str(), "must be an absolute path");
        }
        "iscsi" => iscsi(check, source, &path, parent, owner),
        "glusterfs" => endpoints_namespace(check, &source["endpointsNamespace"], &path.child("endpointsNamespace")),
        "flocker" => flocker(check, source, &path),
        "quobyte" => quobyte(check, source, &path),
        "fc" => fibre_channel(check, source, &path),
        "flexVolume" => options(check, &source["options"], &path.child("options")),
        "azureFile" if source["secretNamespace"].as_str() == Some("") => {
            check.required(&path.child("secretNamespace"), "");
        }
        "azureDisk" => azure_disk(check, source, &path),
        "cinder" => secret(check, &source["secretRef"], &path.child("secretRef"), owner),
        "storageos" => {
            for field in ["volumeName", "volumeNamespace"] {
                let name = source[field].str();
                if !name.is_empty() {
                    check.format(&path.child(field), name, &names::dns1123_label(name));
                }
            }
            secret(check, &source["secretRef"], &path.child("secretRef"), owner);
        }
        _ => {}
    }
}

fn partition(check: &mut Check, source: &Value, path: &Path) {
    if let Some(n) = source["partition"].as_i64().filter(|n| !(0..=255).contains(n)) {
        check.invalid(&path.child("partition"), n, "must be between 1 and 255, inclusive");
    }
}

/// A Secret of the pod's namespace, or of one that a PersistentVolume names.
fn secret(check: &mut Check, reference: &Value, path: &Path, owner: Owner<'_>) {
    if reference.is_null() {
        return;
    }
    let fields: &[&str] = if matches!(owner, Owner::Pod { .. }) { &["name"] } else { &["name", "namespace"] };
    for field in fields.iter().filter(|f| reference[**f].str().is_empty()) {
        check.required(&path.child(field), "");
    }
}

fn lun(check: &mut Check, value: &Value, path: &Path) {
    if let Some(n) = value.as_i64().filter(|n| !(0..=255).contains(n)) {
        check.invalid(&path.child("lun"), n, "must be between 0 and 255, inclusive");
    }
}

fn iscsi(check: &mut Check, source: &Value, path: &Path, parent: &Path, owner: Owner<'_>) {
    const LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
    let (portal, name) = (source["targetPortal"].str(), source["iqn"].str());
    let of_pod = matches!(owner, Owner::Pod { .. });
    let initiator = source["initiatorName"].as_str();
    let owner_name = match owner {
        Owner::Pod { volume } => volume,
        Owner::Volume { name } => name,
    };
    let long = initiator.is_some() && owner_name.len() + 1 + portal.len() > 64;
    if portal.is_empty() {
        check.required(&path.child("targetPortal"), "");
    }
    if long && !of_pod {
        check.invalid(&path.child("targetportal"), portal, LONG);
    }
    match name {
        "" => check.required(&path.child("iqn"), ""),
        _ => target_name(check, name, &path.child("iqn"), of_pod),
    }
    lun(check, &source["lun"], path);
    if (source["chapAuthDiscovery"].is_true() || source["chapAuthSession"].is_true()) && source["secretRef"].is_null() {
        check.required(&path.child("secretRef"), "");
    }
    if !of_pod && !source["secretRef"].is_null() && source["secretRef"]["name"].str().is_empty() {
        check.required(&path.child("secretRef").child("name"), "");
    }
    if let Some(initiator) = initiator {
        target_name(check, initiator, &path.child("initiatorname"), of_pod);
    }
    if long && of_pod {
        check.invalid(&parent.child("name"), owner_name, LONG);
    }
}

/// A name of iSCSI in one of its three forms.
fn target_name(check: &mut Check, name: &str, path: &Path, says_how: bool) {
    let rest = |prefix: &str, length: usize| {
        let mut rest = name[prefix.len()..].chars();
        let alnum = |s: &str| s.len() == length && s.bytes().all(|c| c.is_ascii_alphanumeric());
        rest.next().is_some() && alnum(rest.as_str())
    };
    let good = match name.get(..3) {
        Some("iqn") => is_qualified_target(name),
        Some("eui") => rest("eui", 16),
        Some("naa") => rest("naa", 32),
        _ if says_how => return check.invalid(path, name, "must be valid format starting with iqn, eui, or naa"),
        _ => false,
    };
    if !good {
        check.invalid(path, name, "must be valid format");
    }
}

/// `iqn.YYYY-MM.domain:rest`
fn is_qualified_target(name: &str) -> bool {
    let Some((head, tail)) = name.split_once(':') else { return false };
    let Some(rest) = head.strip_prefix("iqn.") else { return false };
    let (Some(date), Some(domain)) = (rest.get(..7), rest.get(7..)) else { return false };
    let dated = date.char_indices().all(|(n, c)| if n == 4 { c == '-' } else { c.is_ascii_digit() });
    let domain = domain.strip_prefix('.').unwrap_or_default();
    let word = |c: u8| c.is_ascii_alphanumeric() || b"-.".contains(&c);
    dated
        && !domain.is_empty()
        && domain.bytes().all(word)
        && !tail.is_empty()
        && !tail.contains(|c: char| ",;*&$|".contains(c) || c.is_ascii_whitespace())
}

fn endpoints_namespace(check: &mut Check, value: &Value, path: &Path) {
    match value.as_str() {
        None => {}
        Some("") => check.invalid(path, "", "if the endpointnamespace is set, it must be a valid namespace name"),
        Some(name) => check.format(path, name, &names::dns1123_label(name)),
    }
}

fn flocker(check: &mut Check, source: &Value, path: &Path) {
    let (name, id) = (source["datasetName"].str(), source["datasetUUID"].str());
    match (name.is_empty(), id.is_empty()) {
        (true, true) => check.required(path, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            check.invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously");
        }
        _ => {}
    }
    if name.contains('/') {
        check.invalid(&path.child("datasetName"), name, "must not contain '/'");
    }
}

fn quobyte(check: &mut Check, source: &Value, path: &Path) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let (registry, at) = (source["registry"].str(), path.child("registry"));
    if registry.is_empty() {
        check.required(&at, PAIRS);
    } else if source["tenant"].str().len() >= 65 {
        check.required(&path.child("tenant"), "must be a UUID and may not exceed a length of 64 characters");
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_and_port(pair)) {
            check.invalid(&at, registry, PAIRS);
        }
    }
    if source["volume"].str().is_empty() {
        check.required(&path.child("volume"), "");
    }
}

/// `host:port`, IPv6 hosts in brackets; either may be empty.
fn is_host_and_port(pair: &str) -> bool {
    let Some((host, port)) = pair.rsplit_once(':') else { return false };
    if port.contains(['[', ']']) {
        return false;
    }
    match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').is_some_and(|h| !h.contains(['[', ']'])),
        None => !host.contains([':', '[', ']']),
    }
}

fn fibre_channel(check: &mut Check, source: &Value, path: &Path) {
    let (names, ids, at) = (&source["targetWWNs"], &source["wwids"], path.child("targetWWNs"));
    match (names.is_empty(), ids.is_empty()) {
        (true, true) => check.required(&at, "must specify either targetWWNs or wwids, but not both"),
        (false, false) => {
            check.invalid(&at, shown(names), "targetWWNs and wwids can not be specified simultaneously");
        }
        _ => {}
    }
    if names.is_empty() {
        return;
    }
    if source["lun"].is_null() {
        check.required(&path.child("lun"), "lun is required if targetWWNs is specified");
    }
    lun(check, &source["lun"], path);
}

/// Options of a driver, none of them in Kubernetes' own namespaces.
fn options(check: &mut Check, options: &Value, path: &Path) {
    for (key, _) in options.members() {
        let namespace = format!(".{}", key.split('/').next().unwrap_or(key).to_lowercase());
        if [".kubernetes.io", ".k8s.io"].iter().any(|end| namespace.ends_with(end)) {
            check.invalid(&path.key(key), key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

fn azure_disk(check: &mut Check, source: &Value, path: &Path) {
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    check.optional_one_of(&path.child("cachingMode"), &source["cachingMode"], &["None", "ReadOnly", "ReadWrite"]);
    check.optional_one_of(&path.child("kind"), &source["kind"], &["Dedicated", "Managed", "Shared"]);
    let Some(kind) = source["kind"].as_str() else { return };
    let (uri, at) = (source["diskURI"].str(), path.child("diskURI"));
    let (start, form) = if kind == "Managed" { ("/subscriptions/", MANAGED) } else { ("https://", BLOB) };
    if !uri.starts_with(start) {
        check.push(Error::not_supported(&at, uri, &[form]));
    }
}

/// CSI as a PersistentVolume says it.
pub(super) fn csi_volume(check: &mut Check, source: &Value, path: &Path) {
    csi_driver_name(check, source["driver"].str(), &path.child("driver"));
    if source["volumeHandle"].str().is_empty() {
        check.required(&path.child("volumeHandle"), "");
    }
    let secrets =
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];
    for field in secrets.iter().filter(|f| !source[**f].is_null()) {
        let (reference, at) = (&source[*field], path.child(field));
        check.named(&at.child("name"), reference["name"].str(), names::dns1123_subdomain);
        check.named(&at.child("namespace"), reference["namespace"].str(), names::dns1123_label);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iscsi_names_have_three_forms() {
        let good = |name: &str| {
            let mut check = Check::default();
            target_name(&mut check, name, &Path::root("iqn"), true);
            check.errors.is_empty()
        };
        assert!(good("iqn.2001-04.com.example:storage.disk1"));
        assert!(good("eui.0123456789abcdef"));
        assert!(!good("iqn.2001-04.com.example"));
        assert!(!good("iqn.2001-4.com.example:x"));
        assert!(!good("eui.x"));
        assert!(!good("naa.0123456789abcdef"));
        assert!(!good("é"));
    }

    #[test]
    fn a_registry_is_hosts_with_ports() {
        assert!(is_host_and_port("a:1") && is_host_and_port("[::1]:2") && is_host_and_port(":"));
        assert!(!is_host_and_port("a") && !is_host_and_port("::1") && !is_host_and_port("a:b:c"));
    }
}
