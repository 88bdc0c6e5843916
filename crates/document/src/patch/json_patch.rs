//! JSON patch (RFC 6902) with the habits of the library that upstream uses: `replace` adds a missing member, indexes
//! may be negative, copying is limited.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{PatchError, go_kind, unreadable};
use crate::decode::decode_any;
use crate::{Problem, Value, json};

const MAX_OPERATIONS: usize = 10_000;
/// Bytes that all `copy` operations of a patch may copy.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// Applies a patch's text. On an error the document may be half changed: use a copy.
pub fn json_patch(document: &mut Value, patch: &[u8]) -> Result<Vec<Problem>, PatchError> {
    let decoded = decode_any(patch).map_err(|e| unreadable(&e))?;
    let problems = check(&decoded.value, decoded.problems)?;
    let operations = decoded.value.items();
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut copied = 0;
    for operation in operations {
        apply(document, operation, &mut copied).map_err(PatchError::Unprocessable)?;
    }
    if !operations.is_empty() {
        let mut visited = Visited::default();
        for path in operations.iter().flat_map(|o| [o["path"].str(), o["from"].str()]) {
            visited.add(path);
        }
        visited.sort(document);
    }
    Ok(problems)
}

/// Where paths have led through, as a tree: upstream encodes the maps there as Go maps.
#[derive(Default)]
struct Visited<'p>(HashMap<Cow<'p, str>, Visited<'p>>);

impl<'p> Visited<'p> {
    fn add(&mut self, path: &'p str) {
        let mut at = self;
        // no document is deeper
        for part in path.split('/').skip(1).take(json::TREE_DEPTH) {
            at = at.0.entry(unescape(part)).or_default();
        }
    }

    /// Sorts each map once.
    fn sort(&self, value: &mut Value) {
        match value {
            Value::Map(map) => {
                map.sort();
                for (name, value) in map.iter_mut() {
                    if let Some(visited) = self.0.get(name) {
                        visited.sort(value);
                    }
                }
            }
            Value::List(list) => {
                for (part, visited) in &self.0 {
                    if let Some(item) = part.parse::<usize>().ok().and_then(|n| list.get_mut(n)) {
                        visited.sort(item);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Types of the operations' members, and members that are none.
fn check(patch: &Value, duplicates: Vec<Problem>) -> Result<Vec<Problem>, PatchError> {
    let refuse = |what: &Value, place: String| {
        Err(PatchError::BadRequest(format!(
            "error decoding patch: json: cannot unmarshal {} into Go {place}",
            go_kind(what)
        )))
    };
    if !matches!(patch, Value::List(_) | Value::Null) {
        return refuse(patch, "value of type []handlers.jsonPatchOp".into());
    }
    let mut problems = Vec::new();
    for (n, operation) in patch.items().iter().enumerate() {
        if !matches!(operation, Value::Map(_) | Value::Null) {
            return refuse(operation, "value of type handlers.jsonPatchOp".into());
        }
        for (name, value) in operation.members() {
            match name {
                "value" => {}
                "op" | "path" | "from" if matches!(value, Value::String(_) | Value::Null) => {}
                "op" | "path" | "from" => {
                    return refuse(value, format!("struct field jsonPatchOp.{name} of type string"));
                }
                _ => problems.push(Problem::Text(format!("json patch unknown field \"[{n}].{name}\""))),
            }
        }
    }
    let duplicates = duplicates.into_iter().map(|p| Problem::Text(format!("json patch {p}")));
    Ok(duplicates.chain(problems).collect())
}

type Outcome<T> = Result<T, String>;

fn apply(document: &mut Value, operation: &Value, copied: &mut usize) -> Outcome<()> {
    let path = operation.get("path").and_then(Value::as_str).ok_or("missing path")?;
    let value = || operation["value"].clone();
    let from = || operation.get("from").and_then(Value::as_str).ok_or("missing from");
    match operation["op"].str() {
        "add" => add(document, path, shallow(path, value())?),
        "remove" => remove(document, path).map(|_| ()),
        "replace" => replace(document, path, shallow(path, value())?),
        "move" => {
            let moved = remove(document, from()?)?;
            add(document, path, shallow(path, moved)?)
        }
        "copy" => {
            let copy = find(document, from()?)?.cloned().unwrap_or_default();
            *copied += json::to_vec(&copy).len();
            if *copied > MAX_COPIED {
                return Err(format!("Unable to complete the copy, the accumulated size increase of copy is {copied}"));
            }
            add(document, path, shallow(path, copy)?)
        }
        "test" => {
            let found = find(document, path)?.unwrap_or(&Value::Null);
            if same(found, &operation["value"]) { Ok(()) } else { Err(format!("testing value {path} failed")) }
        }
        other => Err(format!("Unexpected kind: {other}")),
    }
}

/// The value, unless the tree would become deeper than what is read: it is walked and dropped by recursion, and `copy`
/// could double its depth with every operation.
fn shallow(path: &str, value: Value) -> Outcome<Value> {
    match path.matches('/').count() + depth(&value) > json::TREE_DEPTH {
        true => Err("exceeded max depth".into()),
        false => Ok(value),
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::List(list) => 1 + list.iter().map(depth).max().unwrap_or_default(),
        Value::Map(map) => 1 + map.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

/// Equal; an integer and a float may be.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(n), Value::Float(x)) | (Value::Float(x), Value::Int(n)) => *n as f64 == *x,
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().all(|(name, v)| b.get(name).is_some_and(|w| same(v, w)))
        }
        _ => a == b,
    }
}

/// The container of the last part of a path, and that part.
fn container<'v, 'p>(document: &'v mut Value, path: &'p str) -> Outcome<(&'v mut Value, Cow<'p, str>)> {
    let missing = || format!("missing value: {path}");
    let mut parts = path.split('/').skip(1).map(unescape).collect::<Vec<_>>();
    let last = parts.pop().ok_or_else(missing)?;
    let mut at = document;
    for part in parts {
        at = match at {
            Value::Map(m) => m.get_mut(&part).ok_or_else(missing)?,
            Value::List(l) => {
                let n = index(&part, l.len(), l.len())?;
                l.get_mut(n).ok_or_else(missing)?
            }
            _ => return Err(missing()),
        };
    }
    match at {
        Value::Map(_) | Value::List(_) => Ok((at, last)),
        _ => Err(missing()),
    }
}

fn unescape(part: &str) -> Cow<'_, str> {
    if part.contains('~') { Cow::Owned(part.replace("~1", "/").replace("~0", "~")) } else { Cow::Borrowed(part) }
}

/// An index below `limit`; negative ones count from `len`.
fn index(part: &str, len: usize, limit: usize) -> Outcome<usize> {
    let n: i64 = part.parse().map_err(|_| format!("invalid index {part}"))?;
    let n = if n < 0 { n + len as i64 } else { n };
    usize::try_from(n).ok().filter(|n| *n < limit).ok_or_else(|| format!("Unable to access invalid index: {part}"))
}

fn find<'v>(document: &'v mut Value, path: &str) -> Outcome<Option<&'v Value>> {
    let (container, last) = container(document, path)?;
    match container {
        Value::Map(m) => Ok(m.get(&last)),
        Value::List(l) => {
            let n = index(&last, l.len(), l.len())?;
            Ok(l.get(n))
        }
        _ => Ok(None),
    }
}

fn add(document: &mut Value, path: &str, value: Value) -> Outcome<()> {
    let (container, last) = container(document, path)?;
    match container {
        Value::Map(m) => {
            m.insert(last.into_owned(), value);
        }
        Value::List(l) if last == "-" => l.push(value),
        Value::List(l) => {
            let n = index(&last, l.len() + 1, l.len() + 1)?;
            l.insert(n, value);
        }
        _ => {}
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str) -> Outcome<Value> {
    let (container, last) = container(document, path)?;
    match container {
        Value::Map(m) => m.remove(&last).ok_or_else(|| format!("Unable to remove nonexistent key: {last}")),
        Value::List(l) => {
            let n = index(&last, l.len(), l.len())?;
            Ok(l.remove(n))
        }
        _ => Ok(Value::Null),
    }
}

fn replace(document: &mut Value, path: &str, value: Value) -> Outcome<()> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    let (container, last) = container(document, path)?;
    match container {
        Value::Map(m) => {
            m.insert(last.into_owned(), value);
        }
        Value::List(l) => {
            let n = index(&last, l.len(), l.len())?;
            l[n] = value;
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc;

    #[track_caller]
    fn check(patch: &str, want: Value) {
        let mut document = doc!({"a": {"x/y": "1", "n": null}, "l": ["p", "q"]});
        assert_eq!(json_patch(&mut document, patch.as_bytes()), Ok(vec![]), "{patch}");
        assert_eq!(document, want, "{patch}");
    }

    #[track_caller]
    fn refused(patch: &str, want: PatchError) {
        assert_eq!(json_patch(&mut doc!({"a": {}, "l": []}), patch.as_bytes()), Err(want), "{patch}");
    }

    #[test]
    fn operations_are_applied() {
        check(
            r#"[{"op":"add","path":"/b","value":1},{"op":"remove","path":"/a/n"}]"#,
            doc!({"a": {"x/y": "1"}, "l": ["p", "q"], "b": 1}),
        );
        check(
            r#"[{"op":"replace","path":"/a/x~1y","value":"2"}]"#,
            doc!({"a": {"x/y": "2", "n": null}, "l": ["p", "q"]}),
        );
        check(
            r#"[{"op":"replace","path":"/a/new","value":"2"},{"op":"remove","path":"/l"}]"#,
            doc!({"a": {"x/y": "1", "n": null, "new": "2"}}),
        );
        check(
            r#"[{"op":"add","path":"/l/0","value":0},{"op":"add","path":"/l/-","value":9},{"op":"remove","path":"/l/-2"}]"#,
            doc!({"a": {"x/y": "1", "n": null}, "l": [0, "p", 9]}),
        );
        check(
            r#"[{"op":"move","from":"/l/1","path":"/a/m"},{"op":"copy","from":"/l","path":"/c"}]"#,
            doc!({"a": {"x/y": "1", "n": null, "m": "q"}, "l": ["p"], "c": ["p"]}),
        );
        check(
            r#"[{"op":"test","path":"/l","value":["p","q"]},{"op":"test","path":"/a/n","value":null}]"#,
            doc!({"a": {"x/y": "1", "n": null}, "l": ["p", "q"]}),
        );
    }

    #[test]
    fn what_cannot_be_applied_is_refused() {
        let bad = |text: &str| PatchError::BadRequest(text.into());
        refused("[{", bad("invalid JSON patch"));
        refused(
            "{}",
            bad("error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
        );
        refused(
            r#"[{"op":5}]"#,
            bad(
                "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string",
            ),
        );
        for patch in [
            r#"[{"op":"nope","path":"/x"}]"#,
            r#"[{"op":"remove","path":"/a/none"}]"#,
            r#"[{"op":"add","path":"/b/c","value":1}]"#,
            r#"[{"op":"test","path":"/a","value":1}]"#,
            r#"[{"op":"add","path":"/l/2","value":1}]"#,
            r#"[{"op":"add","path":"","value":{}}]"#,
        ] {
            let refused = json_patch(&mut doc!({"a": {}, "l": []}), patch.as_bytes());
            assert!(matches!(refused, Err(PatchError::Unprocessable(_))), "{patch} {refused:?}");
        }
        let many = format!("[{}]", vec![r#"{"op":"test","path":"/x"}"#; 10_001].join(","));
        refused(
            &many,
            PatchError::TooLarge("The allowed maximum operations in a JSON patch is 10000, got 10001".into()),
        );
    }

    #[test]
    fn maps_that_paths_lead_through_are_sorted() {
        let map = || doc!({"z": 1, "a~b": {"y": 1, "x": {"d": 1, "c": 2}}, "m": {"q": 1, "p": 2}});
        let mut document = doc!({"o": (map()), "l": [(map()), (map())]});
        let patch = br#"[{"op":"test","path":"/o/a~0b/y","value":1},{"op":"copy","from":"/l/01/m","path":"/o/m"}]"#;
        json_patch(&mut document, patch).expect("applied");
        let untouched = r#"{"z":1,"a~b":{"y":1,"x":{"d":1,"c":2}},"m":{"q":1,"p":2}}"#;
        let to_m = r#"{"a~b":{"y":1,"x":{"d":1,"c":2}},"m":{"p":2,"q":1},"z":1}"#;
        let to_both = r#"{"a~b":{"x":{"d":1,"c":2},"y":1},"m":{"p":2,"q":1},"z":1}"#;
        assert_eq!(json::to_string(&document), format!(r#"{{"l":[{untouched},{to_m}],"o":{to_both}}}"#));
    }

    #[test]
    fn unknown_members_are_problems() {
        let problems =
            json_patch(&mut doc!({}), br#"[{"op":"add","path":"/d","value":{},"why":"x"}]"#).expect("applied");
        assert_eq!(problems[0].to_string(), "json patch unknown field \"[0].why\"");
    }
}
