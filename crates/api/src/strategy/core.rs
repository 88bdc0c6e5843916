//! The core group's smaller kinds, and three of other groups: first phases, copied fields, marks of the server.

use document::decode::encode_base64;
use document::{Value, doc};
use meta::Time;

use super::Context;
use super::generic::same;
use crate::stored::TEMPLATE_GENERATION;

pub(super) fn create(plural: &str, object: &mut Value, context: &Context<'_>) {
    match plural {
        "namespaces" => {
            object.set("status", doc!({"phase": "Active"}));
            let finalizers = object.entry("spec").entry("finalizers").make_list();
            if !finalizers.iter().any(|f| f.str() == "kubernetes") {
                finalizers.push("kubernetes".into());
            }
            name_label(object);
        }
        "persistentvolumes" => {
            let now = context.now.to_string();
            object.set("status", doc!({"phase": "Pending", "lastPhaseTransitionTime": now}));
        }
        "persistentvolumeclaims" => {
            object.set("status", doc!({"phase": "Pending"}));
            data_sources(object.entry("spec"), &Value::Null);
        }
        "serviceaccounts" => secret_names(object),
        "nodes" => {
            object.entry("spec").remove("configSource");
            pod_cidrs(object);
        }
        "secrets" => string_data(object),
        _ => {}
    }
}

/// `podCIDR` is the first of `podCIDRs`.
fn pod_cidrs(node: &mut Value) {
    let spec = node.entry("spec");
    let first = spec["podCIDR"].clone();
    if !first.str().is_empty() && spec["podCIDRs"][0] != first {
        spec.set("podCIDRs", vec![first]);
    } else if spec["podCIDR"].str().is_empty() && !spec["podCIDRs"].is_empty() {
        let first = spec["podCIDRs"][0].clone();
        spec.set("podCIDR", first);
    }
}

pub(super) fn update(plural: &str, subresource: &str, new: &mut Value, old: &Value, context: &Context<'_>) {
    match (plural, subresource) {
        ("namespaces", "") => {
            if let Some(finalizers) = old["spec"].get("finalizers") {
                new.entry("spec").set("finalizers", finalizers.clone());
            }
            name_label(new);
        }
        ("namespaces", _) => name_label(new),
        ("persistentvolumes", "status") => phase_time(new, old, context.now),
        ("persistentvolumeclaims", "") => data_sources(new.entry("spec"), &old["spec"]),
        ("serviceaccounts", "") => secret_names(new),
        ("nodes", "") => {
            new.entry("spec").remove("configSource");
            pod_cidrs(new);
        }
        ("nodes", "status") => drop(new.entry("status").remove("config")),
        ("secrets", "") => string_data(new),
        _ => {}
    }
}

fn name_label(namespace: &mut Value) {
    let name = namespace["metadata"]["name"].clone();
    namespace.entry("metadata").entry("labels").set("kubernetes.io/metadata.name", name);
}

/// `stringData` wins over `data` and is never kept.
pub(super) fn string_data(secret: &mut Value) {
    let Some(Value::Map(texts)) = secret.remove("stringData") else { return };
    for (key, text) in texts {
        secret.entry("data").set(key, encode_base64(text.str().as_bytes()));
    }
}

fn secret_names(account: &mut Value) {
    for secret in account.get_mut("secrets").and_then(Value::as_list_mut).into_iter().flatten() {
        let name = secret["name"].clone();
        *secret = doc!({"name": (name)});
    }
}

fn phase_time(new: &mut Value, old: &Value, now: Time) {
    let (new_status, old_status) = (&new["status"], &old["status"]);
    let moved = new_status["phase"] != old_status["phase"];
    let given = new_status["lastPhaseTransitionTime"] != old_status["lastPhaseTransitionTime"];
    if new_status["lastPhaseTransitionTime"].is_null() || (moved && !given) {
        new.entry("status").set("lastPhaseTransitionTime", now.to_string());
    }
}

/// `dataSource` and `dataSourceRef` follow each other. What the old claim has is not dropped.
fn data_sources(spec: &mut Value, old: &Value) {
    let used = !old["dataSource"].is_null() || !old["dataSourceRef"].is_null();
    let known = |source: &Value| match source["apiGroup"].str() {
        "" => source["kind"].str() == "PersistentVolumeClaim",
        group => group == "snapshot.storage.k8s.io" && source["kind"].str() == "VolumeSnapshot",
    };
    // Upstream's gate CrossNamespaceVolumeDataSource is off.
    if !used && !spec["dataSourceRef"]["namespace"].str().is_empty() {
        spec.remove("dataSourceRef");
    }
    if !used && !spec["dataSource"].is_null() && spec["dataSourceRef"].is_null() && !known(&spec["dataSource"]) {
        spec.remove("dataSource");
    }
    let source = spec["dataSource"].clone();
    let reference = spec["dataSourceRef"].clone();
    if !source.is_null() && reference.is_null() {
        spec.set("dataSourceRef", source);
    } else if source.is_null() && !reference.is_null() && reference["namespace"].str().is_empty() {
        let mut copy = reference;
        copy.remove("namespace");
        spec.set("dataSource", copy);
    }
}

/// Groups that this server serves itself are available at once.
pub(super) fn local_api_service(service: &mut Value, context: &Context<'_>) {
    if service["spec"]["service"].is_null() {
        let now = context.now.to_string();
        let condition = doc!({
            "type": "Available", "status": "True", "lastTransitionTime": now,
            "reason": "Local", "message": "Local APIServices are always available",
        });
        service.set("status", doc!({"conditions": [(condition)]}));
    }
}

/// A request says who made it.
pub(super) fn create_csr(csr: &mut Value, context: &Context<'_>) {
    let spec = csr.entry("spec");
    for name in ["username", "uid", "groups", "extra"] {
        spec.remove(name);
    }
    let user = context.user;
    spec.set("username", &user.name);
    if !user.uid.is_empty() {
        spec.set("uid", &user.uid);
    }
    if !user.groups.is_empty() {
        spec.set("groups", Value::list(&user.groups));
    }
    if !user.extra.is_empty() {
        spec.set("extra", Value::of(user.extra.iter().map(|(k, v)| (k.clone(), Value::list(v)))));
    }
}

pub(super) fn create_daemon_set(set: &mut Value) {
    set.entry("metadata").entry("annotations").set(TEMPLATE_GENERATION, "1");
    rolling_numbers(set);
}

/// Upstream's internal type has numbers where the API has pointers.
fn rolling_numbers(set: &mut Value) {
    let strategy = set.at_mut(["spec", "updateStrategy"]);
    if strategy["rollingUpdate"].is_null() {
        return;
    }
    for field in ["maxUnavailable", "maxSurge"] {
        if strategy["rollingUpdate"][field].is_null() {
            strategy.entry("rollingUpdate").set(field, 0);
        }
    }
}

pub(super) fn update_daemon_set(new: &mut Value, old: &Value) {
    let before = old["metadata"]["annotations"][TEMPLATE_GENERATION].str().parse::<i64>().unwrap_or_default();
    rolling_numbers(new);
    let changed = !same(&new["spec"]["template"], &old["spec"]["template"]);
    let number = before + i64::from(changed);
    new.entry("metadata").entry("annotations").set(TEMPLATE_GENERATION, number.to_string());
}

pub(super) fn claim_templates(set: &mut Value) {
    let templates = set.get_mut("spec").and_then(|s| s.get_mut("volumeClaimTemplates")).and_then(Value::as_list_mut);
    for template in templates.into_iter().flatten() {
        template.set("kind", "PersistentVolumeClaim");
        template.set("apiVersion", "v1");
        if template["status"]["phase"].is_empty() {
            template.entry("status").set("phase", "Pending");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{prepare_create, prepare_update};
    use super::*;
    use meta::UserInfo;

    fn created(group: &str, plural: &str, mut object: Value) -> Value {
        let user = UserInfo::new("alice", ["devs"]);
        let row = crate::find(group, "v1", plural).unwrap();
        prepare_create(row, &mut object, &Context { user: &user, now: Time(0) });
        object
    }

    #[test]
    fn what_the_server_fills_in_is_filled_in() {
        let secret = created(
            "",
            "secrets",
            doc!({"metadata": {}, "data": {"a": "MQ==", "b": "MQ=="}, "stringData": {"a": "2"}}),
        );
        assert_eq!(secret["data"], doc!({"a": "Mg==", "b": "MQ=="}));
        assert!(secret["stringData"].is_null());
        let namespace = created("", "namespaces", doc!({"metadata": {"name": "n"}}));
        assert_eq!(namespace["spec"]["finalizers"], doc!(["kubernetes"]));
        assert_eq!(namespace["metadata"]["labels"], doc!({"kubernetes.io/metadata.name": "n"}));
        assert_eq!(namespace["status"]["phase"].str(), "Active");
        let csr = created("certificates.k8s.io", "certificatesigningrequests", doc!({"spec": {"username": "mallory"}}));
        assert_eq!(csr["spec"]["username"].str(), "alice");
        let account = created("", "serviceaccounts", doc!({"secrets": [{"name": "s", "namespace": "x"}]}));
        assert_eq!(account["secrets"], doc!([{"name": "s"}]));
    }

    #[test]
    fn a_namespace_keeps_its_finalizers_on_update() {
        let user = UserInfo::anonymous();
        let old =
            doc!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let mut new = doc!({"metadata": {"name": "n"}, "spec": {}});
        let row = crate::find("", "v1", "namespaces").unwrap();
        prepare_update(row, "", &mut new, &old, &Context { user: &user, now: Time(0) });
        assert_eq!(new["spec"]["finalizers"], doc!(["kubernetes"]));
        assert_eq!(new["status"]["phase"].str(), "Active");
    }
}
