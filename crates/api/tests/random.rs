//! Random values along every served type: normal form is stable, survives JSON and protobuf, and can be sealed.

use document::schema::{Kind, Shape};
use document::{Object, Type, Value, decode, json, normalize, proto};
use meta::{Key, ResourceId, Revision};

/// Deterministic: a failure comes again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len() as u64) as usize]
    }
}

fn any_json(dice: &mut Dice) -> Value {
    let texts = ["null", "5", "{\"a\":[1,{\"b\":null}]}", "\"x\"", "[true]"];
    json::parse(dice.pick(&texts).as_bytes()).expect("JSON")
}

fn value(kind: &Kind, owner: &'static Type, depth: usize, dice: &mut Dice) -> Value {
    match kind {
        Kind::String => dice.pick(&["", "a", "Zebra", "ü<&>"]).into(),
        Kind::Bool => (dice.roll(2) == 0).into(),
        Kind::Int32 => (dice.roll(5) as i64 - 2).into(),
        Kind::Int64 => (dice.roll(1 << 40) as i64 - 5).into(),
        Kind::Float64 => (dice.roll(100) as f64 / 8.0).into(),
        Kind::Bytes => dice.pick(&["", "AAE=", "YWJj"]).into(),
        Kind::Time => dice.pick(&["2026-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z"]).into(),
        Kind::MicroTime => dice.pick(&["2026-01-01T00:00:00.000001Z", "1969-12-31T23:59:59.999999Z"]).into(),
        Kind::Duration => dice.pick(&["0s", "1m30s", "-1.5s"]).into(),
        Kind::Quantity => dice.pick(&["0", "1", "500m", "1Gi", "1e3", "1Ki"]).into(),
        Kind::IntOrString => {
            if dice.roll(2) == 0 {
                (dice.roll(9) as i64).into()
            } else {
                dice.pick(&["", "25%"]).into()
            }
        }
        Kind::RawExtension | Kind::FieldsV1 => json::parse(br#"{"kind":"K","apiVersion":"v1"}"#).expect("JSON"),
        Kind::Any | Kind::Json => any_json(dice),
        Kind::Ref(type_) => of_type(type_, depth, dice),
        Kind::List(item) => Value::List((0..dice.roll(3)).map(|_| value(item, owner, depth, dice)).collect()),
        Kind::Map(of) => {
            let mut map = Value::map();
            for _ in 0..dice.roll(3) {
                map.set(dice.pick(&["b", "a", "c"]), value(of, owner, depth, dice));
            }
            map
        }
        Kind::JsonSchemaPropsOrBool if dice.roll(2) == 0 => (dice.roll(2) == 0).into(),
        Kind::JsonSchemaPropsOrStringArray if dice.roll(2) == 0 => Value::list(["a", "b"]),
        _ => of_type(owner, depth, dice),
    }
}

fn of_type(type_: &'static Type, depth: usize, dice: &mut Dice) -> Value {
    let Shape::Struct(fields) = type_.shape else { return Value::Null };
    let mut map = Value::map();
    for field in fields {
        let often = if depth < 3 { 3 } else { 12 };
        if depth < 12 && dice.roll(often) == 0 && !matches!(field.name, "kind" | "apiVersion") {
            map.set(field.name, value(&field.kind, type_, depth + 1, dice));
        }
    }
    map
}

/// What protobuf cannot tell apart: empty and missing lists and maps.
fn blur(value: &Value) -> Value {
    match value {
        Value::Map(m) => {
            let kept = m.iter().map(|(n, v)| (n.to_owned(), blur(v))).filter(|(_, v)| !v.is_empty());
            Value::Map(kept.collect())
        }
        Value::List(l) => l.iter().map(blur).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

fn check(type_: &'static Type, dice: &mut Dice) {
    let mut value = of_type(type_, 0, dice);
    normalize(&mut value, type_);
    let text = json::to_string(&value);
    let mut again = value.clone();
    normalize(&mut again, type_);
    assert_eq!(json::to_string(&again), text, "normalized twice");

    let mut read = decode(text.as_bytes(), type_).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert!(read.problems.is_empty(), "{:?}: {text}", read.problems);
    normalize(&mut read.value, type_);
    assert_eq!(json::to_string(&read.value), text, "read again");

    if type_.message.is_some() {
        let bytes = proto::encode(&value, type_).expect("encodes");
        let mut back = proto::decode(&bytes, type_).expect("decodes");
        normalize(&mut back, type_);
        assert_eq!(json::to_string(&blur(&back)), json::to_string(&blur(&value)), "over protobuf: {text}");
        assert_eq!(proto::encode(&back, type_).expect("encodes"), bytes, "protobuf again: {text}");
    }
}

#[test]
fn random_values_survive_everything() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for row in api::resources() {
        for _ in 0..60 {
            check(row.type_, &mut dice);
            row.list_type.into_iter().for_each(|t| check(t, &mut dice));
        }
        for s in row.subresources.iter().filter_map(|s| s.type_) {
            check(s, &mut dice);
        }
    }
    for name in ["DeleteOptions", "Status", "PatchOptions", "PartialObjectMetadata", "APIGroupList"] {
        (0..60).for_each(|_| check(api::type_of_meta(name).expect("a type"), &mut dice));
    }
}

#[test]
fn random_objects_are_sealed_and_sealed_again() {
    let mut dice = Dice(0x1234_5678_9abc_def1);
    for row in api::resources().iter().filter(|r| !r.storage.is_empty()) {
        for _ in 0..40 {
            let mut value = of_type(row.type_, 0, &mut dice);
            for (name, v) in [("name", "n"), ("uid", "u"), ("creationTimestamp", "2026-01-01T00:00:00Z")] {
                value.entry("metadata").set(name, v);
            }
            value.entry("metadata").remove("resourceVersion");
            normalize(&mut value, row.type_);
            let key = Key::new(ResourceId::from_text(row.storage), "", "n");
            let sealed = Object::seal(key.clone(), &value, row.field_selectors).expect("sealed");
            let again = Object::reseal(key, Revision(0), sealed.bytes.clone(), row.field_selectors).expect("resealed");
            assert!(sealed == again, "{}: {:?} {:?}", row.kind, sealed.fields, again.fields);
            let mut tree = Object { revision: Revision(5), ..again }.document(row.kind, &row.api_version());
            let revision = tree.entry("metadata").remove("resourceVersion");
            assert_eq!(revision, Some("5".into()));
            let text = json::to_string(&value);
            let text = text.replacen(
                '{',
                &format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", row.kind, row.api_version()),
                1,
            );
            assert_eq!(json::to_string(&tree), text);
        }
    }
}

#[test]
fn deep_nesting_is_refused_before_the_stack_ends() {
    let type_ =
        api::type_by_name("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps").expect("a type");
    let nested = |n: usize| "{\"not\":".repeat(n) + "{}" + &"}".repeat(n);
    let run = move || {
        let mut value = decode(nested(400).as_bytes(), type_).expect("decodes").value;
        normalize(&mut value, type_);
        let bytes = proto::encode(&value, type_).expect("encodes");
        assert!(proto::decode(&bytes, type_).is_ok());
        assert!(decode(nested(5_000).as_bytes(), type_).is_err());
        assert!(decode(("{\"default\":".to_owned() + &nested(5_000) + "}").as_bytes(), type_).is_err());
        assert!(decode::decode_any(nested(5_000).as_bytes()).is_err());
        assert!(document::yaml::parse("[".repeat(5_000).as_bytes()).is_err());
    };
    // the stack of tokio's workers
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).expect("a thread").join().expect("no overflow");
}
