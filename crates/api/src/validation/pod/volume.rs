//! Volumes of a pod, and how containers mount them.

use std::collections::BTreeSet;

use document::Value;
use meta::field::{Error, Path};
use meta::names;

use super::environment;
use super::spec::Spec;
use crate::amount::nano;
use crate::validation::check::{Check, each};
use crate::validation::internal::shown_as;
use crate::validation::shown;
use crate::validation::volume_source::{self, Owner};

/// Kinds of volume in the order in which upstream looks for them, and the path part of "more than one".
const KINDS: [(&str, &str); 30] = [
    ("emptyDir", ""),
    ("hostPath", "hostPath"),
    ("gitRepo", "gitRepo"),
    ("gcePersistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("secret", "secret"),
    ("nfs", "nfs"),
    ("iscsi", "iscsi"),
    ("glusterfs", "glusterfs"),
    ("flocker", "flocker"),
    ("persistentVolumeClaim", "persistentVolumeClaim"),
    ("rbd", "rbd"),
    ("cinder", "cinder"),
    ("cephfs", "cephFS"),
    ("quobyte", "quobyte"),
    ("downwardAPI", "downwarAPI"),
    ("fc", "fc"),
    ("flexVolume", "flexVolume"),
    ("configMap", "configMap"),
    ("azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk"),
    ("storageos", "storageos"),
    ("projected", "projected"),
    ("scaleIO", "scaleIO"),
    ("csi", "csi"),
    ("ephemeral", "ephemeral"),
    ("image", "image"),
];

/// Checks all volumes; those without an error can be mounted.
pub(super) fn volumes<'a>(
    check: &mut Check,
    list: &'a Value,
    path: &Path,
    metadata: Option<&Value>,
) -> Vec<(&'a str, &'a Value)> {
    let pod = metadata.map_or("", |m| m["name"].str());
    let made: BTreeSet<String> = list
        .items()
        .iter()
        .filter(|v| !pod.is_empty() && v.get("ephemeral").is_some())
        .map(|v| format!("{pod}-{}", v["name"].str()))
        .collect();
    let mut valid: Vec<(&str, &Value)> = Vec::new();
    for (at, volume) in each(list, path) {
        let name = volume["name"].str();
        let mut own = Check::default();
        source(&mut own, volume, &at, pod);
        own.named(&at.child("name"), name, names::dns1123_label);
        if valid.iter().any(|(n, _)| *n == name) {
            own.push(Error::duplicate(&at.child("name"), name));
        }
        if own.errors.is_empty() {
            valid.push((name, volume));
        }
        check.errors.append(&mut own.errors);
        let claim = volume["persistentVolumeClaim"]["claimName"].str();
        if made.contains(claim) {
            let at = at.child("persistentVolumeClaim").child("claimName");
            check.invalid(&at, claim, "must not reference a PVC that gets created for an ephemeral volume");
        }
    }
    valid
}

fn source(check: &mut Check, volume: &Value, path: &Path, pod: &str) {
    let mut count = 0;
    for (kind, slip) in KINDS {
        let Some(source) = volume.get(kind).filter(|s| !s.is_null()) else { continue };
        count += 1;
        if count > 1 {
            check.forbidden(&path.child(slip), "may not specify more than 1 volume type");
        } else {
            one_source(check, kind, source, path, volume["name"].str());
            if kind == "ephemeral" && !pod.is_empty() && !volume["name"].str().is_empty() {
                let claim = format!("{pod}-{}", volume["name"].str());
                for message in names::dns1123_subdomain(&claim) {
                    let detail = format!("PVC name {claim:?}: {message}");
                    check.invalid(&path.child("name"), volume["name"].str(), &detail);
                }
            }
        }
    }
    if count == 0 {
        check.required(path, "must specify a volume type");
    }
}

fn one_source(check: &mut Check, kind: &str, source: &Value, parent: &Path, name: &str) {
    let path = &parent.child(kind);
    match kind {
        "emptyDir" if nano(&source["sizeLimit"]).is_some_and(|n| n < 0) => {
            check.forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
        }
        "hostPath" => host_path(check, source, path),
        "secret" | "configMap" => {
            let name = if kind == "secret" { "secretName" } else { "name" };
            if source[name].str().is_empty() {
                check.required(&path.child(name), "");
            }
            check.file_mode(&path.child("defaultMode"), &source["defaultMode"]);
            for (at, item) in each(&source["items"], &path.child("items")) {
                key_to_path(check, item, &at);
            }
        }
        "persistentVolumeClaim" if source["claimName"].str().is_empty() => check.required(&path.child("claimName"), ""),
        "downwardAPI" => {
            check.file_mode(&path.child("defaultMode"), &source["defaultMode"]);
            for file in source["items"].items() {
                downward_file(check, file, path);
            }
        }
        "projected" => projected(check, source, path),
        "csi" => csi(check, source, path),
        "ephemeral" => match source.get("volumeClaimTemplate").filter(|t| !t.is_null()) {
            None => check.required(&path.child("volumeClaimTemplate"), ""),
            Some(template) => {
                let at = path.child("volumeClaimTemplate");
                check.errors.extend(crate::validation::meta_object::labels_and_annotations(
                    &template["metadata"],
                    &at.child("metadata"),
                ));
                crate::validation::storage::claim_spec(check, &template["spec"], &at.child("spec"));
            }
        },
        "image" => {
            if source["reference"].str().is_empty() {
                check.required(&path.child("reference"), "");
            }
            check.one_of(&path.child("pullPolicy"), source["pullPolicy"].str(), &["Always", "IfNotPresent", "Never"]);
        }
        "emptyDir" | "persistentVolumeClaim" => {}
        _ => volume_source::source(check, kind, source, parent, Owner::Pod { volume: name }),
    }
}

pub(in crate::validation) fn host_path(check: &mut Check, source: &Value, path: &Path) {
    const TYPES: [&str; 8] =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    if source["path"].str().is_empty() {
        return check.required(&path.child("path"), "");
    }
    check.no_backsteps(&path.child("path"), source["path"].str());
    check.optional_one_of(&path.child("type"), &source["type"], &TYPES);
}

fn csi(check: &mut Check, source: &Value, path: &Path) {
    csi_driver_name(check, source["driver"].str(), &path.child("driver"));
    if let Some(secret) = source.get("nodePublishSecretRef").filter(|s| !s.is_null()) {
        let name = secret["name"].str();
        if name.is_empty() {
            check.required(&path.child("nodePublishSecretRef").child("name"), "");
        } else {
            check.format(&path.child("name"), name, &names::dns1123_subdomain(name));
        }
    }
}

pub(in crate::validation) fn csi_driver_name(check: &mut Check, name: &str, path: &Path) {
    if name.is_empty() {
        return check.required(path, "");
    }
    if name.len() > 63 {
        check.push(Error::too_long_bytes(path, 63));
    }
    check.format(path, name, &names::dns1123_subdomain(&name.to_lowercase()));
}

fn key_to_path(check: &mut Check, item: &Value, path: &Path) {
    check.named(&path.child("key"), item["key"].str(), |_| Vec::new());
    match item["path"].str() {
        "" => check.required(&path.child("path"), ""),
        text => check.local_path(&path.child("path"), text),
    }
    check.file_mode(&path.child("mode"), &item["mode"]);
}

fn downward_file(check: &mut Check, file: &Value, path: &Path) {
    if file["path"].str().is_empty() {
        check.required(&path.child("path"), "");
    }
    check.local_path(&path.child("path"), file["path"].str());
    match (file.get("fieldRef"), file.get("resourceFieldRef")) {
        (Some(field), resource) => {
            environment::volume_field(check, field, &path.child("fieldRef"));
            if resource.is_some() {
                check.invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
        }
        (None, Some(resource)) => {
            environment::resource_reference(check, resource, &path.child("resourceFieldRef"), true)
        }
        (None, None) => check.required(path, "one of fieldRef and resourceFieldRef is required"),
    }
    check.file_mode(&path.child("mode"), &file["mode"]);
}

const TOKEN_MIN: i64 = 600;
const TOKEN_MAX: i64 = 1 << 32;

fn projected(check: &mut Check, source: &Value, path: &Path) {
    check.file_mode(&path.child("defaultMode"), &source["defaultMode"]);
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (at, source) in each(&source["sources"], &path.child("sources")) {
        let mut count = 0;
        for kind in ["secret", "configMap"] {
            let Some(keys) = source.get(kind).filter(|s| !s.is_null()) else { continue };
            count += 1;
            let at = at.child(kind);
            if keys["name"].str().is_empty() {
                check.required(&at.child("name"), "");
            }
            for (at, item) in each(&keys["items"], &at.child("items")) {
                key_to_path(check, item, &at);
                take(check, &mut taken, item["path"].str(), path, keys["name"].str());
            }
        }
        if let Some(downward) = source.get("downwardAPI").filter(|s| !s.is_null()) {
            count += 1;
            for file in downward["items"].items() {
                downward_file(check, file, &at.child("downwardAPI"));
                take(check, &mut taken, file["path"].str(), path, file["path"].str());
            }
        }
        if let Some(token) = source.get("serviceAccountToken").filter(|s| !s.is_null()) {
            count += 1;
            token_source(check, token, &at.child("serviceAccountToken"), path);
        }
        if let Some(bundle) = source.get("clusterTrustBundle").filter(|s| !s.is_null()) {
            count += 1;
            trust_bundle(check, bundle, &at.child("clusterTrustBundle"));
            take(check, &mut taken, bundle["path"].str(), path, bundle["path"].str());
        }
        if let Some(certificate) = source.get("podCertificate").filter(|s| !s.is_null()) {
            count += 1;
            pod_certificate(check, certificate, &at.child("podCertificate"), &mut taken, path);
        }
        if count > 1 {
            check.forbidden(&at, "may not specify more than 1 volume type per source");
        }
    }
}

fn take(check: &mut Check, taken: &mut BTreeSet<String>, file: &str, path: &Path, value: &str) {
    if !file.is_empty() && !taken.insert(file.to_owned()) {
        check.invalid(path, value, "conflicting duplicate paths");
    }
}

fn token_source(check: &mut Check, token: &Value, at: &Path, volume: &Path) {
    match token["expirationSeconds"].as_i64() {
        None => check.required(&at.child("expirationSeconds"), ""),
        Some(n) if n < TOKEN_MIN => {
            check.invalid(&at.child("expirationSeconds"), n, "may not specify a duration less than 10 minutes");
        }
        Some(n) if n > TOKEN_MAX => {
            check.invalid(&at.child("expirationSeconds"), n, "may not specify a duration larger than 2^32 seconds");
        }
        Some(_) => {}
    }
    // Upstream reports the path at the volume, not at the source.
    match token["path"].str() {
        "" => check.required(&volume.child("path"), ""),
        text => check.local_path(&volume.child("path"), text),
    }
}

fn trust_bundle(check: &mut Check, bundle: &Value, at: &Path) {
    match (bundle["name"].as_str(), bundle["signerName"].as_str()) {
        (Some(_), Some(_)) => {
            let value = shown_as(bundle, "io.k8s.api.core.v1.ClusterTrustBundleProjection");
            check.invalid(at, value, "only one of name and signerName may be used");
        }
        (Some(name), None) => {
            if name.is_empty() {
                check.required(&at.child("name"), "must be a valid object name");
            }
            for message in crate::validation::certificates::bundle_name(name) {
                let detail = format!("not a valid clustertrustbundlename: {message}");
                check.invalid(&at.child("name"), name, &detail);
            }
            if !bundle["labelSelector"].is_null() {
                let value = shown(&bundle["labelSelector"]);
                check.invalid(&at.child("labelSelector"), value, "labelSelector must be unset if name is specified");
            }
        }
        (None, Some(signer)) => {
            if signer.is_empty() {
                check.required(&at.child("signerName"), "must be a valid signer name");
            }
            crate::validation::certificates::signer_name(check, signer, &at.child("signerName"));
            check.label_selector(&at.child("labelSelector"), &bundle["labelSelector"]);
        }
        (None, None) => check.required(at, "either name or signerName must be specified"),
    }
    if bundle["path"].str().is_empty() {
        check.required(&at.child("path"), "");
    }
    check.local_path(&at.child("path"), bundle["path"].str());
}

fn pod_certificate(check: &mut Check, certificate: &Value, at: &Path, taken: &mut BTreeSet<String>, volume: &Path) {
    const KEYS: [&str; 6] = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
    crate::validation::certificates::signer_name(check, certificate["signerName"].str(), &at.child("signerName"));
    let key = certificate["keyType"].str();
    if !KEYS.contains(&key) {
        check.push(Error::not_supported(&at.child("keyType"), key, &KEYS));
    }
    if let Some(n) = certificate["maxExpirationSeconds"].as_i64() {
        let kubernetes =
            certificate["signerName"].str().split('/').next().is_some_and(|d| d.ends_with("kubernetes.io"));
        let most = if kubernetes { 86_400 } else { 91 * 86_400 };
        let at = at.child("maxExpirationSeconds");
        if n < 3600 {
            check.invalid(&at, n, "if provided, maxExpirationSeconds must be >= 3600");
        }
        if n > most {
            check.invalid(&at, n, &format!("if provided, maxExpirationSeconds must be <= {most}"));
        }
    }
    user_annotations(check, &certificate["userAnnotations"], &at.child("userAnnotations"));
    let mut paths = 0;
    for field in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let file = certificate[field].str();
        if !file.is_empty() {
            paths += 1;
            check.local_path(&at.child(field), file);
            take(check, taken, file, volume, file);
        }
    }
    if paths == 0 {
        check.required(at, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath");
    }
}

/// Annotations for a signer: their keys have domains.
fn user_annotations(check: &mut Check, annotations: &Value, at: &Path) {
    for (key, _) in annotations.members() {
        let key = key.to_lowercase();
        let wrong = names::label_key(&key);
        if key.is_empty() {
            check.required(at, "");
        } else if wrong.is_empty() && !key.contains('/') {
            check.invalid(at, &key, "must be a domain-prefixed key (such as \"acme.io/foo\")");
        } else {
            check.format(at, &key, &wrong);
        }
    }
    let size: usize = annotations.members().map(|(k, v)| k.len() + v.str().len()).sum();
    if size > 256 << 10 {
        check.push(Error::too_long_bytes(at, 256 << 10));
    }
}

pub(super) fn mounts(check: &mut Check, all: &Spec<'_>, container: &Value, path: &Path) {
    let mut taken = BTreeSet::new();
    let devices = container["volumeDevices"].items();
    for (at, mount) in each(&container["volumeMounts"], path) {
        let (name, mount_path) = (mount["name"].str(), mount["mountPath"].str());
        if name.is_empty() {
            check.required(&at.child("name"), "");
        }
        if !all.volumes.iter().any(|(n, _)| *n == name) {
            check.push(Error::not_found(&at.child("name"), name));
        }
        if mount_path.is_empty() {
            check.required(&at.child("mountPath"), "");
        }
        if !taken.insert(mount_path) {
            check.invalid(&at.child("mountPath"), mount_path, "must be unique");
        }
        if devices.iter().any(|d| d["name"].str() == name) {
            check.invalid(&at.child("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|d| d["devicePath"].str() == mount_path) {
            check.invalid(&at.child("mountPath"), mount_path, "must not already exist as a path in volumeDevices");
        }
        sub_paths(check, mount, &at, path);
        propagation(check, mount, container, path);
    }
}

/// Upstream forgets the index in these paths.
fn sub_paths(check: &mut Check, mount: &Value, at: &Path, list: &Path) {
    let (plain, expression) = (mount["subPath"].str(), mount["subPathExpr"].str());
    if !plain.is_empty() {
        check.descending_path(&list.child("subPath"), plain);
    }
    if !expression.is_empty() {
        if !plain.is_empty() {
            check.invalid(&at.child("subPathExpr"), expression, "subPathExpr and subPath are mutually exclusive");
        }
        check.descending_path(&list.child("subPathExpr"), expression);
    }
}

fn propagation(check: &mut Check, mount: &Value, container: &Value, list: &Path) {
    let at = list.child("mountPropagation");
    let kinds = ["Bidirectional", "HostToContainer", "None"];
    check.optional_one_of(&at, &mount["mountPropagation"], &kinds);
    if mount["mountPropagation"].str() == "Bidirectional" && !container["securityContext"]["privileged"].is_true() {
        check.forbidden(&at, "Bidirectional mount propagation is available only to privileged containers");
    }
    let at = list.child("recursiveReadOnly");
    check.optional_one_of(&at, &mount["recursiveReadOnly"], &["Disabled", "Enabled", "IfPossible"]);
    if matches!(mount["recursiveReadOnly"].str(), "Enabled" | "IfPossible") {
        if !mount["readOnly"].is_true() {
            check.forbidden(&at, "may only be specified when readOnly is true");
        }
        if !matches!(mount["mountPropagation"].str(), "" | "None") {
            check.forbidden(&at, "may only be specified when mountPropagation is None or not specified");
        }
    }
}

pub(super) fn devices(check: &mut Check, all: &Spec<'_>, container: &Value, path: &Path) {
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    let mounts = container["volumeMounts"].items();
    for (at, device) in each(&container["volumeDevices"], path) {
        let (name, file) = (device["name"].str(), device["devicePath"].str());
        let (name_at, path_at) = (at.child("name"), at.child("devicePath"));
        let volume = all.volumes.iter().find(|(n, _)| *n == name).map(|(_, v)| v);
        if name.is_empty() {
            check.required(&name_at, "");
        }
        if names.contains(name) {
            check.invalid(&name_at, name, "must be unique");
        }
        match volume {
            None => check.push(Error::not_found(&name_at, name)),
            Some(v) if v.get("persistentVolumeClaim").is_none() && v.get("ephemeral").is_none() => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                check.invalid(&name_at, name, detail);
            }
            Some(_) => {}
        }
        if file.is_empty() {
            check.required(&path_at, "");
        }
        if paths.contains(file) {
            check.invalid(&path_at, file, "must be unique");
        }
        if file.split('/').any(|p| p == "..") {
            check.invalid(&path_at, file, "can not contain backsteps ('..')");
        } else {
            paths.insert(file);
        }
        if mounts.iter().any(|m| m["name"].str() == name) {
            check.invalid(&name_at, name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|m| m["mountPath"].str() == file) {
            check.invalid(&path_at, file, "must not already exist as a path in volumeMounts");
        }
        if !name.is_empty() {
            names.insert(name);
        }
    }
}
