//! Pods: the first status, label keys merged into selectors, and what each endpoint may write.

use document::{Value, doc};

use super::generic::keep_metadata;
use super::{Context, qos_class};

pub(super) fn create(pod: &mut Value, context: &Context<'_>) {
    let mut status = doc!({"phase": "Pending"});
    status.set("qosClass", qos_class(&pod["spec"]));
    if !pod["spec"]["schedulingGates"].is_empty() {
        let now = context.now.to_string();
        let gated = doc!({
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastTransitionTime": now,
        });
        status.set("conditions", vec![gated]);
    }
    pod.set("status", status);
    app_armor(pod);
    document::default::pod_level_resources(pod);
    merge_label_keys(pod);
}

/// The profile that an annotation of old means.
pub(crate) fn app_armor_profile(annotation: &str) -> Option<Value> {
    match annotation {
        "runtime/default" => Some(doc!({"type": "RuntimeDefault"})),
        "unconfined" => Some(doc!({"type": "Unconfined"})),
        local => {
            let name = local.strip_prefix("localhost/").filter(|name| !name.is_empty())?;
            Some(doc!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}

/// The annotations of old stand for the fields, where those are unset.
fn app_armor(pod: &mut Value) {
    let annotations = pod["metadata"]["annotations"].clone();
    if annotations.is_null() || pod["spec"]["os"]["name"].str() == "windows" {
        return;
    }
    let of_pod = pod["spec"]["securityContext"]["appArmorProfile"].clone();
    for list in ["initContainers", "containers"] {
        for container in items_mut(pod.entry("spec").get_mut(list)) {
            let key = format!("container.apparmor.security.beta.kubernetes.io/{}", container["name"].str());
            let Some(profile) = app_armor_profile(annotations[key.as_str()].str()) else { continue };
            if container["securityContext"]["appArmorProfile"].is_null() && profile != of_pod {
                container.entry("securityContext").set("appArmorProfile", profile);
            }
        }
    }
}

/// `matchLabelKeys` and `mismatchLabelKeys` become requirements on the pod's own label values.
fn merge_label_keys(pod: &mut Value) {
    let labels = pod["metadata"]["labels"].clone();
    let Some(spec) = pod.get_mut("spec") else { return };
    for constraint in items_mut(spec.get_mut("topologySpreadConstraints")) {
        add_requirements(constraint, "matchLabelKeys", "In", &labels);
    }
    let Some(affinity) = spec.get_mut("affinity") else { return };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(rules) = affinity.get_mut(kind) else { continue };
        for term in items_mut(rules.get_mut("requiredDuringSchedulingIgnoredDuringExecution")) {
            add_both(term, &labels);
        }
        for weighted in items_mut(rules.get_mut("preferredDuringSchedulingIgnoredDuringExecution")) {
            if let Some(term) = weighted.get_mut("podAffinityTerm") {
                add_both(term, &labels);
            }
        }
    }
}

fn add_both(term: &mut Value, labels: &Value) {
    add_requirements(term, "matchLabelKeys", "In", labels);
    add_requirements(term, "mismatchLabelKeys", "NotIn", labels);
}

fn add_requirements(holder: &mut Value, keys: &str, operator: &str, labels: &Value) {
    if holder["labelSelector"].as_map().is_none() {
        return;
    }
    let wanted: Vec<Value> = holder[keys].items().iter().filter(|k| labels.get(k.str()).is_some()).cloned().collect();
    for key in wanted {
        let value = labels[key.str()].clone();
        let requirement = doc!({"key": (key), "operator": operator, "values": [(value)]});
        holder.entry("labelSelector").entry("matchExpressions").make_list().push(requirement);
    }
}

fn items_mut(list: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    list.and_then(Value::as_list_mut).into_iter().flatten()
}

pub(super) fn update(subresource: &str, new: &mut Value, old: &Value) {
    match subresource {
        "ephemeralcontainers" => only_ephemeral_containers(new, old),
        "resize" => only_resources(new, old),
        "status" => keep_unset_status(new, old),
        _ => {
            if new["spec"]["resources"].is_null() && !old["spec"]["resources"].is_null() {
                new.entry("spec").set("resources", old["spec"]["resources"].clone());
            }
        }
    }
}

fn only_ephemeral_containers(new: &mut Value, old: &Value) {
    let containers = new["spec"]["ephemeralContainers"].clone();
    new.set("spec", old["spec"].clone());
    new.set("status", old["status"].clone());
    keep_metadata(new, old);
    set_or_remove(new.entry("spec"), "ephemeralContainers", containers);
}

/// `/resize` writes only the pod's resources, and those and the resize policies of containers that were there.
fn only_resources(new: &mut Value, old: &Value) {
    let sent = new["spec"].clone();
    if LISTS.iter().any(|list| names(&sent[*list]) != names(&old["spec"][*list])) {
        return; // validation says what is wrong with that
    }
    new.set("spec", old["spec"].clone());
    new.set("status", old["status"].clone());
    keep_metadata(new, old);
    for list in LISTS {
        let Some(containers) = new.entry("spec").get_mut(list).and_then(Value::as_list_mut) else { continue };
        for container in containers {
            let name = container["name"].str().to_owned();
            if let Some(wanted) = sent[list].items().iter().find(|c| c["name"].str() == name) {
                container.set("resources", wanted["resources"].clone());
                set_or_remove(container, "resizePolicy", wanted["resizePolicy"].clone());
            }
        }
    }
    if !sent["resources"].is_null() {
        new.entry("spec").set("resources", sent["resources"].clone());
    }
    document::default::pod_level_resources(new);
}

const LISTS: [&str; 2] = ["containers", "initContainers"];

fn names(containers: &Value) -> Vec<&str> {
    containers.items().iter().map(|c| c["name"].str()).collect()
}

fn keep_unset_status(new: &mut Value, old: &Value) {
    for name in ["qosClass", "resourceClaimStatuses", "extendedResourceClaimStatus"] {
        if new["status"][name].is_empty() && !old["status"][name].is_empty() {
            new.entry("status").set(name, old["status"][name].clone());
        }
    }
}

fn set_or_remove(parent: &mut Value, name: &'static str, value: Value) {
    if value.is_null() {
        parent.remove(name);
    } else {
        parent.set(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta::{Time, UserInfo};

    #[test]
    fn a_gated_pod_says_so_and_label_keys_are_merged() {
        let user = UserInfo::anonymous();
        let mut pod = doc!({
            "metadata": {"labels": {"a": "b"}},
            "spec": {
                "schedulingGates": [{"name": "x"}],
                "containers": [{"name": "c"}],
                "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                    {"labelSelector": {"matchLabels": {"q": "r"}}, "matchLabelKeys": ["a", "z"]}
                ]}},
            },
        });
        create(&mut pod, &Context { user: &user, now: Time(0) });
        assert_eq!(pod["status"]["qosClass"].str(), "BestEffort");
        assert_eq!(pod["status"]["conditions"][0]["reason"].str(), "SchedulingGated");
        let term = pod.at(["spec", "affinity", "podAffinity", "requiredDuringSchedulingIgnoredDuringExecution"]);
        assert_eq!(
            term[0]["labelSelector"]["matchExpressions"],
            doc!([{"key": "a", "operator": "In", "values": ["b"]}])
        );
    }
}
