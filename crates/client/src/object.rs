//! Between `Object` (bytes, as the store has them) and `Value` (a tree that lives as long as one step).

use std::sync::Arc;

use document::object::Head;
use document::{Object, Value, json};
use meta::{Key, ResourceId, Revision};

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
pub(crate) fn from_value(resource: &ResourceId, value: &Value) -> Option<Arc<Object>> {
    let metadata = &value["metadata"];
    let revision = Revision::parse(metadata["resourceVersion"].str())?;
    let key = Key::new(resource.clone(), metadata["namespace"].str(), metadata["name"].as_str()?);
    let selectable = api::by_storage(resource).map_or(&[][..], |row| row.field_selectors);
    let object = Object::seal(key, value, selectable).ok()?;
    Some(Arc::new(Object { revision, ..object }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PODS;

    #[test]
    fn an_object_from_the_wire_reads_back_equal() {
        let text = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x","namespace":"n","uid":"u","resourceVersion":"7","labels":{"a":"b"},"ownerReferences":[{"uid":"o"}]},"spec":{"nodeName":"m"}}"#;
        let sent = json::parse(text.as_bytes()).unwrap();
        let object = from_value(&PODS.id(), &sent).unwrap();
        assert_eq!(value(&object, &PODS), sent);
        assert_eq!(object.field("spec.nodeName"), "m");
        assert_eq!((object.revision, object.labels.get("a"), &*object.owners[0].uid), (Revision(7), Some("b"), "o"));
    }
}
