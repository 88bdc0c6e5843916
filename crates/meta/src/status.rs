//! `Status`: how every refusal is said. One constructor per constructor of upstream's `apierrors`, with its texts.

use std::borrow::Cow;
use std::fmt;

use crate::field::{self, Cause};
use crate::goquote::quote;
use crate::{GroupKind, GroupResource};

/// An answer of kind Status, failure unless made by [`Status::success`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: u16,
    /// Empty: upstream leaves the key out.
    pub reason: Cow<'static, str>,
    pub message: String,
    pub details: Option<Details>,
    pub success: bool,
    /// `metadata.continue`, set with an expired list only.
    pub continue_token: Option<String>,
    /// `Warning` headers for the answer: what was to be said before it went wrong. Not part of the body.
    pub warnings: Vec<String>,
}

/// Which object and why, for machines. Empty members are left out when printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    pub name: String,
    pub group: String,
    /// The resource, except in Invalid, where it is the kind.
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    pub retry_after_seconds: u32,
}

impl Status {
    /// The same, with warnings that come before those it has.
    pub fn warned(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.warnings.splice(0..0, warnings);
        self
    }

    pub fn new(code: u16, reason: &'static str, message: impl Into<String>, details: Option<Details>) -> Self {
        Status {
            code,
            reason: reason.into(),
            message: message.into(),
            details,
            success: false,
            continue_token: None,
            warnings: Vec::new(),
        }
    }

    /// What DELETE answers when it does not answer the object.
    pub fn success(details: Option<Details>) -> Self {
        Status { success: true, ..Status::new(200, "", "", details) }
    }

    pub fn not_found(gr: &GroupResource, name: &str) -> Self {
        Status::new(404, "NotFound", format!("{gr} {} not found", quote(name)), Some(of(gr, name)))
    }

    pub fn already_exists(gr: &GroupResource, name: &str) -> Self {
        Status::new(409, "AlreadyExists", format!("{gr} {} already exists", quote(name)), Some(of(gr, name)))
    }

    pub fn generate_name_conflict(gr: &GroupResource, name: &str) -> Self {
        let message = format!(
            "{gr} {} already exists, the server was not able to generate a unique name for the object",
            quote(name)
        );
        Status::new(409, "AlreadyExists", message, Some(Details { retry_after_seconds: 1, ..of(gr, name) }))
    }

    pub fn conflict(gr: &GroupResource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {gr} {}: {why}", quote(name));
        Status::new(409, "Conflict", message, Some(of(gr, name)))
    }

    /// The answer to a write against an older resourceVersion.
    pub fn stale(gr: &GroupResource, name: &str) -> Self {
        Status::conflict(
            gr,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub fn unauthorized() -> Self {
        Status::new(401, "Unauthorized", "Unauthorized", None)
    }

    /// `name` may be empty, and so may the resource: the text shortens as upstream's does.
    pub fn forbidden(gr: &GroupResource, name: &str, why: &str) -> Self {
        let message = match (gr.resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{gr} is forbidden: {why}"),
            (false, false) => format!("{gr} {} is forbidden: {why}", quote(name)),
        };
        Status::new(403, "Forbidden", message, Some(of(gr, name)))
    }

    /// `errors` must not be empty.
    pub fn invalid(gk: &GroupKind, name: &str, errors: Vec<field::Error>) -> Self {
        let message = format!("{gk} {} is invalid: {}", quote(name), field::aggregate(&errors));
        let causes = errors.into_iter().map(field::Error::into_cause).collect();
        let details =
            Details { name: name.into(), group: gk.group.clone(), kind: gk.kind.clone(), causes, ..Default::default() };
        Status::new(422, "Invalid", message, Some(details))
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Status::new(400, "BadRequest", message, None)
    }

    /// 405 for a resource of a known type that lacks the action.
    pub fn method_not_supported(gr: &GroupResource, action: &str) -> Self {
        let message = format!("{action} is not supported on resources of kind {}", quote(&gr.to_string()));
        Status::new(405, "MethodNotAllowed", message, Some(of(gr, "")))
    }

    /// 405 as the router says it.
    pub fn method_not_allowed() -> Self {
        Status::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
            Some(Details::default()),
        )
    }

    /// 404 as the router says it, below a known group.
    pub fn no_such_resource() -> Self {
        Status::new(404, "NotFound", "the server could not find the requested resource", Some(Details::default()))
    }

    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Status::new(406, "NotAcceptable", message, None)
    }

    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Status::new(415, "UnsupportedMediaType", message, None)
    }

    pub fn too_large(limit: usize) -> Self {
        Status::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"), None)
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Status::new(429, "TooManyRequests", message, Some(Details { retry_after_seconds, ..Default::default() }))
    }

    pub fn gone(message: impl Into<String>) -> Self {
        Status::new(410, "Gone", message, None)
    }

    pub fn expired(message: impl Into<String>) -> Self {
        Status::new(410, "Expired", message, None)
    }

    pub fn timeout(text: &str, retry_after_seconds: u32) -> Self {
        Status::new(
            504,
            "Timeout",
            format!("Timeout: {text}"),
            Some(Details { retry_after_seconds, ..Default::default() }),
        )
    }

    pub fn internal(error: impl fmt::Display) -> Self {
        let error = error.to_string();
        let cause = Cause { reason: String::new(), message: error.clone(), field: String::new() };
        let details = Details { causes: vec![cause], ..Default::default() };
        Status::new(500, "InternalError", format!("Internal error occurred: {error}"), Some(details))
    }

    /// 500 with no reason: upstream's answer for an error that nothing classified.
    pub fn unclassified(message: impl Into<String>) -> Self {
        Status::new(500, "", message, None)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Status::new(503, "ServiceUnavailable", message, None)
    }

    /// What Lanyard does not build yet: 501, reason NotImplemented (ours; upstream has no such answer).
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Status::new(501, "NotImplemented", message, None)
    }

    pub fn is_not_found(&self) -> bool {
        self.reason == "NotFound"
    }

    pub fn is_already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }

    pub fn is_conflict(&self) -> bool {
        self.reason == "Conflict"
    }

    pub fn is_expired(&self) -> bool {
        self.code == 410
    }

    /// The JSON body, members in upstream's order, without a trailing newline.
    pub fn to_json(&self) -> String {
        let mut out = String::from(r#"{"kind":"Status","apiVersion":"v1","metadata":{"#);
        if let Some(token) = &self.continue_token {
            out.push_str("\"continue\":");
            push_json_string(&mut out, token);
        }
        out.push_str(if self.success { r#"},"status":"Success""# } else { r#"},"status":"Failure""# });
        push_member(&mut out, "message", &self.message);
        push_member(&mut out, "reason", &self.reason);
        if let Some(details) = &self.details {
            out.push_str(",\"details\":{");
            details.push_json(&mut out);
            out.push('}');
        }
        if !self.success || self.code != 200 {
            out.push_str(&format!(",\"code\":{}", self.code));
        }
        out.push('}');
        out
    }
}

impl Details {
    fn push_json(&self, out: &mut String) {
        let start = out.len();
        push_member(out, "name", &self.name);
        push_member(out, "group", &self.group);
        push_member(out, "kind", &self.kind);
        push_member(out, "uid", &self.uid);
        if !self.causes.is_empty() {
            out.push_str(",\"causes\":[");
            for (n, cause) in self.causes.iter().enumerate() {
                out.push_str(if n == 0 { "{" } else { ",{" });
                let at = out.len();
                push_member(out, "reason", &cause.reason);
                push_member(out, "message", &cause.message);
                push_member(out, "field", &cause.field);
                drop_comma(out, at);
                out.push('}');
            }
            out.push(']');
        }
        if self.retry_after_seconds > 0 {
            out.push_str(&format!(",\"retryAfterSeconds\":{}", self.retry_after_seconds));
        }
        drop_comma(out, start);
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

fn of(gr: &GroupResource, name: &str) -> Details {
    Details { name: name.into(), group: gr.group.clone(), kind: gr.resource.clone(), ..Default::default() }
}

fn drop_comma(out: &mut String, at: usize) {
    if out.as_bytes().get(at) == Some(&b',') {
        out.remove(at);
    }
}

fn push_member(out: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        out.push_str(",\"");
        out.push_str(name);
        out.push_str("\":");
        push_json_string(out, value);
    }
}

/// A JSON string as Go's encoder writes it: `<`, `>`, `&`, U+2028 and U+2029 escaped.
pub fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_object_is_said_as_upstream_says_it() {
        let status = Status::not_found(&GroupResource::new("apps", "deployments"), "x");
        assert_eq!(
            status.to_json(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"deployments.apps \"x\" not found","reason":"NotFound","details":{"name":"x","group":"apps","kind":"deployments"},"code":404}"#
        );
    }

    #[test]
    fn the_routers_answer_has_empty_details() {
        assert!(Status::no_such_resource().to_json().contains(r#""details":{},"code":404"#));
    }
}
