//! Kinds with few rules: events, addresses, CSI objects, attachments, flow control.

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
        check.immutable(&Path::root(shown), &new[field], &old[field]);
    }
    check.errors
}

fn series(check: &mut Check, object: &Value) {
    let series = &object["series"];
    if !series.is_null() && series["count"].as_i64().unwrap_or_default() < 2 {
        check.invalid(&Path::root("series.count"), "", "should be at least 2");
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
    for field in ["resource", "name"] {
        if parent[field].str().is_empty() {
            check.required(&at.child(field), "");
        }
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
        if let Some(n) = request["expirationSeconds"].as_i64().filter(|n| *n < 600) {
            check.invalid(&at.child("expirationSeconds"), n, "may not specify a duration less than 10 minutes");
        }
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
        for key in driver["topologyKeys"].items() {
            check.format(&at, key.str(), &names::label_key(key.str()));
        }
    }
    check.errors
}

pub(super) fn csi_capacity(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let class = object["storageClassName"].str();
    check.format(&Path::root("storageClassName"), class, &names::dns1123_subdomain(class));
    check.label_selector(&Path::root("nodeTopology"), &object["nodeTopology"]);
    for field in ["capacity", "maximumVolumeSize"] {
        check.non_negative_quantity(&Path::root(field), &object[field]);
    }
    check.errors
}

pub(super) fn csi_capacity_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    for field in ["nodeTopology", "storageClassName"] {
        check.immutable(&Path::root(field), &new[field], &old[field]);
    }
    check.errors
}

pub(super) fn attachment(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let source = &spec["source"];
    let (inline, name) = (&source["inlineVolumeSpec"], &source["persistentVolumeName"]);
    if inline.is_null() == name.is_null() {
        let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
        if inline.is_null() {
            check.required(&path.child("source"), detail);
        } else {
            check.forbidden(&path.child("source"), detail);
        }
    }
    let node = spec["nodeName"].str();
    check.format(&path.child("nodeName"), node, &names::dns1123_subdomain(node));
    csi_driver_name(&mut check, spec["attacher"].str(), &path.child("attacher"));
    check.errors
}

pub(super) fn attachment_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    if !same(&new["spec"], &old["spec"]) {
        check.invalid(&Path::root("spec"), Shown::null(), "field is immutable");
    }
    check.errors
}

pub(super) fn attributes_class(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    check.named(&Path::root("driverName"), object["driverName"].str(), names::dns1123_subdomain);
    if object["parameters"].is_empty() {
        check.required(&Path::root("parameters"), "must contain at least one key/value pair");
    }
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
    check.errors
}

pub(super) fn migration(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    if object.at(["spec", "resource", "resource"]).str().is_empty() {
        check.required(&Path::from("spec.resource.resource"), "resource is required to be set");
    }
    check.errors
}

pub(super) fn priority_level(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let kind = spec["type"].str();
    check.one_of(&path.child("type"), kind, &["Exempt", "Limited"]);
    if kind != "Limited" {
        return check.errors;
    }
    let (limited, at) = (&spec["limited"], path.child("limited"));
    if limited.is_null() {
        check.required(&at, "");
        return check.errors;
    }
    if let Some(n) = limited["nominalConcurrencyShares"].as_i64().filter(|n| *n < 0) {
        check.invalid(&at.child("nominalConcurrencyShares"), n, "must be a non-negative integer");
    }
    limit_response(&mut check, &limited["limitResponse"], &at.child("limitResponse"));
    if let Some(n) = limited["lendablePercent"].as_i64().filter(|n| !(0..=100).contains(n)) {
        check.invalid(&at.child("lendablePercent"), n, "must be between 0 and 100, inclusive");
    }
    if let Some(n) = limited["borrowingLimitPercent"].as_i64().filter(|n| *n < 0) {
        check.invalid(&at.child("borrowingLimitPercent"), n, "if specified, must be a non-negative integer");
    }
    check.errors
}

fn limit_response(check: &mut Check, response: &Value, at: &Path) {
    let queuing = &response["queuing"];
    check.one_of(&at.child("type"), response["type"].str(), &["Queue", "Reject"]);
    let at = at.child("queuing");
    match (response["type"].str(), queuing.is_null()) {
        ("Reject", false) => check.forbidden(&at, "must be nil if limited.limitResponse.type is not Limited"),
        ("Queue", true) => check.required(&at, ""),
        ("Queue", false) => {
            for field in ["queueLengthLimit", "queues", "handSize"] {
                let n = queuing[field].as_i64().unwrap_or_default();
                if n <= 0 {
                    check.invalid(&at.child(field), n, "must be positive");
                }
            }
            let (queues, hand) =
                (queuing["queues"].as_i64().unwrap_or_default(), queuing["handSize"].as_i64().unwrap_or_default());
            if hand > queues {
                check.invalid(&at.child("handSize"), hand, &format!("should not be greater than queues ({queues})"));
            }
        }
        _ => {}
    }
}
