//! From a tree to a message: fields in ascending number; values that are no pointers are written even when zero.

use super::ProtoError;
use super::wire::{FIXED64, push_bytes, push_int, push_message, push_tag};
use crate::decode::{decode_base64, parse_duration};
use crate::schema::{Message, ProtoKind};
use crate::{Type, Value, json};

static NULL: Value = Value::Null;

/// The message of a normalized value.
pub fn encode(value: &Value, type_: &'static Type) -> Result<Vec<u8>, ProtoError> {
    let message = type_.message.ok_or(ProtoError::NoMessage(type_.name))?;
    let mut out = Vec::with_capacity(512);
    fields(value, message, type_, &mut out);
    Ok(out)
}

fn of_type(value: &Value, type_: &'static Type, out: &mut Vec<u8>) {
    if let Some(message) = type_.message {
        fields(value, message, type_, out);
    }
}

fn fields(value: &Value, message: &'static Message, owner: &'static Type, out: &mut Vec<u8>) {
    for field in message.fields {
        if field.inline {
            // the embedded message's members sit in this object
            one(value, field.kind, field.number, owner, out);
            continue;
        }
        let member = value.get(field.json).unwrap_or(&NULL);
        if let ProtoKind::Map(of) = field.kind {
            map(member, *of, field.number, owner, out);
        } else if field.repeated {
            member.items().iter().for_each(|item| one(item, field.kind, field.number, owner, out));
        } else if !member.is_null() || field.always {
            one(member, field.kind, field.number, owner, out);
        }
    }
}

/// Entries sorted by key, key and value always written.
fn map(value: &Value, of: ProtoKind, number: u32, owner: &'static Type, out: &mut Vec<u8>) {
    let mut entries: Vec<(&str, &Value)> = value.members().collect();
    entries.sort_by(|a, b| a.0.cmp(b.0));
    for (key, value) in entries {
        push_message(number, out, |out| {
            push_bytes(1, key.as_bytes(), out);
            one(value, of, 2, owner, out);
        });
    }
}

fn one(value: &Value, kind: ProtoKind, number: u32, owner: &'static Type, out: &mut Vec<u8>) {
    match kind {
        ProtoKind::String => push_bytes(number, value.str().as_bytes(), out),
        ProtoKind::Bytes => push_bytes(number, &decode_base64(value.str()).unwrap_or_default(), out),
        ProtoKind::Bool => push_int(number, i64::from(value.is_true()), out),
        ProtoKind::Int32 | ProtoKind::Int64 => push_int(number, value.as_i64().unwrap_or_default(), out),
        ProtoKind::Double => {
            push_tag(number, FIXED64, out);
            out.extend_from_slice(&double(value).to_le_bytes());
        }
        ProtoKind::Ref(type_) => push_message(number, out, |out| of_type(value, type_, out)),
        ProtoKind::Map(of) => map(value, *of, number, owner, out),
        special => push_message(number, out, |out| self::special(value, special, owner, out)),
    }
}

fn double(value: &Value) -> f64 {
    match value {
        Value::Float(x) => *x,
        Value::Int(n) => *n as f64,
        _ => 0.0,
    }
}

/// Messages with a form of their own in JSON.
fn special(value: &Value, kind: ProtoKind, owner: &'static Type, out: &mut Vec<u8>) {
    match kind {
        ProtoKind::Time => {
            if let Some(time) = meta::Time::parse(value.str()) {
                push_int(1, time.0, out);
                push_int(2, 0, out);
            }
        }
        ProtoKind::MicroTime => {
            if let Some(time) = meta::MicroTime::parse(value.str()) {
                push_int(1, time.0.div_euclid(1_000_000), out);
                push_int(2, time.0.rem_euclid(1_000_000) * 1000, out);
            }
        }
        ProtoKind::Duration => push_int(1, parse_duration(value.str()).unwrap_or_default(), out),
        ProtoKind::Quantity => push_bytes(1, quantity_text(value).as_bytes(), out),
        ProtoKind::IntOrString => {
            push_int(1, i64::from(matches!(value, Value::String(_))), out);
            push_int(2, value.as_i64().unwrap_or_default(), out);
            push_bytes(3, value.str().as_bytes(), out);
        }
        ProtoKind::RawExtension | ProtoKind::FieldsV1 | ProtoKind::Json if !value.is_null() => {
            push_bytes(1, &json::to_vec(value), out);
        }
        ProtoKind::Items => value.items().iter().for_each(|i| push_bytes(1, i.str().as_bytes(), out)),
        ProtoKind::JsonSchemaPropsOrBool => {
            let is_schema = matches!(value, Value::Map(_));
            push_int(1, i64::from(is_schema || value.is_true()), out);
            if is_schema {
                push_message(2, out, |out| of_type(value, owner, out));
            }
        }
        ProtoKind::JsonSchemaPropsOrArray | ProtoKind::JsonSchemaPropsOrStringArray => match value {
            Value::Map(_) => push_message(1, out, |out| of_type(value, owner, out)),
            list => list.items().iter().for_each(|item| match item {
                Value::String(s) => push_bytes(2, s.as_bytes(), out),
                schema => push_message(2, out, |out| of_type(schema, owner, out)),
            }),
        },
        _ => {}
    }
}

/// An absent quantity is zero.
fn quantity_text(value: &Value) -> &str {
    if value.str().is_empty() { "0" } else { value.str() }
}
