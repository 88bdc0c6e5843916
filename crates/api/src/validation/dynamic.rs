//! Dynamic resources: claims, slices and taint rules. Names, references and what excludes one another; selectors in CEL
//! are not looked at.

use std::collections::BTreeSet;

use document::Value;
use meta::field::{Error, Path, Shown};
use meta::names;

use super::check::{Check, each, same};

pub(super) fn taint_rule(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    if let Some(driver) = spec["deviceSelector"]["driver"].as_str() {
        driver_name(&mut check, driver, &path.child("deviceSelector").child("driver"));
    }
    let (taint, at) = (&spec["taint"], path.child("taint"));
    let key = taint["key"].str();
    check.format(&at.child("key"), key, &names::label_key(key));
    check.format(&at.child("value"), taint["value"].str(), &names::label_value(taint["value"].str()));
    check.one_of(&at.child("effect"), taint["effect"].str(), &["NoExecute", "NoSchedule", "None"]);
    check.errors
}

fn driver_name(check: &mut Check, name: &str, path: &Path) {
    check.named(path, name, names::dns1123_subdomain);
}

pub(super) fn claim(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    devices(&mut check, &object["spec"]["devices"], &Path::from("spec.devices"));
    check.errors
}

pub(super) fn claim_template(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    devices(&mut check, object.at(["spec", "spec", "devices"]), &Path::from("spec.spec.devices"));
    check.errors
}

/// The spec of a claim or a template stays.
pub(super) fn immutable_spec(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    if !same(&new["spec"], &old["spec"]) {
        check.invalid(&Path::root("spec"), Shown::null(), "field is immutable");
    }
    check.errors
}

fn devices(check: &mut Check, devices: &Value, path: &Path) {
    let mut known = BTreeSet::new();
    for request in devices["requests"].items() {
        let name = request["name"].str();
        known.insert(name.to_owned());
        known.extend(request["firstAvailable"].items().iter().map(|sub| format!("{name}/{}", sub["name"].str())));
    }
    for (at, request) in each(&devices["requests"], &path.child("requests")) {
        self::request(check, request, &at);
    }
    for (at, constraint) in each(&devices["constraints"], &path.child("constraints")) {
        for (at, name) in each(&constraint["requests"], &at.child("requests")) {
            reference(check, name.str(), &known, &at);
        }
        let of = |field: &str| constraint[field].as_str().map(|name| (at.child(field), name.to_owned()));
        match of("matchAttribute").or_else(|| of("distinctAttribute")) {
            Some((at, name)) if !name.contains('/') => {
                check.invalid(&at, &name, "a fully qualified name must be a domain and a name separated by a slash");
            }
            Some(_) => {}
            None => check.required(
                &at,
                "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
            ),
        }
    }
    for (at, config) in each(&devices["config"], &path.child("config")) {
        for (at, name) in each(&config["requests"], &at.child("requests")) {
            reference(check, name.str(), &known, &at);
        }
    }
}

fn request(check: &mut Check, request: &Value, path: &Path) {
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    let name = request["name"].str();
    check.named(&path.child("name"), name, names::dns1123_label);
    let (exactly, several) = (&request["exactly"], &request["firstAvailable"]);
    match (exactly.is_null(), several.is_empty()) {
        (true, true) => check.required(path, ONE),
        (false, false) => check.invalid(path, Shown::null(), &format!("{ONE}, but multiple fields are set")),
        (false, true) => class(check, exactly, &path.child("exactly")),
        (true, false) => {
            for (at, sub) in each(several, &path.child("firstAvailable")) {
                check.named(&at.child("name"), sub["name"].str(), names::dns1123_label);
                class(check, sub, &at);
            }
        }
    }
}

fn class(check: &mut Check, request: &Value, path: &Path) {
    check.named(&path.child("deviceClassName"), request["deviceClassName"].str(), names::dns1123_subdomain);
}

fn reference(check: &mut Check, name: &str, known: &BTreeSet<String>, path: &Path) {
    const DETAIL: &str =
        "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() <= 2 {
        parts.iter().for_each(|part| check.named(path, part, names::dns1123_label));
    }
    if !known.contains(name) {
        check.invalid(path, name, DETAIL);
    }
}

pub(super) fn slice(object: &Value) -> Vec<Error> {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    driver_name(&mut check, spec["driver"].str(), &path.child("driver"));
    let (pool, at) = (&spec["pool"], path.child("pool"));
    if pool["name"].str().is_empty() {
        check.required(&at.child("name"), "");
    } else {
        for part in pool["name"].str().split('/') {
            check.format(&at.child("name"), part, &names::dns1123_subdomain(part));
        }
    }
    let (count, generation) = (pool["resourceSliceCount"].as_i64().unwrap_or(0), pool["generation"].as_i64());
    if count <= 0 {
        check.invalid(&at.child("resourceSliceCount"), count, "must be greater than zero");
    }
    if let Some(n) = generation.filter(|n| *n < 0) {
        check.invalid(&at.child("generation"), n, "must be greater than or equal to zero");
    }
    let mut set = Vec::new();
    match spec["nodeName"].as_str() {
        Some("") => {
            let detail = "must be either unset or set to a non-empty string";
            check.invalid(&path.child("nodeName"), "", detail);
        }
        Some(name) => {
            set.push("`nodeName`");
            check.format(&path.child("nodeName"), name, &names::dns1123_subdomain(name));
        }
        None => {}
    }
    if !spec["nodeSelector"].is_null() {
        set.push("`nodeSelector`");
    }
    for (field, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        match spec[field].as_bool() {
            Some(true) => set.push(shown),
            Some(false) => check.invalid(&path.child(field), false, "must be either unset or set to true"),
            None => {}
        }
    }
    match set.len() {
        0 => check.required(&path, ONE),
        1 => {}
        _ => {
            let value = format!("{{{}}}", set.join(", "));
            check.invalid(&path, &value, &format!("{ONE}, but multiple fields are set"));
        }
    }
    check.errors
}

pub(super) fn slice_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check { errors: slice(new) };
    let (now, before, path) = (&new["spec"], &old["spec"], Path::root("spec"));
    check.immutable(&path.child("pool").child("name"), &now["pool"]["name"], &before["pool"]["name"]);
    for field in ["driver", "nodeName"] {
        check.immutable(&path.child(field), &now[field], &before[field]);
    }
    check.errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn a_claim_names_its_requests_and_their_classes() {
        let object = doc!({"spec": {"devices": {
            "requests": [{"name": "a", "exactly": {"deviceClassName": "c"}}, {"name": "b"}],
            "constraints": [{"requests": ["a", "z"], "matchAttribute": "d.example.com/x"}],
        }}});
        let said: Vec<String> = claim(&object).iter().map(|e| e.to_string()).collect();
        assert_eq!(
            said,
            [
                "spec.devices.requests[1]: Required value: exactly one of `exactly` or `firstAvailable` is required",
                "spec.devices.constraints[0].requests[1]: Invalid value: \"z\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
            ]
        );
        assert_eq!(slice(&doc!({"spec": {}})).len(), 4);
    }
}
