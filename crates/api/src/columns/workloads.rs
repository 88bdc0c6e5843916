//! Controllers of pods, budgets and autoscalers.

use document::Value;
use meta::Time;

use super::{
    Cells, Row, condition, containers, count, format_labels, format_selector, name_and_creation, or, plain,
    selector_text,
};

pub(super) fn function(kind: &str) -> Cells {
    match kind {
        "Deployment" => deployment,
        "ReplicaSet" => replica_set,
        "StatefulSet" => stateful_set,
        "DaemonSet" => daemon_set,
        "ControllerRevision" => controller_revision,
        "Job" => job,
        "CronJob" => cron_job,
        "PodDisruptionBudget" => disruption_budget,
        "HorizontalPodAutoscaler" => autoscaler,
        _ => name_and_creation,
    }
}

pub(super) fn pod_template(row: &Row<'_>) -> Vec<Value> {
    let [names, images] = containers(&row.object["template"]["spec"]);
    vec![row.name(), names, images, format_labels(&row.object["template"]["metadata"]["labels"]).into()]
}

fn template(row: &Row<'_>) -> [Value; 2] {
    containers(&row.object["spec"]["template"]["spec"])
}

fn replicas(row: &Row<'_>, selector: String) -> Vec<Value> {
    let (spec, status) = (&row.object["spec"], &row.object["status"]);
    let [names, images] = template(row);
    vec![
        row.name(),
        row.number(&spec["replicas"]),
        row.number(&status["replicas"]),
        row.number(&status["readyReplicas"]),
        row.age(),
        names,
        images,
        selector.into(),
    ]
}

pub(super) fn replication_controller(row: &Row<'_>) -> Vec<Value> {
    replicas(row, format_labels(&row.object["spec"]["selector"]))
}

fn replica_set(row: &Row<'_>) -> Vec<Value> {
    replicas(row, format_selector(&row.object["spec"]["selector"]))
}

fn ready(row: &Row<'_>) -> Value {
    let (spec, status) = (&row.object["spec"], &row.object["status"]);
    format!("{}/{}", status["readyReplicas"].as_i64().unwrap_or(0), spec["replicas"].as_i64().unwrap_or(0)).into()
}

fn deployment(row: &Row<'_>) -> Vec<Value> {
    let status = &row.object["status"];
    let [names, images] = template(row);
    vec![
        row.name(),
        ready(row),
        row.number(&status["updatedReplicas"]),
        row.number(&status["availableReplicas"]),
        row.age(),
        names,
        images,
        selector_text(&row.object["spec"]["selector"]).into(),
    ]
}

fn stateful_set(row: &Row<'_>) -> Vec<Value> {
    let [names, images] = template(row);
    vec![row.name(), ready(row), row.age(), names, images]
}

fn daemon_set(row: &Row<'_>) -> Vec<Value> {
    let (spec, status) = (&row.object["spec"], &row.object["status"]);
    let numbers = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    let [names, images] = template(row);
    let mut cells = vec![row.name()];
    cells.extend(numbers.iter().map(|n| row.number(&status[*n])));
    cells.push(format_labels(&spec["template"]["spec"]["nodeSelector"]).into());
    cells.extend([row.age(), names, images, format_selector(&spec["selector"]).into()]);
    cells
}

fn controller_revision(row: &Row<'_>) -> Vec<Value> {
    let owners = row.object["metadata"]["ownerReferences"].items();
    let controller = owners.iter().find(|o| o["controller"].is_true()).map_or_else(
        || "<none>".to_owned(),
        |o| {
            let gv = meta::GroupVersion::parse(o["apiVersion"].str()).unwrap_or_default();
            let kind = gv.with_kind(o["kind"].str()).group_kind().to_string().to_lowercase();
            format!("{kind}/{}", o["name"].str())
        },
    );
    vec![row.name(), controller.into(), row.number(&row.object["revision"]), row.age()]
}

fn job(row: &Row<'_>) -> Vec<Value> {
    let (spec, status) = (&row.object["spec"], &row.object["status"]);
    let succeeded = status["succeeded"].as_i64().unwrap_or(0);
    let completions = match (spec["completions"].as_i64(), spec["parallelism"].as_i64().unwrap_or(0)) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let (start, end) = (Time::parse(status["startTime"].str()), Time::parse(status["completionTime"].str()));
    let took = start.map_or_else(String::new, |start| super::human::duration(end.unwrap_or(row.now).0 - start.0));
    let [names, images] = template(row);
    let selector = format_selector(&spec["selector"]);
    vec![
        row.name(),
        job_status(row.object).into(),
        completions.into(),
        took.into(),
        row.age(),
        names,
        images,
        selector.into(),
    ]
}

fn job_status(job: &Value) -> &'static str {
    let is = |kind: &str| condition(job, kind).is_some_and(|c| c["status"].str() == "True");
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if !job["metadata"]["deletionTimestamp"].is_null() {
        "Terminating"
    } else {
        let known = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
        known.into_iter().find(|kind| is(kind)).unwrap_or("Running")
    }
}

fn cron_job(row: &Row<'_>) -> Vec<Value> {
    let (spec, status) = (&row.object["spec"], &row.object["status"]);
    let suspend = match spec["suspend"].as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    let last = match status["lastScheduleTime"].str() {
        "" => "<none>".to_owned(),
        _ => row.since(&status["lastScheduleTime"]),
    };
    let job = &spec["jobTemplate"]["spec"];
    let [names, images] = containers(&job["template"]["spec"]);
    vec![
        row.name(),
        spec["schedule"].str().into(),
        or(&spec["timeZone"], "<none>").into(),
        suspend.into(),
        count(&status["active"]),
        last.into(),
        row.age(),
        names,
        images,
        format_selector(&job["selector"]).into(),
    ]
}

fn disruption_budget(row: &Row<'_>) -> Vec<Value> {
    let (spec, status) = (&row.object["spec"], &row.object["status"]);
    let bound = |value: &Value| if value.is_null() { "N/A".to_owned() } else { plain(value) };
    vec![
        row.name(),
        bound(&spec["minAvailable"]).into(),
        bound(&spec["maxUnavailable"]).into(),
        row.number(&status["disruptionsAllowed"]),
        row.age(),
    ]
}

fn autoscaler(row: &Row<'_>) -> Vec<Value> {
    let (spec, status) = (&row.object["spec"], &row.object["status"]);
    let target = &spec["scaleTargetRef"];
    let least = spec["minReplicas"].as_i64().map_or_else(|| "<unset>".to_owned(), |n| n.to_string());
    vec![
        row.name(),
        format!("{}/{}", target["kind"].str(), target["name"].str()).into(),
        targets(spec, status).into(),
        least.into(),
        row.number(&spec["maxReplicas"]),
        row.number(&status["currentReplicas"]),
        row.age(),
    ]
}

/// `cpu: 10%/80%`, at most two and how many more.
fn targets(spec: &Value, status: &Value) -> String {
    if let Some(percent) = spec["targetCPUUtilizationPercentage"].as_i64() {
        // version 1 has this one metric
        let current = status["currentCPUUtilizationPercentage"].as_i64();
        return format!("cpu: {}/{percent}%", current.map_or_else(|| "<unknown>".to_owned(), |n| format!("{n}%")));
    }
    let metrics = spec["metrics"].items();
    if metrics.is_empty() {
        return "<none>".into();
    }
    let list: Vec<String> = metrics.iter().enumerate().map(|(n, m)| metric(m, &status["currentMetrics"][n])).collect();
    if list.len() > 2 { format!("{} + {} more...", list[..2].join(", "), list.len() - 2) } else { list.join(", ") }
}

fn metric(spec: &Value, status: &Value) -> String {
    let (member, named) = match spec["type"].str() {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".into(),
    };
    let (target, current) = (&spec[member]["target"], &status[member]["current"]);
    let known = |value: &Value| if value.is_null() { "<unknown>".to_owned() } else { plain(value) };
    let percent =
        |value: &Value, otherwise: &str| value.as_i64().map_or_else(|| otherwise.to_owned(), |n| format!("{n}%"));
    if named {
        let name = spec[member]["name"].str();
        return match target["averageValue"].is_null() {
            false => format!("{name}: {}/{}", known(&current["averageValue"]), plain(&target["averageValue"])),
            true => {
                let current = percent(&current["averageUtilization"], "<unknown>");
                format!("{name}: {current}/{}", percent(&target["averageUtilization"], "<auto>"))
            }
        };
    }
    match (member, target["averageValue"].is_null()) {
        ("pods", _) => format!("{}/{}", known(&current["averageValue"]), plain(&target["averageValue"])),
        (_, false) => format!("{}/{} (avg)", known(&current["averageValue"]), plain(&target["averageValue"])),
        (_, true) => format!("{}/{}", known(&current["value"]), plain(&target["value"])),
    }
}
