//! What an `Object` repeats of its content: labels, owners, selectable fields.

use bytes::Bytes;
use meta::labels::Labels;
use meta::{Key, Revision, Time};

use super::{Object, Owner};
use crate::Value;

/// Selectable fields that are no path to a text, by upstream's name: where they come from and what they are when
/// nothing is there.
const ODD_FIELDS: [(&str, &[&str], &str); 6] = [
    ("spec.hostNetwork", &["spec.hostNetwork"], "false"),
    ("spec.unschedulable", &["spec.unschedulable"], "false"),
    ("status.replicas", &["status.replicas"], "0"),
    ("status.successful", &["status.succeeded"], "0"),
    ("status.podIP", &["status.podIPs"], ""),
    ("source", &["source.component", "reportingComponent"], ""),
];

/// Fields that upstream accepts in a selector and never fills.
const NEVER_FILLED: &str = "status.podIPs";

/// The dotted paths that a selectable field is made of.
pub(super) fn sources(field: &str) -> impl Iterator<Item = &str> {
    let odd = ODD_FIELDS.iter().find(|(name, ..)| *name == field);
    let plain = odd.is_none().then_some(field);
    odd.into_iter().flat_map(|(_, paths, _)| paths.iter().copied()).chain(plain)
}

pub(super) fn object(
    key: Key,
    revision: Revision,
    bytes: Bytes,
    (splice, start, end): (u32, u32, u32),
    value: &Value,
    selectable: &[&str],
) -> Object {
    let metadata = &value["metadata"];
    Object {
        key,
        revision,
        uid: metadata["uid"].str().into(),
        labels: metadata["labels"].members().map(|(k, v)| (k, v.str())).collect::<Labels>(),
        fields: fields(value, selectable),
        owners: metadata["ownerReferences"].items().iter().map(owner).collect(),
        deletion: Time::parse(metadata["deletionTimestamp"].str()),
        has_finalizers: !metadata["finalizers"].items().is_empty(),
        bytes,
        splice,
        message: Default::default(),
        metadata: (start, end),
    }
}

fn owner(reference: &Value) -> Owner {
    Owner {
        api_version: reference["apiVersion"].str().into(),
        kind: reference["kind"].str().into(),
        name: reference["name"].str().into(),
        uid: reference["uid"].str().into(),
        controller: reference["controller"].is_true(),
        block_owner_deletion: reference["blockOwnerDeletion"].is_true(),
    }
}

fn fields(value: &Value, selectable: &[&str]) -> Box<[(Box<str>, Box<str>)]> {
    let filled = selectable.iter().filter(|f| !f.starts_with("metadata.") && **f != NEVER_FILLED);
    filled
        .map(|name| ((*name).into(), field(value, name)))
        .filter(|(_, text): &(Box<str>, Box<str>)| !text.is_empty())
        .collect()
}

fn field(value: &Value, name: &str) -> Box<str> {
    let unset = ODD_FIELDS.iter().find(|(n, ..)| *n == name).map_or("", |(.., unset)| unset);
    let text = sources(name).map(|path| text(value.at(path.split('.')))).find(|t| !t.is_empty());
    text.unwrap_or_else(|| unset.into())
}

fn text(value: &Value) -> Box<str> {
    match value {
        Value::String(s) => s.as_str().into(),
        Value::Bool(b) => if *b { "true" } else { "false" }.into(),
        Value::Int(n) => n.to_string().into(),
        // podIPs: the first address
        Value::List(items) => items.first().map(|i| i["ip"].str()).unwrap_or_default().into(),
        _ => "".into(),
    }
}
