//! The OpenAPI documents: upstream's without descriptions, compressed in the binary; descriptions (from the build
//! script) are put in when a document is asked for. Also: what a single field means.

mod protobuf;

use std::io::Read as _;

use document::{Map, Value, json};

include!(concat!(env!("OUT_DIR"), "/documents.rs"));

static V2: &[u8] = include_bytes!("../openapi/v2.json.gz");
static TEXTS: &str = include_str!(concat!(env!("OUT_DIR"), "/descriptions.txt"));
static INDEX: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.idx"));

/// Paths of the version 3 documents, below `/openapi/v3/`.
pub fn paths() -> impl Iterator<Item = &'static str> {
    DOCUMENTS.iter().map(|(path, _)| *path)
}

/// A number that changes with the document of this path.
pub fn fingerprint(path: &str) -> Option<u128> {
    let (_, bytes) = DOCUMENTS.iter().find(|(p, _)| *p == path)?;
    Some(mix(&[bytes, INDEX]))
}

/// A version 3 document with descriptions, as JSON.
pub fn v3(path: &str) -> Option<Vec<u8>> {
    let (_, bytes) = DOCUMENTS.iter().find(|(p, _)| *p == path)?;
    let mut document = inflate(bytes)?;
    describe(document.get_mut("components").and_then(|c| c.get_mut("schemas")));
    Some(json::to_vec(&document))
}

/// The version 2 document with descriptions.
pub fn v2() -> Option<Vec<u8>> {
    v2_tree().map(|tree| json::to_vec(&tree))
}

/// The same as gnostic's protobuf.
pub fn v2_protobuf() -> Option<Vec<u8>> {
    v2_tree().map(|tree| protobuf::document(&tree))
}

/// A number that changes with the version 2 document.
pub fn v2_fingerprint() -> u128 {
    mix(&[V2, INDEX])
}

fn v2_tree() -> Option<Value> {
    let mut document = inflate(V2)?;
    describe(document.get_mut("definitions"));
    Some(document)
}

/// What a type means; with a field, what that field means.
pub fn description(type_: &str, field: &str) -> Option<&'static str> {
    let wanted = if field.is_empty() { type_.to_owned() } else { format!("{type_} {field}") };
    let (mut low, mut high) = (0, INDEX.len() / 16);
    while low < high {
        let middle = (low + high) / 2;
        let (key, text) = entry(middle)?;
        match key.cmp(wanted.as_str()) {
            std::cmp::Ordering::Equal => return Some(text),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

fn entry(n: usize) -> Option<(&'static str, &'static str)> {
    let number = |k: usize| -> Option<usize> {
        let at = n * 16 + k * 4;
        Some(u32::from_le_bytes(INDEX.get(at..at + 4)?.try_into().ok()?) as usize)
    };
    let part = |at: usize, length: usize| TEXTS.get(at..at + length);
    Some((part(number(0)?, number(1)?)?, part(number(2)?, number(3)?)?))
}

fn inflate(bytes: &[u8]) -> Option<Value> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut text).ok()?;
    json::parse(&text).ok()
}

/// Puts descriptions first into every schema and every property.
fn describe(schemas: Option<&mut Value>) {
    let Some(schemas) = schemas.and_then(Value::as_map_mut) else { return };
    for (name, schema) in schemas.iter_mut() {
        let properties = schema.get_mut("properties").and_then(Value::as_map_mut);
        for (field, property) in properties.into_iter().flat_map(Map::iter_mut) {
            let text = description(name, field).map(|text| with_values(text, property));
            put_first(property, text);
        }
        put_first(schema, description(name, "").map(str::to_owned));
    }
}

/// An enumeration's values are said at the end. What single values mean is not known here.
fn with_values(text: &str, schema: &Value) -> String {
    let mut out = text.to_owned();
    for (n, value) in schema["enum"].items().iter().enumerate() {
        out.push_str(if n == 0 { "\n\nPossible enum values:" } else { "" });
        out.push_str(&format!("\n - `{}`", json::to_string(value)));
    }
    out
}

fn put_first(schema: &mut Value, text: Option<String>) {
    if let (Some(map), Some(text)) = (schema.as_map_mut(), text) {
        map.as_members_mut().insert(0, ("description".into(), text.into()));
    }
}

/// FNV-1a over 128 bits: a name for content that we made ourselves, nothing cryptographic.
fn mix(parts: &[&[u8]]) -> u128 {
    parts.iter().flat_map(|p| p.iter()).fold(0x6c62272e07bb014262b821756295c58d, |hash: u128, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0000000001000000000000000000013b)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_descriptions() {
        let text = description("io.k8s.api.core.v1.PodSpec", "nodeName").unwrap_or_default();
        assert!(text.starts_with("NodeName indicates in which node"), "{text}");
        assert!(description("io.k8s.api.core.v1.PodSpec", "nope").is_none());
        assert!(description("io.k8s.api.core.v1.Pod", "").is_some());
    }

    #[test]
    fn every_document_can_be_made() {
        assert!(paths().any(|p| p == "apis/apps/v1"));
        for path in paths() {
            assert!(v3(path).is_some(), "{path}");
        }
        let document = json::parse(&v3("api/v1").unwrap()).unwrap();
        let pod = &document["components"]["schemas"]["io.k8s.api.core.v1.Pod"];
        assert!(!pod["description"].str().is_empty());
        assert!(!pod["properties"]["spec"]["description"].str().is_empty());
    }
}
