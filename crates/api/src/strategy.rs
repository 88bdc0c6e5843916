//! What a resource does to its objects beside data: fields filled, reset or counted before validation, and graceful
//! deletion. Called by `registry::write`; pure functions of the objects. Not here: defaults (tables), admission.

mod batch;
mod certificates;
mod core;
mod deletion;
mod gates;
mod generic;
mod pod;
mod qos;
mod service;

use document::Value;
use meta::{Time, UserInfo};

use crate::ResourceType;

pub use deletion::{Grace, begin_deletion};
pub(crate) use pod::app_armor_profile;
pub use qos::qos_class;

/// What a strategy may know besides the objects.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub user: &'a UserInfo,
    pub now: Time,
}

/// What upstream does when it reads an object of this version, before anybody else sees it.
pub fn begin(resource: &ResourceType, object: &mut Value) {
    if resource.group.is_empty() && resource.kind == "Secret" {
        core::string_data(object);
    }
}

/// Brings `clusterIP` and `clusterIPs` of a Service together, and takes over from the old one what the request left out:
/// the first thing that happens to it, before addresses are allocated.
pub fn begin_service(new: &mut Value, old: Option<&Value>) {
    service::begin(new, old);
}

/// Before validation of a create. Uid, creationTimestamp and name are set already.
pub fn prepare_create(resource: &ResourceType, object: &mut Value, context: &Context<'_>) {
    generic::create(resource, object);
    gates::drop_fields(object, None, resource.type_);
    match (resource.group, resource.plural) {
        ("", "pods") => pod::create(object, context),
        ("", "services") => service::create(object),
        ("", _) => core::create(resource.plural, object, context),
        ("batch", _) => batch::create(resource.plural, object),
        ("certificates.k8s.io", "certificatesigningrequests") => core::create_csr(object, context),
        ("apiregistration.k8s.io", "apiservices") => core::local_api_service(object, context),
        ("apps", "daemonsets") => core::create_daemon_set(object),
        ("apps", "statefulsets") => core::claim_templates(object),
        // the status that rides in annotations goes as the rest of it
        ("autoscaling", _) => crate::stored::keep_carried(resource, "", object, &Value::Null),
        _ => {}
    }
}

/// Before validation of an update through the main endpoint (`""`) or a subresource that holds the same object.
pub fn prepare_update(resource: &ResourceType, subresource: &str, new: &mut Value, old: &Value, context: &Context<'_>) {
    // taken before the reset: `status` shows conditions as fields that are not its own, but refuses changes of them
    let conditions = new["status"]["conditions"].clone();
    generic::reset(resource, subresource, new, old);
    gates::drop_fields(new, Some(old), resource.type_);
    match (resource.group, resource.plural) {
        ("", "pods") => pod::update(subresource, new, old),
        ("", "services") if subresource.is_empty() => service::update(new, old),
        ("", _) => core::update(resource.plural, subresource, new, old, context),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            certificates::update_signing_request(subresource, conditions, new, old, context);
        }
        ("apps", "daemonsets") if subresource.is_empty() => core::update_daemon_set(new, old),
        ("apps", "statefulsets") if subresource.is_empty() => core::claim_templates(new),
        ("autoscaling", "horizontalpodautoscalers") => crate::stored::keep_carried(resource, subresource, new, old),
        _ => {}
    }
    generic::update(resource, new, old);
}
