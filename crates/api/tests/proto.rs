//! Protobuf along the tables, byte for byte: answers of a real kube-apiserver v1.37.2 in both encodings (`fixtures`, and
//! a larger folder of such pairs where `LANYARD_PROTO_DIR` names one).

use document::{Value, decode, json, normalize, proto};

fn type_of(object: &Value) -> Option<&'static document::Type> {
    let api_version = object["apiVersion"].str();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    api::type_by_kind(group, version, object["kind"].str()).filter(|t| t.message.is_some())
}

fn finished(mut value: Value, type_: &'static document::Type, api_version: &str, kind: &str) -> Value {
    document::default::apply(&mut value, type_, api::defaults_of(api_version, kind));
    normalize(&mut value, type_);
    value
}

#[track_caller]
fn round(body: &str) {
    let object = json::parse(body.as_bytes()).expect("JSON");
    let type_ = type_of(&object).expect("a message");
    let value = finished(decode(body.as_bytes(), type_).expect("decodes").value, type_, "", "");
    let bytes = proto::encode(&value, type_).expect("encodes");
    let mut back = proto::decode(&bytes, type_).expect("decodes");
    back.set("kind", object["kind"].str());
    back.set("apiVersion", object["apiVersion"].str());
    let back = finished(back, type_, "", "");
    assert_eq!(json::to_string(&value), json::to_string(&back));
}

#[test]
fn objects_go_there_and_back() {
    round(
        r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","creationTimestamp":"2026-01-01T00:00:00Z","labels":{"b":"2","a":"1"}},"spec":{"containers":[{"name":"c","image":"i","env":[{"name":"A","valueFrom":{"configMapKeyRef":{"name":"m","key":"k"}}}],"resources":{"limits":{"cpu":"100m"}},"livenessProbe":{"httpGet":{"port":"http"}},"securityContext":{"runAsUser":0,"privileged":false}}],"nodeSelector":{"x":"y"}}}"#,
    );
    round(r#"{"kind":"Secret","apiVersion":"v1","data":{"a":"AAECAw==","b":""},"type":"Opaque"}"#);
    round(
        r#"{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","spec":{"renewTime":"2026-01-01T00:00:00.000123Z","leaseTransitions":0}}"#,
    );
    round(
        r#"{"kind":"Role","apiVersion":"rbac.authorization.k8s.io/v1","rules":[{"verbs":["get"],"resources":["pods"]}]}"#,
    );
    round(
        r#"{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","spec":{"group":"g","names":{"plural":"p","kind":"P"},"scope":"Namespaced","versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"a":{"items":{"type":"string"},"default":[1,{"x":null}]},"b":{"additionalProperties":true},"c":{"additionalProperties":{"type":"integer"}}}}}}]}}"#,
    );
    round(
        r#"{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0,"preconditions":{"uid":"u"},"propagationPolicy":"Orphan"}"#,
    );
    round(
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"m","reason":"NotFound","details":{"name":"n","kind":"pods"},"code":404}"#,
    );
    round(
        r#"{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","spec":{"audiences":["a"],"expirationSeconds":600,"boundObjectRef":null}}"#,
    );
}

/// A message of a ConfigMap, as what is read of it or why it is none.
#[track_caller]
fn config_map(message: &[u8], wanted: Result<&str, &str>) {
    let type_ = api::type_by_kind("", "v1", "ConfigMap").expect("a type");
    let read = proto::decode(message, type_).map(|value| json::to_string(&value)).map_err(|e| e.to_string());
    assert_eq!(read.as_deref().map_err(String::as_str), wanted, "{message:x?}");
}

#[test]
fn messages_are_read_and_refused_as_upstream_s_generated_code_does() {
    let named = r#"{"metadata":{"name":"a"}}"#;
    config_map(b"\x0a\x03\x0a\x01a", Ok(named));
    // unknown fields of every wire type, a group with a group in it
    config_map(b"\x0a\x03\x0a\x01a\x98\x06\x07\x9a\x06\x01x\x9d\x06abcd\x99\x06abcdefgh", Ok(named));
    config_map(b"\x0a\x03\x0a\x01a\x9b\x06\x20\x04\x93\x06\x94\x06\x9c\x06", Ok(named));
    // a message that comes twice adds to the first; of a map's key the last value counts
    config_map(b"\x0a\x03\x0a\x01a\x0a\x03\x2a\x01u", Ok(r#"{"metadata":{"name":"a","uid":"u"}}"#));
    config_map(b"\x12\x06\x0a\x01k\x12\x011\x12\x06\x0a\x01k\x12\x012", Ok(r#"{"data":{"k":"2"}}"#));
    config_map(b"\x12\x03\x0a\x01k", Ok(r#"{"data":{"k":""}}"#));

    let eof = Err("unexpected EOF");
    config_map(b"\x0a\x03\x0a", eof);
    config_map(b"\x12\xff", eof);
    config_map(b"\x9b\x06", eof);
    config_map(b"\x12\x02\x08\x03", eof);
    config_map(b"\x08\x05", Err("proto: wrong wireType = 0 for field ObjectMeta"));
    config_map(b"\x10\x05", Err("proto: wrong wireType = 0 for field Data"));
    config_map(b"\x13", Err("proto: wrong wireType = 3 for field Data"));
    config_map(b"\x0a\x02\x28\x03", Err("proto: wrong wireType = 0 for field UID"));
    config_map(b"\x4f", Err("proto: illegal wireType 7"));
    config_map(b"\x02\x01a", Err("proto: ConfigMap: illegal tag 0 (wire type 2)"));
    config_map(b"\x9c\x06", Err("proto: ConfigMap: wiretype end group for non-group"));
    config_map(
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        Err("proto: negative length found during unmarshaling"),
    );
    config_map(b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Err("proto: integer overflow"));
}

/// What JSON does not say: a list's own order, the text of raw data, kinds that protobuf drops.
fn is_inexact(kind: &str) -> bool {
    ["ControllerRevision", "StatefulSet", "ComponentStatus"].iter().any(|k| kind.starts_with(k))
}

#[test]
fn a_real_server_s_bytes_are_made_and_read() {
    compare(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"));
    if let Ok(dir) = std::env::var("LANYARD_PROTO_DIR") {
        compare(&dir);
    }
}

/// Where two texts part, with a little around it.
fn difference(ours: &str, wanted: &str) -> String {
    let at = ours.char_indices().zip(wanted.chars()).find(|((_, a), b)| a != b).map_or(0, |((at, _), _)| at);
    let start = (0..=at.saturating_sub(60)).rev().find(|&n| ours.is_char_boundary(n)).unwrap_or(0);
    let piece = |text: &str| text.get(start..).unwrap_or_default().chars().take(120).collect::<String>();
    format!("{} | {}", piece(ours), piece(wanted))
}

fn compare(dir: &str) {
    let (mut encoded, mut decoded, mut failures) = (0, 0, Vec::new());
    for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let text = std::fs::read(&path).expect("readable");
        let bytes = std::fs::read(path.with_extension("pb")).expect("readable");
        let object = json::parse(&text).expect("JSON");
        let Some(type_) = type_of(&object).filter(|_| !is_inexact(object["kind"].str())) else { continue };
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let (api_version, kind) = (object["apiVersion"].str(), object["kind"].str());
        let envelope = proto::unwrap(&bytes).expect("an envelope");
        assert_eq!((&*envelope.api_version, &*envelope.kind), (api_version, kind));
        let mut value = decode(&text, type_).expect("decodes").value;
        normalize(&mut value, type_);
        let mut own = json::to_vec(&value);
        own.push(b'\n');
        if own != text {
            failures.push(format!(
                "{name} JSON: {}",
                difference(&json::to_string(&value), &String::from_utf8_lossy(&text))
            ));
        }
        if let Ok(yaml) = std::fs::read_to_string(path.with_extension("yaml")) {
            // custom order of keys, block scalars and quotes are go-yaml's
            let own = document::yaml::to_string(&value);
            if own != yaml {
                let differs = own.lines().zip(yaml.lines()).find(|(a, b)| a != b);
                failures.push(format!("{name} YAML: {differs:?}"));
            }
        }
        if proto::wrap(api_version, kind, &proto::encode(&value, type_).expect("encodes")) == bytes {
            encoded += 1;
        } else {
            failures.push(format!("{name}: other bytes"));
        }
        let mut back = proto::decode(envelope.raw, type_).expect("decodes");
        back.set("kind", kind);
        back.set("apiVersion", api_version);
        normalize(&mut back, type_);
        if back["items"].is_null() && value["items"].is_empty() {
            // a list without items: null and empty are one on the wire
            if let Some(items) = back.get_mut("items") {
                *items = value["items"].clone();
            }
        }
        if json::to_string(&back) == json::to_string(&value) {
            decoded += 1;
        } else {
            failures.push(format!("{name} decoded: {}", difference(&json::to_string(&back), &json::to_string(&value))));
        }
    }
    eprintln!("{encoded} encoded, {decoded} decoded, {} failures", failures.len());
    failures.iter().take(60).for_each(|f| eprintln!("{f}"));
    assert!(failures.is_empty());
}
