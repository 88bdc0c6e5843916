//! Values along the type tables, made of a fuzzer's bytes: every byte is a decision, so that a changed byte is a changed
//! object. And the steps of a write that more than one target takes.

pub mod der;

use api::ResourceType;
use document::schema::{Field, Kind, Shape};
use document::{Type, Value, json};
use registry::body::Expected;

/// The fuzzer's bytes, taken one after the other; all that is decided after their end is 0, which means "no more".
pub struct Dice<'a>(pub &'a [u8]);

impl<'a> Dice<'a> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        let wide = if sides > 256 { usize::from(self.byte()) << 8 } else { 0 };
        (wide | usize::from(self.byte())) % sides.max(1)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }

    /// Up to 255 bytes that stand here.
    pub fn take(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub fn row(&mut self) -> &'static ResourceType {
        let rows = api::resources();
        &rows[self.roll(rows.len())]
    }

    /// An object of a row: decoded, with defaults, in normal form, named.
    pub fn object(&mut self, row: &'static ResourceType) -> Value {
        let mut value = self.of_type(row.type_, 0);
        let meta = value.entry("metadata");
        if meta["name"].str().is_empty() {
            meta.set("name", "n");
        }
        if row.namespaced {
            meta.set("namespace", "ns");
        } else {
            meta.remove("namespace");
        }
        meta.set("uid", "u");
        meta.set("creationTimestamp", "2026-01-01T00:00:00Z");
        meta.remove("resourceVersion");
        meta.remove("managedFields");
        finish(&mut value, &Expected::of(row));
        value
    }

    pub fn of_type(&mut self, type_: &'static Type, depth: usize) -> Value {
        let fields = match type_.shape {
            Shape::Struct(fields) => fields,
            Shape::Alias(kind) => return self.value(&kind, type_, depth, &[]),
        };
        let mut map = Value::map();
        if depth > 9 || fields.is_empty() {
            return map;
        }
        for _ in 0..self.roll(8) {
            let field: &'static Field = &fields[self.roll(fields.len())];
            if !matches!(field.name, "kind" | "apiVersion") {
                map.set(field.name, self.value(&field.kind, type_, depth + 1, field.enumeration));
            }
        }
        map
    }

    fn value(&mut self, kind: &Kind, owner: &'static Type, depth: usize, enumeration: &[&'static str]) -> Value {
        match kind {
            Kind::String if !enumeration.is_empty() && self.roll(8) > 0 => self.pick(enumeration).into(),
            Kind::String => self.text().into(),
            Kind::Bool => (self.roll(2) == 1).into(),
            Kind::Int32 => {
                self.pick(&[0_i64, 1, -1, 2, 80, 443, 65_535, 65_536, i32::MAX as i64, i32::MIN as i64]).into()
            }
            Kind::Int64 => self.pick(&[0_i64, 1, -1, 2, 30, 3600, 1 << 40, i64::MAX, i64::MIN]).into(),
            Kind::Float64 => self.pick(&[0.5, -1.25, 1e300, 0.1]).into(),
            Kind::Bytes => document::decode::encode_base64(self.take()).into(),
            Kind::Time => self.pick(&["2026-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z"]).into(),
            Kind::MicroTime => self.pick(&["2026-01-01T00:00:00.000001Z", "1969-12-31T23:59:59.999999Z"]).into(),
            Kind::Duration => self.pick(&["0s", "1m30s", "-1.5s", "2540400h0m0s"]).into(),
            Kind::Quantity => self.pick(&["0", "1", "500m", "1Gi", "1e3", "-1", "7Ei", "1n"]).into(),
            Kind::IntOrString if self.roll(2) == 0 => self.pick(&[0_i64, 1, -1, 80, 70_000]).into(),
            Kind::IntOrString => self.text().into(),
            Kind::RawExtension => Value::map().clone(),
            Kind::FieldsV1 => parsed(r#"{"f:metadata":{"f:labels":{".":{},"f:a":{}}}}"#),
            Kind::Any | Kind::Json => parsed(self.pick(&["null", "5", r#"{"a":[1,{"b":null}]}"#, r#""x""#, "[true]"])),
            Kind::Ref(type_) => self.of_type(type_, depth),
            Kind::List(item) => {
                Value::List((0..self.roll(4)).map(|_| self.value(item, owner, depth, enumeration)).collect())
            }
            Kind::Map(of) => {
                let mut map = Value::map();
                for _ in 0..self.roll(4) {
                    let name = self.text();
                    map.set(name, self.value(of, owner, depth, enumeration));
                }
                map
            }
            Kind::JsonSchemaPropsOrBool if self.roll(2) == 0 => (self.roll(2) == 1).into(),
            Kind::JsonSchemaPropsOrStringArray if self.roll(2) == 0 => Value::list(["a", "b"]),
            _ => self.of_type(owner, depth),
        }
    }

    fn text(&mut self) -> String {
        match self.roll(WORDS.len() + 8) {
            n if n < WORDS.len() => WORDS[n].to_owned(),
            n if n == WORDS.len() => "x".repeat(self.roll(300)),
            _ => String::from_utf8_lossy(self.take()).into_owned(),
        }
    }
}

/// What fields are filled with, so that rules have something to judge.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "", "a", "b", "name", "a.b.c", "A_b", "ns/name", "example.com/x", "kubernetes.io/x", "*", "/", "/a/b", "../x", "a:b",
    "http", "80", "25%", "-1%", "100m", "1Gi", "10.0.0.1", "::1", "10.0.0.0/8", "fe80::/10", "256.0.0.1", "TCP", "Always",
    "cpu", "memory", "requests.nvidia.com/gpu", "hugepages-2Mi", "metadata.name", "metadata.labels['a']", "$(X)", "=x",
    "https://a.example/x?y", "2026-01-01T00:00:00Z", "*/5 * * * *", "TZ=UTC 0 0 * * *", "Europe/Berlin", "sha256:0",
    "image:tag@sha256:0", "system:masters", "\u{fc}\u{1f600}", "\u{0}", "\n", "{}", "[", "null", "true", "5",
    "k8s.io/metadata", "pods", "apps", "v1", "get", "ClusterIP", "None", "kubernetes.io/tls", "RollingUpdate", "Bound",
];

fn parsed(text: &str) -> Value {
    json::parse(text.as_bytes()).expect("JSON that stands here")
}

/// Head, defaults and normal form, as the registry brings every decoded body into.
pub fn finish(value: &mut Value, expected: &Expected) {
    value.set("kind", expected.gvk.kind.as_str());
    value.set("apiVersion", expected.gvk.group_version().to_string());
    document::default::apply(value, expected.type_, expected.defaults);
    document::normalize(value, expected.type_);
}

/// Normal form is stable and JSON keeps it. (What was just decoded still tells empty from absent.)
pub fn check_normal(value: &Value, type_: &'static Type) {
    let mut normal = value.clone();
    document::normalize(&mut normal, type_);
    let text = json::to_string(&normal);
    let mut again = normal.clone();
    document::normalize(&mut again, type_);
    assert_eq!(json::to_string(&again), text, "normalized twice");
    let read = document::decode(text.as_bytes(), type_).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert!(read.problems.is_empty(), "{:?}: {text}", read.problems);
    let mut again = read.value;
    document::normalize(&mut again, type_);
    assert_eq!(json::to_string(&again), text, "read again");
}

/// Protobuf keeps what it can tell apart; what it keeps is encoded to the same bytes again.
pub fn check_protobuf(value: &Value, type_: &'static Type) {
    if type_.message.is_none() {
        return;
    }
    let mut value = value.clone();
    // they stand in the envelope
    value.remove("kind");
    value.remove("apiVersion");
    // defaults write them there, and protobuf has no place for them
    if let Some(claims) = value.get_mut("spec").and_then(|s| s.get_mut("volumeClaimTemplates")) {
        for claim in claims.as_list_mut().into_iter().flatten() {
            claim.remove("kind");
            claim.remove("apiVersion");
        }
    }
    let bytes = document::proto::encode(&value, type_).expect("encodes");
    let mut back = document::proto::decode(&bytes, type_).expect("decodes what was encoded");
    document::normalize(&mut back, type_);
    assert_eq!(json::to_string(&blur(&back)), json::to_string(&blur(&value)), "over protobuf");
    assert_eq!(document::proto::encode(&back, type_).expect("encodes"), bytes, "protobuf again");
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

/// A store in which nothing has happened.
pub fn empty_view() -> store::View {
    struct Never;
    impl store::Sealed for Never {
        fn into_transaction(self) -> store::Transaction {
            store::Transaction::default()
        }
    }
    let reseal = std::sync::Arc::new(|_, _, _| Err("nothing is replayed".to_owned()));
    let opened = store::Store::open::<Never>(Box::new(store::log::Null), reseal, store::Options::default());
    opened.expect("a store").0.view()
}
