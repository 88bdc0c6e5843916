//! The core group's smaller kinds: ConfigMaps, Secrets, namespaces, nodes, PodTemplates, ReplicationControllers.

use std::collections::BTreeSet;

use document::Value;
use document::decode::decode_base64;
use meta::field::{Error, Path, Shown};
use meta::names;

use super::address::{legacy_cidr, parse_cidr};
use super::check::{Check, each, same};
use super::internal::shown_as;
use super::shown;

const MAX_DATA: usize = 1 << 20;
const FROZEN: &str = "field is immutable when `immutable` is set";

pub(super) fn config_map(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let mut size = 0;
    let (data, binary) = (&object["data"], &object["binaryData"]);
    let path = Path::root("data");
    for (key, value) in data.members() {
        check.format(&path.key(key), key, &names::config_key(key));
        if binary.get(key).is_some() {
            check.invalid(&path.key(key), key, "duplicate of key present in binaryData");
        }
        size += value.str().len();
    }
    for (key, value) in binary.members() {
        check.format(&Path::root("binaryData").key(key), key, &names::config_key(key));
        size += decoded_len(value.str());
    }
    if size > MAX_DATA {
        check.push(Error::too_long_bytes(&Path::from("[]"), MAX_DATA));
    }
    check.errors
}

pub(super) fn config_map_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    frozen(&mut check, new, old, &["data", "binaryData"]);
    check.errors.extend(config_map(new));
    check.errors
}

fn frozen(check: &mut Check, new: &Value, old: &Value, fields: &[&str]) {
    if !old["immutable"].is_true() {
        return;
    }
    if !new["immutable"].is_true() {
        check.forbidden(&Path::root("immutable"), FROZEN);
    }
    for field in fields.iter().filter(|f| !same(&new[**f], &old[**f])) {
        check.forbidden(&Path::root(field), FROZEN);
    }
}

/// How many bytes base64 text stands for.
fn decoded_len(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|c| *c == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

pub(super) fn secret(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (data, path) = (&object["data"], Path::root("data"));
    let mut size = 0;
    for (key, value) in data.members() {
        check.format(&path.key(key), key, &names::config_key(key));
        size += decoded_len(value.str());
    }
    if size > MAX_DATA {
        check.push(Error::too_long_bytes(&path, MAX_DATA));
    }
    let has = |key: &str| data.get(key).is_some();
    let mut need = |key: &str| check.required(&path.key(key), "");
    match object["type"].str() {
        "kubernetes.io/service-account-token" => {
            const ACCOUNT: &str = "kubernetes.io/service-account.name";
            if object["metadata"]["annotations"][ACCOUNT].str().is_empty() {
                check.required(&Path::from("metadata.annotations").key(ACCOUNT), "");
            }
        }
        "kubernetes.io/dockercfg" => docker(&mut check, data, ".dockercfg", &path),
        "kubernetes.io/dockerconfigjson" => docker(&mut check, data, ".dockerconfigjson", &path),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            need("username");
            need("password");
        }
        "kubernetes.io/ssh-auth" if data["ssh-privatekey"].str().is_empty() => need("ssh-privatekey"),
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"].iter().filter(|k| !has(k)) {
                need(key);
            }
        }
        _ => {}
    }
    check.errors
}

fn docker(check: &mut Check, data: &Value, key: &str, path: &Path) {
    let at = path.key(key);
    let Some(value) = data.get(key) else { return check.required(&at, "") };
    let bytes = decode_base64(value.str()).unwrap_or_default();
    if let Err(error) = document::json::parse(&bytes) {
        check.invalid(&at, "<secret contents redacted>", &error.to_string());
    }
}

pub(super) fn secret_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    check.immutable(&Path::root("type"), &new["type"], &old["type"]);
    frozen(&mut check, new, old, &["data"]);
    check.errors.extend(secret(new));
    check.errors
}

pub(super) fn namespace(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    for finalizer in object["spec"]["finalizers"].items() {
        finalizer_name(&mut check, finalizer.str(), &Path::from("spec.finalizers"));
    }
    pod_security_labels(&mut check, &object["metadata"]["labels"]);
    check.errors
}

fn finalizer_name(check: &mut Check, name: &str, at: &Path) {
    check.format(at, name, &names::label_key(name));
    if !name.contains('/') && !["kubernetes", "orphan", "foregroundDeletion"].contains(&name) {
        check.invalid(at, name, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

/// What the PodSecurity labels may say.
fn pod_security_labels(check: &mut Check, labels: &Value) {
    const PREFIX: &str = "pod-security.kubernetes.io/";
    let path = Path::from("metadata.labels");
    for mode in ["enforce", "audit", "warn"] {
        let (level, version) = (format!("{PREFIX}{mode}"), format!("{PREFIX}{mode}-version"));
        if let Some(value) = labels.get(&level).filter(|v| !["privileged", "baseline", "restricted"].contains(&v.str()))
        {
            check.invalid(&path.key(&level), value.str(), "must be one of privileged, baseline, restricted");
        }
        if let Some(value) = labels.get(&version).filter(|v| !is_security_version(v.str())) {
            check.invalid(&path.key(&version), value.str(), "must be \"latest\" or \"v1.x\"");
        }
    }
}

fn is_security_version(text: &str) -> bool {
    let minor = |n: &str| n == "0" || (!n.starts_with('0') && !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit()));
    text == "latest" || text.strip_prefix("v1.").is_some_and(minor)
}

pub(super) fn namespace_update(subresource: &str, new: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let at = Path::from("status.Phase");
    let phase = new["status"]["phase"].str();
    match (subresource, new["metadata"]["deletionTimestamp"].is_null()) {
        ("", _) => pod_security_labels(&mut check, &new["metadata"]["labels"]),
        ("finalize", _) => {
            for (at, finalizer) in each(&new["spec"]["finalizers"], &Path::from("spec.finalizers")) {
                finalizer_name(&mut check, finalizer.str(), &at);
            }
        }
        ("status", true) if phase != "Active" => {
            check.invalid(&at, phase, "may only be 'Active' if `deletionTimestamp` is empty");
        }
        ("status", false) if phase != "Terminating" => {
            check.invalid(&at, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
        }
        _ => {}
    }
    check.errors
}

pub(super) fn node(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    taints(&mut check, &object["spec"]["taints"]);
    pod_cidrs(&mut check, object);
    check.errors
}

fn pod_cidrs(check: &mut Check, object: &Value) {
    let cidrs = &object["spec"]["podCIDRs"];
    let path = Path::from("spec.podCIDRs");
    for (at, cidr) in each(cidrs, &path) {
        if let Some(why) = legacy_cidr(cidr.str()) {
            check.invalid(&at, cidr.str(), why);
        }
    }
    let list = cidrs.items();
    if list.len() > 1 {
        let families: BTreeSet<bool> =
            list.iter().filter_map(|c| parse_cidr(c.str())).map(|(ip, _)| ip.is_ipv4()).collect();
        if list.len() > 2 || families.len() != 2 {
            check.invalid(&path, shown(cidrs), "may specify no more than one CIDR for each IP family");
        }
        if let Some((n, bad)) = list.iter().enumerate().find(|(_, c)| parse_cidr(c.str()).is_none()) {
            let error = format!(
                "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{n}]: <nil> (invalid CIDR address: {})",
                bad.str()
            );
            check.push(Error::internal(&path, &error));
        }
    }
}

/// Upstream reports taints below `metadata`.
fn taints(check: &mut Check, list: &Value) {
    let mut seen = BTreeSet::new();
    for (at, taint) in each(list, &Path::from("metadata.taints")) {
        let (key, value, effect) = (taint["key"].str(), taint["value"].str(), taint["effect"].str());
        check.format(&at.child("key"), key, &names::label_key(key));
        let wrong = names::label_value(value);
        if !wrong.is_empty() {
            check.invalid(&at.child("value"), value, &wrong.join(";"));
        }
        check.one_of(&at.child("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        if !seen.insert((effect, key)) {
            let mut error = Error::duplicate(&at, shown_as(taint, "io.k8s.api.core.v1.Taint"));
            error.body.push_str(": taints must be unique by key and effect pair");
            check.push(error);
        }
    }
}

pub(super) fn node_update(subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    for part in ["capacity", "allocatable"] {
        for (name, amount) in new["status"][part].members() {
            super::pod::quantity_value(&mut check, name, amount, &Path::from("status").child(part).child(name));
        }
    }
    let mut seen: Vec<&Value> = Vec::new();
    for (at, address) in each(&new["status"]["addresses"], &Path::from("status.addresses")) {
        if seen.contains(&address) {
            check.push(Error::duplicate(&at, shown_as(address, "io.k8s.api.core.v1.NodeAddress")));
        }
        seen.push(address);
    }
    if subresource.is_empty() {
        pod_cidrs(&mut check, new);
    }
    let (now, before) = (&new["spec"], &old["spec"]);
    if subresource.is_empty() && !before["podCIDRs"].is_empty() && now["podCIDRs"] != before["podCIDRs"] {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        check.forbidden(&Path::from("spec.podCIDRs"), detail);
    }
    let (id, old_id) = (now["providerID"].str(), before["providerID"].str());
    if !old_id.is_empty() && id != old_id {
        let detail =
            if id.is_empty() { "field cannot be cleared once set" } else { "field cannot be modified once set" };
        check.invalid(&Path::from("spec.providerID"), Shown::null(), detail);
    }
    let id = "externalID";
    if subresource.is_empty() && now[id].str() != before[id].str() {
        check.forbidden(&Path::from("spec").child(id), "may not be updated");
    }
    taints(&mut check, &now["taints"]);
    check.errors
}
