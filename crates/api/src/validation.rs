//! Field validation: upstream's rules and texts, all errors of an object at once. The frame and what all kinds share;
//! one file per group beside it. Works on decoded and defaulted objects, so types are right already.

mod address;
mod autoscaling;
mod batch;
mod certificates;
mod check;
mod core;
mod cron;
mod diff;
mod dynamic;
mod flow;
mod internal;
mod meta_object;
mod networking;
mod pod;
mod policy;
mod rbac;
mod service;
mod small;
mod storage;
mod volume_source;
mod workload;

use document::Value;
use meta::field::{Error, Path, Shown};

pub(crate) use address::{cidr_warnings, ip_warnings};
pub use meta_object::name_errors;

use crate::ResourceType;
use check::Check;

/// Everything wrong with a new object.
pub fn validate_create(resource: &ResourceType, object: &Value) -> Vec<Error> {
    let mut errors = meta_object::create(resource, object);
    errors.extend(match (resource.group, resource.plural) {
        ("", "pods") => pod::create(object),
        ("", "services") => service::create(object),
        ("", "configmaps") => core::config_map(object),
        ("", "secrets") => core::secret(object),
        ("", "namespaces") => core::namespace(object),
        ("", "nodes") => core::node(object),
        ("", "persistentvolumeclaims") => storage::claim(object),
        ("", "persistentvolumes") => storage::volume(object),
        ("", "podtemplates") => workload::pod_template(object),
        ("", "replicationcontrollers") => workload::replication_controller(object),
        ("apps", "controllerrevisions") => workload::revision(object),
        ("apps", "daemonsets") => workload::daemon_set(object),
        ("apps", "deployments") => workload::deployment(object),
        ("apps", "replicasets") => workload::replica_set(object),
        ("apps", "statefulsets") => workload::stateful_set(object),
        ("batch", "cronjobs") => batch::cron_job(object, None),
        ("batch", "jobs") => batch::job(object),
        ("", "events") | ("events.k8s.io", "events") => small::event(resource, object),
        ("certificates.k8s.io", "clustertrustbundles") => certificates::trust_bundle(object),
        ("certificates.k8s.io", "podcertificaterequests") => certificates::pod_certificate(object),
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => flow::schema(object),
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => flow::priority_level(object),
        ("networking.k8s.io", "ipaddresses") => small::ip_address(object),
        ("networking.k8s.io", "servicecidrs") => small::service_cidr(object),
        ("storage.k8s.io", "csidrivers") => small::csi_driver(object),
        ("storage.k8s.io", "csinodes") => small::csi_node(object),
        ("storage.k8s.io", "csistoragecapacities") => small::csi_capacity(object),
        ("storage.k8s.io", "volumeattachments") => small::attachment(object),
        ("storage.k8s.io", "volumeattributesclasses") => small::attributes_class(object),
        ("storagemigration.k8s.io", "storageversionmigrations") => small::migration(object),
        ("", "endpoints") => networking::endpoints(object),
        ("", "limitranges") => policy::limit_range(object),
        ("", "resourcequotas") => policy::quota(object),
        ("apiregistration.k8s.io", "apiservices") => policy::api_service(object),
        ("autoscaling", "horizontalpodautoscalers") => autoscaling::autoscaler(resource, object, None),
        ("certificates.k8s.io", "certificatesigningrequests") => certificates::signing_request(object),
        ("coordination.k8s.io", "leases") => policy::lease(object),
        ("discovery.k8s.io", "endpointslices") => networking::endpoint_slice(object),
        ("networking.k8s.io", "ingressclasses") => networking::ingress_class(object),
        ("networking.k8s.io", "ingresses") => networking::ingress(object, true),
        ("networking.k8s.io", "networkpolicies") => networking::network_policy(object),
        ("node.k8s.io", "runtimeclasses") => policy::runtime_class(object),
        ("policy", "poddisruptionbudgets") => policy::disruption_budget(object),
        ("scheduling.k8s.io", "priorityclasses") => policy::priority_class(object),
        ("resource.k8s.io", "devicetaintrules") => dynamic::taint_rule(object),
        ("resource.k8s.io", "resourceclaims") => dynamic::claim(object),
        ("resource.k8s.io", "resourceclaimtemplates") => dynamic::claim_template(object),
        ("resource.k8s.io", "resourceslices") => dynamic::slice(object),
        ("storage.k8s.io", "storageclasses") => storage::class(object),
        (RBAC, "roles") => rbac::role(object, true),
        (RBAC, "clusterroles") => rbac::role(object, false),
        (RBAC, "rolebindings") => rbac::binding(object, true),
        (RBAC, "clusterrolebindings") => rbac::binding(object, false),
        _ => Vec::new(),
    });
    once(errors)
}

/// Everything wrong with a change. `subresource` is "" for the object itself, else `status`, `scale`, `approval`, …
pub fn validate_update(resource: &ResourceType, subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    let mut errors = meta_object::update(resource, new, old);
    errors.extend(match (resource.group, resource.plural) {
        ("", "pods") => pod::update(subresource, new, old),
        ("", "services") => service::update(subresource, new, old),
        ("", "configmaps") => core::config_map_update(new, old),
        ("", "secrets") => core::secret_update(new, old),
        ("", "namespaces") => core::namespace_update(subresource, new),
        ("", "nodes") => core::node_update(subresource, new, old),
        ("", "persistentvolumeclaims") => storage::claim_update(subresource, new, old),
        ("", "persistentvolumes") => storage::volume_update(subresource, new, old),
        ("", "podtemplates") => workload::pod_template(new),
        ("", "replicationcontrollers") if subresource.is_empty() => workload::replication_controller(new),
        ("apps", "controllerrevisions") => workload::revision_update(new, old),
        ("apps", "daemonsets") => workload::daemon_set_update(subresource, new, old),
        ("apps", "deployments") => workload::deployment_update(subresource, new, old),
        ("apps", "replicasets") => workload::replica_set_update(subresource, new, old),
        ("apps", "statefulsets") => workload::stateful_set_update(subresource, new, old),
        ("batch", "cronjobs") if subresource.is_empty() => batch::cron_job(new, Some(old)),
        ("batch", "jobs") => batch::job_update(subresource, new, old),
        ("certificates.k8s.io", "clustertrustbundles") => certificates::trust_bundle_update(new, old),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            certificates::signing_request_update(subresource, new, old)
        }
        ("certificates.k8s.io", "podcertificaterequests") => {
            certificates::pod_certificate_update(subresource, new, old)
        }
        ("flowcontrol.apiserver.k8s.io", _) if subresource == "status" => small::condition_types(&new["status"]),
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => flow::schema(new),
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => flow::priority_level(new),
        ("networking.k8s.io", "ipaddresses") => small::ip_address_update(new, old),
        ("networking.k8s.io", "servicecidrs") if subresource.is_empty() => small::service_cidr_update(new, old),
        ("storage.k8s.io", "csidrivers") => small::csi_driver_update(new, old),
        ("storage.k8s.io", "csinodes") => small::csi_node_update(new, old),
        ("storagemigration.k8s.io", "storageversionmigrations") => small::migration_update(subresource, new, old),
        ("storage.k8s.io", "csistoragecapacities") => small::csi_capacity_update(new, old),
        ("events.k8s.io", "events") => small::newer_event_update(resource, new, old),
        ("", "events") => small::legacy_event(resource, new),
        ("storage.k8s.io", "volumeattachments") => small::attachment_update(new, old),
        ("storage.k8s.io", "volumeattributesclasses") => small::attributes_class_update(new, old),
        ("", "endpoints") => networking::endpoints(new),
        ("", "limitranges") => policy::limit_range(new),
        ("", "resourcequotas") => policy::quota_update(subresource, new, old),
        ("apiregistration.k8s.io", "apiservices") => policy::api_service_update(subresource, new),
        ("autoscaling", "horizontalpodautoscalers") => autoscaling::autoscaler_update(resource, subresource, new, old),
        ("coordination.k8s.io", "leases") => policy::lease(new),
        ("discovery.k8s.io", "endpointslices") => networking::endpoint_slice_update(new, old),
        ("networking.k8s.io", "ingressclasses") => networking::ingress_class_update(new, old),
        ("networking.k8s.io", "ingresses") if subresource == "status" => networking::ingress_status(new),
        ("networking.k8s.io", "ingresses") => networking::ingress(new, false),
        ("networking.k8s.io", "networkpolicies") => networking::network_policy(new),
        ("node.k8s.io", "runtimeclasses") => policy::runtime_class_update(new, old),
        ("policy", "poddisruptionbudgets") => policy::disruption_budget(new),
        ("scheduling.k8s.io", "priorityclasses") => policy::priority_class_update(new, old),
        ("resource.k8s.io", "devicetaintrules") if subresource.is_empty() => dynamic::taint_rule(new),
        ("resource.k8s.io", "resourceclaims" | "resourceclaimtemplates") => dynamic::immutable_spec(new, old),
        ("resource.k8s.io", "resourceslices") => dynamic::slice_update(new, old),
        ("storage.k8s.io", "storageclasses") => storage::class_update(new, old),
        (RBAC, "roles") => rbac::role(new, true),
        (RBAC, "clusterroles") => rbac::role(new, false),
        (RBAC, "rolebindings") => rbac::binding_update(new, old, true),
        (RBAC, "clusterrolebindings") => rbac::binding_update(new, old, false),
        _ => Vec::new(),
    });
    once(errors)
}

/// What is wrong with the addresses, families and family policy of a Service: asked before they are allocated.
pub fn service_addresses(service: &Value, old: Option<&Value>) -> Vec<Error> {
    let mut check = Check::default();
    let old = old.map_or(&Value::Null, |o| &o["spec"]);
    service::addresses(&mut check, &service["spec"], old, &Path::root("spec"));
    check.errors
}

/// How two objects differ, as upstream prints it: a unified diff of its internal type. `type_name` is the OpenAPI name.
pub fn internal_diff(old: &Value, new: &Value, type_name: &str) -> String {
    diff::diff(old, new, type_name)
}

/// What two rules say alike is said once.
fn once(errors: Vec<Error>) -> Vec<Error> {
    let mut kept: Vec<Error> = Vec::with_capacity(errors.len());
    for error in errors {
        if !kept.contains(&error) {
            kept.push(error);
        }
    }
    kept
}

const RBAC: &str = "rbac.authorization.k8s.io";

fn pod_node_selector(check: &mut Check, selector: &Value, path: &Path) {
    pod::node_selector(check, selector, path);
}

fn pod_host_path(check: &mut Check, source: &Value, path: &Path) {
    pod::host_path(check, source, path);
}

/// A value as a field error prints it: strings quoted, numbers plain, the rest as JSON.
fn shown(value: &Value) -> Shown {
    match value {
        Value::String(text) => Shown::from(text),
        Value::Null => Shown::null(),
        Value::Bool(b) => Shown::from(*b),
        Value::Int(n) => Shown::from(*n),
        other => {
            let mut out = String::new();
            push_json(&mut out, other);
            Shown::json(out)
        }
    }
}

/// Compact JSON as Go writes it.
fn push_json(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) => out.push_str(&n.to_string()),
        Value::Float(x) => out.push_str(&x.to_string()),
        Value::String(text) => meta::status::push_json_string(out, text),
        Value::List(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { "," });
                push_json(out, item);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (n, (name, member)) in map.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { "," });
                meta::status::push_json_string(out, name);
                out.push(':');
                push_json(out, member);
            }
            out.push('}');
        }
    }
}
