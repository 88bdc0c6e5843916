//! HorizontalPodAutoscaler between v2, which is stored, and v1, which knows one metric (CPU in percent) and keeps the
//! rest in annotations: as JSON of types that nothing else uses, and of behaviour as upstream's internal structs.

use document::{Map, Value, doc, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
/// Annotations that carry what another version cannot say: nobody else may set them.
const CARRIERS: [&str; 6] = [
    METRICS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
    CURRENT,
    CONDITIONS,
];
/// Percent of CPU that v1 means when it says nothing.
const DEFAULT_PERCENT: i64 = 80;

/// What a field of a v1 metric holds, and what it is when it is missing.
#[derive(Clone, Copy, PartialEq)]
enum Holds {
    /// A text that is always written.
    Text,
    /// A quantity that is always written.
    Amount,
    OptionalAmount,
    OptionalPercent,
    OptionalSelector,
    Reference,
}

/// (name in v1, where it is in v2, what it holds), in the order in which v1 writes them.
type Fields = &'static [(&'static str, &'static [&'static str], Holds)];

const SOURCES: &[(&str, Fields)] = &[
    (
        "object",
        &[
            ("target", &["describedObject"], Holds::Reference),
            ("metricName", &["metric", "name"], Holds::Text),
            ("targetValue", &["target", "value"], Holds::Amount),
            ("selector", &["metric", "selector"], Holds::OptionalSelector),
            ("averageValue", &["target", "averageValue"], Holds::OptionalAmount),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", &["metric", "name"], Holds::Text),
            ("targetAverageValue", &["target", "averageValue"], Holds::Amount),
            ("selector", &["metric", "selector"], Holds::OptionalSelector),
        ],
    ),
    (
        "resource",
        &[
            ("name", &["name"], Holds::Text),
            ("targetAverageUtilization", &["target", "averageUtilization"], Holds::OptionalPercent),
            ("targetAverageValue", &["target", "averageValue"], Holds::OptionalAmount),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", &["name"], Holds::Text),
            ("targetAverageUtilization", &["target", "averageUtilization"], Holds::OptionalPercent),
            ("targetAverageValue", &["target", "averageValue"], Holds::OptionalAmount),
            ("container", &["container"], Holds::Text),
        ],
    ),
    (
        "external",
        &[
            ("metricName", &["metric", "name"], Holds::Text),
            ("metricSelector", &["metric", "selector"], Holds::OptionalSelector),
            ("targetValue", &["target", "value"], Holds::OptionalAmount),
            ("targetAverageValue", &["target", "averageValue"], Holds::OptionalAmount),
        ],
    ),
];

const STATUSES: &[(&str, Fields)] = &[
    (
        "object",
        &[
            ("target", &["describedObject"], Holds::Reference),
            ("metricName", &["metric", "name"], Holds::Text),
            ("currentValue", &["current", "value"], Holds::Amount),
            ("selector", &["metric", "selector"], Holds::OptionalSelector),
            ("averageValue", &["current", "averageValue"], Holds::OptionalAmount),
        ],
    ),
    (
        "pods",
        &[
            ("metricName", &["metric", "name"], Holds::Text),
            ("currentAverageValue", &["current", "averageValue"], Holds::Amount),
            ("selector", &["metric", "selector"], Holds::OptionalSelector),
        ],
    ),
    (
        "resource",
        &[
            ("name", &["name"], Holds::Text),
            ("currentAverageUtilization", &["current", "averageUtilization"], Holds::OptionalPercent),
            ("currentAverageValue", &["current", "averageValue"], Holds::Amount),
        ],
    ),
    (
        "containerResource",
        &[
            ("name", &["name"], Holds::Text),
            ("currentAverageUtilization", &["current", "averageUtilization"], Holds::OptionalPercent),
            ("currentAverageValue", &["current", "averageValue"], Holds::Amount),
            ("container", &["container"], Holds::Text),
        ],
    ),
    (
        "external",
        &[
            ("metricName", &["metric", "name"], Holds::Text),
            ("metricSelector", &["metric", "selector"], Holds::OptionalSelector),
            ("currentValue", &["current", "value"], Holds::Amount),
            ("currentAverageValue", &["current", "averageValue"], Holds::OptionalAmount),
        ],
    ),
];

/// Drops the annotations that only a conversion may set.
pub(super) fn drop_carriers(hpa: &mut Value) {
    if let Some(annotations) = hpa.entry("metadata").get_mut("annotations").and_then(Value::as_map_mut) {
        annotations.retain(|name, _| !CARRIERS.contains(&name));
    }
}

/// The status that annotations of v1 carry is not written with the spec, nor the spec with the status.
pub(super) fn keep_carried(subresource: &str, new: &mut Value, old: &Value) {
    let kept = if subresource == "status" { [METRICS, BEHAVIOR] } else { [CURRENT, CONDITIONS] };
    for name in kept {
        match old["metadata"]["annotations"].get(name) {
            Some(carried) => new.entry("metadata").entry("annotations").set(name, carried.clone()),
            None => {
                if let Some(annotations) = new.entry("metadata").get_mut("annotations") {
                    annotations.remove(name);
                }
            }
        }
    }
}

pub(super) fn to_v1(hpa: &mut Value) {
    drop_carriers(hpa);
    let metrics = hpa.entry("spec").remove("metrics").unwrap_or_default();
    let (cpu, others): (Vec<&Value>, Vec<&Value>) = metrics.items().iter().partition(|m| is_cpu_percent(m));
    if let Some(first) = cpu.first() {
        let percent = first["resource"]["target"]["averageUtilization"].clone();
        hpa.entry("spec").set("targetCPUUtilizationPercentage", percent);
    }
    annotate(hpa, METRICS, others.into_iter().map(|m| metric_to_v1(m, SOURCES)).collect());
    let behavior = hpa.entry("spec").remove("behavior").unwrap_or_default();
    if !behavior.is_null() {
        set_annotation(hpa, BEHAVIOR, &behavior_to_internal(&behavior));
    }
    let current = hpa.entry("status").remove("currentMetrics").unwrap_or_default();
    for metric in current.items() {
        let used = &metric["resource"]["current"]["averageUtilization"];
        if metric["type"].str() == "Resource" && metric["resource"]["name"].str() == "cpu" && !used.is_null() {
            hpa.entry("status").set("currentCPUUtilizationPercentage", used.clone());
        }
    }
    annotate(hpa, CURRENT, current.items().iter().map(|m| metric_to_v1(m, STATUSES)).collect());
    let conditions = hpa.entry("status").remove("conditions").unwrap_or_default();
    annotate(hpa, CONDITIONS, conditions.items().to_vec());
}

pub(super) fn to_v2(hpa: &mut Value) {
    let percent = hpa.entry("spec").remove("targetCPUUtilizationPercentage").filter(|p| !p.is_null());
    let carried = metrics_from(&annotation(hpa, METRICS), SOURCES)
        .and_then(|m| typed("spec", "metrics", m.into()))
        .unwrap_or_default();
    let mut metrics = carried.items().to_vec();
    metrics.extend(percent.map(cpu_percent));
    if metrics.is_empty() {
        metrics.push(cpu_percent(DEFAULT_PERCENT.into()));
    }
    hpa.entry("spec").set("metrics", metrics);
    if let Some(behavior) =
        behavior_from_internal(&annotation(hpa, BEHAVIOR)).and_then(|b| typed("spec", "behavior", b))
    {
        hpa.entry("spec").set("behavior", behavior);
    }
    let used = hpa.entry("status").remove("currentCPUUtilizationPercentage").filter(|p| !p.is_null());
    let current = metrics_from(&annotation(hpa, CURRENT), STATUSES)
        .and_then(|m| typed("status", "currentMetrics", m.into()))
        .or_else(|| Some(vec![cpu_used(used?)].into()));
    if let Some(current) = current {
        hpa.entry("status").set("currentMetrics", current);
    }
    if let Some(conditions) =
        conditions_from(&annotation(hpa, CONDITIONS)).and_then(|c| typed("status", "conditions", c.into()))
    {
        hpa.entry("status").set("conditions", conditions);
    }
    drop_carriers(hpa);
}

/// What an annotation said, if it is what v2 has in this field of `spec` or `status`: nothing else has looked at it.
fn typed(part: &'static str, field: &'static str, said: Value) -> Option<Value> {
    let row = crate::find("autoscaling", "v2", "horizontalpodautoscalers")?;
    let whole = Value::of([(part, Value::of([(field, said)]))]);
    let mut decoded = document::decode::convert(whole, row.type_).ok()?;
    decoded.value.entry(part).remove(field)
}

fn is_cpu_percent(metric: &Value) -> bool {
    let resource = &metric["resource"];
    metric["type"].str() == "Resource"
        && resource["name"].str() == "cpu"
        && !resource["target"]["averageUtilization"].is_null()
}

fn cpu_percent(percent: Value) -> Value {
    doc!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
}

fn cpu_used(percent: Value) -> Value {
    doc!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}})
}

fn set_annotation(hpa: &mut Value, name: &'static str, value: &Value) {
    hpa.entry("metadata").entry("annotations").set(name, json::to_string(value));
}

fn annotate(hpa: &mut Value, name: &'static str, items: Vec<Value>) {
    if !items.is_empty() {
        set_annotation(hpa, name, &items.into());
    }
}

/// What an annotation says, null when it is missing or no JSON.
fn annotation(hpa: &Value, name: &str) -> Value {
    let text = hpa["metadata"]["annotations"][name].str();
    json::parse(text.as_bytes()).unwrap_or_default()
}

fn metric_to_v1(metric: &Value, variants: &[(&'static str, Fields)]) -> Value {
    let mut out = Map::new();
    out.push("type", metric["type"].clone());
    for (variant, fields) in variants {
        let Some(source) = metric.get(variant).filter(|s| !s.is_null()) else { continue };
        let mut members = Map::new();
        for (name, path, holds) in *fields {
            let value = path.iter().fold(source, |value, step| &value[*step]);
            match (value, holds) {
                (Value::Null, Holds::Text) => members.push(*name, "".into()),
                (Value::Null, Holds::Amount) => members.push(*name, "0".into()),
                (Value::Null, Holds::Reference) => members.push(*name, doc!({"kind": "", "name": ""})),
                (Value::Null, _) => {}
                (value, _) => members.push(*name, value.clone()),
            }
        }
        out.push(*variant, Value::Map(members));
    }
    Value::Map(out)
}

/// Metrics of v1's form in that of v2; `None` when they do not fit it.
fn metrics_from(list: &Value, variants: &[(&'static str, Fields)]) -> Option<Vec<Value>> {
    list.as_list()?.iter().map(|metric| metric_to_v2(metric, variants)).collect()
}

fn metric_to_v2(metric: &Value, variants: &[(&'static str, Fields)]) -> Option<Value> {
    let mut out = doc!({"type": ""});
    if let Some(kind) = member(metric, "type")? {
        out.set("type", kind.as_str()?);
    }
    for (variant, fields) in variants {
        let Some(source) = member(metric, variant)? else { continue };
        let mut value = Value::map();
        for (name, path, holds) in *fields {
            if let Some(given) = read(member(source, name)?, *holds)? {
                set_at(&mut value, path, given);
            }
        }
        if variants.as_ptr() == SOURCES.as_ptr() {
            set_target_type(variant, &mut value);
        }
        out.set(*variant, value);
    }
    Some(out)
}

/// The kind of target follows from what is given.
fn set_target_type(variant: &str, source: &mut Value) {
    let target = source.entry("target");
    let has = |name: &str| !target[name].is_null();
    let kind = match variant {
        "object" if has("averageValue") => {
            if target["value"].str() == "0" {
                target.remove("value");
            }
            "AverageValue"
        }
        "object" => "Value",
        "external" if has("value") => "Value",
        "resource" | "containerResource" if has("averageUtilization") => "Utilization",
        _ => "AverageValue",
    };
    target.set("type", kind);
}

fn set_at(value: &mut Value, path: &[&'static str], given: Value) {
    match path {
        [] => {}
        [last] => value.set(*last, given),
        [first, rest @ ..] => set_at(value.entry(*first), rest, given),
    }
}

/// A member by name, whatever its case, as Go reads JSON; `None` when the value is no object.
fn member<'a>(value: &'a Value, name: &str) -> Option<Option<&'a Value>> {
    match value {
        Value::Null => Some(None),
        Value::Map(map) => {
            let found = map.iter().find(|(n, v)| n.eq_ignore_ascii_case(name) && !v.is_null());
            Some(found.map(|(_, v)| v))
        }
        _ => None,
    }
}

/// A field with its zero; the outer `None`: it does not fit.
fn read(given: Option<&Value>, holds: Holds) -> Option<Option<Value>> {
    let value = match (given, holds) {
        (None, Holds::Text) => "".into(),
        (None, Holds::Amount) => "0".into(),
        (None, Holds::Reference) => doc!({"kind": "", "name": ""}),
        (None, _) => return Some(None),
        (Some(value @ Value::String(_)), Holds::Text) => value.clone(),
        (Some(value @ Value::Map(_)), Holds::Reference | Holds::OptionalSelector) => value.clone(),
        (Some(value @ Value::Int(_)), Holds::OptionalPercent) => value.clone(),
        (Some(value), Holds::Amount | Holds::OptionalAmount) => quantity(value)?,
        _ => return None,
    };
    Some(Some(value))
}

fn quantity(value: &Value) -> Option<Value> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Int(n) => n.to_string(),
        _ => return None,
    };
    meta::quantity::Quantity::printed(&text).ok().map(|text| text.into_owned().into())
}

/// (Go's name, ours) of scaling rules, in Go's order.
const RULES: [(&str, &str); 4] = [
    ("StabilizationWindowSeconds", "stabilizationWindowSeconds"),
    ("SelectPolicy", "selectPolicy"),
    ("Policies", "policies"),
    ("Tolerance", "tolerance"),
];
const POLICY: [(&str, &str); 3] = [("Type", "type"), ("Value", "value"), ("PeriodSeconds", "periodSeconds")];
const DIRECTIONS: [(&str, &str); 2] = [("ScaleUp", "scaleUp"), ("ScaleDown", "scaleDown")];

fn behavior_to_internal(behavior: &Value) -> Value {
    let policies = |list: &Value| match list.as_list() {
        Some(items) => {
            Value::list(items.iter().map(|policy| Value::of(POLICY.map(|(go, name)| (go, policy[name].clone())))))
        }
        None => Value::Null,
    };
    let rules = |rules: &Value| match rules {
        Value::Null => Value::Null,
        rules => Value::of(
            RULES.map(|(go, name)| (go, if name == "policies" { policies(&rules[name]) } else { rules[name].clone() })),
        ),
    };
    Value::of(DIRECTIONS.map(|(go, name)| (go, rules(&behavior[name]))))
}

/// `None` when it does not fit or says nothing.
fn behavior_from_internal(internal: &Value) -> Option<Value> {
    let mut behavior = Value::map();
    for (go, name) in DIRECTIONS {
        let Some(given) = member(internal, go)? else { continue };
        let mut rules = Value::map();
        for (go, name) in RULES {
            let Some(value) = member(given, go)? else { continue };
            let value = match (name, value) {
                ("policies", Value::List(items)) => {
                    Value::list(items.iter().map(policy_from_internal).collect::<Option<Vec<_>>>()?)
                }
                ("stabilizationWindowSeconds", Value::Int(_)) | ("selectPolicy", Value::String(_)) => value.clone(),
                ("tolerance", value) => quantity(value)?,
                _ => return None,
            };
            rules.set(name, value);
        }
        behavior.set(name, rules);
    }
    (!behavior.is_empty()).then_some(behavior)
}

fn policy_from_internal(policy: &Value) -> Option<Value> {
    let mut out = doc!({"type": "", "value": 0, "periodSeconds": 0});
    for (go, name) in POLICY {
        match (name, member(policy, go)?) {
            (_, None) => {}
            ("type", Some(value @ Value::String(_))) | (_, Some(value @ Value::Int(_))) => out.set(name, value.clone()),
            _ => return None,
        }
    }
    Some(out)
}

fn conditions_from(list: &Value) -> Option<Vec<Value>> {
    const MEMBERS: [&str; 6] = ["type", "status", "lastTransitionTime", "reason", "message", "observedGeneration"];
    let one = |condition: &Value| {
        let mut out = Value::map();
        for name in MEMBERS {
            match (name, member(condition, name)?) {
                (_, None) => {}
                ("observedGeneration", Some(value @ Value::Int(_))) => out.set(name, value.clone()),
                ("observedGeneration", _) => return None,
                ("lastTransitionTime", Some(Value::String(text))) => {
                    out.set(name, document::decode::canonical_time(text).ok()?);
                }
                (_, Some(value @ Value::String(_))) => out.set(name, value.clone()),
                _ => return None,
            }
        }
        Some(out)
    };
    list.as_list()?.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v1_lacks_rides_in_annotations_and_comes_back() {
        let v2 = doc!({
            "metadata": {"name": "a"},
            "spec": {
                "metrics": [
                    {"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "5"}}},
                    {"type": "Object", "object": {"describedObject": {"kind": "S", "name": "s"}, "metric": {"name": "o"}, "target": {"type": "AverageValue", "averageValue": "1"}}},
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}
                ],
                "behavior": {"scaleUp": {"selectPolicy": "Disabled", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}}
            }
        });
        let mut hpa = v2.clone();
        to_v1(&mut hpa);
        assert_eq!(hpa["spec"], doc!({"targetCPUUtilizationPercentage": 60}));
        assert_eq!(
            hpa["metadata"]["annotations"][METRICS].str(),
            r#"[{"type":"External","external":{"metricName":"q","targetValue":"5"}},{"type":"Object","object":{"target":{"kind":"S","name":"s"},"metricName":"o","targetValue":"0","averageValue":"1"}}]"#
        );
        assert_eq!(
            hpa["metadata"]["annotations"][BEHAVIOR].str(),
            r#"{"ScaleUp":{"StabilizationWindowSeconds":null,"SelectPolicy":"Disabled","Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":15}],"Tolerance":null},"ScaleDown":null}"#
        );
        to_v2(&mut hpa);
        assert_eq!(hpa["spec"], v2["spec"]);
        assert!(hpa["metadata"]["annotations"].is_empty());
    }

    #[test]
    fn what_could_not_be_read_back_is_forgotten() {
        let check = |annotation: &'static str, text: &str| {
            let mut hpa = doc!({"metadata": {"annotations": {annotation: text}}, "spec": {}});
            to_v2(&mut hpa);
            assert_eq!(hpa["spec"], doc!({"metrics": [(cpu_percent(80.into()))]}), "{text}");
            assert!(hpa["status"]["conditions"].is_null() && hpa["status"]["currentMetrics"].is_null(), "{text}");
        };
        for selector in [r#"{"matchLabels":{"a":1}}"#, r#"{"matchExpressions":{}}"#] {
            check(METRICS, &format!(r#"[{{"type":"Pods","pods":{{"metricName":"m","selector":{selector}}}}}]"#));
        }
        check(METRICS, r#"[{"type":"Object","object":{"target":{"kind":7}}}]"#);
        check(METRICS, r#"[{"type":"Resource","resource":{"targetAverageUtilization":4294967296}}]"#);
        check(BEHAVIOR, r#"{"ScaleUp":{"StabilizationWindowSeconds":4294967296}}"#);
        check(BEHAVIOR, r#"{"ScaleUp":{"Policies":[{"Type":"Pods","Value":4294967296}]}}"#);
        check(CURRENT, r#"[{"type":"Resource","resource":{"currentAverageUtilization":4294967296}}]"#);
    }

    #[test]
    fn annotations_that_do_not_fit_are_forgotten() {
        let mut hpa =
            doc!({"metadata": {"annotations": {METRICS: "nonsense", BEHAVIOR: "[]", "kept": "x"}}, "spec": {}});
        to_v2(&mut hpa);
        assert_eq!(hpa["spec"], doc!({"metrics": [(cpu_percent(80.into()))]}));
        assert_eq!(hpa["metadata"]["annotations"], doc!({"kept": "x"}));
    }
}
