//! Protobuf bodies of built-in kinds: what is decoded has a normal form, JSON keeps it, and it is encoded to a message
//! that is decoded to the same. Objects that were made keep everything on the way.
#![no_main]

use bytes::Bytes;
use document::{json, proto};
use generate::{Dice, check_normal, check_protobuf};
use libfuzzer_sys::fuzz_target;
use registry::Body;
use registry::body::{self, Expected};
use registry::query::FieldValidation;

fn body(bytes: &[u8], expected: &Expected) {
    let body = Body::Protobuf(Bytes::copy_from_slice(bytes));
    let Ok(decoded) = body::decode(Some(body), expected, FieldValidation::Strict) else { return };
    check_normal(&decoded.value, expected.type_);
    check_protobuf(&decoded.value, expected.type_);
}

fuzz_target!(|data: &[u8]| {
    let mut dice = Dice(data);
    let row = dice.row();
    let expected = Expected::of(row);
    let version = expected.gvk.group_version().to_string();
    match dice.roll(4) {
        0 => {
            let rest = dice.rest();
            body(rest, &expected);
            let _ = body::delete_options(Some(Body::Protobuf(Bytes::copy_from_slice(rest))));
            let Ok(envelope) = proto::unwrap(rest) else { return };
            let wrapped = proto::wrap(&envelope.api_version, &envelope.kind, envelope.raw);
            assert_eq!(proto::unwrap(&wrapped), Ok(envelope));
        }
        1 => body(&proto::wrap(&version, &expected.gvk.kind, dice.rest()), &expected),
        2 => {
            let Some(list) = row.list_type else { return };
            let Ok(mut value) = proto::decode(dice.rest(), list) else { return };
            document::normalize(&mut value, list);
            check_normal(&value, list);
        }
        _ => {
            let value = dice.object(row);
            let Ok(raw) = proto::encode(&value, row.type_) else { return };
            let mut back = proto::decode(&raw, row.type_).expect("decodes what was encoded");
            generate::finish(&mut back, &expected);
            check_normal(&back, row.type_);
            check_protobuf(&value, row.type_);
            let wrapped = proto::wrap(&version, row.kind, &raw);
            let body = Body::Protobuf(wrapped.into());
            let decoded = body::decode(Some(body), &expected, FieldValidation::Strict);
            let decoded = decoded.unwrap_or_else(|e| panic!("{}: {}", e.message, json::to_string(&value)));
            check_normal(&decoded.value, row.type_);
        }
    }
});
