//! Output form: what upstream's typed structs print after a pass through storage. Struct order, zeros where Go prints
//! them, nothing where it does not, map keys sorted. Idempotent.

use crate::decode::position;
use crate::schema::{Kind, Shape, Zero};
use crate::value::Name;
use crate::{Field, Map, Type, Value};

/// Brings a value that fits the type into its output form; members that the type does not know are dropped.
pub fn normalize(value: &mut Value, type_: &'static Type) {
    of_type(value, type_, Empties::Dropped);
}

/// The same for an object that has not been stored yet: an empty map, or an empty list that is always written, is not
/// yet the same as none. Field management and the errors of validation tell them apart.
pub fn normalize_given(value: &mut Value, type_: &'static Type) {
    of_type(value, type_, Empties::Kept);
}

/// Whether `normalize_given` may have left something that `normalize` does not leave.
pub fn has_empties(value: &Value, type_: &'static Type) -> bool {
    holds_empty(value, &Kind::Ref(type_))
}

fn holds_empty(value: &Value, kind: &Kind) -> bool {
    match (kind, value) {
        (Kind::Map(_), Value::Map(map)) if map.is_empty() => true,
        (Kind::List(_), Value::List(list)) if list.is_empty() => true,
        (Kind::Ref(type_), Value::Map(map)) => map.iter().any(|(name, value)| {
            matches!(value, Value::Map(_) | Value::List(_))
                && type_.field(name).is_some_and(|field| holds_empty(value, &field.kind))
        }),
        (Kind::Map(of @ (Kind::Ref(_) | Kind::List(_) | Kind::Map(_))), Value::Map(map)) => {
            map.values().any(|value| holds_empty(value, of))
        }
        (Kind::List(item @ Kind::Ref(_)), Value::List(list)) => list.iter().any(|value| holds_empty(value, item)),
        _ => false,
    }
}

/// Where `normalize_given` has left empty maps, as field paths: `spec.template.metadata.labels`.
pub fn empty_maps(value: &Value, type_: &'static Type) -> Vec<String> {
    let mut found = Vec::new();
    find_empty(value, &Kind::Ref(type_), &mut String::new(), &mut found);
    found
}

fn find_empty(value: &Value, kind: &Kind, path: &mut String, found: &mut Vec<String>) {
    let length = path.len();
    match (kind, value) {
        (Kind::Map(_), Value::Map(map)) if map.is_empty() => found.push(path.clone()),
        (Kind::Ref(type_), Value::Map(map)) => {
            let nested = map.iter().filter(|(_, v)| matches!(v, Value::Map(_) | Value::List(_)));
            for (name, value) in nested {
                let Some(field) = type_.field(name) else { continue };
                path.push_str(if length == 0 { "" } else { "." });
                path.push_str(name);
                find_empty(value, &field.kind, path, found);
                path.truncate(length);
            }
        }
        (Kind::List(item @ Kind::Ref(_)), Value::List(list)) => {
            for (n, value) in list.iter().enumerate() {
                path.push_str(&format!("[{n}]"));
                find_empty(value, item, path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Empties {
    Dropped,
    Kept,
}

fn of_type(value: &mut Value, type_: &'static Type, empties: Empties) {
    match type_.shape {
        Shape::Struct(fields) => structure(value.make_map(), type_, fields, empties),
        Shape::Alias(kind) => of_kind(value, &kind, type_, empties),
    }
}

fn structure(map: &mut Map, type_: &'static Type, fields: &'static [Field], empties: Empties) {
    let members = std::mem::take(map.as_members_mut());
    let mut found: Vec<(usize, Name, Value)> = Vec::with_capacity(members.len());
    let mut expected = 0;
    for (name, value) in members {
        if let Some(at) = position(fields, &name, expected) {
            expected = at + 1;
            found.push((at, Name::Borrowed(fields[at].name), value));
        }
    }
    if !found.is_sorted_by_key(|(at, ..)| *at) {
        found.sort_by_key(|(at, ..)| *at);
    }
    let mut out = Vec::with_capacity(found.len() + 2);
    let mut found = found.into_iter().peekable();
    for (at, field) in fields.iter().enumerate() {
        let value = found.next_if(|(n, ..)| *n == at).map(|(_, _, value)| value).unwrap_or_default();
        if let Some(value) = member(value, field, type_, empties) {
            out.push((Name::Borrowed(field.name), value));
        }
    }
    *map.as_members_mut() = out;
}

/// What is printed for a field; `None` for nothing.
fn member(mut value: Value, field: &'static Field, owner: &'static Type, empties: Empties) -> Option<Value> {
    if value.is_null() {
        return zero(field);
    }
    match &field.kind {
        Kind::List(_) | Kind::Map(_) | Kind::Bytes if value.is_empty() => match field.zero {
            _ if empties == Empties::Kept && matches!(value, Value::Map(_)) => Some(value),
            _ if field.omit_empty && !field.pointer => None,
            Zero::Null if empties == Empties::Kept => Some(value),
            Zero::NullKept => Some(value),
            // bytes that were written empty stay so, also in protobuf
            Zero::Null if !matches!(field.kind, Kind::Bytes) => Some(Value::Null),
            _ => Some(value),
        },
        Kind::Ref(type_) => {
            of_type(&mut value, type_, empties);
            let dropped = !field.pointer && field.zero == Zero::Absent && value.as_map().is_some_and(Map::is_empty);
            (!dropped).then_some(value)
        }
        kind => {
            of_kind(&mut value, kind, owner, empties);
            (field.pointer || field.zero != Zero::Absent || !is_zero(&value, kind)).then_some(value)
        }
    }
}

fn zero(field: &'static Field) -> Option<Value> {
    Some(match field.zero {
        Zero::Absent => return None,
        Zero::Struct => {
            let mut value = Value::map();
            if let Kind::Ref(type_) = field.kind {
                of_type(&mut value, type_, Empties::Dropped);
            }
            value
        }
        Zero::Null | Zero::NullKept => Value::Null,
        Zero::EmptyString => Value::String(String::new()),
        Zero::Number => Value::Int(0),
        Zero::False => Value::Bool(false),
        Zero::Quantity => Value::from("0"),
        Zero::Duration => Value::from("0s"),
    })
}

/// An omitempty scalar that is not printed.
fn is_zero(value: &Value, kind: &Kind) -> bool {
    match (value, kind) {
        (Value::Null, _) => true,
        (Value::String(s), Kind::String | Kind::Bytes) => s.is_empty(),
        (Value::Bool(b), Kind::Bool) => !b,
        (Value::Int(n), Kind::Int32 | Kind::Int64) => *n == 0,
        (Value::Float(x), Kind::Float64) => *x == 0.0,
        (Value::Int(n), Kind::Float64) => *n == 0,
        _ => false,
    }
}

fn of_kind(value: &mut Value, kind: &Kind, owner: &'static Type, empties: Empties) {
    match kind {
        Kind::Ref(type_) => of_type(value, type_, empties),
        Kind::List(item) => {
            if let Value::List(items) = value {
                for i in items {
                    item_of(i, item, owner, empties);
                }
            }
        }
        Kind::Map(of) => {
            if let Value::Map(map) = value {
                for (_, v) in map.iter_mut() {
                    item_of(v, of, owner, empties);
                }
                if !map.as_members().is_sorted_by(|a, b| a.0 <= b.0) {
                    map.sort();
                }
            }
        }
        Kind::Float64 => {
            if let Value::Int(n) = value {
                *value = Value::Float(*n as f64);
            }
        }
        Kind::JsonSchemaPropsOrBool | Kind::JsonSchemaPropsOrArray | Kind::JsonSchemaPropsOrStringArray => {
            match value {
                Value::Map(_) => of_type(value, owner, empties),
                Value::List(items) => {
                    items.iter_mut().filter(|i| !matches!(i, Value::String(_))).for_each(|i| of_type(i, owner, empties))
                }
                _ => {}
            }
        }
        _ => {}
    }
}

/// A list item or map value: null is the zero value of its type.
fn item_of(value: &mut Value, kind: &Kind, owner: &'static Type, empties: Empties) {
    if value.is_null() {
        match kind {
            Kind::String | Kind::Bytes => *value = Value::String(String::new()),
            Kind::Bool => *value = Value::Bool(false),
            Kind::Int32 | Kind::Int64 | Kind::IntOrString => *value = Value::Int(0),
            Kind::Float64 => *value = Value::Float(0.0),
            Kind::Quantity => *value = Value::from("0"),
            Kind::Ref(_) => {}
            _ => return,
        }
    }
    of_kind(value, kind, owner, empties);
}
