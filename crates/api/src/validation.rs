//! Field validation: upstream's rules and texts, all errors of an object at once. The frame and what all kinds share;
//! one file per group beside it. Works on decoded and defaulted objects, so types are right already.

mod address;
mod meta_object;

pub use meta_object::name_errors;

use document::Value;
use meta::field::{Error, Shown};

use crate::ResourceType;

/// Everything wrong with a new object.
pub fn validate_create(resource: &ResourceType, object: &Value) -> Vec<Error> {
    meta_object::create(resource, object)
}

/// Everything wrong with a change. `subresource` is "" for the object itself, else `status`, `scale`, `approval`, …
pub fn validate_update(resource: &ResourceType, subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    let _ = subresource;
    meta_object::update(resource, new, old)
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
