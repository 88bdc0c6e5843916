//! Limits and classes: LimitRange, ResourceQuota, PriorityClass, RuntimeClass, Lease, PodDisruptionBudget,
//! APIService.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use document::{ByValue, Value};
use meta::field::{Error, Path, Shown};
use meta::names;

use super::check::{Check, each};
use super::pod::{container_resource_name, may_overcommit, quantity_value, resource_name};
use super::shown;
use super::workload::{at_most_100_percent, int_or_percent};
use crate::amount::nano;

pub(super) fn limit_range(object: &Value) -> Vec<Error> {
    const TYPES: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];
    let mut check = Check::default();
    let mut seen = BTreeSet::new();
    for (at, limit) in each(&object["spec"]["limits"], &Path::from("spec.limits")) {
        let kind = limit["type"].str();
        let kind_at = at.child("type");
        let wrong = names::label_key(kind);
        check.format(&kind_at, kind, &wrong);
        if wrong.is_empty() && !kind.contains('/') && !TYPES.contains(&kind) {
            check.invalid(&kind_at, kind, "must be a standard limit type or fully qualified");
        }
        if !seen.insert(kind) {
            check.push(Error::duplicate(&kind_at, kind));
        }
        limit_names(&mut check, limit, kind, &at, &["max", "min"]);
        if kind == "Pod" {
            for field in ["default", "defaultRequest"] {
                if !limit[field].is_empty() {
                    check.forbidden(&at.child(field), "may not be specified when `type` is 'Pod'");
                }
            }
        } else {
            limit_names(&mut check, limit, kind, &at, &["default", "defaultRequest"]);
        }
        let storage = limit["min"].get("storage").is_some() || limit["max"].get("storage").is_some();
        if kind == "PersistentVolumeClaim" && !storage {
            let detail = "either minimum or maximum storage value is required, but neither was provided";
            check.required(&at.child("limits"), detail);
        }
        limit_names(&mut check, limit, kind, &at, &["maxLimitRequestRatio"]);
        limits(&mut check, limit, kind == "Pod", &at);
    }
    check.errors
}

/// What is limited: of containers and pods, what containers have; else anything that can be counted.
fn limit_names(check: &mut Check, limit: &Value, kind: &str, at: &Path, parts: &[&str]) {
    for part in parts {
        for (name, _) in limit[*part].members() {
            let at = at.child(part).key(name);
            if matches!(kind, "Pod" | "Container") {
                container_resource_name(check, name, &at);
            } else {
                resource_name(check, name, &at);
            }
        }
    }
}

fn limits(check: &mut Check, limit: &Value, pod: bool, at: &Path) {
    let parts = ["min", "max", "default", "defaultRequest", "maxLimitRequestRatio"];
    let keys: BTreeSet<&str> = parts.iter().flat_map(|p| limit[*p].members()).map(|(k, _)| k).collect();
    for key in keys {
        let of = |part: &str| limit[part].get(key).filter(|_| !pod || !part.starts_with("default"));
        let mut order = |low: (&str, &str), high: (&str, &str), field: &str, value: &str| {
            let (Some(a), Some(b)) = (of(low.0), of(high.0)) else { return };
            if nano(a) > nano(b) {
                let shown = if value == low.0 { a } else { b };
                let detail = format!("{} {} is greater than {} {}", low.1, a.str(), high.1, b.str());
                check.invalid(&at.child(field).key(key), shown.str(), &detail);
            }
        };
        order(("min", "min value"), ("max", "max value"), "min", "min");
        order(("min", "min value"), ("defaultRequest", "default request value"), "defaultRequest", "defaultRequest");
        order(("defaultRequest", "default request value"), ("max", "max value"), "defaultRequest", "defaultRequest");
        order(
            ("defaultRequest", "default request value"),
            ("default", "default limit value"),
            "defaultRequest",
            "defaultRequest",
        );
        order(("min", "min value"), ("default", "default value"), "default", "min");
        order(("default", "default value"), ("max", "max value"), "default", "max");
        if let Some(ratio) = of("maxLimitRequestRatio").filter(|r| nano(r).is_some_and(|n| n < 1_000_000_000)) {
            let at = at.child("maxLimitRequestRatio").key(key);
            check.invalid(&at, ratio.str(), &format!("ratio {} is less than 1", ratio.str()));
        }
        if let (Some(ratio), Some(least), Some(most)) = (of("maxLimitRequestRatio"), of("min"), of("max")) {
            let float = |value: &Value| nano(value).map_or(0.0, |n| n as f64 / 1e9);
            let bound = float(most) / float(least);
            if float(ratio) > bound {
                let detail = format!("ratio {} is greater than max/min = {bound:.6}", ratio.str());
                check.invalid(&at.child("maxLimitRequestRatio").key(key), ratio.str(), &detail);
            }
        }
        if let (Some(request), Some(limit)) = (of("defaultRequest"), of("default"))
            && !may_overcommit(key)
            && nano(request) != nano(limit)
        {
            let (limit, asked) = (limit.str(), request.str());
            let detail = format!("default value {limit} must equal to defaultRequest value {asked} in {key}");
            check.invalid(&at.child("defaultRequest").key(key), asked, &detail);
        }
    }
}

const SCOPES: [&str; 7] = [
    "BestEffort",
    "NotBestEffort",
    "Terminating",
    "NotTerminating",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
const CONFLICTS: [(&str, &str); 2] = [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")];

pub(super) fn quota(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    quota_spec(&mut check, &object["spec"]);
    check.errors
}

/// The scopes stay; a status only says amounts.
pub(super) fn quota_update(subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    if subresource == "status" {
        let at = Path::root("status");
        quota_amounts(&mut check, &new["status"]["hard"], &at.child("hard"));
        quota_amounts(&mut check, &new["status"]["used"], &at.child("used"));
        return check.errors;
    }
    quota_spec(&mut check, &new["spec"]);
    let set = |quota: &Value| -> BTreeSet<String> {
        quota["spec"]["scopes"].items().iter().map(|s| s.str().to_owned()).collect()
    };
    if set(new) != set(old) {
        check.invalid(&Path::from("spec.scopes"), shown(&new["spec"]["scopes"]), "field is immutable");
    }
    check.errors
}

fn quota_spec(check: &mut Check, spec: &Value) {
    let path = Path::root("spec");
    quota_amounts(check, &spec["hard"], &path.child("hard"));
    scopes(check, spec, &path.child("scopes"));
    scope_selector(check, spec, &path);
}

fn quota_amounts(check: &mut Check, list: &Value, path: &Path) {
    for (name, amount) in list.members() {
        let at = path.key(name);
        resource_name(check, name, &at);
        if !name.contains('/') && !is_quota_resource(name) {
            check.invalid(&at, name, "must be a standard resource for quota");
        }
        quantity_value(check, name, amount, &at);
    }
}

fn scope_selector(check: &mut Check, spec: &Value, path: &Path) {
    const FIXED: &str = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
    let at = path.child("scopeSelector").child("matchExpressions");
    let expressions = spec["scopeSelector"]["matchExpressions"].items();
    let selector = super::internal::shown_as(&spec["scopeSelector"], "io.k8s.api.core.v1.ScopeSelector");
    let (mut misapplied, mut whole) = (Misapplied::new(spec), Whole::new(&at, selector));
    for expression in expressions {
        let (scope, operator) = (expression["scopeName"].str(), expression["operator"].str());
        if !SCOPES.contains(&scope) {
            check.invalid(&at.child("scopeName"), scope, "unsupported scope");
        }
        whole.invalid(check, misapplied.times(scope), "unsupported scope applied to resource");
        let values = expression["values"].items();
        let fixed = ["Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity"];
        if fixed.contains(&scope) && operator != "Exists" {
            check.invalid(&at.child("operator"), operator, FIXED);
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                check.required(
                    &at.child("values"),
                    "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                );
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                check.invalid(&at.child("values"), shown(&expression["values"]), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => check.invalid(&at.child("operator"), operator, "not a valid selector operator"),
        }
    }
    let has = |name: &str| expressions.iter().any(|e| e["scopeName"].str() == name);
    for _ in CONFLICTS.iter().filter(|(a, b)| has(a) && has(b)) {
        check.invalid(&at, shown(&spec["scopes"]), "conflicting scopes");
    }
}

fn is_quota_resource(name: &str) -> bool {
    const NAMES: [&str; 19] = [
        "cpu",
        "memory",
        "ephemeral-storage",
        "requests.cpu",
        "requests.memory",
        "requests.storage",
        "requests.ephemeral-storage",
        "limits.cpu",
        "limits.memory",
        "limits.ephemeral-storage",
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "persistentvolumeclaims",
        "configmaps",
        "services.nodeports",
        "services.loadbalancers",
    ];
    NAMES.contains(&name) || name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

/// How many standard names of `spec.hard` a scope says nothing about.
fn misapplied(scope: &str, spec: &Value) -> usize {
    const COMPUTE: [&str; 7] =
        ["pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
    let fits: &[&str] = match scope {
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => &COMPUTE,
        "BestEffort" => &["pods"],
        "VolumeAttributesClass" => &["persistentvolumeclaims", "requests.storage"],
        _ => return 0,
    };
    let names = spec["hard"].members().map(|(name, _)| name);
    names.filter(|name| is_quota_resource(name) && !fits.contains(name)).count()
}

/// What `misapplied` has counted, per scope.
struct Misapplied<'a> {
    spec: &'a Value,
    times: BTreeMap<&'a str, usize>,
}

impl<'a> Misapplied<'a> {
    fn new(spec: &'a Value) -> Self {
        Misapplied { spec, times: BTreeMap::new() }
    }

    fn times(&mut self, scope: &'a str) -> usize {
        *self.times.entry(scope).or_insert_with(|| misapplied(scope, self.spec))
    }
}

/// Errors that each show a whole list: told as often as upstream tells them while that is little, then once each.
struct Whole<'a> {
    path: &'a Path,
    shown: Shown,
    /// Bytes that may still be shown.
    left: usize,
    told: BTreeSet<&'static str>,
}

impl<'a> Whole<'a> {
    fn new(path: &'a Path, shown: Shown) -> Self {
        Whole { path, shown, left: 1 << 20, told: BTreeSet::new() }
    }

    fn invalid(&mut self, check: &mut Check, times: usize, detail: &'static str) {
        for _ in 0..times {
            let size = self.shown.0.len() + detail.len();
            if self.left < size && self.told.contains(detail) {
                return;
            }
            self.left = self.left.saturating_sub(size);
            self.told.insert(detail);
            check.invalid(self.path, self.shown.clone(), detail);
        }
    }
}

fn scopes(check: &mut Check, spec: &Value, at: &Path) {
    let list = &spec["scopes"];
    let (mut misapplied, mut whole) = (Misapplied::new(spec), Whole::new(at, shown(list)));
    for scope in list.items() {
        let unknown = !SCOPES.contains(&scope.str());
        whole.invalid(check, usize::from(unknown), "unsupported scope");
        whole.invalid(check, misapplied.times(scope.str()), "unsupported scope applied to resource");
    }
    let has = |name: &str| list.items().iter().any(|s| s.str() == name);
    for _ in CONFLICTS.iter().filter(|(a, b)| has(a) && has(b)) {
        check.invalid(at, shown(list), "conflicting scopes");
    }
}

const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

pub(super) fn priority_class(object: &Value) -> Vec<Error> {
    const MAX: i64 = 1_000_000_000;
    let mut check = Check::default();
    let (name, value) = (object["metadata"]["name"].str(), object["value"].as_i64().unwrap_or_default());
    if name.starts_with("system-") {
        let known = SYSTEM_CLASSES.iter().find(|(n, _)| *n == name);
        let why = match known {
            None => Some(format!("{name} is not a known system priority class")),
            Some((_, v)) if *v != value => Some(format!("value of {name} PriorityClass must be {v}")),
            Some(_) if object["globalDefault"].is_true() => {
                Some(format!("globalDefault of {name} PriorityClass must be false"))
            }
            Some(_) => None,
        };
        if let Some(why) = why {
            let detail =
                format!("priority class names with 'system-' prefix are reserved for system use only. error: {why}");
            check.forbidden(&Path::from("metadata.name"), &detail);
        }
    } else if value > MAX {
        check.forbidden(&Path::root("value"), &format!("maximum allowed value of a user defined priority is {MAX}"));
    }
    let policies = ["PreemptLowerPriority", "Never"];
    if let Some(policy) = object["preemptionPolicy"].as_str() {
        check.one_of(&Path::root("preemptionPolicy"), policy, &policies);
    }
    check.errors
}

pub(super) fn priority_class_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    if new["value"].as_i64().unwrap_or_default() != old["value"].as_i64().unwrap_or_default() {
        check.forbidden(&Path::root("value"), "may not be changed in an update.");
    }
    check.immutable(&Path::root("preemptionPolicy"), &new["preemptionPolicy"], &old["preemptionPolicy"]);
    check.errors
}

pub(super) fn runtime_class(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    for (name, amount) in object["overhead"]["podFixed"].members() {
        container_resource_name(&mut check, name, &Path::from("overhead.limits").key(name));
        quantity_value(&mut check, name, amount, &Path::from("overhead.limits").key(name));
    }
    let (scheduling, path) = (&object["scheduling"], Path::root("scheduling"));
    check.labels(&path.child("nodeSelector"), &scheduling["nodeSelector"]);
    let list = scheduling["tolerations"].items();
    let mut seen = HashSet::new();
    for (n, toleration) in list.iter().enumerate() {
        let one = Value::list([toleration.clone()]);
        let before = check.errors.len();
        super::pod::tolerations(&mut check, &one, &path.child("tolerations"));
        for error in &mut check.errors[before..] {
            let at = error.path.to_string().replacen("[0]", &format!("[{n}]"), 1);
            error.path = Path::from(at.as_str());
        }
        if !seen.insert(ByValue(toleration)) {
            let value = super::internal::shown_as(toleration, "io.k8s.api.core.v1.Toleration");
            check.push(Error::duplicate(&path.child("tolerations").index(n), value));
        }
    }
    let handler = object["handler"].str();
    let mut wrong = names::dns1123_label(handler);
    // the generated rule counts bytes
    wrong
        .iter_mut()
        .filter(|w| **w == names::too_long_characters(63))
        .for_each(|w| *w = "must be no more than 63 bytes".into());
    match handler {
        "" => check.required(&Path::root("handler"), ""),
        _ => check.format(&Path::root("handler"), handler, &wrong),
    }
    check.errors
}

pub(super) fn runtime_class_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    if new["handler"] != old["handler"] {
        check.invalid(&Path::root("handler"), Shown::null(), "field is immutable");
    }
    let (mut late, early): (Vec<Error>, Vec<Error>) =
        runtime_class(new).into_iter().partition(|e| e.path == Path::root("handler"));
    check.errors.splice(0..0, early);
    check.errors.append(&mut late);
    check.errors
}

pub(super) fn lease(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    if let Some(n) = spec["leaseDurationSeconds"].as_i64().filter(|n| *n <= 0) {
        check.invalid(&path.child("leaseDurationSeconds"), n, "must be greater than 0");
    }
    check.non_negatives(&path, spec, &["leaseTransitions"]);
    check.errors
}

pub(super) fn disruption_budget(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let (least, most) = (&spec["minAvailable"], &spec["maxUnavailable"]);
    if !least.is_null() && !most.is_null() {
        let selector = if spec["selector"].is_null() { "null".into() } else { shown(&spec["selector"]).0 };
        let policy = shown(&spec["unhealthyPodEvictionPolicy"]).0;
        let value = format!(
            "{{\"MinAvailable\":{},\"Selector\":{selector},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{policy}}}",
            shown(least).0,
            shown(most).0
        );
        check.invalid(&path, Shown::json(value), "minAvailable and maxUnavailable cannot be both set");
    }
    for field in ["minAvailable", "maxUnavailable"] {
        int_or_percent(&mut check, &spec[field], &path.child(field));
        at_most_100_percent(&mut check, &spec[field], &path.child(field));
    }
    check.label_selector(&path.child("selector"), &spec["selector"]);
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    check.optional_one_of(&path.child("unhealthyPodEvictionPolicy"), &spec["unhealthyPodEvictionPolicy"], &policies);
    check.errors
}

pub(super) fn api_service_update(subresource: &str, new: &Value) -> Vec<Error> {
    if subresource != "status" {
        return api_service(new);
    }
    let mut check = Check::default();
    for (at, condition) in each(&new["status"]["conditions"], &Path::from("status.conditions")) {
        let (status, all) = (condition["status"].str(), ["True", "False", "Unknown"]);
        if !all.contains(&status) {
            check.push(Error::not_supported(&at.child("status"), status, &all));
        }
    }
    check.errors
}

pub(super) fn api_service(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let (group, version) = (spec["group"].str(), spec["version"].str());
    let required = format!("{version}.{group}");
    let name = object["metadata"]["name"].str();
    if name != required {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {required:?}");
        check.invalid(&Path::from("metadata.name"), name, &detail);
    }
    if group.is_empty() && version != "v1" {
        check.required(&path.child("group"), "only v1 may have an empty group and it better be legacy kube");
    }
    if !group.is_empty() {
        check.format(&path.child("group"), group, &names::dns1123_subdomain(group));
    }
    check.format(&path.child("version"), version, &names::dns1035_label(version));
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let n = spec[field].as_i64().unwrap_or_default();
        if n <= 0 || n > most {
            check.invalid(&path.child(field), n, &format!("must be positive and less than {most}"));
        }
    }
    let Some(service) = spec.get("service").filter(|s| !s.is_null()) else {
        if !spec["caBundle"].str().is_empty() {
            check.invalid(&path.child("caBundle"), "<ca bundle>", "local APIServices may not have a caBundle");
        }
        if spec["insecureSkipTLSVerify"].is_true() {
            let detail = "local APIServices may not have insecureSkipTLSVerify";
            check.invalid(&path.child("insecureSkipTLSVerify"), true, detail);
        }
        return check.errors;
    };
    for field in ["namespace", "name"] {
        if service[field].str().is_empty() {
            check.required(&path.child("service").child(field), "");
        }
    }
    let port = service["port"].as_i64().unwrap_or(443);
    for message in names::port_number(port) {
        check.invalid(&path.child("service").child("port"), port, &format!("port is not valid: {message}"));
    }
    if spec["insecureSkipTLSVerify"].is_true() && !spec["caBundle"].str().is_empty() {
        check.invalid(&path.child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present");
    }
    check.errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    fn scopes_of(scopes: Vec<Value>) -> Vec<Error> {
        let mut check = Check::default();
        quota_spec(&mut check, &doc!({"hard": {"pods": "1", "services": "1"}, "scopes": (Value::List(scopes))}));
        check.errors
    }

    #[test]
    fn each_wrong_scope_shows_the_list_until_that_is_too_much() {
        let wrong = |n: usize| Value::from(format!("{n:0100}"));
        let two = scopes_of(vec![wrong(1), wrong(2), "Terminating".into()]);
        assert_eq!(two.len(), 3);
        assert_eq!(two[0], two[1]);
        let mut many: Vec<Value> = (0..5000).map(wrong).collect();
        many.push("Terminating".into());
        let found = scopes_of(many);
        assert!((2..10).contains(&found.len()), "{}", found.len());
        assert!(found.last().is_some_and(|e| e.body.ends_with("unsupported scope applied to resource")));
    }
}
