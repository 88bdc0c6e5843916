//! Kinds with few rules: events, addresses, CSI objects, attachments.

use std::collections::BTreeSet;

use document::Value;
use meta::field::{Error, Path, Shown};
use meta::names;

use super::address::legacy_cidr;
use super::check::{Check, each, same};
use super::pod::csi_driver_name;
use super::shown;
use crate::ResourceType;

/// Events of both groups; the newer one asks for more.
pub(super) fn event(resource: &ResourceType, object: &Value) -> Vec<Error> {
    let mut check = Check { errors: legacy_event(resource, object) };
    if resource.group == "events.k8s.io" {
        newer_event(&mut check, object);
    }
    check.errors
}

/// An event of the newer group stays as it was made, but for its series.
pub(super) fn newer_event_update(resource: &ResourceType, new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check { errors: legacy_event(resource, new) };
    if !same(&new["series"], &old["series"]) {
        series(&mut check, new);
    }
    let fields = [
        ("regarding", "involvedObject"),
        ("reason", "reason"),
        ("note", "message"),
        ("deprecatedSource", "source"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ];
    for (field, shown) in fields {
        let (path, now, before) = (Path::root(shown), &new[field], &old[field]);
        match field {
            "regarding" => check.immutable_as(&path, now, before, "io.k8s.api.core.v1.ObjectReference"),
            "related" if !now.is_null() => {
                check.immutable_as(&path, now, before, "io.k8s.api.core.v1.ObjectReference");
            }
            "deprecatedSource" => check.immutable_as(&path, now, before, "io.k8s.api.core.v1.EventSource"),
            "deprecatedCount" if now.is_null() && !before.is_null() => {
                check.invalid(&path, 0, "field is immutable");
            }
            "related" | "deprecatedCount" | "eventTime" | "deprecatedFirstTimestamp" | "deprecatedLastTimestamp" => {
                check.immutable(&path, now, before);
            }
            _ => check.immutable_text(&path, now, before),
        }
    }
    check.errors
}

fn series(check: &mut Check, object: &Value) {
    let series = &object["series"];
    if !series.is_null() && series["count"].as_i64().unwrap_or_default() < 2 {
        check.invalid(&Path::root("series.count"), "", "should be at least 2");
    }
    if !series.is_null() && series["lastObservedTime"].is_null() {
        check.required(&Path::root("series.lastObservedTime"), "");
    }
}

/// What both groups ask for, on create and update.
pub(super) fn legacy_event(resource: &ResourceType, object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let newer = resource.group == "events.k8s.io";
    let subject = if newer { "regarding" } else { "involvedObject" };
    let reporter = if newer { "reportingController" } else { "reportingComponent" };
    let (namespace, own) = (object[subject]["namespace"].str(), object["metadata"]["namespace"].str());
    let mut mismatch =
        || check.invalid(&Path::from("involvedObject.namespace"), namespace, "does not match event.namespace");
    if object["eventTime"].is_null() {
        if (namespace.is_empty() && !own.is_empty() && own != "default") || (!namespace.is_empty() && namespace != own)
        {
            mismatch();
        }
    } else {
        if namespace.is_empty() && own != "default" && own != "kube-system" {
            mismatch();
        }
        let controller = object[reporter].str();
        if controller.is_empty() {
            check.required(&Path::root(reporter), "");
        }
        check.format(&Path::root(reporter), controller, &names::label_key(controller));
        let texts = [("reportingInstance", 128, true), ("action", 128, true), ("reason", 128, true)];
        for (field, most, required) in texts {
            let text = object[field].str();
            if required && text.is_empty() {
                check.required(&Path::root(field), "");
            }
            if text.len() > most {
                check.invalid(&Path::root(field), "", &format!("can have at most {most} characters"));
            }
        }
        let message = object[if newer { "note" } else { "message" }].str();
        if message.len() > 1024 {
            check.invalid(&Path::root("message"), "", "can have at most 1024 characters");
        }
    }
    check.errors
}

fn newer_event(check: &mut Check, object: &Value) {
    series(check, object);
    if object["eventTime"].is_null() {
        check.required(&Path::root("eventTime"), "");
    }
    let kind = object["type"].str();
    if !matches!(kind, "Normal" | "Warning") {
        check.invalid(&Path::root("type"), "", &format!("has invalid value: {kind}"));
    }
    let unset = [
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("deprecatedSource", "source"),
    ];
    for (_, shown) in unset.iter().filter(|(f, _)| !object[*f].is_empty() && object[*f].as_i64() != Some(0)) {
        check.invalid(&Path::root(shown), "", "needs to be unset");
    }
}

pub(super) fn ip_address(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (parent, at) = (&object["spec"]["parentRef"], Path::from("spec.parentRef"));
    if parent.is_null() {
        check.required(&at, "");
        return check.errors;
    }
    let group = parent["group"].str();
    if !group.is_empty() {
        check.format(&at.child("group"), group, &names::dns1123_subdomain(group));
    }
    for field in ["resource", "name", "namespace"] {
        match parent[field].str() {
            "" if field == "namespace" => {}
            "" => check.required(&at.child(field), ""),
            text => check.format(&at.child(field), text, &names::path_segment(text)),
        }
    }
    check.errors
}

pub(super) fn ip_address_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check { errors: ip_address(new) };
    if new["spec"]["parentRef"] != old["spec"]["parentRef"] {
        check.invalid(&Path::from("spec.parentRef"), Shown::null(), "field is immutable");
    }
    check.errors
}

pub(super) fn service_cidr(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (cidrs, at) = (&object["spec"]["cidrs"], Path::from("spec.cidrs"));
    match cidrs.items().len() {
        0 => check.required(&at, "at least one CIDR required"),
        1 | 2 => {
            for (at, cidr) in each(cidrs, &at) {
                if let Some(why) = legacy_cidr(cidr.str()) {
                    check.invalid(&at, cidr.str(), why);
                }
            }
            let families: BTreeSet<bool> = cidrs.items().iter().map(|c| c.str().contains(':')).collect();
            if cidrs.items().len() == 2 && families.len() == 1 && check.errors.is_empty() {
                check.invalid(
                    &at,
                    shown(cidrs),
                    "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96",
                );
            }
        }
        _ => {
            let value = super::internal::shown_as(&object["spec"], "io.k8s.api.networking.v1.ServiceCIDRSpec");
            check.invalid(&at, value, "may only hold up to 2 values");
        }
    }
    check.errors
}

/// A range stays; a second one may be added.
pub(super) fn service_cidr_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (now, before) = (&new["spec"]["cidrs"], old["spec"]["cidrs"].items());
    let at = Path::from("spec.cidrs");
    match (before.len(), now.items().len()) {
        (1, 2) => {
            if now[0] != before[0] {
                check.invalid(&at.index(0), shown(&now[0]), "field is immutable");
            }
            check.errors.extend(service_cidr(new));
        }
        (a, b) if a == b => {
            for (n, cidr) in before.iter().enumerate().filter(|(n, c)| now[*n] != **c) {
                let _ = cidr;
                check.invalid(&at.index(n), shown(&now[n]), "field is immutable");
            }
        }
        _ => check.invalid(&at, shown(now), "field is immutable"),
    }
    check.errors
}

pub(super) fn csi_driver(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    csi_driver_name(&mut check, object["metadata"]["name"].str(), &Path::root("metadata").child("name"));
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    check.optional_one_of(&path.child("fsGroupPolicy"), &spec["fsGroupPolicy"], &policies);
    let mut seen = BTreeSet::new();
    for (at, request) in each(&spec["tokenRequests"], &path.child("tokenRequests")) {
        let audience = request["audience"].str();
        if !seen.insert(audience) {
            check.push(Error::duplicate(&at.child("audience"), audience));
            continue;
        }
        let (expiry, at) = (request["expirationSeconds"].as_i64(), at.child("expirationSeconds"));
        if let Some(n) = expiry.filter(|n| *n < 600) {
            check.invalid(&at, n, "may not specify a duration less than 10 minutes");
        }
        if let Some(n) = expiry.filter(|n| *n > 1 << 32) {
            check.invalid(&at, n, "may not specify a duration larger than 2^32 seconds");
        }
    }
    if let Some(n) = spec["nodeAllocatableUpdatePeriodSeconds"].as_i64().filter(|n| *n < 10) {
        let at = path.child("nodeAllocatableUpdatePeriodSeconds");
        check.invalid(&at, n, "must be greater than or equal to 10 seconds");
    }
    for mode in spec["volumeLifecycleModes"].items() {
        let modes = ["Persistent", "Ephemeral"];
        if !modes.contains(&mode.str()) {
            check.push(Error::not_supported(&path.child("volumeLifecycleModes"), mode.str(), &modes));
        }
    }
    check.errors
}

pub(super) fn csi_driver_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check { errors: csi_driver(new) };
    let (now, before, path) = (&new["spec"], &old["spec"], Path::root("spec"));
    check.immutable(&path.child("attachedRequired"), &now["attachRequired"], &before["attachRequired"]);
    let field = "volumeLifecycleModes";
    check.immutable(&path.child(field), &now[field], &before[field]);
    check.errors
}

pub(super) fn csi_node(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let mut seen = BTreeSet::new();
    for (at, driver) in each(&object["spec"]["drivers"], &Path::from("spec.drivers")) {
        let (name, id) = (driver["name"].str(), driver["nodeID"].str());
        csi_driver_name(&mut check, name, &at.child("name"));
        if id.is_empty() {
            check.required(&at.child("nodeID"), "");
        } else if id.len() > 256 {
            check.invalid(&at.child("nodeID"), id, "must be 256 characters or less");
        }
        check.non_negative(&at.child("allocatable").child("count"), &driver["allocatable"]["count"]);
        if !seen.insert(name) {
            check.push(Error::duplicate(&at.child("name"), name));
        }
        let mut keys = BTreeSet::new();
        for key in driver["topologyKeys"].items().iter().map(Value::str) {
            if key.is_empty() {
                check.required(&at, "");
            }
            if !keys.insert(key) {
                check.push(Error::duplicate(&at, key));
            }
            check.format(&at, key, &names::label_key(key));
        }
    }
    check.errors
}

/// What a driver says of a node stays, but for how many volumes it can take.
pub(super) fn csi_node_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check { errors: csi_node(new) };
    let fixed = |driver: &Value| {
        let mut driver = driver.clone();
        driver.remove("allocatable");
        driver
    };
    for before in old["spec"]["drivers"].items() {
        for now in new["spec"]["drivers"].items().iter().filter(|d| d["name"] == before["name"]) {
            let (now, before) = (fixed(now), fixed(before));
            check.immutable_as(&Path::from("spec.drivers"), &now, &before, "io.k8s.api.storage.v1.CSINodeDriver");
        }
    }
    check.errors
}

pub(super) fn csi_capacity(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let class = object["storageClassName"].str();
    check.format(&Path::root("storageClassName"), class, &names::dns1123_subdomain(class));
    check.label_selector(&Path::root("nodeTopology"), &object["nodeTopology"]);
    check.non_negative_quantity(&Path::root("capacity"), &object["capacity"]);
    check.errors
}

pub(super) fn csi_capacity_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check { errors: csi_capacity(new) };
    for field in ["nodeTopology", "storageClassName"] {
        check.immutable(&Path::root(field), &new[field], &old[field]);
    }
    check.errors
}

pub(super) fn attachment(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let (source, at) = (&spec["source"], path.child("source"));
    let (inline, name) = (&source["inlineVolumeSpec"], source["persistentVolumeName"].as_str());
    let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let name_at = at.child("persistentVolumeName");
    match (inline.is_null(), name) {
        (true, None) => check.required(&at, detail),
        (false, Some(_)) => check.forbidden(&at, detail),
        (true, Some("")) => check.required(&name_at, "must specify non empty persistentVolumeName"),
        (true, Some(_)) => {}
        (false, None) => super::storage::inline_volume(&mut check, inline, &at.child("inlineVolumeSpec")),
    }
    let node = spec["nodeName"].str();
    check.format(&path.child("nodeName"), node, &names::dns1123_subdomain(node));
    attachment_errors(&mut check, &object["status"], &Path::root("status"));
    if let Some(name) = name {
        check.format(&name_at, name, &names::dns1123_subdomain(name));
    }
    // upstream's generated rules come last
    csi_driver_name(&mut check, spec["attacher"].str(), &path.child("attacher"));
    check.errors
}

fn attachment_errors(check: &mut Check, status: &Value, path: &Path) {
    for field in ["attachError", "detachError"] {
        let (error, at) = (&status[field], path.child(field));
        if error["message"].str().len() > 1024 {
            check.push(Error::too_long_bytes(&at.child("message"), 1024));
        }
        if let Some(n) = error["errorCode"].as_i64().filter(|n| *n < 0) {
            check.invalid(&at.child("errorCode"), n, "must be between 0 and 2147483647, inclusive");
        }
    }
}

pub(super) fn attachment_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check { errors: attachment(new) };
    if !same(&new["spec"], &old["spec"]) {
        check.invalid(&Path::root("spec"), Shown::null(), "field is immutable");
    }
    check.errors
}

pub(super) fn attributes_class(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    super::storage::provisioner(&mut check, object["driverName"].str(), &Path::root("driverName"));
    if object["parameters"].is_empty() {
        check.required(&Path::root("parameters"), "must contain at least one key/value pair");
    }
    super::storage::parameters(&mut check, &object["parameters"]);
    check.errors
}

pub(super) fn attributes_class_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    if new["driverName"] != old["driverName"] {
        check.forbidden(&Path::root("driverName"), "updates to driverName are forbidden.");
    }
    if !same(&new["parameters"], &old["parameters"]) {
        check.forbidden(&Path::root("parameters"), "updates to parameters are forbidden.");
    }
    check.errors.extend(attributes_class(new));
    check.errors
}

pub(super) fn migration(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (resource, path) = (object.at(["spec", "resource"]), Path::from("spec.resource"));
    match resource["resource"].str() {
        "" => check.required(&path.child("resource"), "resource is required to be set"),
        name => check.format(&path.child("resource"), name, &names::dns1035_label(name)),
    }
    let group = resource["group"].str();
    if !group.is_empty() {
        check.format(&path.child("group"), group, &names::dns1123_subdomain(group));
    }
    check.errors
}

pub(super) fn migration_update(subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    if subresource == "status" {
        conditions(&mut check, &new["status"]["conditions"], &Path::from("status.conditions"));
        let (now, before) = (&new["status"]["resourceVersion"], &old["status"]["resourceVersion"]);
        if !before.str().is_empty() {
            check.immutable_text(&Path::from("status.resourceVersion"), now, before);
        }
        return check.errors;
    }
    check.errors.extend(migration(new));
    let type_name = "io.k8s.api.storagemigration.v1.StorageVersionMigrationSpec";
    check.immutable_as(&Path::root("spec"), &new["spec"], &old["spec"], type_name);
    check.errors
}

/// Conditions in the common form.
fn conditions(check: &mut Check, list: &Value, path: &Path) {
    const REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
    let mut seen = BTreeSet::new();
    for (at, condition) in each(list, path) {
        let (kind, reason) = (condition["type"].str(), condition["reason"].str());
        if !kind.is_empty() && !seen.insert(kind) {
            check.push(Error::duplicate(&at.child("type"), kind));
        }
        check.format(&at.child("type"), kind, &names::label_key(kind));
        if kind.is_empty() {
            check.required(&at.child("type"), "");
        }
        if !["True", "False", "Unknown"].contains(&condition["status"].str()) {
            let status = condition["status"].str();
            check.push(Error::not_supported(&at.child("status"), status, &["False", "True", "Unknown"]));
        }
        check.non_negatives(&at, condition, &["observedGeneration"]);
        if condition["lastTransitionTime"].is_null() {
            check.required(&at.child("lastTransitionTime"), "must be set");
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let good = reason.starts_with(|c: char| c.is_ascii_alphabetic())
            && reason.ends_with(word)
            && reason.chars().all(|c| word(c) || c == ',' || c == ':');
        if reason.is_empty() {
            check.required(&at.child("reason"), "must be set");
        } else if !good {
            check.invalid(&at.child("reason"), reason, REASON);
        }
    }
}

/// Each type of condition once, and named.
pub(super) fn condition_types(status: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let mut seen = BTreeSet::new();
    for (at, condition) in each(&status["conditions"], &Path::from("status.conditions")) {
        let kind = condition["type"].str();
        if !seen.insert(kind) {
            check.push(Error::duplicate(&at.child("type"), kind));
        }
        if kind.is_empty() {
            check.required(&at.child("type"), "");
        }
    }
    check.errors
}
