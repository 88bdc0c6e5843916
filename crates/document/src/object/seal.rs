//! Sealing: from a normalized tree, or again from the bytes of a log.

use bytes::Bytes;
use meta::{Key, Revision};

use super::{Object, facts, scan};
use crate::{Map, Value, json};

/// Why something is no object that can be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("an object without metadata cannot be stored")]
    NoMetadata,
    #[error("an object of {0} bytes cannot be stored")]
    TooLarge(usize),
    #[error("stored bytes are no object: {0}")]
    Unreadable(String),
}

impl Object {
    /// Encodes a normalized object: kind, apiVersion and resourceVersion are left out. `selectable` are the labels of
    /// field selectors that the store answers.
    pub fn seal(key: Key, value: &Value, selectable: &[&str]) -> Result<Object, SealError> {
        let metadata = value["metadata"].as_map().filter(|m| !m.is_empty()).ok_or(SealError::NoMetadata)?;
        let mut bytes = Vec::with_capacity(1024);
        let mut marks = (0, 0, 0);
        for (name, member) in value.members().filter(|(n, _)| !matches!(*n, "kind" | "apiVersion")) {
            if !bytes.is_empty() {
                bytes.push(b',');
            }
            json::push_string(name, &mut bytes);
            bytes.push(b':');
            if name == "metadata" {
                marks = write_metadata(metadata, &mut bytes);
            } else {
                json::write(member, &mut bytes);
            }
        }
        bytes.push(b'}');
        let end = u32::try_from(bytes.len()).map_err(|_| SealError::TooLarge(bytes.len()))?;
        debug_assert!(marks.2 <= end);
        Ok(facts::object(key, Revision(0), Bytes::from(bytes), marks, value, selectable))
    }

    /// Rebuilds an object from what `bytes` held, without a tree of the whole.
    pub fn reseal(key: Key, revision: Revision, bytes: Bytes, selectable: &[&str]) -> Result<Object, SealError> {
        u32::try_from(bytes.len()).map_err(|_| SealError::TooLarge(bytes.len()))?;
        let scanned = scan::scan(&bytes, selectable).map_err(|e| SealError::Unreadable(e.0))?;
        let marks = scanned.marks.ok_or(SealError::NoMetadata)?;
        Ok(facts::object(key, revision, bytes, marks, &scanned.value, selectable))
    }
}

/// Writes metadata without resourceVersion; answers (where that goes, start, end).
fn write_metadata(metadata: &Map, out: &mut Vec<u8>) -> (u32, u32, u32) {
    let start = out.len();
    out.push(b'{');
    let mut names = Vec::with_capacity(metadata.len());
    for (name, value) in metadata.iter().filter(|(n, _)| *n != "resourceVersion") {
        if !names.is_empty() {
            out.push(b',');
        }
        names.push((name, out.len()));
        json::push_string(name, out);
        out.push(b':');
        json::write(value, out);
    }
    let splice = splice(names.iter().copied()).unwrap_or(start + 1);
    out.push(b'}');
    (splice as u32, start as u32, out.len() as u32)
}

/// Where `"resourceVersion":…,` goes among members in order of output: after `uid` in struct order, by name where
/// members are sorted. A comma follows it, so it stands before the last member at the latest.
pub(super) fn splice<'a>(names: impl Iterator<Item = (&'a str, usize)> + Clone) -> Option<usize> {
    let place = |wanted: &str| names.clone().position(|(n, _)| n == wanted);
    let sorted = matches!((place("creationTimestamp"), place("name")), (Some(created), Some(name)) if created < name);
    let follows = |name: &str| {
        if sorted {
            name > "resourceVersion"
        } else {
            !matches!(name, "name" | "generateName" | "namespace" | "selfLink" | "uid")
        }
    };
    let natural = names.clone().find(|(n, _)| follows(n));
    natural.or_else(|| names.last()).map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    use meta::ResourceId;

    use super::*;
    use crate::doc;
    use crate::object::Head;

    #[track_caller]
    fn check(value: &Value, selectable: &[&str], want: &str) -> Object {
        let key = Key::new(ResourceId::new("", "pods"), "ns", "a");
        let mut object = Object::seal(key.clone(), value, selectable).expect("sealed");
        object.revision = Revision(7);
        let mut out = Vec::new();
        object.write_json(Head::Full { kind: "Pod", api_version: "v1" }, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), want);
        let again = Object::reseal(key, Revision(7), object.bytes.clone(), selectable).expect("resealed");
        assert!(again == object, "{again:?}");
        assert_eq!((again.splice, again.metadata, &again.fields), (object.splice, object.metadata, &object.fields));
        object
    }

    #[test]
    fn an_object_is_sealed_and_sealed_again() {
        let value = doc!({"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "3", "creationTimestamp": "2026-01-01T00:00:00Z",
                "deletionTimestamp": "2026-01-02T00:00:00Z", "labels": {"b": "2", "a": "1"}, "finalizers": ["x/y"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "o", "controller": true}]},
            "spec": {"nodeName": "n1", "hostNetwork": true}, "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]}});
        let selectable =
            ["metadata.name", "spec.nodeName", "spec.host", "spec.hostNetwork", "status.phase", "status.podIP"];
        let object = check(
            &value,
            &selectable,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"ns","uid":"u","resourceVersion":"7","creationTimestamp":"2026-01-01T00:00:00Z","deletionTimestamp":"2026-01-02T00:00:00Z","labels":{"b":"2","a":"1"},"finalizers":["x/y"],"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n","uid":"o","controller":true}]},"spec":{"nodeName":"n1","hostNetwork":true},"status":{"phase":"Running","podIPs":[{"ip":"10.0.0.1"}]}}"#,
        );
        assert_eq!(object.labels.get("a"), Some("1"));
        assert!(object.has_finalizers && object.deletion.is_some() && object.owners[0].controller);
        assert_eq!((object.field("spec.nodeName"), object.field("spec.hostNetwork")), ("n1", "true"));
        assert_eq!((object.field("status.podIP"), object.field("metadata.namespace")), ("10.0.0.1", "ns"));
        assert_eq!(object.document("Pod", "v1")["metadata"]["resourceVersion"].str(), "7");
        let mut out = Vec::new();
        object.write_metadata(&mut out);
        assert!(
            out.starts_with(br#"{"name":"a","namespace":"ns","uid":"u","resourceVersion":"7","#)
                && out.ends_with(b"}]}")
        );
    }

    #[test]
    fn resource_version_is_spliced_in_where_it_sorts_or_before_the_last_member() {
        let sorted =
            doc!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z", "name": "a", "uid": "u"}, "zz": {}});
        check(
            &sorted,
            &[],
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"creationTimestamp":"2026-01-01T00:00:00Z","name":"a","resourceVersion":"7","uid":"u"},"zz":{}}"#,
        );
        let short = doc!({"metadata": {"name": "a", "uid": "u"}});
        check(
            &short,
            &[],
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"7","uid":"u"}}"#,
        );
        assert!(Object::seal(Key::new(ResourceId::new("", "pods"), "", "a"), &doc!({"metadata": {}}), &[]).is_err());
    }
}
