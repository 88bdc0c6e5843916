//! Jobs and CronJobs.

use std::collections::BTreeSet;

use document::Value;
use meta::field::{Error, Path};
use meta::names;

use super::check::{Check, each, same};
use super::internal::shown_as;
use super::workload::{MISMATCH, selects, template};
use super::{cron, shown};

pub(super) fn job(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    generated_selector(&mut check, object);
    spec(&mut check, &object["spec"], &Path::root("spec"));
    selector(&mut check, &object["spec"]);
    check.errors
}

/// Without manualSelector, labels and selector are those that the server made.
fn generated_selector(check: &mut Check, object: &Value) {
    let spec = &object["spec"];
    if spec["manualSelector"].is_true() || spec["selector"].is_null() {
        return;
    }
    let (uid, name) = (object["metadata"]["uid"].str(), object["metadata"]["name"].str());
    let labels = spec.at(["template", "metadata", "labels"]);
    let path = Path::from("metadata.labels");
    let expected = [
        ("batch.kubernetes.io/controller-uid", uid),
        ("controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
        ("job-name", name),
    ];
    for (label, value) in expected {
        match labels.get(label) {
            None => check.required(&path.key(label), &format!("must be '{value}'")),
            Some(v) if v.str() != value => {
                check.invalid(&path.key(label), shown(labels), &format!("must be '{value}'"))
            }
            Some(_) => {}
        }
    }
    let made = |key: &str| Value::of([("matchLabels", Value::of([(key.to_owned(), uid)]))]);
    let selector = &spec["selector"];
    if selects(selector, &Value::Null).is_some()
        && selector != &made("batch.kubernetes.io/controller-uid")
        && selector != &made("controller-uid")
    {
        check.invalid(&Path::from("spec.selector"), shown(selector), "`selector` not auto-generated");
    }
}

fn selector(check: &mut Check, spec: &Value) {
    let at = Path::from("spec.selector");
    if spec["selector"].is_null() {
        check.required(&at, "");
    } else {
        check.label_selector(&at, &spec["selector"]);
    }
    let labels = spec.at(["template", "metadata", "labels"]);
    if selects(&spec["selector"], labels) == Some(false) {
        check.invalid(&Path::from("spec.template.metadata.labels"), shown(labels), MISMATCH);
    }
}

fn spec(check: &mut Check, spec: &Value, path: &Path) {
    let numbers = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    check.non_negatives(path, spec, &numbers);
    if !spec["maxFailedIndexes"].is_null() && spec["backoffLimitPerIndex"].is_null() {
        check.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = spec["managedBy"].as_str() {
        domain_prefixed_path(check, manager, &path.child("managedBy"));
        if manager.len() > 63 {
            check.push(Error::too_long_bytes(&path.child("managedBy"), 63));
        }
    }
    completion_mode(check, spec, path);
    if let Some(policy) = spec.get("podFailurePolicy").filter(|p| !p.is_null()) {
        failure_policy(check, spec, policy, &path.child("podFailurePolicy"));
    }
    if let Some(policy) = spec.get("successPolicy").filter(|p| !p.is_null()) {
        success_policy(check, spec, policy, &path.child("successPolicy"));
    }
    replacement_policy(check, spec, &path.child("podReplacementPolicy"));
    template(check, &spec["template"], &path.child("template"));
    let at = path.child("template").child("spec").child("restartPolicy");
    match spec.at(["template", "spec", "restartPolicy"]).str() {
        "" | "Always" => check.required(&at, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if !spec["podFailurePolicy"].is_null() => {
            check.invalid(&at, "OnFailure", "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        other => check.push(Error::not_supported(&at, other, &["OnFailure", "Never"])),
    }
}

/// `host/path`
pub(super) fn domain_prefixed_path(check: &mut Check, value: &str, path: &Path) {
    const REGEX: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";
    if value.is_empty() {
        return check.required(path, "");
    }
    let Some((host, rest)) = value.split_once('/').filter(|(h, r)| !h.is_empty() && !r.is_empty()) else {
        return check.invalid(path, value, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    };
    check.format(path, host, &names::dns1123_subdomain(host));
    if !rest.bytes().all(|c| c.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&c)) {
        check.invalid(path, rest, &format!("Invalid path (regex used for validation is '{REGEX}')"));
    }
}

fn completion_mode(check: &mut Check, spec: &Value, path: &Path) {
    const MANY: i64 = 100_000;
    check.optional_one_of(&path.child("completionMode"), &spec["completionMode"], &["NonIndexed", "Indexed"]);
    let (completions, failed) = (spec["completions"].as_i64(), spec["maxFailedIndexes"].as_i64());
    match spec["completionMode"].str() {
        "Indexed" => {
            if completions.is_none() {
                check.required(&path.child("completions"), "when completion mode is Indexed");
            }
            if let Some(n) = spec["parallelism"].as_i64().filter(|n| *n > MANY) {
                let detail = "must be less than or equal to 100000 when completion mode is Indexed";
                check.invalid(&path.child("parallelism"), n, detail);
            }
            if let (Some(n), Some(all)) = (failed, completions)
                && n > all
            {
                check.invalid(&path.child("maxFailedIndexes"), n, "must be less than or equal to completions");
            }
            if let Some(n) = failed.filter(|n| *n > MANY) {
                check.invalid(&path.child("maxFailedIndexes"), n, "must be less than or equal to 100000");
            }
        }
        "" | "NonIndexed" => {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(n) = spec[field].as_i64() {
                    check.invalid(&path.child(field), n, "requires indexed completion mode");
                }
            }
        }
        _ => {}
    }
}

fn failure_policy(check: &mut Check, spec: &Value, policy: &Value, path: &Path) {
    const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
    let rules = policy["rules"].items();
    let at = path.child("rules");
    if rules.len() > 20 {
        check.push(Error::too_many(&at, rules.len(), 20));
    }
    for (at, rule) in each(&policy["rules"], &at) {
        let (action, action_at) = (rule["action"].str(), at.child("action"));
        match action {
            "" => check.required(&action_at, r#"valid values: ["Count" "FailIndex" "FailJob" "Ignore"]"#),
            "FailIndex" if spec["backoffLimitPerIndex"].is_null() => {
                check.invalid(&action_at, action, "requires the backoffLimitPerIndex to be set");
            }
            _ if !ACTIONS.contains(&action) => check.push(Error::not_supported(&action_at, action, &ACTIONS)),
            _ => {}
        }
        let (codes, conditions) = (&rule["onExitCodes"], &rule["onPodConditions"]);
        if !codes.is_null() {
            exit_codes(check, spec, codes, &at.child("onExitCodes"));
        }
        pod_conditions(check, conditions, &at.child("onPodConditions"));
        let detail = match (codes.is_null(), conditions.is_empty()) {
            (false, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (true, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        let mut error = Error::invalid(&at, "", "");
        error.body = format!("Invalid value: {detail}");
        check.push(error);
    }
}

fn exit_codes(check: &mut Check, spec: &Value, codes: &Value, path: &Path) {
    let (operator, at) = (codes["operator"].str(), path.child("operator"));
    match operator {
        "" => check.required(&at, r#"valid values: ["In" "NotIn"]"#),
        _ => check.one_of(&at, operator, &["In", "NotIn"]),
    }
    if let Some(name) = codes["containerName"].as_str() {
        let pod = spec.at(["template", "spec"]);
        let mut containers = pod["containers"].items().iter().chain(pod["initContainers"].items());
        if !containers.any(|c| c["name"].str() == name) {
            check.invalid(
                &path.child("containerName"),
                name,
                "must be one of the container or initContainer names in the pod template",
            );
        }
    }
    let (values, at) = (codes["values"].items(), path.child("values"));
    if values.is_empty() {
        return check.invalid(&at, meta::field::Shown::json("[]"), "at least one value is required");
    }
    if values.len() > 255 {
        check.push(Error::too_many(&at, values.len(), 255));
    }
    let mut seen = BTreeSet::new();
    for (n, value) in values.iter().enumerate() {
        let number = value.as_i64().unwrap_or_default();
        if operator == "In" && number == 0 {
            check.invalid(&at.index(n), number, "must not be 0 for the In operator");
        }
        if !seen.insert(number) {
            check.push(Error::duplicate(&at.index(n), number));
        }
    }
    if !values.is_sorted_by_key(Value::as_i64) {
        check.invalid(&at, shown(&codes["values"]), "must be ordered");
    }
}

fn pod_conditions(check: &mut Check, conditions: &Value, path: &Path) {
    if conditions.items().len() > 20 {
        check.push(Error::too_many(path, conditions.items().len(), 20));
    }
    for (at, pattern) in each(conditions, path) {
        let kind = pattern["type"].str();
        check.format(&at.child("type"), kind, &names::label_key(kind));
        match pattern["status"].str() {
            "" => check.required(&at.child("status"), r#"valid values: ["False" "True" "Unknown"]"#),
            status => check.one_of(&at.child("status"), status, &["False", "True", "Unknown"]),
        }
    }
}

fn success_policy(check: &mut Check, spec: &Value, policy: &Value, path: &Path) {
    if spec["completionMode"].str() != "Indexed" {
        let value = shown_as(policy, "io.k8s.api.batch.v1.SuccessPolicy").0.replace("\"Rules\":null", "\"Rules\":[]");
        return check.invalid(path, meta::field::Shown::json(value), "requires indexed completion mode");
    }
    let at = path.child("rules");
    let rules = policy["rules"].items();
    if rules.is_empty() {
        check.required(&at, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > 20 {
        check.push(Error::too_many(&at, rules.len(), 20));
    }
    let completions = spec["completions"].as_i64().unwrap_or_default();
    for (at, rule) in each(&policy["rules"], &at) {
        if rule["succeededCount"].is_null() && rule["succeededIndexes"].is_null() {
            check.required(&at, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let at = at.child("succeededCount");
        check.non_negative(&at, &rule["succeededCount"]);
        if let Some(n) = rule["succeededCount"].as_i64().filter(|n| *n > completions) {
            let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
            check.invalid(&at, n, &detail);
        }
    }
}

fn replacement_policy(check: &mut Check, spec: &Value, path: &Path) {
    let policy = &spec["podReplacementPolicy"];
    if !spec["podFailurePolicy"].is_null() {
        if policy.as_str().is_some_and(|p| p != "Failed") {
            check.push(Error::not_supported(path, policy.str(), &["Failed"]));
        }
        return;
    }
    check.optional_one_of(path, policy, &["Failed", "TerminatingOrFailed"]);
}

pub(super) fn job_update(subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    if subresource == "status" {
        job_status(&mut check, new, old);
        return check.errors;
    }
    let (now, before, path) = (&new["spec"], &old["spec"], Path::root("spec"));
    spec(&mut check, now, &path);
    selector(&mut check, now);
    let at = path.child("completions");
    if now["completionMode"].str() != "Indexed" {
        check.immutable(&at, &now["completions"], &before["completions"]);
    } else if now["completions"] != before["completions"]
        && !now["completions"].is_null()
        && now["completions"] != now["parallelism"]
    {
        check.invalid(&at, shown(&now["completions"]), "can only be modified in tandem with spec.parallelism");
    }
    check.immutable(&path.child("selector"), &now["selector"], &before["selector"]);
    template_update(&mut check, now, before, &path.child("template"));
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        let (at, now, before) = (path.child(field), &now[field], &before[field]);
        match field {
            "podFailurePolicy" | "successPolicy" if !now.is_null() => {
                let name = if field == "successPolicy" { "SuccessPolicy" } else { "PodFailurePolicy" };
                check.immutable_as(&at, now, before, &format!("io.k8s.api.batch.v1.{name}"));
            }
            _ => check.immutable(&at, now, before),
        }
    }
    check.errors
}

/// A suspended Job that never started may change where its pods run.
fn template_update(check: &mut Check, now: &Value, before: &Value, path: &Path) {
    let (mut new, mut old) = (now["template"].clone(), before["template"].clone());
    if before["suspend"].is_true() {
        for template in [&mut new, &mut old] {
            for field in ["labels", "annotations"] {
                template.entry("metadata").remove(field);
            }
            for field in ["nodeSelector", "tolerations", "schedulingGates"] {
                template.entry("spec").remove(field);
            }
            if let Some(affinity) = template.entry("spec").get_mut("affinity") {
                affinity.remove("nodeAffinity");
            }
            for list in ["containers", "initContainers"] {
                let containers = template.entry("spec").get_mut(list).and_then(Value::as_list_mut);
                containers.into_iter().flatten().for_each(|c| drop(c.remove("resources")));
            }
        }
    }
    if before["suspend"].is_true() {
        if !same(&new["spec"], &old["spec"]) {
            let value = shown_as(&now["template"]["spec"], "io.k8s.api.core.v1.PodSpec");
            check.invalid(&path.child("spec"), value, "field is immutable");
        }
    } else if !same(&new, &old) {
        let value = shown_as(&now["template"], "io.k8s.api.core.v1.PodTemplateSpec");
        let metadata = shown(&now["template"]["metadata"]).0;
        // Upstream's template has its metadata embedded.
        let embedded = metadata.trim_start_matches('{').trim_end_matches('}');
        let text = value.0.replacen(&format!("{{\"Metadata\":{metadata}"), &format!("{{{embedded}"), 1);
        check.invalid(path, meta::field::Shown::json(text), "field is immutable");
    }
}

fn job_status(check: &mut Check, new: &Value, old: &Value) {
    let (now, before, path) = (&new["status"], &old["status"], Path::root("status"));
    check.non_negatives(&path, now, &["active", "succeeded", "failed", "ready", "terminating"]);
    let is = |status: &Value, kind: &str| {
        status["conditions"].items().iter().any(|c| c["type"].str() == kind && c["status"].str() == "True")
    };
    finished(check, new, old, &path);
    for kind in ["Failed", "Complete", "FailureTarget", "SuccessCriteriaMet"] {
        if is(before, kind) && !is(now, kind) {
            let what = if kind == "SuccessCriteriaMet" { "" } else { "terminal " };
            let mut error = Error::invalid(&path.child("conditions"), "", "");
            error.body = format!("Invalid value: cannot disable the {what}{kind}=True condition");
            check.push(error);
        }
    }
    for field in ["failed", "succeeded"] {
        let (n, b) = (now[field].as_i64().unwrap_or_default(), before[field].as_i64().unwrap_or_default());
        if n < b {
            check.invalid(&path.child(field), n, &format!("cannot decrease the {field} counter"));
        }
    }
}

/// What must be so when a Job has come to its end. A rule is asked only when this write could break it.
fn finished(check: &mut Check, new: &Value, old: &Value, path: &Path) {
    let (now, before) = (&new["status"], &old["status"]);
    let is = |status: &Value, kind: &str| {
        status["conditions"].items().iter().any(|c| c["type"].str() == kind && c["status"].str() == "True")
    };
    let became = |kind: &str| is(now, kind) && !is(before, kind);
    let (complete, failed) = (is(now, "Complete"), is(now, "Failed"));
    let ended = became("Complete") || became("Failed");
    let moved = |field: &str| now[field] != before[field];
    let conditions = |check: &mut Check, why: &str| {
        let mut error = Error::invalid(&path.child("conditions"), "", "");
        error.body = format!("Invalid value: {why}");
        check.push(error);
    };
    let (start, end) = (now["startTime"].str(), now["completionTime"].str());
    if complete && failed && ended {
        conditions(check, "cannot set Complete=True and Failed=true conditions");
    }
    if complete && is(now, "FailureTarget") && (became("Complete") || became("FailureTarget")) {
        conditions(check, "cannot set Complete=True and FailureTarget=true conditions");
    }
    let at = path.child("completionTime");
    if !end.is_empty() && !complete && moved("completionTime") {
        check.invalid(&at, end, "cannot set completionTime when there is no Complete=True condition");
    }
    if end.is_empty() && complete && (became("Complete") || moved("completionTime")) {
        check.required(&at, "completionTime is required for Complete jobs");
    }
    let earlier = |a: &str, b: &str| match (meta::Time::parse(a), meta::Time::parse(b)) {
        (Some(a), Some(b)) => a < b,
        _ => false,
    };
    if earlier(end, start) && (moved("completionTime") || moved("startTime")) {
        check.invalid(&at, end, "must be equal to or after `startTime`");
    }
    if failed && !is(now, "FailureTarget") && became("Failed") {
        conditions(check, "cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if complete && !is(now, "SuccessCriteriaMet") && became("Complete") {
        conditions(check, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
    let active = now["active"].as_i64().unwrap_or_default();
    if active > 0 && (complete || failed) && (ended || moved("active")) {
        check.invalid(&path.child("active"), active, "active>0 is invalid for finished job");
    }
    if start.is_empty() && (complete || failed) && (ended || moved("startTime")) {
        check.required(&path.child("startTime"), "startTime is required for finished job");
    }
    let ready = now["ready"].as_i64().unwrap_or_default();
    if ready > active && (moved("ready") || moved("active")) {
        check.invalid(&path.child("ready"), ready, "cannot set more ready pods than active");
    }
}

pub(super) fn cron_job(object: &Value, old: Option<&Value>) -> Vec<Error> {
    let mut check = Check::default();
    let mut late = Check::default();
    let (spec_, path) = (&object["spec"], Path::root("spec"));
    let schedule = spec_["schedule"].str();
    if schedule.is_empty() {
        late.required(&path.child("schedule"), "");
    } else {
        cron_schedule(&mut check, schedule, &path.child("schedule"));
    }
    check.non_negatives(&path, spec_, &["startingDeadlineSeconds"]);
    if old.is_none_or(|o| o["spec"]["timeZone"] != spec_["timeZone"]) {
        time_zone(&mut check, &spec_["timeZone"], &path.child("timeZone"));
    }
    let policies = ["Allow", "Forbid", "Replace"];
    check.one_of(&path.child("concurrencyPolicy"), spec_["concurrencyPolicy"].str(), &policies);
    let (job, at) = (spec_.at(["jobTemplate", "spec"]), path.child("jobTemplate").child("spec"));
    spec(&mut check, job, &at);
    if !job["selector"].is_null() {
        check.invalid(&at.child("selector"), shown(&job["selector"]), "`selector` will be auto-generated");
    }
    if job["manualSelector"].is_true() {
        check.push(Error::not_supported(&at.child("manualSelector"), true, &["nil", "false"]));
    }
    check.non_negatives(&path, spec_, &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"]);
    let name = object["metadata"]["name"].str();
    if old.is_none() && name.len() > 52 {
        check.invalid(&Path::from("metadata.name"), name, "must be no more than 52 characters");
    }
    check.errors.append(&mut late.errors);
    check.errors
}

fn cron_schedule(check: &mut Check, schedule: &str, path: &Path) {
    if let Err(why) = cron::parse(schedule) {
        check.invalid(path, schedule, &why);
    }
    if schedule.contains("TZ") {
        check.invalid(path, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    }
}

fn time_zone(check: &mut Check, zone: &Value, path: &Path) {
    let Some(zone) = zone.as_str() else { return };
    if zone.is_empty() {
        return check.invalid(path, zone, "timeZone must be nil or non-empty string");
    }
    let odd = |part: &str| {
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"._+-".contains(&c);
        part == "." || part == ".." || part.starts_with('-') || part.is_empty() || !part.bytes().all(plain)
    };
    if zone.split('/').any(odd) {
        return check.invalid(path, zone, &format!("unknown time zone {zone}"));
    }
    if zone.eq_ignore_ascii_case("Local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        return check.invalid(path, zone, detail);
    }
    if !cron::is_time_zone(zone) {
        check.invalid(path, zone, &format!("unknown time zone {zone}"));
    }
}
