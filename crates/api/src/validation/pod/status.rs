//! A pod's status: what `/status` may say.

use document::Value;
use meta::field::Path;
use meta::names;

use crate::validation::check::{Check, each, same};

pub(super) fn update(check: &mut Check, new: &Value, old: &Value) {
    let path = Path::root("status");
    let (now, before) = (&new["status"], &old["status"]);
    for (at, condition) in each(&now["conditions"], &path.child("conditions")) {
        if let Some(n) = condition["observedGeneration"].as_i64().filter(|n| *n < 0) {
            check.invalid(&at.child("observedGeneration"), n, "must be greater than or equal to zero");
        }
    }
    if new["spec"]["nodeName"].str() != old["spec"]["nodeName"].str() {
        check.forbidden(&path.child("nodeName"), "may not be changed directly");
    }
    let nominated = now["nominatedNodeName"].str();
    if nominated != before["nominatedNodeName"].str() && !nominated.is_empty() {
        let at = path.child("nominatedNodeName");
        check.format(&at, nominated, &names::dns1123_subdomain(nominated));
        if !old["spec"]["nodeName"].str().is_empty() {
            check.forbidden(&at, "may not be set on pods that are already bound to a node");
        }
    }
    check.immutable(&path.child("qosClass"), &now["qosClass"], &before["qosClass"]);
    transitions(
        check,
        &now["containerStatuses"],
        &before["containerStatuses"],
        &old["spec"],
        &path.child("containerStatuses"),
    );
    addresses(check, now, &path);
}

/// A terminated container stays so when its policy does not restart it.
fn transitions(check: &mut Check, new: &Value, old: &Value, spec: &Value, path: &Path) {
    let policy = spec["restartPolicy"].str();
    if policy == "Always" || same(new, old) {
        return;
    }
    for before in old.items().iter().filter(|s| !s["state"]["terminated"].is_null()) {
        let name = before["name"].str();
        let container = spec["containers"].items().iter().find(|c| c["name"].str() == name);
        let own_policy = container.is_some_and(|c| !c["restartPolicy"].is_null());
        let failed = before["state"]["terminated"]["exitCode"].as_i64().unwrap_or_default() != 0;
        if own_policy || (failed && policy == "OnFailure") {
            continue;
        }
        for (at, now) in each(new, path).filter(|(_, s)| s["name"].str() == name) {
            if now["state"]["terminated"].is_null() {
                check.forbidden(&at.child("state"), "may not be transitioned to non-terminated state");
            }
        }
    }
}

fn addresses(check: &mut Check, status: &Value, path: &Path) {
    for field in ["podIPs", "hostIPs"] {
        let at = path.child(field);
        for (at, entry) in each(&status[field], &at) {
            let ip = entry["ip"].str();
            if let Some(why) = crate::validation::address::legacy_ip(ip) {
                check.invalid(&at, ip, why);
            }
        }
        let ips = status[field].items();
        let families = |v6: bool| ips.iter().filter(|i| i["ip"].str().contains(':') == v6).count();
        if ips.len() > 2 || families(true) > 1 || families(false) > 1 {
            let kind = if field == "podIPs" { "io.k8s.api.core.v1.PodIP" } else { "io.k8s.api.core.v1.HostIP" };
            let each = ips.iter().map(|ip| super::super::internal::shown_as(ip, kind).0).collect::<Vec<_>>();
            let value = meta::field::Shown::json(format!("[{}]", each.join(",")));
            check.invalid(&at, value, "may specify no more than one IP for each IP family");
        }
    }
}
