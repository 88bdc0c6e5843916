//! The two conversions: Event (core/v1, events.k8s.io/v1) and HorizontalPodAutoscaler (v2, v1; see `autoscaler`). No
//! machinery: each pair of versions is one function each way.

use document::Value;

use super::autoscaler;
use crate::ResourceType;

/// What an object of this row loses or gains by being read at all: annotations that only a conversion may set.
pub(super) fn settle(row: &ResourceType, object: &mut Value) {
    if row.kind != "HorizontalPodAutoscaler" {
        return;
    }
    if row.version == "v1" {
        autoscaler::to_v2(object);
        autoscaler::to_v1(object);
    } else {
        autoscaler::drop_carriers(object);
    }
}

/// From the version of one row to that of another of the same kind.
pub(super) fn between(from: &ResourceType, to: &ResourceType, mut object: Value) -> Value {
    match (from.kind, from.group, from.version) {
        ("Event", "", _) => event_to_events(&mut object),
        ("Event", _, _) => event_to_core(&mut object),
        ("HorizontalPodAutoscaler", _, "v1") => autoscaler::to_v2(&mut object),
        ("HorizontalPodAutoscaler", _, "v2") => autoscaler::to_v1(&mut object),
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
