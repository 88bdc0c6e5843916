//! Properties that hold for any tree: what is written is read again, patches and normal form are stable.

use document::patch::{json_patch, merge};
use document::{Map, Value, json, yaml};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,8}",
        "[ -~]{0,12}",
        "\\PC{0,6}",
        "[ \n\t:#'\"a\\-]{0,10}",
        "(on|y|null|~|1e3|0x1|2026-01-02|<<|1:30|[.]5|- a|[?] b)",
        "[a-z ]{90,140}",
    ]
}

/// A member's name. go-yaml writes `<<` plain, and reads that as a merge: so do we.
fn name() -> impl Strategy<Value = String> {
    text().prop_filter("merges", |name| name != "<<")
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-1e9f64..1e9).prop_filter("whole numbers are read as integers", |x| x.fract() != 0.0).prop_map(Value::Float),
        text().prop_map(Value::String),
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            prop::collection::btree_map(name(), inner, 0..6).prop_map(|m| Value::Map(m.into_iter().collect::<Map>())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-d]", tree(), 0..4).prop_map(|m| Value::Map(m.into_iter().collect::<Map>()))
}

proptest! {
    #[test]
    fn json_is_read_as_it_was_written(value in tree()) {
        let text = json::to_vec(&value);
        prop_assert_eq!(&json::parse(&text).expect("JSON"), &value);
        prop_assert_eq!(&json::parse(&json::pretty(&text)).expect("JSON"), &value);
        prop_assert_eq!(json::to_vec(&json::parse(&text).expect("JSON")), text);
    }

    #[test]
    fn yaml_is_read_as_it_was_written(value in tree()) {
        let text = yaml::to_string(&value);
        let read = yaml::parse(text.as_bytes()).map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
        prop_assert_eq!(&read.value, &value, "{}", text);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = json::parse(&bytes);
        let _ = yaml::parse(&bytes);
        let _ = document::decode::decode_any(&bytes);
        let _ = document::decode::identify(&bytes);
        let _ = document::proto::unwrap(&bytes);
        let _ = json_patch(&mut Value::map(), &bytes);
        let _ = meta::Quantity::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_merge_patch_is_idempotent(base in object(), patch in object()) {
        let patch = json::to_vec(&patch);
        let mut once = base;
        merge(&mut once, &patch).expect("merges");
        let mut twice = once.clone();
        merge(&mut twice, &patch).expect("merges");
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn quantities_keep_their_value(whole in any::<i32>(), fraction in "([.][0-9]{1,12})?", suffix in "(n|u|m||k|M|G|T|Ki|Mi|Gi|e3|e-3)") {
        let text = format!("{whole}{fraction}{suffix}");
        let quantity = meta::Quantity::parse(&text).expect("a quantity");
        let printed = quantity.to_string();
        let again = meta::Quantity::parse(&printed).expect("a quantity");
        prop_assert_eq!(again.nano, quantity.nano, "{} {}", text, printed);
        prop_assert_eq!(again.to_string(), printed);
    }
}
