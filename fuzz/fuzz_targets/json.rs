//! JSON bodies: written and read again they are equal, an independent parser finds the same in them, and what is decoded
//! along a type has a stable normal form that protobuf keeps.
#![no_main]

use bytes::Bytes;
use document::{Value, json};
use generate::{Dice, check_normal, check_protobuf};
use libfuzzer_sys::fuzz_target;
use registry::Body;
use registry::body::{self, Expected};
use registry::query::FieldValidation;

/// Numbers that are no i64 are floats here.
fn same(ours: &Value, theirs: &serde_json::Value) -> bool {
    use serde_json::Value as Their;
    match (ours, theirs) {
        (Value::Null, Their::Null) => true,
        (Value::Bool(a), Their::Bool(b)) => a == b,
        (Value::String(a), Their::String(b)) => a == b,
        (Value::Int(a), Their::Number(b)) => b.as_i64() == Some(*a) || b.as_f64() == Some(*a as f64),
        (Value::Float(a), Their::Number(b)) => b.as_f64() == Some(*a),
        (Value::List(a), Their::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Their::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, v)| b.get(name).is_some_and(|w| same(v, w)))
        }
        _ => false,
    }
}

fn untyped(text: &[u8]) {
    let theirs = serde_json::from_slice::<serde_json::Value>(text);
    let Ok(value) = json::parse(text) else {
        // a number beyond f64 is the one thing that may be refused here alone
        assert!(theirs.is_err(), "refused: {:?} {:?}", String::from_utf8_lossy(text), json::parse(text));
        return;
    };
    // texts are compared, since 1e3 is a float and becomes 1000, which is none
    let written = json::to_vec(&value);
    for form in [&written, &json::pretty(&written)] {
        let again = json::parse(form).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(form)));
        assert_eq!(String::from_utf8_lossy(&json::to_vec(&again)), String::from_utf8_lossy(&written));
    }
    if let Ok(theirs) = theirs {
        assert!(same(&value, &theirs), "{value:?} {theirs:?}");
    }
}

fn typed(text: &[u8], expected: &Expected) {
    let body = Body::Json(Bytes::copy_from_slice(text));
    let strict = body::decode(Some(body.clone()), expected, FieldValidation::Strict);
    let Ok(decoded) = body::decode(Some(body), expected, FieldValidation::Warn) else {
        assert!(strict.is_err(), "strict takes what is refused else");
        return;
    };
    check_normal(&decoded.value, expected.type_);
    check_protobuf(&decoded.value, expected.type_);
}

fuzz_target!(|data: &[u8]| {
    let mut dice = Dice(data);
    let row = dice.row();
    let text = dice.rest();
    untyped(text);
    typed(text, &Expected::of(row));
    let _ = body::delete_options(Some(Body::Json(Bytes::copy_from_slice(text))));
});
