//! JSON merge patch (RFC 7386).

use std::collections::HashSet;

use super::{PatchError, read_object};
use crate::value::Members;
use crate::{Map, Problem, Value};

/// Merges a patch's text into a document; the problems are what strict decoding finds in the patch.
pub fn merge(document: &mut Value, patch: &[u8]) -> Result<Vec<Problem>, PatchError> {
    let decoded = read_object(patch, "error decoding patch: ")?;
    merge_value(document, decoded.value);
    Ok(decoded.problems)
}

/// Merges: maps member by member, null removes, everything else replaces.
pub fn merge_value(document: &mut Value, patch: Value) {
    match (document, patch) {
        (Value::Map(target), Value::Map(patch)) => merge_maps(target, patch),
        (document, mut patch) => {
            prune(&mut patch);
            *document = patch;
        }
    }
}

fn merge_maps(target: &mut Map, patch: Map) {
    // through an index: both may have very many members
    let mut members = Members::from(std::mem::take(target));
    let mut removed = HashSet::new();
    for (name, mut value) in patch.into_members() {
        if value.is_null() {
            removed.insert(name);
            continue;
        }
        match members.get_mut(&name) {
            Some(old) if !old.is_null() => merge_value(old, value),
            _ => {
                prune(&mut value);
                members.put(name, value);
            }
        }
    }
    *target = members.into_map_without(&removed);
    // upstream encodes what it has merged as a Go map
    target.sort();
}

/// Nulls in new objects do not survive.
fn prune(value: &mut Value) {
    match value {
        Value::Map(m) => {
            m.retain(|_, v| !v.is_null());
            m.sort();
            m.iter_mut().for_each(|(_, v)| prune(v));
        }
        Value::List(l) => l.iter_mut().for_each(prune),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc;

    #[test]
    fn maps_merge_null_removes_and_lists_are_replaced() {
        let mut document = doc!({"a": {"x": 1, "y": 2}, "l": [1, 2], "gone": true, "s": "x"});
        let patch = br#"{"a":{"y":null,"z":3},"l":[3],"gone":null,"s":{"n":{"k":null,"v":1}},"new":[{"q":null}]}"#;
        assert_eq!(merge(&mut document, patch), Ok(vec![]));
        assert_eq!(document, doc!({"a": {"x": 1, "z": 3}, "l": [3], "s": {"n": {"v": 1}}, "new": [{}]}));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let refused = |patch: &[u8]| merge(&mut Value::map(), patch).expect_err("refused").to_string();
        assert_eq!(refused(b"{"), "invalid JSON patch");
        assert_eq!(
            refused(b"[]"),
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
        );
        let problems = merge(&mut Value::map(), br#"{"data":{"a":"1"},"data":{"a":"2"}}"#).expect("merged");
        assert_eq!(problems, vec![Problem::Duplicate("data".into())]);
    }
}
