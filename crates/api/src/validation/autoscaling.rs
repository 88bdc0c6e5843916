//! HorizontalPodAutoscalers of both versions. The older one is looked at as the newer.

use document::Value;
use meta::field::{Error, Path};
use meta::names;

use super::check::{Check, each};
use super::pod::container_resource_name;
use crate::ResourceType;
use crate::amount::nano;

const LONGEST_WINDOW: i64 = 3600;
const LONGEST_PERIOD: i64 = 1800;

pub(super) fn autoscaler(resource: &ResourceType, object: &Value, old: Option<&Value>) -> Vec<Error> {
    let mut check = Check::default();
    // what upstream's generated rules say comes last
    let mut late = Check::default();
    let object = crate::stored::internal(resource, object);
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let (least, most) = (spec["minReplicas"].as_i64(), spec["maxReplicas"].as_i64().unwrap_or_default());
    match most {
        0 => late.required(&path.child("maxReplicas"), ""),
        n if n < 0 => late.invalid(&path.child("maxReplicas"), n, "must be greater than or equal to 1"),
        _ => {}
    }
    if let Some(n) = least.filter(|n| *n < 0) {
        late.invalid(&path.child("minReplicas"), n, "must be greater than or equal to 0");
    }
    if least.is_some_and(|n| most < n) {
        check.invalid(&path.child("maxReplicas"), most, "must be greater than or equal to `minReplicas`");
    }
    let (target, before) = (&spec["scaleTargetRef"], old.map(|o| &o["spec"]["scaleTargetRef"]));
    let version = match before {
        Some(old) if old["apiVersion"] == target["apiVersion"] && old["kind"] == target["kind"] => Version::Any,
        _ if target["kind"].str() == "ReplicationController" => Version::Parsed,
        _ => Version::Grouped,
    };
    reference(&mut check, target, &path.child("scaleTargetRef"), version);
    metrics(&mut check, spec, &path.child("metrics"));
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(rules) = spec["behavior"].get(direction).filter(|r| !r.is_null()) {
            scaling_rules(&mut check, rules, &path.child("behavior").child(direction));
        }
    }
    check.errors.append(&mut late.errors);
    check.errors
}

pub(super) fn autoscaler_update(resource: &ResourceType, subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    if subresource != "status" {
        return autoscaler(resource, new, Some(old));
    }
    let mut check = Check::default();
    let new = crate::stored::internal(resource, new);
    let (status, path) = (&new["status"], Path::root("status"));
    for (at, condition) in each(&status["conditions"], &path.child("conditions")) {
        check.non_negatives(&at, condition, &["observedGeneration"]);
    }
    check.non_negatives(&path, status, &["currentReplicas", "desiredReplicas"]);
    check.errors
}

/// How much an API version is looked at.
#[derive(Clone, Copy, PartialEq)]
enum Version {
    /// It was there before.
    Any,
    Parsed,
    /// It must name a group.
    Grouped,
}

/// Kind, name and version of an object.
fn reference(check: &mut Check, target: &Value, at: &Path, strictness: Version) {
    for field in ["kind", "name"] {
        check.named(&at.child(field), target[field].str(), names::path_segment);
    }
    let (version, at) = (target["apiVersion"].str(), at.child("apiVersion"));
    match version.split('/').count() {
        _ if strictness == Version::Any => {}
        n if n > 2 => check.invalid(&at, version, &format!("unexpected GroupVersion string: {version}")),
        n if strictness == Version::Grouped && (n < 2 || version.starts_with('/')) => {
            check.invalid(&at, version, "apiVersion must specify API group");
        }
        _ => {}
    }
}

/// The types of metric and the field of each.
const METRICS: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];
/// The fields in the order in which upstream looks for them.
const SOURCES: [&str; 5] = ["object", "external", "pods", "resource", "containerResource"];

fn metrics(check: &mut Check, spec: &Value, path: &Path) {
    for (at, metric) in each(&spec["metrics"], path) {
        one_metric(check, metric, &at);
    }
    let scales_from_nothing = |m: &Value| matches!(m["type"].str(), "Object" | "External");
    if spec["minReplicas"].as_i64() == Some(0) && !spec["metrics"].items().iter().any(scales_from_nothing) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        check.forbidden(path, detail);
    }
}

fn one_metric(check: &mut Check, metric: &Value, at: &Path) {
    let kind = metric["type"].str();
    if kind.is_empty() {
        check.required(&at.child("type"), "must specify a metric source type");
    }
    let expected = METRICS.iter().find(|(k, _)| *k == kind).map(|(_, field)| *field);
    if expected.is_none() {
        check.push(Error::not_supported(&at.child("type"), kind, &METRICS.map(|(k, _)| k)));
    }
    let present: Vec<&str> = SOURCES.into_iter().filter(|s| !metric[*s].is_null()).collect();
    if let Some(first) = present.first() {
        metric_source(check, first, &metric[*first], &at.child(first));
    }
    if let Some(field) = expected.filter(|f| !present.contains(f)) {
        check.required(&at.child(field), "must populate information for the given metric source");
    }
    if present.len() != 1 {
        for other in present.iter().filter(|p| Some(**p) != expected) {
            check.forbidden(&at.child(other), "must populate the given metric source only");
        }
    }
}

fn metric_source(check: &mut Check, kind: &str, source: &Value, at: &Path) {
    const ONE_OF: &str = "must set either a target raw value or a target utilization";
    const NOT_BOTH: &str = "may not set both a target raw value and a target utilization";
    let (target, target_at) = (&source["target"], at.child("target"));
    let lacks = |field: &str| target[field].is_null();
    match kind {
        "object" | "external" | "pods" => {
            if kind == "object" {
                reference(check, &source["describedObject"], &at.child("describedObject"), Version::Parsed);
            }
            metric_name(check, source["metric"]["name"].str(), &at.child("metric").child("name"));
        }
        _ => resource_name(check, kind, source, at),
    }
    metric_target(check, target, &target_at);
    let average = target_at.child("averageValue");
    match kind {
        "object" if lacks("value") && lacks("averageValue") => {
            check.required(&average, "must set either a target value or averageValue");
        }
        "external" if lacks("value") && lacks("averageValue") => {
            check.required(&average, "must set either a target value for metric or a per-pod target");
        }
        "external" if !lacks("value") && !lacks("averageValue") => {
            let detail = "may not set both a target value for metric and a per-pod target";
            check.forbidden(&target_at.child("value"), detail);
        }
        "pods" if lacks("averageValue") => check.required(&average, "must specify a positive target averageValue"),
        "resource" | "containerResource" => match (lacks("averageUtilization"), lacks("averageValue")) {
            (true, true) => check.required(&target_at.child("averageUtilization"), ONE_OF),
            (false, false) => check.forbidden(&average, NOT_BOTH),
            _ => {}
        },
        _ => {}
    }
}

fn metric_name(check: &mut Check, name: &str, at: &Path) {
    match name {
        "" => check.required(at, "must specify a metric name"),
        _ => check.format(at, name, &names::path_segment(name)),
    }
}

fn resource_name(check: &mut Check, kind: &str, source: &Value, at: &Path) {
    let (name, container) = (source["name"].str(), source["container"].str());
    match (name, kind) {
        ("", _) => check.required(&at.child("name"), "must specify a resource name"),
        (_, "containerResource") => container_resource_name(check, name, &at.child("name")),
        _ => {}
    }
    if kind == "containerResource" {
        match container {
            "" => check.required(&at.child("container"), "must specify a container"),
            _ => check.format(&at.child("container"), container, &names::dns1123_label(container)),
        }
    }
}

fn metric_target(check: &mut Check, target: &Value, at: &Path) {
    let kind = target["type"].str();
    if kind.is_empty() {
        check.required(&at.child("type"), "must specify a metric target type");
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind) {
        check.invalid(&at.child("type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for field in ["value", "averageValue"] {
        if nano(&target[field]).is_some_and(|n| n <= 0) {
            check.invalid(&at.child(field), target[field].str(), "must be positive");
        }
    }
    if let Some(n) = target["averageUtilization"].as_i64().filter(|n| *n < 1) {
        check.invalid(&at.child("averageUtilization"), n, "must be greater than 0");
    }
}

fn scaling_rules(check: &mut Check, rules: &Value, at: &Path) {
    if let Some(n) = rules["stabilizationWindowSeconds"].as_i64() {
        let at = at.child("stabilizationWindowSeconds");
        if n < 0 {
            check.invalid(&at, n, "must be greater than or equal to zero");
        }
        if n > LONGEST_WINDOW {
            check.invalid(&at, n, &format!("must be less than or equal to {LONGEST_WINDOW}"));
        }
    }
    check.optional_one_of(&at.child("selectPolicy"), &rules["selectPolicy"], &["Disabled", "Max", "Min"]);
    let policies_at = at.child("policies");
    if rules["policies"].is_empty() {
        check.required(&policies_at, "must specify at least one Policy");
    }
    for (at, policy) in each(&rules["policies"], &policies_at) {
        if !["Percent", "Pods"].contains(&policy["type"].str()) {
            check.push(Error::not_supported(&at.child("type"), policy["type"].str(), &["Percent", "Pods"]));
        }
        for field in ["value", "periodSeconds"] {
            let n = policy[field].as_i64().unwrap_or_default();
            if n <= 0 {
                check.invalid(&at.child(field), n, "must be greater than zero");
            }
        }
        if let Some(n) = policy["periodSeconds"].as_i64().filter(|n| *n > LONGEST_PERIOD) {
            check.invalid(&at.child("periodSeconds"), n, &format!("must be less than or equal to {LONGEST_PERIOD}"));
        }
    }
    check.non_negative_quantity(&at.child("tolerance"), &rules["tolerance"]);
}
