//! The two conversions: Event (core/v1, events.k8s.io/v1) and HorizontalPodAutoscaler (v2, v1). No machinery: each
//! pair of versions is one function each way.

use document::{Value, doc};

use crate::ResourceType;

/// From the version of one row to that of another of the same kind.
pub(super) fn between(from: &ResourceType, to: &ResourceType, mut object: Value) -> Value {
    match (from.kind, from.group, from.version) {
        ("Event", "", _) => event_to_events(&mut object),
        ("Event", _, _) => event_to_core(&mut object),
        ("HorizontalPodAutoscaler", _, "v1") => autoscaler_to_v2(&mut object),
        ("HorizontalPodAutoscaler", _, "v2") => autoscaler_to_v1(&mut object),
        _ => {}
    }
    object.set("kind", to.kind);
    object.set("apiVersion", to.api_version());
    document::normalize(&mut object, to.type_);
    object
}

const EVENT_FIELDS: [(&str, &str); 6] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn event_to_events(event: &mut Value) {
    for (core, events) in EVENT_FIELDS {
        rename(event, core, events);
    }
    rename(event, "reportingComponent", "reportingController");
}

fn event_to_core(event: &mut Value) {
    for (core, events) in EVENT_FIELDS {
        rename(event, events, core);
    }
    rename(event, "reportingController", "reportingComponent");
}

fn rename(object: &mut Value, from: &str, to: &'static str) {
    if let Some(value) = object.remove(from) {
        object.set(to, value);
    }
}

/// v1 knows one metric, CPU in percent; the rest rides in annotations, as upstream does it.
fn autoscaler_to_v1(hpa: &mut Value) {
    let metrics = hpa.entry("spec").remove("metrics").unwrap_or_default();
    let mut rest = Vec::new();
    for metric in metrics.items() {
        let target = &metric["resource"]["target"]["averageUtilization"];
        let is_cpu =
            metric["type"].str() == "Resource" && metric["resource"]["name"].str() == "cpu" && !target.is_null();
        if is_cpu && hpa["spec"]["targetCPUUtilizationPercentage"].is_null() {
            hpa.entry("spec").set("targetCPUUtilizationPercentage", target.clone());
        } else {
            rest.push(metric.clone());
        }
    }
    annotate(hpa, "autoscaling.alpha.kubernetes.io/metrics", Value::List(rest));
    let behavior = hpa.entry("spec").remove("behavior").unwrap_or_default();
    annotate(hpa, "autoscaling.alpha.kubernetes.io/behavior", behavior);
    let current = hpa.entry("status").remove("currentMetrics").unwrap_or_default();
    for metric in current.items() {
        let used = &metric["resource"]["current"]["averageUtilization"];
        if metric["resource"]["name"].str() == "cpu" && !used.is_null() {
            hpa.entry("status").set("currentCPUUtilizationPercentage", used.clone());
        }
    }
    annotate(hpa, "autoscaling.alpha.kubernetes.io/current-metrics", current);
    let conditions = hpa.entry("status").remove("conditions").unwrap_or_default();
    annotate(hpa, "autoscaling.alpha.kubernetes.io/conditions", conditions);
}

fn autoscaler_to_v2(hpa: &mut Value) {
    let mut metrics = take_annotation(hpa, "autoscaling.alpha.kubernetes.io/metrics").unwrap_or_default();
    if let Some(percent) = hpa.entry("spec").remove("targetCPUUtilizationPercentage").filter(|p| !p.is_null()) {
        let cpu = doc!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}});
        metrics.make_list().insert(0, cpu);
    }
    if !metrics.is_empty() {
        hpa.entry("spec").set("metrics", metrics);
    }
    for (annotation, part, field) in [
        ("autoscaling.alpha.kubernetes.io/behavior", "spec", "behavior"),
        ("autoscaling.alpha.kubernetes.io/conditions", "status", "conditions"),
        ("autoscaling.alpha.kubernetes.io/current-metrics", "status", "currentMetrics"),
    ] {
        if let Some(value) = take_annotation(hpa, annotation) {
            hpa.entry(part).set(field, value);
        }
    }
    hpa.entry("status").remove("currentCPUUtilizationPercentage");
}

fn annotate(object: &mut Value, name: &'static str, value: Value) {
    if !value.is_empty() {
        let text = document::json::to_string(&value);
        object.entry("metadata").entry("annotations").set(name, text);
    }
}

fn take_annotation(object: &mut Value, name: &str) -> Option<Value> {
    let text = object.entry("metadata").get_mut("annotations")?.remove(name)?;
    document::json::parse(text.str().as_bytes()).ok()
}
