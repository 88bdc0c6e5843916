//! The 403 in upstream's words.

use meta::goquote::quote;
use meta::{Attributes, Status, UserInfo};

/// What the user is told: never more than it asked, except the authorizers' reason.
pub fn forbidden(user: &UserInfo, a: &Attributes, reason: &str) -> Status {
    let mut why = escape(&message(user, a));
    if !reason.is_empty() {
        why.push_str(": ");
        why.push_str(reason);
    }
    Status::forbidden(&a.group_resource(), &a.name, &why)
}

fn message(user: &UserInfo, a: &Attributes) -> String {
    let name = quote(&user.name);
    if !a.is_resource {
        return format!("User {name} cannot {} path {}", a.verb, quote(&a.path));
    }
    let resource = match a.subresource.is_empty() {
        true => a.resource.clone(),
        false => format!("{}/{}", a.resource, a.subresource),
    };
    let place = match a.namespace.is_empty() {
        true => "at the cluster scope".to_owned(),
        false => format!("in the namespace {}", quote(&a.namespace)),
    };
    format!("User {name} cannot {} resource {} in API group {} {place}", a.verb, quote(&resource), quote(&a.group))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
