//! Patches of every kind on an object of every built-in type: a patched object has the normal form of its type, is no
//! deeper than what is read, and a merge patch changes nothing the second time.
#![no_main]

use document::{Value, json, patch};
use generate::{Dice, check_normal, check_protobuf};
use libfuzzer_sys::fuzz_target;
use registry::body::{self, Expected};
use registry::query::{FieldValidation, WriteOptions};
use registry::{Body, PatchKind};

fn depth(value: &Value) -> usize {
    match value {
        Value::List(list) => 1 + list.iter().map(depth).max().unwrap_or_default(),
        Value::Map(map) => 1 + map.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

fuzz_target!(|data: &[u8]| {
    let mut dice = Dice(data);
    let row = if dice.roll(2) == 0 { api::find("", "v1", "pods").expect("pods") } else { dice.row() };
    let kind = dice.pick(&[PatchKind::Json, PatchKind::Merge, PatchKind::Strategic]);
    let made = dice.take();
    let old = Dice(made).object(row);
    let text = match dice.roll(2) {
        0 => dice.rest().to_vec(),
        // another object of the type is a patch that goes deep
        _ => json::to_vec(&dice.of_type(row.type_, 0)),
    };
    let expected = Expected::of(row);
    let options = WriteOptions {
        dry_run: false,
        field_validation: FieldValidation::Warn,
        field_manager: String::new(),
        force: None,
        manager: "fuzz".into(),
        applied: false,
    };
    let body = Body::Json(text.clone().into());
    if let Ok((value, _)) = body::patch(kind, &body, &old, &expected, &options) {
        check_normal(&value, row.type_);
        check_protobuf(&value, row.type_);
        assert!(depth(&value) <= json::TREE_DEPTH + 1, "{}", depth(&value));
    }
    if kind == PatchKind::Merge {
        let mut once = old.clone();
        if patch::merge(&mut once, &text).is_ok() {
            let mut twice = once.clone();
            patch::merge(&mut twice, &text).expect("merges again");
            assert_eq!(once, twice);
        }
    }
});
