//! Tolerations, affinity and topology spread.

use std::collections::BTreeSet;

use document::Value;
use meta::field::{Error, Path};
use meta::names;

use crate::validation::check::{Check, each};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
pub(in crate::validation) const TAINT_EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn tolerations(check: &mut Check, list: &Value, path: &Path) {
    for (at, toleration) in each(list, path) {
        let (key, operator) = (toleration["key"].str(), toleration["operator"].str());
        let (value, effect) = (toleration["value"].str(), toleration["effect"].str());
        let operator_at = at.child("operator");
        if !key.is_empty() {
            check.format(&at.child("key"), key, &names::label_key(key));
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            check.invalid(&operator_at, operator, detail);
        }
        if !toleration["tolerationSeconds"].is_null() && effect != "NoExecute" {
            check.invalid(&at.child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator {
            "" | "Equal" => {
                let wrong = names::label_value(value);
                if !wrong.is_empty() {
                    check.invalid(&operator_at, value, &wrong.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                check.invalid(&operator_at, value, "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            "Lt" | "Gt" => {
                check.push(Error::not_supported(&operator_at, operator, &["Equal", "Exists", "Lt", "Gt"]));
            }
            _ => check.push(Error::not_supported(&operator_at, operator, &["Equal", "Exists"])),
        }
        if !effect.is_empty() {
            check.one_of(&at.child("effect"), effect, &TAINT_EFFECTS);
        }
    }
}

pub(super) fn affinity(check: &mut Check, affinity: &Value, path: &Path) {
    let node = &affinity["nodeAffinity"];
    let at = path.child("nodeAffinity");
    if let Some(required) = node.get(REQUIRED).filter(|r| !r.is_null()) {
        node_selector(check, required, &at.child(REQUIRED), true);
    }
    for (at, term) in each(&node[PREFERRED], &at.child(PREFERRED)) {
        weight(check, term, &at);
        node_selector_term(check, &term["preference"], &at.child("preference"), false);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let at = path.child(kind);
        for (at, term) in each(&affinity[kind][REQUIRED], &at.child(REQUIRED)) {
            pod_term(check, term, &at);
        }
        for (at, weighted) in each(&affinity[kind][PREFERRED], &at.child(PREFERRED)) {
            weight(check, weighted, &at);
            pod_term(check, &weighted["podAffinityTerm"], &at.child("podAffinityTerm"));
        }
    }
}

fn weight(check: &mut Check, term: &Value, path: &Path) {
    let weight = term["weight"].as_i64().unwrap_or_default();
    if !(1..=100).contains(&weight) {
        check.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

/// `values`: label values are checked, too.
pub(in crate::validation) fn node_selector(check: &mut Check, selector: &Value, path: &Path, values: bool) {
    let at = path.child("nodeSelectorTerms");
    let terms = &selector["nodeSelectorTerms"];
    if terms.is_empty() {
        return check.required(&at, "must have at least one node selector term");
    }
    for (at, term) in each(terms, &at) {
        node_selector_term(check, term, &at, values);
    }
}

fn node_selector_term(check: &mut Check, term: &Value, path: &Path, values: bool) {
    for (at, requirement) in each(&term["matchExpressions"], &path.child("matchExpressions")) {
        node_requirement(check, requirement, &at, values);
    }
    for (at, requirement) in each(&term["matchFields"], &path.child("matchFields")) {
        let (operator, values) = (requirement["operator"].str(), requirement["values"].items());
        match operator {
            "In" | "NotIn" if values.len() != 1 => {
                let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                check.required(&at.child("values"), detail);
            }
            "In" | "NotIn" => {}
            _ => check.invalid(&at.child("operator"), operator, "not a valid selector operator"),
        }
        let key = requirement["key"].str();
        if key != "metadata.name" {
            check.invalid(&at.child("key"), key, "not a valid field selector key");
            continue;
        }
        for (at, value) in each(&requirement["values"], &at.child("values")) {
            check.format(&at, value.str(), &names::dns1123_subdomain(value.str()));
        }
    }
}

fn node_requirement(check: &mut Check, requirement: &Value, path: &Path, check_values: bool) {
    let (operator, values) = (requirement["operator"].str(), requirement["values"].items());
    let at = path.child("values");
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            check.required(&at, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            check.forbidden(&at, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            check.required(&at, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        _ => check.invalid(&path.child("operator"), operator, "not a valid selector operator"),
    }
    let key = requirement["key"].str();
    check.format(&path.child("key"), key, &names::label_key(key));
    if check_values {
        check.label_values(&at, values);
    }
}

fn pod_term(check: &mut Check, term: &Value, path: &Path) {
    check.label_selector(&path.child("labelSelector"), &term["labelSelector"]);
    check.label_selector(&path.child("namespaceSelector"), &term["namespaceSelector"]);
    for name in term["namespaces"].items() {
        check.format(&path.child("namespace"), name.str(), &names::dns1123_label(name.str()));
    }
    label_keys(check, term, path);
    let key = term["topologyKey"].str();
    if key.is_empty() {
        check.required(&path.child("topologyKey"), "can not be empty");
    }
    check.format(&path.child("topologyKey"), key, &names::label_key(key));
}

/// `matchLabelKeys` and `mismatchLabelKeys` against the selector and each other.
fn label_keys(check: &mut Check, term: &Value, path: &Path) {
    let selector = &term["labelSelector"];
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let at = path.child(field);
        if !term[field].is_empty() && selector.as_map().is_none() {
            check.forbidden(&at, "must not be specified when labelSelector is not set");
        } else {
            for (at, key) in each(&term[field], &at) {
                check.format(&at, key.str(), &names::label_key(key.str()));
            }
        }
    }
    let keys = term["matchLabelKeys"].items();
    let mut seen: BTreeSet<&str> = selector["matchLabels"].members().map(|(k, _)| k).collect();
    for expression in selector["matchExpressions"].items() {
        let key = expression["key"].str();
        if let Some(n) = keys.iter().position(|k| k.str() == key).filter(|_| seen.contains(key)) {
            check.invalid(&path.index(n), key, "exists in both matchLabelKeys and labelSelector");
        }
        seen.insert(key);
    }
    for (n, key) in keys.iter().enumerate() {
        if term["mismatchLabelKeys"].items().contains(key) {
            let at = path.child("matchLabelKeys").index(n);
            check.invalid(&at, key.str(), "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
}

pub(super) fn topology_spread(check: &mut Check, list: &Value, path: &Path) {
    for (n, constraint) in list.items().iter().enumerate() {
        let at = path.index(n);
        let skew = constraint["maxSkew"].as_i64().unwrap_or_default();
        if skew <= 0 {
            check.invalid(&at.child("maxSkew"), skew, "must be greater than zero");
        }
        let (key, action) = (constraint["topologyKey"].str(), constraint["whenUnsatisfiable"].str());
        if key.is_empty() {
            check.required(&at.child("topologyKey"), "can not be empty");
        }
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        if !actions.contains(&action) {
            check.push(Error::not_supported(&at.child("whenUnsatisfiable"), action, &actions));
        }
        let repeated = |other: &Value| other["topologyKey"].str() == key && other["whenUnsatisfiable"].str() == action;
        if list.items()[n + 1..].iter().any(repeated) {
            let text = format!("{{{key}, {action}}}");
            check.push(Error::duplicate(&at.child("{topologyKey, whenUnsatisfiable}"), &text));
        }
        if let Some(domains) = constraint["minDomains"].as_i64() {
            let at = at.child("minDomains");
            if domains <= 0 {
                check.invalid(&at, domains, "must be greater than zero");
            }
            if action != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                check.invalid(&at, domains, &detail);
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            check.optional_one_of(&at.child(field), &constraint[field], &["Honor", "Ignore"]);
        }
        label_keys(check, constraint, &at);
        check.label_selector(&at.child("labelSelector"), &constraint["labelSelector"]);
    }
}
