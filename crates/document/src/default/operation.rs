//! One operation of a defaulting function. Paths are relative to the value the function runs on; `[*]` in conditions
//! and sources is bound to the items of the target.

use meta::{Quantity, Time};

use super::condition::holds;
use super::{Action, Operation, Segment, To, When, is_unset, special};
use crate::schema::Kind;
use crate::{Field, Type, Value};

/// Which item each `[*]` of the target stands for.
pub(super) type Binding = [usize];

static NULL: Value = Value::Null;

pub(super) fn run(value: &mut Value, type_: Option<&'static Type>, operation: &Operation) {
    let target: &[Segment] = match &operation.action {
        Action::Set { path, .. } | Action::Clear(path) | Action::Fill { path, .. } | Action::Merge { path, .. } => path,
        Action::RoundUp { .. } | Action::Special(_) => &[],
    };
    for binding in bindings(value, target) {
        if operation.conditions.iter().all(|c| holds(value, type_, c, &binding)) {
            act(value, type_, &operation.action, &binding);
        }
    }
}

fn act(value: &mut Value, type_: Option<&'static Type>, action: &Action, binding: &Binding) {
    match action {
        Action::Set { path, to, when } => {
            let field = type_.and_then(|t| field_at(t, path));
            if takes_effect(at(value, path, binding), field, when) {
                match made(value, to, binding) {
                    Value::Null => clear(value, path, binding),
                    new => *at_mut(value, path, binding) = new,
                }
            }
        }
        Action::Clear(path) => clear(value, path, binding),
        Action::Fill { path, from } => {
            let source = at(value, from, binding).clone();
            if source.is_empty() {
                return;
            }
            let target = at_mut(value, path, binding).make_map();
            for (name, v) in source.as_map().cloned().unwrap_or_default() {
                if !target.contains(&name) {
                    target.push(name, v);
                }
            }
        }
        Action::Merge { path, over } => {
            let mut merged = over.to_value();
            for (name, v) in at(value, path, binding).clone().as_map().cloned().unwrap_or_default() {
                if !v.is_null() {
                    merged.set(name, v);
                }
            }
            *at_mut(value, path, binding) = merged;
        }
        Action::RoundUp { scale, .. } => {
            let members = value.as_map_mut().into_iter().flat_map(|m| m.iter_mut());
            members.for_each(|(_, v)| round_up(v, *scale));
        }
        Action::Special(s) => special::run(value, *s),
    }
}

/// Upstream leaves the text of what needs no rounding.
fn round_up(value: &mut Value, scale: i32) {
    let Ok(quantity) = Quantity::parse(value.str()) else { return };
    let rounded = quantity.round_up(scale);
    if rounded.nano != quantity.nano {
        *value = rounded.to_string().into();
    }
}

fn takes_effect(value: &Value, field: Option<&Field>, when: &When) -> bool {
    match when {
        When::Always => true,
        When::Nil => value.is_null(),
        When::Unset => is_unset(Some(value), field),
        When::Empty => is_unset(Some(value), field) || value.is_empty(),
        When::OneOf(values) => is_unset(Some(value), field) || values.iter().any(|v| v.to_value() == *value),
    }
}

fn made(value: &Value, to: &To, binding: &Binding) -> Value {
    match to {
        To::Literal(l) => l.to_value(),
        To::From(path) => at(value, path, binding).clone(),
        To::Lower(path) => at(value, path, binding).str().to_lowercase().into(),
        To::Concat(path, suffix) => format!("{}{suffix}", at(value, path, binding).str()).into(),
        To::Now => Time::now().to_string().into(),
    }
}

/// All ways to bind the `[*]` of a path; one empty way when there is none.
fn bindings(value: &Value, path: &[Segment]) -> Vec<Vec<usize>> {
    let mut found = Vec::new();
    bind(value, path, &mut Vec::new(), &mut found);
    found
}

fn bind(value: &Value, path: &[Segment], so_far: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
    let Some(star) = path.iter().position(|s| !matches!(s, Segment::Name(_))) else {
        found.push(so_far.clone());
        return;
    };
    let list = at(value, &path[..star], &[]);
    for (n, item) in list.items().iter().enumerate() {
        so_far.push(n);
        bind(item, &path[star + 1..], so_far, found);
        so_far.pop();
    }
}

/// The value at a path, null when it ends early.
pub(super) fn at<'v>(value: &'v Value, path: &[Segment], binding: &Binding) -> &'v Value {
    let mut binding = binding.iter();
    path.iter().fold(value, |v, segment| match segment {
        Segment::Name(name) => v.get(name).unwrap_or(&NULL),
        _ => v.items().get(binding.next().copied().unwrap_or_default()).unwrap_or(&NULL),
    })
}

/// The same, with maps made on the way.
fn at_mut<'v>(value: &'v mut Value, path: &[Segment], binding: &Binding) -> &'v mut Value {
    let mut binding = binding.iter();
    path.iter().fold(value, |v, segment| match segment {
        Segment::Name(name) => v.entry(*name),
        _ => {
            let list = v.make_list();
            let n = binding.next().copied().unwrap_or_default();
            if list.len() <= n {
                list.resize(n + 1, Value::Null);
            }
            &mut list[n]
        }
    })
}

fn clear(value: &mut Value, path: &[Segment], binding: &Binding) {
    if let Some((Segment::Name(name), parent)) = path.split_last()
        && !at(value, parent, binding).is_null()
    {
        at_mut(value, parent, binding).remove(name);
    }
}

/// The field that a path ends in.
pub(super) fn field_at(type_: &'static Type, path: &[Segment]) -> Option<&'static Field> {
    let mut kind = Kind::Ref(type_);
    let mut field = None;
    for segment in path {
        match segment {
            Segment::Name(name) => {
                field = super::field(&kind, name);
                kind = field.map_or(super::member_kind(&kind), |f| f.kind);
            }
            _ => kind = super::member_kind(&kind),
        }
    }
    field
}
