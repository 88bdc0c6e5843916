//! Apply and field management along the real type tables.

use document::apply::{self, ApplyError, Served, Versions, Write};
use document::{Value, doc};

/// The kinds here are served in one version.
struct OneVersion;

impl Versions for OneVersion {
    fn find(&self, _version: &str) -> Option<Served> {
        None
    }

    fn convert(&self, object: &Value, _from: &str, _to: &str) -> Value {
        object.clone()
    }
}

fn write<'a>(type_: &'static document::Type, version: &'a str, manager: &'a str, now: &'a str) -> Write<'a> {
    Write { type_, version, subresource: "", manager, now, reset: &["status"], versions: &OneVersion }
}

fn type_of(kind: &str) -> &'static document::Type {
    api::type_by_kind("", "v1", kind).expect("a core kind")
}

fn config_map(data: Value) -> Value {
    doc!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": data})
}

fn applied(manager: &str, live: Option<&Value>, patch: &Value, force: bool) -> Result<Value, ApplyError> {
    let kind = type_of(patch["kind"].str());
    let tree = apply::apply(&write(kind, "v1", manager, "2020-01-01T00:00:00Z"), live, patch, force)?;
    let mut value = document::convert(tree, kind).expect("fits its type").value;
    document::normalize(&mut value, kind);
    Ok(value)
}

fn managed(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].items();
    entries.iter().find(|e| e["manager"].str() == manager).map(|e| e["fieldsV1"].clone()).unwrap_or_default()
}

#[test]
fn a_field_that_is_no_longer_applied_goes_and_a_shared_one_stays() {
    let one = applied("one", None, &config_map(doc!({"x": "1", "y": "1"})), false).expect("created");
    assert_eq!(managed(&one, "one"), doc!({"f:data": {"f:x": {}, "f:y": {}}}));
    let two = applied("two", Some(&one), &config_map(doc!({"x": "1"})), false).expect("shared");
    let three = applied("one", Some(&two), &config_map(doc!({})), false).expect("given up");
    assert_eq!(three["data"], doc!({"x": "1"}));
    assert_eq!(managed(&three, "two"), doc!({"f:data": {"f:x": {}}}));
}

#[test]
fn a_field_of_somebody_else_is_a_conflict_unless_forced() {
    let one = applied("one", None, &config_map(doc!({"x": "1", "y": "1"})), false).expect("created");
    let patch = config_map(doc!({"x": "2", "y": "2"}));
    let refused = applied("two", Some(&one), &patch, false).expect_err("a conflict");
    assert_eq!(refused.to_string(), "Apply failed with 2 conflicts: conflicts with \"one\":\n- .data.x\n- .data.y");
    let two = applied("two", Some(&one), &patch, true).expect("forced");
    assert_eq!(two["data"], doc!({"x": "2", "y": "2"}));
    assert!(managed(&two, "one").is_null());
}

#[test]
fn what_does_not_fit_the_type_is_named_by_its_path() {
    let check = |patch: Value, want: &str| {
        let refused = applied("one", None, &patch, false).expect_err("refused").to_string();
        assert!(refused.ends_with(want), "{refused}");
    };
    check(config_map(doc!(["x"])), "(/a; /v1, Kind=ConfigMap): .data: expected map, got &{[x]}");
    check(config_map(doc!({"x": 1})), ".data.x: expected string, got &value.valueUnstructured{Value:1}");
    check(doc!({"kind": "ConfigMap", "apiVersion": "v1", "zz": 1}), ".zz: field not declared in schema");
    let twice = doc!({"kind": "Pod", "apiVersion": "v1", "spec": {"containers": [{"name": "c"}, {"name": "c"}]}});
    check(twice, ".spec.containers: duplicate entries for key [name=\"c\"]");
}

#[test]
fn list_items_are_owned_by_their_keys_and_defaults_of_keys_count() {
    let port = |ports: Value| {
        doc!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"},
            "spec": {"containers": [{"name": "c", "image": "i", "ports": ports}]}})
    };
    let one = applied("one", None, &port(doc!([{"containerPort": 80}])), false).expect("created");
    let two =
        applied("two", Some(&one), &port(doc!([{"containerPort": 80, "protocol": "UDP"}])), false).expect("added");
    assert_eq!(two["spec"]["containers"][0]["ports"].items().len(), 2);
    let text = document::json::to_string(&managed(&two, "one"));
    assert!(
        text.contains(r#""k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}"#),
        "{text}"
    );
}

#[test]
fn the_eleventh_updater_folds_the_oldest_two() {
    let kind = type_of("ConfigMap");
    let mut live = config_map(doc!({"k": "0"}));
    apply::update(&write(kind, "v1", "m00", "2020-01-01T00:00:00Z"), None, &mut live);
    for n in 1..11 {
        let mut new = live.clone();
        new.entry("data").set(format!("k{n:02}"), "v");
        let (name, now) = (format!("m{n:02}"), format!("2020-01-01T00:00:{n:02}Z"));
        apply::update(&write(kind, "v1", &name, &now), Some(&live), &mut new);
        live = new;
    }
    assert_eq!(live["metadata"]["managedFields"].items().len(), 10);
    assert_eq!(managed(&live, "ancient-changes"), doc!({"f:data": {".": {}, "f:k": {}, "f:k01": {}}}));
}

#[test]
fn a_write_that_changes_nothing_leaves_managed_fields_alone() {
    let kind = type_of("ConfigMap");
    let mut live = config_map(doc!({"k": "0"}));
    apply::update(&write(kind, "v1", "one", "2020-01-01T00:00:00Z"), None, &mut live);
    let mut same = live.clone();
    same.entry("metadata").remove("managedFields");
    apply::update(&write(kind, "v1", "two", "2020-01-01T00:00:09Z"), Some(&live), &mut same);
    assert!(apply::settle(&mut same, &live));
    let mut reset = live.clone();
    reset.entry("metadata").set("managedFields", doc!([{}]));
    apply::update(&write(kind, "v1", "two", "2020-01-01T00:00:09Z"), Some(&live), &mut reset);
    assert!(reset["metadata"]["managedFields"].is_null());
}

#[test]
fn before_the_first_apply_everything_belonged_to_nobody_by_name() {
    let live = config_map(doc!({"x": "1"}));
    let two = applied("two", Some(&live), &config_map(doc!({"y": "2"})), false).expect("applied");
    assert_eq!(managed(&two, "before-first-apply"), doc!({"f:data": {".": {}, "f:x": {}}}));
    assert_eq!(managed(&two, "two"), doc!({"f:data": {"f:y": {}}}));
}
