//! Deployments, ReplicaSets, ReplicationControllers, DaemonSets, StatefulSets, ControllerRevisions and PodTemplates.

use std::collections::{HashMap, HashSet};

use document::Value;
use meta::field::{Error, Path, Shown};
use meta::names;

use super::check::{Check, each, same};
use super::internal::shown_as;
use super::{pod, shown, storage};

pub(super) const MISMATCH: &str = "`selector` does not match template `labels`";

/// Does a label selector in object form select these labels? `None`: it is not valid. A missing one selects nothing.
pub(super) fn selects(selector: &Value, labels: &Value) -> Option<bool> {
    if selector.is_null() {
        return Some(false);
    }
    let wrong = |key: &str, values: &[Value]| {
        !names::label_key(key).is_empty() || values.iter().any(|v| !names::label_value(v.str()).is_empty())
    };
    let labels: HashMap<&str, &Value> = labels.members().collect();
    let mut all = true;
    for (key, value) in selector["matchLabels"].members() {
        if wrong(key, std::slice::from_ref(value)) {
            return None;
        }
        all &= labels.get(key) == Some(&value);
    }
    for expression in selector["matchExpressions"].items() {
        let value = labels.get(expression["key"].str()).copied();
        let listed = expression["values"].items();
        if wrong(expression["key"].str(), listed) {
            return None;
        }
        all &= match expression["operator"].str() {
            "In" if !listed.is_empty() => value.is_some_and(|v| listed.contains(v)),
            "NotIn" if !listed.is_empty() => value.is_none_or(|v| !listed.contains(v)),
            "Exists" if listed.is_empty() => value.is_some(),
            "DoesNotExist" if listed.is_empty() => value.is_none(),
            _ => return None,
        };
    }
    Some(all)
}

pub(super) fn is_empty_selector(selector: &Value) -> bool {
    selector["matchLabels"].is_empty() && selector["matchExpressions"].is_empty()
}

/// A pod template: metadata and spec.
pub(super) fn template(check: &mut Check, template: &Value, path: &Path) {
    check.errors.extend(super::meta_object::labels_and_annotations(&template["metadata"], path));
    pod::pod_spec(check, &template["spec"], &path.child("spec"), None);
    if !template["spec"]["ephemeralContainers"].is_empty() {
        let at = path.child("spec").child("ephemeralContainers");
        check.forbidden(&at, "ephemeral containers not allowed in pod template");
    }
}

/// What all long-running workloads ask of their templates.
fn always_running(check: &mut Check, spec: &Value, kind: &str) {
    let path = Path::from("spec.template.spec");
    let pod = spec.at(["template", "spec"]);
    let policy = pod["restartPolicy"].str();
    if policy != "Always" {
        check.push(Error::not_supported(&path.child("restartPolicy"), policy, &["Always"]));
    }
    if !pod["activeDeadlineSeconds"].is_null() {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        check.forbidden(&path.child("activeDeadlineSeconds"), &detail);
    }
}

fn labels_at() -> Path {
    Path::from("spec.template.metadata.labels")
}

fn template_labels(spec: &Value) -> &Value {
    spec.at(["template", "metadata", "labels"])
}

/// Selector and template of a Deployment or ReplicaSet.
fn replica_template(check: &mut Check, spec: &Value) {
    let at = Path::from("spec.selector");
    let selector = &spec["selector"];
    if selector.is_null() {
        check.required(&at, "");
    } else {
        check.label_selector(&at, selector);
        if is_empty_selector(selector) {
            check.invalid(&at, shown(selector), "empty selector is invalid for deployment");
        }
    }
    let Some(matches) = selects(selector, template_labels(spec)) else {
        return check.invalid(&at, shown(selector), "invalid label selector");
    };
    if !matches {
        check.invalid(&labels_at(), shown(template_labels(spec)), MISMATCH);
    }
    template(check, &spec["template"], &Path::from("spec.template"));
    always_running(check, spec, "ReplicaSet");
}

pub(super) fn deployment(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    check.non_negative(&path.child("replicas"), &spec["replicas"]);
    replica_template(&mut check, spec);
    strategy(&mut check, &spec["strategy"], &path.child("strategy"));
    check.non_negatives(&path, spec, &["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"]);
    let ready = spec["minReadySeconds"].as_i64().unwrap_or_default();
    if let Some(deadline) = spec["progressDeadlineSeconds"].as_i64().filter(|d| *d <= ready) {
        check.invalid(&path.child("progressDeadlineSeconds"), deadline, "must be greater than minReadySeconds");
    }
    check.errors
}

fn strategy(check: &mut Check, strategy: &Value, path: &Path) {
    let at = path.child("rollingUpdate");
    let rolling = &strategy["rollingUpdate"];
    match strategy["type"].str() {
        "Recreate" if !rolling.is_null() => {
            check.forbidden(&at, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" => {
            for field in ["maxUnavailable", "maxSurge"] {
                int_or_percent(check, &rolling[field], &at.child(field));
            }
            if is_zero(&rolling["maxUnavailable"]) && is_zero(&rolling["maxSurge"]) {
                let value = shown(&rolling["maxUnavailable"]);
                check.invalid(&at.child("maxUnavailable"), value, "may not be 0 when `maxSurge` is 0");
            }
            at_most_100_percent(check, &rolling["maxUnavailable"], &at.child("maxUnavailable"));
        }
        _ => {
            let value = shown_as(strategy, "io.k8s.api.apps.v1.DeploymentStrategy");
            check.push(Error::not_supported(path, value, &["Recreate", "RollingUpdate"]));
        }
    }
}

/// A number that is not negative, or a percentage.
pub(super) fn int_or_percent(check: &mut Check, value: &Value, path: &Path) {
    match value {
        Value::String(text) => names::percent(text).iter().for_each(|m| check.invalid(path, text, m)),
        other => check.non_negative(path, other),
    }
}

fn percent_of(value: &Value) -> Option<i64> {
    value.as_str()?.strip_suffix('%')?.parse().ok()
}

pub(super) fn at_most_100_percent(check: &mut Check, value: &Value, path: &Path) {
    if percent_of(value).is_some_and(|p| p > 100) {
        check.invalid(path, value.str(), "must not be greater than 100%");
    }
}

/// Nothing, as upstream's conversion to a number sees it: text that is no number is nothing, too.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => percent_of(value).or_else(|| text.parse().ok()).unwrap_or(0) == 0,
        other => other.as_i64().unwrap_or(0) == 0,
    }
}

pub(super) fn deployment_update(subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    if subresource == "status" {
        return counts(new, old, &["updatedReplicas", "readyReplicas", "availableReplicas"]);
    }
    let mut check = Check { errors: deployment(new) };
    check.immutable(&Path::from("spec.selector"), &new["spec"]["selector"], &old["spec"]["selector"]);
    check.errors
}

/// Status counters: not negative, those of `parts` not above all.
fn counts(new: &Value, old: &Value, parts: &[&str]) -> Vec<Error> {
    let mut check = Check::default();
    let (status, path) = (&new["status"], Path::root("status"));
    let fields = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "collisionCount",
    ];
    check.non_negatives(&path, status, &fields);
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    for field in parts {
        if count(field) > count("replicas") {
            check.invalid(&path.child(field), count(field), "cannot be greater than status.replicas");
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        check.invalid(
            &path.child("availableReplicas"),
            count("availableReplicas"),
            "cannot be greater than readyReplicas",
        );
    }
    let before = old["status"]["collisionCount"].as_i64();
    if before.is_some_and(|b| count("collisionCount") < b) {
        check.invalid(&path.child("collisionCount"), shown(&status["collisionCount"]), "cannot be decremented");
    }
    check.errors
}

pub(super) fn replica_set(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    check.non_negatives(&path, spec, &["replicas", "minReadySeconds"]);
    replica_template(&mut check, spec);
    check.errors
}

pub(super) fn replica_set_update(subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    if subresource == "status" {
        return counts(new, old, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"]);
    }
    let mut check = Check { errors: replica_set(new) };
    check.immutable(&Path::from("spec.selector"), &new["spec"]["selector"], &old["spec"]["selector"]);
    check.errors
}

pub(super) fn replication_controller(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    if spec["selector"].is_empty() {
        check.required(&path.child("selector"), "");
    }
    if spec["template"].is_null() {
        check.required(&path.child("template"), "");
    } else {
        let labels = template_labels(spec);
        if !spec["selector"].is_empty() && spec["selector"].members().any(|(k, v)| labels.get(k) != Some(v)) {
            check.invalid(&labels_at(), shown(labels), "`selector` does not match template `labels`");
        }
        template(&mut check, &spec["template"], &path.child("template"));
        always_running(&mut check, spec, "ReplicationController");
    }
    check.non_negatives(&path, spec, &["replicas", "minReadySeconds"]);
    check.errors
}

pub(super) fn daemon_set(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let at = path.child("selector");
    check.label_selector(&at, &spec["selector"]);
    if selects(&spec["selector"], template_labels(spec)) == Some(false) {
        check.invalid(&labels_at(), shown(template_labels(spec)), MISMATCH);
    }
    if !spec["selector"].is_null() && is_empty_selector(&spec["selector"]) {
        check.invalid(&at, shown(&spec["selector"]), "empty selector is invalid for daemonset");
    }
    template(&mut check, &spec["template"], &path.child("template"));
    always_running(&mut check, spec, "DaemonSet");
    check.non_negatives(&path, spec, &["minReadySeconds"]);
    daemon_strategy(&mut check, &spec["updateStrategy"], &path.child("updateStrategy"));
    check.non_negatives(&path, spec, &["revisionHistoryLimit"]);
    check.errors
}

fn daemon_strategy(check: &mut Check, strategy: &Value, path: &Path) {
    match strategy["type"].str() {
        "OnDelete" => {}
        "RollingUpdate" => {
            let (rolling, at) = (&strategy["rollingUpdate"], path.child("rollingUpdate"));
            for field in ["maxUnavailable", "maxSurge"] {
                int_or_percent(check, &rolling[field], &at.child(field));
                at_most_100_percent(check, &rolling[field], &at.child(field));
            }
            match (is_zero(&rolling["maxUnavailable"]), is_zero(&rolling["maxSurge"])) {
                (false, false) => {
                    let value = shown(&rolling["maxSurge"]);
                    check.invalid(&at.child("maxSurge"), value, "may not be set when maxUnavailable is non-zero");
                }
                (true, true) => check.required(&at.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"),
                _ => {}
            }
        }
        _ => {
            let value = shown_as(strategy, "io.k8s.api.apps.v1.DaemonSetUpdateStrategy");
            check.push(Error::not_supported(path, value, &["RollingUpdate", "OnDelete"]));
        }
    }
}

pub(super) fn daemon_set_update(subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    if subresource == "status" {
        let fields = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
        ];
        check.non_negatives(&Path::root("status"), &new["status"], &fields);
        return check.errors;
    }
    check.immutable(&Path::from("spec.selector"), &new["spec"]["selector"], &old["spec"]["selector"]);
    check.errors.extend(daemon_set(new));
    check.errors
}

pub(super) fn stateful_set(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let at = path.child("podManagementPolicy");
    match spec["podManagementPolicy"].str() {
        "" => check.required(&at, ""),
        "OrderedReady" | "Parallel" => {}
        other => check.invalid(&at, other, "must be 'OrderedReady' or 'Parallel'"),
    }
    stateful_strategy(&mut check, &spec["updateStrategy"], &path.child("updateStrategy"));
    let (retention, at) =
        (&spec["persistentVolumeClaimRetentionPolicy"], path.child("persistentVolumeClaimRetentionPolicy"));
    for field in ["whenDeleted", "whenScaled"] {
        check.optional_one_of(&at.child(field), &retention[field], &["Retain", "Delete"]);
    }
    check.non_negatives(&path, spec, &["replicas", "minReadySeconds"]);
    check.non_negative(&path.child("ordinals").child("start"), &spec["ordinals"]["start"]);
    for (at, claim) in each(&spec["volumeClaimTemplates"], &path.child("volumeClaimTemplates")) {
        storage::claim_spec(&mut check, &claim["spec"], &at.child("spec"));
    }
    let service = spec["serviceName"].str();
    if !service.is_empty() {
        check.format(&path.child("serviceName"), service, &names::dns1123_label(service));
    }
    stateful_template(&mut check, spec, &path);
    check.errors
}

fn stateful_template(check: &mut Check, spec: &Value, path: &Path) {
    let (selector, at) = (&spec["selector"], path.child("selector"));
    if selector.is_null() {
        check.required(&at, "");
    } else {
        check.label_selector(&at, selector);
        if is_empty_selector(selector) {
            check.invalid(&at, shown(selector), "empty selector is invalid for statefulset");
        }
    }
    match selects(selector, template_labels(spec)) {
        None => check.invalid(&at, shown(selector), ""),
        Some(matches) => {
            if !matches {
                check.invalid(&labels_at(), shown(template_labels(spec)), MISMATCH);
            }
            template(check, &with_claims(spec), &path.child("template"));
        }
    }
    always_running(check, spec, "StatefulSet");
}

/// The template as the controller will make it: its own host name, a volume for each claim.
fn with_claims(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let claims = spec["volumeClaimTemplates"].items();
    let Some(pod) = template.get_mut("spec") else { return template };
    pod.remove("subdomain");
    pod.remove("hostname");
    if !claims.is_empty() {
        let (mut volumes, mut seen): (Vec<Value>, HashSet<&str>) = (Vec::new(), HashSet::new());
        let names: HashSet<Option<&str>> = claims.iter().map(|c| c["metadata"]["name"].as_str()).collect();
        for claim in claims {
            let name = claim["metadata"]["name"].str();
            if seen.insert(name) {
                volumes.push(document::doc!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
            }
        }
        let own = pod["volumes"].items().iter().filter(|v| !names.contains(&v["name"].as_str()));
        volumes.extend(own.cloned());
        pod.set("volumes", volumes);
    }
    template
}

fn stateful_strategy(check: &mut Check, strategy: &Value, path: &Path) {
    let (rolling, at) = (&strategy["rollingUpdate"], path.child("rollingUpdate"));
    // Upstream's internal partition is a plain number.
    let partition = rolling["partition"].as_i64().unwrap_or_default();
    let rolling_text =
        format!("{{\"Partition\":{partition},\"MaxUnavailable\":{}}}", shown(&rolling["maxUnavailable"]).0);
    match strategy["type"].str() {
        "" => check.required(path, ""),
        "OnDelete" if !rolling.is_null() => {
            check.invalid(&at, Shown::json(rolling_text), "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            check.non_negative(&at.child("partition"), &rolling["partition"]);
            let (most, at) = (&rolling["maxUnavailable"], at.child("maxUnavailable"));
            int_or_percent(check, most, &at);
            if !most.is_null() && is_zero(most) {
                check.invalid(&at, shown(most), "cannot be 0");
            }
            at_most_100_percent(check, most, &at);
        }
        other => {
            let inner = if rolling.is_null() { "null".to_owned() } else { rolling_text };
            let value = format!("{{\"Type\":{},\"RollingUpdate\":{inner}}}", Shown::json_string(other).0);
            check.invalid(path, Shown::json(value), "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}

pub(super) fn stateful_set_update(subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    if subresource == "status" {
        return counts(new, old, &["updatedReplicas", "readyReplicas", "availableReplicas"]);
    }
    let mut check = Check { errors: stateful_set(new) };
    let path = Path::root("spec");
    for field in ["selector", "volumeClaimTemplates", "serviceName", "podManagementPolicy"] {
        check.immutable(&path.child(field), &new["spec"][field], &old["spec"][field]);
    }
    check.errors
}

pub(super) fn revision(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    check.non_negative(&Path::root("revision"), &object["revision"]);
    match &object["data"] {
        Value::Null => check.required(&Path::root("data"), "data is mandatory"),
        Value::Map(_) => {}
        _ => check.required(&Path::root("data"), "data must be a valid JSON object"),
    }
    check.errors
}

pub(super) fn revision_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    check.non_negative(&Path::root("revision"), &new["revision"]);
    if !same(&new["data"], &old["data"]) {
        check.invalid(&Path::root("data"), shown(&sorted(&new["data"])), "field is immutable");
    }
    check.errors
}

/// Members by name, as a patched document is written.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Map(map) => {
            let mut map: document::Map = map.iter().map(|(n, v)| (n.to_owned(), sorted(v))).collect();
            map.sort();
            Value::Map(map)
        }
        Value::List(items) => Value::List(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

pub(super) fn pod_template(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    template(&mut check, &object["template"], &Path::root("template"));
    check.errors
}
