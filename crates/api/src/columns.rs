//! Cells of Tables: what `kubectl get` shows of each kind, all columns, wide ones too. One function per kind, following
//! upstream's printers; a kind without one shows its name and when it was created.

mod describe;
mod human;
mod network;
mod others;
mod pods;
mod storage;
mod workloads;

use document::{Value, doc};
use meta::Time;
use meta::labels::{Operator, Requirement, Selector};

use crate::ResourceType;

pub use human::duration as human_duration;

/// What makes the cells of a kind.
type Cells = fn(&Row<'_>) -> Vec<Value>;

/// One object whose cells are wanted.
pub struct Row<'a> {
    object: &'a Value,
    now: Time,
    /// Some cells differ in a list.
    in_list: bool,
}

/// Whose columns: a served resource, or the kind of something made for one answer.
#[derive(Clone, Copy)]
pub struct Subject {
    row: Option<&'static ResourceType>,
    scale: bool,
}

/// Columns of a stored resource's Table, as `columnDefinitions` prints them.
pub fn definitions(row: &'static ResourceType) -> Value {
    Subject { row: Some(row), scale: false }.definitions()
}

/// Cells of one object of a resource, in its version.
pub fn cells(row: &'static ResourceType, object: &Value, now: Time, in_list: bool) -> Vec<Value> {
    function(row.group, row.kind)(&Row { object, now, in_list })
}

/// Upstream's converter for kinds without a printer leaves the rows of an empty list null.
pub fn empty_rows_are_null(row: &ResourceType) -> bool {
    row.columns.iter().any(|c| c.name == "Created At")
}

/// `conditions` of a Table's row: a pod that has ended says so.
pub fn conditions(row: &ResourceType, object: &Value) -> Option<Value> {
    let message = match (row.group, row.kind, object["status"]["phase"].str()) {
        ("", "Pod", "Succeeded") => "The pod has completed successfully.",
        ("", "Pod", "Failed") => "The pod failed.",
        _ => return None,
    };
    let reason = object["status"]["phase"].str();
    Some(doc!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

/// The columns of something that is no stored object: a Scale, a review.
pub fn subject(value: &Value) -> Subject {
    let gv = meta::GroupVersion::parse(value["apiVersion"].str()).unwrap_or_default();
    let kind = value["kind"].str();
    let scale = gv.group == "autoscaling" && kind == "Scale";
    Subject { row: crate::by_kind(&gv.with_kind(kind)).filter(|r| !r.columns.is_empty()), scale }
}

impl Subject {
    pub fn definitions(&self) -> Value {
        let definition = |name: &str, kind: &str, format: &str, description: &str, priority: i64| doc!({"name": name, "type": kind, "format": format, "description": description, "priority": priority});
        match self.row {
            Some(row) if !row.columns.is_empty() => {
                let column = |c: &crate::resource::Column| {
                    definition(c.name, c.kind, c.format, &describe::column(row, c.name), i64::from(c.priority))
                };
                Value::List(row.columns.iter().map(column).collect())
            }
            _ => {
                let columns: &[(&str, &str, &str)] = match self.scale {
                    true => &[
                        ("Name", "string", ""),
                        ("Desired", "integer", ""),
                        ("Available", "integer", ""),
                        ("Age", "string", ""),
                    ],
                    false => &[("Name", "string", "name"), ("Created At", "date", "")],
                };
                let column = |(name, kind, format): &(&str, &str, &str)| {
                    definition(name, kind, format, &describe::common(name, self.scale), 0)
                };
                Value::List(columns.iter().map(column).collect())
            }
        }
    }

    pub fn cells(&self, value: &Value, now: Time) -> Vec<Value> {
        let row = Row { object: value, now, in_list: false };
        match (self.row, self.scale) {
            (_, true) => vec![
                row.name(),
                row.number(&value["spec"]["replicas"]),
                row.number(&value["status"]["replicas"]),
                row.age(),
            ],
            (Some(found), _) => function(found.group, found.kind)(&row),
            (None, _) => name_and_creation(&row),
        }
    }
}

fn function(group: &str, kind: &str) -> Cells {
    match group {
        "" | "events.k8s.io" => match kind {
            "Pod" => pods::pod,
            "PodTemplate" => workloads::pod_template,
            "ReplicationController" => workloads::replication_controller,
            "Service" => network::service,
            "Endpoints" => network::endpoints,
            "Namespace" => others::namespace,
            "Node" => others::node,
            "Event" => others::event,
            "Secret" => others::secret,
            "ConfigMap" => others::config_map,
            "ServiceAccount" => name_and_age,
            "ResourceQuota" => others::resource_quota,
            "ComponentStatus" => others::component_status,
            "PersistentVolume" => storage::volume,
            "PersistentVolumeClaim" => storage::claim,
            _ => name_and_creation,
        },
        "apps" | "batch" | "policy" | "autoscaling" => workloads::function(kind),
        "networking.k8s.io" | "discovery.k8s.io" => network::function(kind),
        "storage.k8s.io" => storage::function(kind),
        "apiextensions.k8s.io" if kind == "CustomResourceDefinition" => others::custom_resource_definition,
        "resource.k8s.io" => others::device_function(kind),
        _ => others::function(kind),
    }
}

fn name_and_creation(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), row.created_at()]
}

fn name_and_age(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), row.age()]
}

impl Row<'_> {
    fn name(&self) -> Value {
        self.object["metadata"]["name"].str().into()
    }

    fn created_at(&self) -> Value {
        let text = self.object["metadata"]["creationTimestamp"].str();
        if text.is_empty() { "0001-01-01T00:00:00Z".into() } else { text.into() }
    }

    fn age(&self) -> Value {
        self.since(&self.object["metadata"]["creationTimestamp"]).into()
    }

    /// How long ago, `<unknown>` when it is not said.
    fn since(&self, time: &Value) -> String {
        match Time::parse(time.str()) {
            Some(time) => human::duration(self.now.0 - time.0),
            None => "<unknown>".into(),
        }
    }

    fn number(&self, value: &Value) -> Value {
        value.as_i64().unwrap_or(0).into()
    }
}

/// The text, or something in its place.
fn or<'a>(value: &'a Value, otherwise: &'a str) -> &'a str {
    match value.str() {
        "" => otherwise,
        text => text,
    }
}

/// A number, text or flag as it prints.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Int(n) => n.to_string(),
        Value::Bool(b) => b.to_string(),
        _ => String::new(),
    }
}

fn count(value: &Value) -> Value {
    let n = value.as_list().map_or_else(|| value.members().count(), <[Value]>::len);
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// `a=b,c=d`, sorted; `<none>` when empty.
fn format_labels(labels: &Value) -> String {
    let mut pairs: Vec<String> = labels.members().map(|(k, v)| format!("{k}={}", v.str())).collect();
    pairs.sort();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

/// A LabelSelector as text; empty selects everything, null nothing, and both print as nothing.
fn selector_text(selector: &Value) -> String {
    let mut requirements: Vec<Requirement> = selector["matchLabels"]
        .members()
        .map(|(k, v)| Requirement { key: k.to_owned(), operator: Operator::Equals, values: vec![v.str().to_owned()] })
        .collect();
    for expression in selector["matchExpressions"].items() {
        let operator = match expression["operator"].str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            _ => Operator::DoesNotExist,
        };
        let mut values: Vec<String> = expression["values"].items().iter().map(|v| v.str().to_owned()).collect();
        values.sort();
        requirements.push(Requirement { key: expression["key"].str().to_owned(), operator, values });
    }
    requirements.sort_by(|a, b| a.key.cmp(&b.key));
    Selector { requirements }.to_string()
}

fn format_selector(selector: &Value) -> String {
    match selector_text(selector).as_str() {
        "" => "<none>".into(),
        text => text.into(),
    }
}

/// Names and images of containers, each joined by commas.
fn containers(spec: &Value) -> [Value; 2] {
    ["name", "image"]
        .map(|member| spec["containers"].items().iter().map(|c| c[member].str()).collect::<Vec<_>>().join(",").into())
}

fn join<'a>(items: impl IntoIterator<Item = &'a str>, separator: &str) -> String {
    items.into_iter().collect::<Vec<_>>().join(separator)
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].items().iter().find(|c| c["type"].str() == kind)
}

/// The first few, and how many more.
fn shortened(list: &[String], most: usize, none: &str) -> String {
    match list.len() {
        0 => none.to_owned(),
        n if n > most => format!("{} + {} more...", list[..most].join(","), n - most),
        _ => list.join(","),
    }
}

#[cfg(test)]
mod tests;
