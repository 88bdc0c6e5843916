//! Between `Object` (bytes, as the store has them) and `Value` (a tree that lives as long as one step).

use std::sync::Arc;

use document::object::Head;
use document::{Object, Owner, Value, json};
use meta::labels::Labels;
use meta::{Key, ResourceId, Revision, Time};

use crate::Resource;

/// The whole object as a tree, with kind, apiVersion and resourceVersion.
pub fn value(object: &Object, resource: &Resource) -> Value {
    let mut bytes = Vec::new();
    object.write_json(Head::Full { kind: &resource.kind, api_version: &resource.api_version() }, &mut bytes);
    json::parse(&bytes).expect("a sealed object is JSON")
}

/// The object as a tree without kind and apiVersion.
pub fn item(object: &Object) -> Value {
    let mut bytes = Vec::new();
    object.write_json(Head::Item, &mut bytes);
    json::parse(&bytes).expect("a sealed object is JSON")
}

/// An object that came over the wire. `None`: it has no name or resourceVersion.
pub(crate) fn from_value(resource: &ResourceId, value: Value) -> Option<Arc<Object>> {
    let mut value = value;
    value.remove("kind");
    value.remove("apiVersion");
    let metadata = value.get_mut("metadata")?;
    let revision = Revision::parse(metadata.remove("resourceVersion")?.str())?;
    let metadata = &value["metadata"];
    let name = metadata["name"].as_str()?;
    let key = Key::new(resource.clone(), metadata["namespace"].str(), name);
    let labels: Labels = metadata["labels"].members().map(|(k, v)| (k, v.str())).collect();
    let uid = metadata["uid"].str().into();
    let owners = metadata["ownerReferences"].items().iter().map(owner).collect();
    let deletion = Time::parse(metadata["deletionTimestamp"].str());
    let has_finalizers = !metadata["finalizers"].is_empty();
    let (bytes, metadata) = encode(value);
    Some(Arc::new(Object {
        key,
        revision,
        uid,
        labels,
        fields: Box::default(),
        owners,
        deletion,
        has_finalizers,
        bytes: bytes.into(),
        splice: metadata.0 + 1,
        metadata,
    }))
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

/// The bytes without their `{`, metadata first, and where metadata stands in them.
fn encode(mut value: Value) -> (Vec<u8>, (u32, u32)) {
    let metadata = value.remove("metadata").unwrap_or_default();
    let mut bytes = b"\"metadata\":".to_vec();
    let start = bytes.len() as u32;
    json::write(&metadata, &mut bytes);
    let end = bytes.len() as u32;
    for (name, member) in value.members() {
        bytes.push(b',');
        json::push_string(name, &mut bytes);
        bytes.push(b':');
        json::write(member, &mut bytes);
    }
    bytes.push(b'}');
    (bytes, (start, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PODS;

    #[test]
    fn an_object_from_the_wire_reads_back_equal() {
        let text = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x","namespace":"n","uid":"u","resourceVersion":"7","labels":{"a":"b"},"ownerReferences":[{"uid":"o"}]},"spec":{"nodeName":"m"}}"#;
        let sent = json::parse(text.as_bytes()).unwrap();
        let object = from_value(&PODS.id(), sent.clone()).unwrap();
        assert_eq!(value(&object, &PODS), sent);
        assert_eq!((object.revision, object.labels.get("a"), &*object.owners[0].uid), (Revision(7), Some("b"), "o"));
    }
}
