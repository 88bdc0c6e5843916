//! Between an object as it is served and as it is stored: sealing, reading back, and the two kinds that are served in
//! two versions.

mod autoscaler;
mod convert;

use bytes::Bytes;
use document::{Object, Value};
use meta::labels::{Operator, Requirement, Selector};
use meta::{Key, Revision};

use crate::ResourceType;

/// Counts the templates a DaemonSet has had.
pub(crate) const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Encodes a normalized object of `row` in the version that is stored.
///
/// # Errors
/// When the object lacks what every stored object has.
pub fn seal(row: &'static ResourceType, key: Key, object: &Value) -> Result<Object, String> {
    let stored = storage_row(row);
    if std::ptr::eq(row, stored) {
        return Object::seal(key, object, stored.field_selectors).map_err(|e| e.to_string());
    }
    let converted = convert::between(row, stored, object.clone());
    Object::seal(key, &converted, stored.field_selectors).map_err(|e| e.to_string())
}

/// The object as a normalized tree in the version of `row`, kind, apiVersion and resourceVersion included.
pub fn read(row: &'static ResourceType, object: &Object) -> Value {
    let stored = storage_row(row);
    let tree = object.document(stored.kind, &stored.api_version());
    if std::ptr::eq(row, stored) { tree } else { convert::between(stored, row, tree) }
}

/// True when objects of this row leave the server as their stored bytes.
pub fn is_storage_version(row: &'static ResourceType) -> bool {
    std::ptr::eq(row, storage_row(row))
}

/// The object in the version of another row that serves the same objects; `None` when they do not.
pub fn convert(from: &'static ResourceType, to: &'static ResourceType, object: &Value) -> Option<Value> {
    are_same_objects(from, to).then(|| convert::between(from, to, object.clone()))
}

/// Do these rows serve the same objects, in two versions?
pub fn are_same_objects(a: &ResourceType, b: &ResourceType) -> bool {
    !a.storage.is_empty() && a.storage == b.storage
}

/// The object as validation looks at it: upstream's internal form has what an older version keeps in annotations.
pub(crate) fn internal<'a>(row: &ResourceType, object: &'a Value) -> std::borrow::Cow<'a, Value> {
    if row.kind != "HorizontalPodAutoscaler" || row.version != "v1" {
        return std::borrow::Cow::Borrowed(object);
    }
    let mut object = object.clone();
    autoscaler::to_v2(&mut object);
    std::borrow::Cow::Owned(object)
}

/// Upstream converts each body to its internal form and back: what that changes even in the same version.
pub fn settle(row: &ResourceType, object: &mut Value) {
    convert::settle(row, object);
}

/// What annotations of this version carry of the part that the endpoint does not write stays as it was.
pub(crate) fn keep_carried(row: &ResourceType, subresource: &str, new: &mut Value, old: &Value) {
    if row.version == "v1" {
        autoscaler::keep_carried(subresource, new, old);
    }
}

/// The annotation that is a field of upstream's internal type: objects served as their metadata alone lack it.
pub fn unseen_annotation(row: &ResourceType) -> Option<&'static str> {
    matches!((row.group, row.kind), ("apps", "DaemonSet")).then_some(TEMPLATE_GENERATION)
}

/// Rebuilds an object from the log.
///
/// # Errors
/// When the bytes are no object.
pub fn reseal(key: Key, revision: Revision, bytes: Bytes) -> Result<Object, String> {
    let selectable = crate::by_storage(&key.resource).map_or(&[][..], |row| row.field_selectors);
    Object::reseal(key, revision, bytes, selectable).map_err(|e| e.to_string())
}

/// The row in whose version Lanyard keeps the objects of `row`.
pub fn storage_row(row: &'static ResourceType) -> &'static ResourceType {
    match row.resource_id() {
        Some(id) => crate::by_storage(&id).unwrap_or(row),
        None => row,
    }
}

/// `metav1.LabelSelector` as a selector; `None` when it is null or malformed (it then selects nothing).
pub fn label_selector(value: &Value) -> Option<Selector> {
    let map = value.as_map()?;
    let labels = map.get("matchLabels").into_iter().flat_map(Value::members);
    let mut requirements: Vec<Requirement> = labels
        .map(|(k, v)| Requirement { key: k.into(), operator: Operator::Equals, values: vec![v.str().into()] })
        .collect();
    for expression in map.get("matchExpressions").map(Value::items).unwrap_or_default() {
        let mut values: Vec<String> = expression["values"].items().iter().map(|v| v.str().to_owned()).collect();
        values.sort();
        let operator = match expression["operator"].str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => return None,
        };
        requirements.push(Requirement { key: expression["key"].str().into(), operator, values });
    }
    requirements.sort_by(|a, b| a.key.cmp(&b.key));
    Some(Selector { requirements })
}
