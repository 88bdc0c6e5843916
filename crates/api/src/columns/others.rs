//! Everything that fits into no larger family: namespaces, nodes, events, Secrets, RBAC, certificates, policies.

use std::collections::BTreeSet;

use document::Value;

use super::{Cells, Row, condition, count, format_labels, join, name_and_age, name_and_creation, or, plain};

pub(super) fn function(kind: &str) -> Cells {
    match kind {
        "RoleBinding" | "ClusterRoleBinding" => binding,
        "CertificateSigningRequest" => certificate_signing_request,
        "ClusterTrustBundle" => |row| vec![row.name(), or(&row.object["spec"]["signerName"], "<none>").into()],
        "PodCertificateRequest" => pod_certificate_request,
        "APIService" => api_service,
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            |row| vec![row.name(), count(&row.object["webhooks"]), row.age()]
        }
        "MutatingAdmissionPolicy" => |row| policy(row, "mutations"),
        "ValidatingAdmissionPolicy" => |row| policy(row, "validations"),
        "MutatingAdmissionPolicyBinding" | "ValidatingAdmissionPolicyBinding" => policy_binding,
        "PriorityClass" => priority_class,
        "Lease" => |row| vec![row.name(), row.object["spec"]["holderIdentity"].str().into(), row.age()],
        "RuntimeClass" => |row| vec![row.name(), row.object["handler"].str().into(), row.age()],
        "FlowSchema" => flow_schema,
        "PriorityLevelConfiguration" => priority_level,
        "StorageVersionMigration" => storage_version_migration,
        _ => name_and_creation,
    }
}

/// Kinds of `resource.k8s.io`.
pub(super) fn device_function(kind: &str) -> Cells {
    match kind {
        "ResourceClaim" => resource_claim,
        "ResourceSlice" => |row| {
            let spec = &row.object["spec"];
            vec![
                row.name(),
                spec["nodeName"].str().into(),
                spec["driver"].str().into(),
                spec["pool"]["name"].str().into(),
                row.age(),
            ]
        },
        "DeviceTaintRule" => device_taint_rule,
        _ => name_and_age,
    }
}

pub(super) fn namespace(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), row.object["status"]["phase"].str().into(), row.age()]
}

pub(super) fn secret(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), row.object["type"].str().into(), count(&row.object["data"]), row.age()]
}

pub(super) fn config_map(row: &Row<'_>) -> Vec<Value> {
    let all = row.object["data"].members().count() + row.object["binaryData"].members().count();
    vec![row.name(), i64::try_from(all).unwrap_or(i64::MAX).into(), row.age()]
}

pub(super) fn node(row: &Row<'_>) -> Vec<Value> {
    let (status, info) = (&row.object["status"], &row.object["status"]["nodeInfo"]);
    let mut state = match condition(row.object, "Ready").map(|c| c["status"].str()) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if row.object["spec"]["unschedulable"].is_true() {
        state.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| {
        let found = status["addresses"].items().iter().find(|a| a["type"].str() == kind);
        found.map_or("<none>", |a| a["address"].str())
    };
    let mut kernel = or(&info["kernelVersion"], "<unknown>").to_owned();
    if !info["architecture"].str().is_empty() {
        kernel.push_str(&format!(" ({})", info["architecture"].str()));
    }
    vec![
        row.name(),
        state.into(),
        node_roles(row.object).into(),
        row.age(),
        info["kubeletVersion"].str().into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        or(&info["osImage"], "<unknown>").into(),
        kernel.into(),
        or(&info["containerRuntimeVersion"], "<unknown>").into(),
    ]
}

fn node_roles(node: &Value) -> String {
    let role = |(key, value): (&'_ str, &'_ Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()),
        None => (key == "kubernetes.io/role").then(|| value.str().to_owned()),
    };
    let roles: BTreeSet<String> =
        node["metadata"]["labels"].members().filter_map(role).filter(|r| !r.is_empty()).collect();
    if roles.is_empty() { "<none>".into() } else { join(roles.iter().map(String::as_str), ",") }
}

/// An Event of either group: the newer one says the same under other names.
pub(super) fn event(row: &Row<'_>) -> Vec<Value> {
    let event = row.object;
    let either = |old: &'static str, new: &'static str| if event[old].is_null() { &event[new] } else { &event[old] };
    let first = match either("firstTimestamp", "deprecatedFirstTimestamp") {
        time if time.str().is_empty() => row.since(&event["eventTime"]),
        time => row.since(time),
    };
    let mut last = match either("lastTimestamp", "deprecatedLastTimestamp") {
        time if time.str().is_empty() => first.clone(),
        time => row.since(time),
    };
    let mut times = either("count", "deprecatedCount").as_i64().unwrap_or(0).max(1);
    if !event["series"].is_null() {
        last = row.since(&event["series"]["lastObservedTime"]);
        times = event["series"]["count"].as_i64().unwrap_or(0);
    }
    let about = either("involvedObject", "regarding");
    let kind = about["kind"].str().to_lowercase();
    let target = if about["name"].str().is_empty() { kind } else { format!("{kind}/{}", about["name"].str()) };
    let source = either("source", "deprecatedSource");
    let component = or(&source["component"], either("reportingComponent", "reportingController").str());
    let component = match or(&source["host"], event["reportingInstance"].str()) {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    };
    vec![
        last.into(),
        event["type"].str().into(),
        event["reason"].str().into(),
        target.into(),
        about["fieldPath"].str().into(),
        component.into(),
        either("message", "note").str().trim().into(),
        first.into(),
        times.into(),
        row.name(),
    ]
}

pub(super) fn resource_quota(row: &Row<'_>) -> Vec<Value> {
    let status = &row.object["status"];
    let mut hard: Vec<(&str, &Value)> = status["hard"].members().collect();
    hard.sort_by_key(|(name, _)| *name);
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (name, amount) in hard {
        let used = &status["used"][name];
        let used = if used.is_null() { "0".to_owned() } else { plain(used) };
        let column = if name.starts_with("limits.") { &mut limits } else { &mut requests };
        column.push(format!("{name}: {used}/{}", plain(amount)));
    }
    vec![row.name(), requests.join(", ").into(), limits.join(", ").into(), row.age()]
}

pub(super) fn component_status(row: &Row<'_>) -> Vec<Value> {
    let found = row.object["conditions"].items().iter().find(|c| c["type"].str() == "Healthy");
    let state = match found.map(|c| c["status"].str()) {
        Some("True") => "Healthy",
        Some(_) => "Unhealthy",
        None => "Unknown",
    };
    let text = |member: &str| Value::from(found.map_or("", |c| c[member].str()));
    vec![row.name(), state.into(), text("message"), text("error")]
}

fn binding(row: &Row<'_>) -> Vec<Value> {
    let role = &row.object["roleRef"];
    let subjects = row.object["subjects"].items();
    let of = |kind: &str| -> Vec<String> {
        let named = subjects.iter().filter(|s| s["kind"].str() == kind);
        named
            .map(|s| {
                if kind == "ServiceAccount" {
                    format!("{}/{}", s["namespace"].str(), s["name"].str())
                } else {
                    plain(&s["name"])
                }
            })
            .collect()
    };
    vec![
        row.name(),
        format!("{}/{}", role["kind"].str(), role["name"].str()).into(),
        row.age(),
        of("User").join(", ").into(),
        of("Group").join(", ").into(),
        of("ServiceAccount").join(", ").into(),
    ]
}

fn certificate_signing_request(row: &Row<'_>) -> Vec<Value> {
    let spec = &row.object["spec"];
    let lifetime = spec["expirationSeconds"].as_i64().map_or_else(|| "<none>".to_owned(), super::human::duration);
    let mut state = match (condition(row.object, "Denied"), condition(row.object, "Approved")) {
        (Some(_), _) => "Denied",
        (None, Some(_)) => "Approved",
        (None, None) => "Pending",
    }
    .to_owned();
    if condition(row.object, "Failed").is_some() {
        state.push_str(",Failed");
    }
    if !row.object["status"]["certificate"].str().is_empty() {
        state.push_str(",Issued");
    }
    let signer = or(&spec["signerName"], "<none>");
    vec![row.name(), row.age(), signer.into(), spec["username"].str().into(), lifetime.into(), state.into()]
}

fn pod_certificate_request(row: &Row<'_>) -> Vec<Value> {
    let spec = &row.object["spec"];
    let kinds = row.object["status"]["conditions"].items().iter().map(|c| c["type"].str());
    let state = kinds.rev().find(|k| matches!(*k, "Issued" | "Denied" | "Failed")).unwrap_or("Pending");
    let text = |member: &str| Value::from(spec[member].str());
    vec![
        row.name(),
        text("podName"),
        text("serviceAccountName"),
        text("nodeName"),
        text("signerName"),
        state.into(),
        format_labels(&spec["unverifiedUserAnnotations"]).into(),
    ]
}

fn api_service(row: &Row<'_>) -> Vec<Value> {
    let service = &row.object["spec"]["service"];
    let service = if service.is_null() {
        "Local".to_owned()
    } else {
        format!("{}/{}", service["namespace"].str(), service["name"].str())
    };
    let available = match condition(row.object, "Available") {
        None => "Unknown".to_owned(),
        Some(c) if c["status"].str() == "True" || c["reason"].str().is_empty() => c["status"].str().to_owned(),
        Some(c) => format!("{} ({})", c["status"].str(), c["reason"].str()),
    };
    vec![row.name(), service.into(), available.into(), row.age()]
}

fn policy(row: &Row<'_>, rules: &str) -> Vec<Value> {
    let spec = &row.object["spec"];
    let kind = &spec["paramKind"];
    let kind = if kind.is_null() {
        "<unset>".to_owned()
    } else {
        format!("{}/{}", kind["apiVersion"].str(), kind["kind"].str())
    };
    vec![row.name(), count(&spec[rules]), kind.into(), row.age()]
}

fn policy_binding(row: &Row<'_>) -> Vec<Value> {
    let spec = &row.object["spec"];
    let parameters = &spec["paramRef"];
    let text = match (parameters["namespace"].str(), parameters["name"].str()) {
        (_, "") if parameters["selector"].is_null() => "<unset>".to_owned(),
        (_, "") => super::selector_text(&parameters["selector"]),
        ("", name) => format!("*/{name}"),
        (namespace, name) => format!("{namespace}/{name}"),
    };
    vec![row.name(), spec["policyName"].str().into(), text.into(), row.age()]
}

fn priority_class(row: &Row<'_>) -> Vec<Value> {
    let class = row.object;
    vec![
        row.name(),
        row.number(&class["value"]),
        class["globalDefault"].is_true().into(),
        row.age(),
        class["preemptionPolicy"].str().into(),
    ]
}

fn flow_schema(row: &Row<'_>) -> Vec<Value> {
    let spec = &row.object["spec"];
    vec![
        row.name(),
        spec["priorityLevelConfiguration"]["name"].str().into(),
        row.number(&spec["matchingPrecedence"]),
        or(&spec["distinguisherMethod"]["type"], "<none>").into(),
        row.age(),
        condition(row.object, "Dangling").map_or("?", |c| c["status"].str()).into(),
    ]
}

fn priority_level(row: &Row<'_>) -> Vec<Value> {
    let spec = &row.object["spec"];
    let limited = &spec["limited"];
    let queuing = &limited["limitResponse"]["queuing"];
    let number = |value: &Value| if value.is_null() { "<none>".into() } else { value.clone() };
    vec![
        row.name(),
        spec["type"].str().into(),
        number(&limited["nominalConcurrencyShares"]),
        number(&queuing["queues"]),
        number(&queuing["handSize"]),
        number(&queuing["queueLengthLimit"]),
        row.age(),
    ]
}

fn storage_version_migration(row: &Row<'_>) -> Vec<Value> {
    let resource = &row.object["spec"]["resource"];
    let gr = meta::GroupResource::new(resource["group"].str(), resource["resource"].str());
    let holds = row.object["status"]["conditions"].items().iter().filter(|c| c["status"].str() == "True");
    let state = holds.map(|c| c["type"].str()).rfind(|k| matches!(*k, "Running" | "Failed" | "Succeeded"));
    vec![row.name(), gr.to_string().into(), state.unwrap_or("Unknown").into()]
}

fn resource_claim(row: &Row<'_>) -> Vec<Value> {
    let status = &row.object["status"];
    let deleted = !row.object["metadata"]["deletionTimestamp"].is_null();
    let mut states = Vec::new();
    if deleted {
        states.push("deleted");
    }
    if !status["allocation"].is_null() {
        states.push("allocated");
        if !status["reservedFor"].items().is_empty() {
            states.push("reserved");
        }
    } else if !deleted {
        states.push("pending");
    }
    vec![row.name(), states.join(",").into(), row.age()]
}

fn device_taint_rule(row: &Row<'_>) -> Vec<Value> {
    let taint = &row.object["spec"]["taint"];
    let added = if taint["timeAdded"].str().is_empty() { String::new() } else { row.since(&taint["timeAdded"]) };
    let text = |member: &str| Value::from(taint[member].str());
    vec![row.name(), text("key"), text("value"), text("effect"), added.into(), row.age()]
}

pub(super) fn custom_resource_definition(row: &Row<'_>) -> Vec<Value> {
    let spec = &row.object["spec"];
    let served = spec["versions"].items().iter().filter(|v| v["served"].is_true());
    let mut versions: Vec<String> = served
        .map(|v| format!("{}{}", v["name"].str(), if v["storage"].is_true() { "(storage)" } else { "" }))
        .collect();
    versions.sort();
    vec![
        row.name(),
        spec["scope"].str().into(),
        versions.join(",").into(),
        row.created_at(),
        spec["group"].str().into(),
        spec["names"]["kind"].str().into(),
        join(spec["names"]["shortNames"].items().iter().map(Value::str), ",").into(),
        condition(row.object, "Established").is_some_and(|c| c["status"].str() == "True").into(),
    ]
}
