//! YAML bodies: written and read again they are equal, JSON is YAML, and a small text never becomes a large tree.
#![no_main]

use bytes::Bytes;
use document::{Value, json, yaml};
use generate::{Dice, check_normal};
use libfuzzer_sys::fuzz_target;
use registry::Body;
use registry::body::{self, Expected};
use registry::query::FieldValidation;

fn size(value: &Value) -> usize {
    match value {
        Value::List(list) => 1 + list.iter().map(size).sum::<usize>(),
        Value::Map(map) => 1 + map.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

fuzz_target!(|data: &[u8]| {
    let mut dice = Dice(data);
    let row = dice.row();
    let text = dice.rest();
    let expected = Expected::of(row);
    let body = Body::Yaml(Bytes::copy_from_slice(text));
    if let Ok(decoded) = body::decode(Some(body), &expected, FieldValidation::Warn) {
        check_normal(&decoded.value, expected.type_);
    }
    let Ok(parsed) = yaml::parse(text) else { return };
    assert!(size(&parsed.value) <= 200_000, "{} bytes became {} nodes", text.len(), size(&parsed.value));
    let written = yaml::to_string(&parsed.value);
    let again = yaml::parse(written.as_bytes()).unwrap_or_else(|e| panic!("{e}: {written:?}"));
    // texts are compared, since 1e3 is a float and becomes 1000, which is none
    let as_json = json::to_vec(&parsed.value);
    let same = |value: &Value| assert_eq!(json::to_string(value), String::from_utf8_lossy(&as_json), "{written:?}");
    same(&again.value);
    same(&json::parse(&as_json).expect("JSON"));
    if let Ok(again) = yaml::parse(&as_json) {
        same(&again.value);
    }
});
