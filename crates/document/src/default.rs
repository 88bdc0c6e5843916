//! Defaulting: an interpreter of the steps that crate `api` carries for each kind. Runs on decoded values, before
//! `normalize`; what it adds stands at the end of its map.

mod condition;
mod operation;
mod special;
mod steps;

pub use special::pod_level_resources;
pub use steps::{Action, Condition, Literal, Operation, Path, Run, Segment, Special, Step, To, When};

use crate::schema::{Kind, Shape};
use crate::{Field, Type, Value};

/// Runs the steps of a kind in their order.
pub fn apply(value: &mut Value, type_: &'static Type, steps: &[Step]) {
    let kind = Kind::Ref(type_);
    for step in steps {
        match &step.run {
            Run::Function(operations) => visit(value, &kind, step.at, &mut |value, kind| {
                if let Kind::Ref(type_) = kind {
                    operations.iter().for_each(|o| operation::run(value, Some(type_), o));
                } else {
                    operations.iter().for_each(|o| operation::run(value, None, o));
                }
            }),
            Run::Default(literal) => {
                let Some((Segment::Name(name), parent)) = step.at.split_last() else { continue };
                visit(value, &kind, parent, &mut |value, kind| {
                    if is_unset(value.get(name), field(kind, name)) {
                        value.set(*name, literal.to_value());
                    }
                });
            }
        }
    }
}

impl Literal {
    pub fn to_value(&self) -> Value {
        match self {
            Literal::Null => Value::Null,
            Literal::Bool(b) => Value::Bool(*b),
            Literal::Int(n) => Value::Int(*n),
            Literal::String(s) => Value::from(*s),
            Literal::List(l) => l.iter().map(Literal::to_value).collect::<Vec<_>>().into(),
            Literal::Map(m) => Value::of(m.iter().map(|(name, v)| (*name, v.to_value()))),
        }
    }
}

/// Every value at a path. A value struct that is absent is visited as an empty one, and kept when it got members; an
/// absent pointer, list or map is passed over.
fn visit(value: &mut Value, kind: &Kind, path: &[Segment], f: &mut dyn FnMut(&mut Value, &Kind)) {
    let Some((first, rest)) = path.split_first() else {
        f(value, kind);
        return;
    };
    match first {
        Segment::Name(name) => {
            let field = field(kind, name);
            let below = field.map_or(member_kind(kind), |f| f.kind);
            match value.get_mut(name).filter(|v| !v.is_null()) {
                Some(member) => visit(member, &below, rest, f),
                None if field.is_some_and(is_value_struct) => {
                    let mut member = Value::map();
                    visit(&mut member, &below, rest, f);
                    if !member.is_empty() {
                        value.set(*name, member);
                    }
                }
                None => {}
            }
        }
        Segment::Items => {
            let below = member_kind(kind);
            value.as_list_mut().into_iter().flatten().for_each(|item| visit(item, &below, rest, f));
        }
        Segment::Values => {
            let below = member_kind(kind);
            value.as_map_mut().into_iter().flat_map(|m| m.iter_mut()).for_each(|(_, v)| visit(v, &below, rest, f));
        }
    }
}

fn field(kind: &Kind, name: &str) -> Option<&'static Field> {
    match kind {
        Kind::Ref(type_) => type_.field(name),
        _ => None,
    }
}

fn is_value_struct(field: &Field) -> bool {
    !field.pointer && matches!(field.kind, Kind::Ref(t) if matches!(t.shape, Shape::Struct(_)))
}

/// The kind of a list's items or a map's values.
fn member_kind(kind: &Kind) -> Kind {
    match kind {
        Kind::List(item) | Kind::Map(item) => **item,
        _ => Kind::Any,
    }
}

/// Absent; or, when it is no pointer, the empty string or the number zero.
fn is_unset(value: Option<&Value>, field: Option<&Field>) -> bool {
    let pointer = field.is_some_and(|f| f.pointer);
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(s)) => s.is_empty() && !pointer,
        Some(Value::Int(0)) => !pointer && field.is_some_and(|f| matches!(f.kind, Kind::Int32 | Kind::Int64)),
        _ => false,
    }
}
