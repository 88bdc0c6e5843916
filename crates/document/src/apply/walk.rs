//! Walks over objects along their type: the set of their fields, what differs between two, the merge of two, an object
//! without some fields, and what does not fit the type. Each is one pass.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::element::Element;
use super::set::{Growing, Node, Set};
use super::shape::{Items, Shape};
use crate::patch::go_text;
use crate::value::Name;
use crate::{Map, Value};

/// What is new, changed and gone from one object to another.
#[derive(Default)]
pub(super) struct Changes<T = Set> {
    pub(super) added: T,
    pub(super) modified: T,
    pub(super) removed: T,
}

impl Changes<Growing> {
    fn hang(&mut self, element: &Element, below: Changes<Node>) {
        self.added.hang(element, below.added);
        self.modified.hang(element, below.modified);
        self.removed.hang(element, below.removed);
    }

    fn done(self) -> Changes<Node> {
        let node = |below: Growing| Node { member: false, below: below.done() };
        Changes { added: node(self.added), modified: node(self.modified), removed: node(self.removed) }
    }
}

/// A map from here on is looked up by hash.
const INDEX_FROM: usize = 16;

/// Members of a map by name, without a search through all for each.
enum Lookup<'a> {
    Short(Option<&'a Map>),
    Long(HashMap<&'a str, &'a Value>),
}

impl<'a> Lookup<'a> {
    fn new(map: Option<&'a Map>) -> Self {
        match map {
            Some(map) if map.len() >= INDEX_FROM => Lookup::Long(map.iter().collect()),
            map => Lookup::Short(map),
        }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        match self {
            Lookup::Short(map) => map.and_then(|m| m.get(name)),
            Lookup::Long(index) => index.get(name).copied(),
        }
    }
}

/// Every member of two maps once: the left one's in order, then what only the right one has.
fn zip<'a>(
    left: Option<&'a Map>,
    right: Option<&'a Map>,
    mut each: impl FnMut(&'a Name, Option<&'a Value>, Option<&'a Value>),
) {
    let (in_left, in_right) = (Lookup::new(left), Lookup::new(right));
    for (name, value) in left.map(Map::as_members).unwrap_or_default() {
        each(name, Some(value), in_right.get(name));
    }
    for (name, value) in right.map(Map::as_members).unwrap_or_default() {
        if in_left.get(name).is_none() {
            each(name, None, Some(value));
        }
    }
}

fn field(name: &Name) -> Element {
    Element::Field(name.clone())
}

/// The fields of an object.
pub(super) fn fields(value: &Value, shape: Shape) -> Set {
    let mut root = Node::default();
    fill(value, shape, &mut root);
    root.below
}

fn fill(value: &Value, shape: Shape, node: &mut Node) {
    match shape {
        Shape::Struct { atomic: false, .. } | Shape::Map { atomic: false, .. } => {
            let known = matches!(shape, Shape::Struct { .. });
            let mut set = Growing::default();
            for (name, value) in value.as_map().map(Map::as_members).unwrap_or_default() {
                let mut below = Node::default();
                fill(value, shape.member(name).unwrap_or(Shape::Any), &mut below);
                below.member |= !known || value.is_null() || value.as_map().is_some_and(Map::is_empty);
                set.hang(&field(name), below);
            }
            node.below = set.done();
        }
        Shape::List { items: items @ (Items::Set | Items::Keys(_)), .. } => {
            let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
            let elements: Vec<_> = value.items().iter().map(|v| items.element(shape, v).ok()).collect();
            for element in elements.iter().flatten() {
                if !seen.insert(element) {
                    twice.insert(element);
                }
            }
            let mut set = Growing::default();
            for (element, value) in elements.iter().zip(value.items()) {
                let Some(element) = element else { continue };
                let mut below = Node::leaf();
                if !twice.contains(element) {
                    fill(value, shape.item(), &mut below);
                }
                set.hang(element, below);
            }
            node.below = set.done();
        }
        _ => node.member = true,
    }
}

/// Whether an empty map is something. It is in what is applied; a typed object that is written does not show it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Empties {
    Count,
    Omitted,
}

/// What differs between two objects.
pub(super) fn compare(left: &Value, right: &Value, shape: Shape, empties: Empties) -> Changes {
    let root = differ(Some(left), Some(right), shape, empties);
    Changes { added: root.added.below, modified: root.modified.below, removed: root.removed.below }
}

fn differ(left: Option<&Value>, right: Option<&Value>, shape: Shape, empties: Empties) -> Changes<Node> {
    let mut changes = Changes::<Growing>::default();
    let leaf = match shape {
        Shape::Struct { atomic: false, .. } | Shape::Map { atomic: false, .. } => {
            let (l, r) = (left.and_then(Value::as_map), right.and_then(Value::as_map));
            let leaf = l.is_none_or(Map::is_empty) && r.is_none_or(Map::is_empty);
            if !leaf {
                let shown = |name: &str, v: &&Value| empties == Empties::Count || !shape.omits(name, v);
                zip(l, r, |name, l, r| {
                    let (l, r) = (l.filter(|v| shown(name, v)), r.filter(|v| shown(name, v)));
                    if l.is_some() || r.is_some() {
                        let below = shape.member(name).unwrap_or(Shape::Any);
                        changes.hang(&field(name), differ(l, r, below, empties));
                    }
                });
            }
            leaf
        }
        Shape::List { items: items @ (Items::Set | Items::Keys(_)), .. } => {
            let (l, r) = (left.map(Value::items).unwrap_or_default(), right.map(Value::items).unwrap_or_default());
            if !(l.is_empty() && r.is_empty()) {
                differ_items(l, r, shape, items, empties, &mut changes);
            }
            l.is_empty() && r.is_empty()
        }
        _ => true,
    };
    let mut changes = changes.done();
    match (left, right) {
        (None, _) => changes.added.member = true,
        (_, None) => changes.removed.member = true,
        (l, r) if leaf && l != r => changes.modified.member = true,
        _ => {}
    }
    changes
}

fn differ_items(
    left: &[Value],
    right: &[Value],
    shape: Shape,
    items: Items,
    empties: Empties,
    changes: &mut Changes<Growing>,
) {
    let mut all: BTreeMap<Element, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    for value in left {
        if let Ok(element) = items.element(shape, value) {
            all.entry(element).or_default().0.push(value);
        }
    }
    for value in right {
        if let Ok(element) = items.element(shape, value) {
            all.entry(element).or_default().1.push(value);
        }
    }
    for (element, (l, r)) in all {
        let mut below = match (l.as_slice(), r.as_slice()) {
            ([] | [_], [] | [_]) => differ(l.first().copied(), r.first().copied(), shape.item(), empties),
            ([_, _, ..], [_, _, ..]) => {
                let mut both = Changes::<Node>::default();
                both.modified.member = l != r;
                both
            }
            ([_, _, ..], [one]) => differ(None, Some(one), shape.item(), empties),
            ([one], [_, _, ..]) => differ(Some(one), None, shape.item(), empties),
            _ => Changes::default(),
        };
        below.removed.member |= l.len() >= 2 && r.len() < 2;
        below.added.member |= r.len() >= 2 && l.len() < 2;
        changes.hang(&element, below);
    }
}

/// The left object with everything of the right one.
pub(super) fn merge(left: Option<&Value>, right: Option<&Value>, shape: Shape) -> Option<Value> {
    let leaf = || right.or(left).cloned();
    match shape {
        Shape::Struct { atomic: false, .. } | Shape::Map { atomic: false, .. } => {
            let (l, r) = (left.and_then(Value::as_map), right.and_then(Value::as_map));
            if l.is_none_or(Map::is_empty) && r.is_none_or(Map::is_empty) {
                return leaf();
            }
            let mut out = Map::with_capacity(l.map_or(0, Map::len));
            zip(l, r, |name, l, r| {
                if let Some(value) = merge(l, r, shape.member(name).unwrap_or(Shape::Any)) {
                    out.push(name.clone(), value);
                }
            });
            (!out.is_empty()).then_some(Value::Map(out))
        }
        Shape::List { items: items @ (Items::Set | Items::Keys(_)), .. } => {
            let (l, r) = (left.map(Value::items).unwrap_or_default(), right.map(Value::items).unwrap_or_default());
            if l.is_empty() && r.is_empty() {
                return leaf();
            }
            let out = merge_items(l, r, shape, items);
            (!out.is_empty()).then_some(Value::List(out))
        }
        _ => leaf(),
    }
}

/// Items of both lists: shared ones stand in the order of the right list, the others where their neighbours are.
fn merge_items(left: &[Value], right: &[Value], shape: Shape, items: Items) -> Vec<Value> {
    let known = |list: &'_ [Value]| -> Vec<(Element, usize)> {
        list.iter().enumerate().filter_map(|(n, v)| Some((items.element(shape, v).ok()?, n))).collect()
    };
    let (ls, rs) = (known(left), known(right));
    let in_right: BTreeMap<&Element, usize> = rs.iter().map(|(e, n)| (e, *n)).collect();
    // an item that stands twice on the left is not merged with
    let mut in_left: BTreeMap<&Element, Option<usize>> = BTreeMap::new();
    for (element, n) in &ls {
        in_left.entry(element).and_modify(|at| *at = None).or_insert(Some(*n));
    }
    let mut shared = rs.iter().map(|(e, _)| e).filter(|e| in_left.contains_key(e));
    let mut next = shared.next();
    let mut merged: BTreeSet<&Element> = BTreeSet::new();
    let both = |element: &Element, n: usize| {
        let l = match in_left.get(element) {
            Some(Some(at)) => Some(&left[*at]),
            _ => None,
        };
        merge(l, Some(&right[n]), shape.item())
    };
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    let (mut li, mut ri) = (0, 0);
    while li < ls.len() || ri < rs.len() {
        if let (Some((l, _)), Some((r, n))) = (ls.get(li), rs.get(ri)) {
            if l == r {
                merged.insert(l);
                out.extend(both(r, *n));
                (li, ri, next) = (li + 1, ri + 1, shared.next());
                continue;
            }
            if in_right.contains_key(l) && next.is_some_and(|next| next != l) {
                li += 1;
                continue;
            }
        }
        if let Some((l, n)) = ls.get(li) {
            if !in_right.contains_key(l) {
                out.extend(merge(Some(&left[*n]), None, shape.item()));
                li += 1;
                continue;
            }
            if merged.contains(l) {
                li += 1;
            }
        }
        if let Some((r, n)) = rs.get(ri) {
            merged.insert(r);
            out.extend(both(r, *n));
            ri += 1;
            if next == Some(r) {
                next = shared.next();
            }
        }
    }
    out
}

/// The object without these fields; null when nothing is left.
pub(super) fn remove(value: &Value, gone: &Set, shape: Shape) -> Value {
    match shape {
        Shape::Struct { atomic: false, .. } | Shape::Map { atomic: false, .. } => {
            let mut out = Map::new();
            for (name, value) in value.as_map().map(Map::as_members).unwrap_or_default() {
                match gone.get(&field(name)) {
                    Some(node) if node.member => {}
                    Some(node) => {
                        let shape = shape.member(name).unwrap_or(Shape::Any);
                        out.push(name.clone(), remove(value, &node.below, shape));
                    }
                    None => out.push(name.clone(), value.clone()),
                }
            }
            if out.is_empty() { Value::Null } else { Value::Map(out) }
        }
        Shape::List { items: items @ (Items::Set | Items::Keys(_)), .. } => {
            let mut out = Vec::new();
            for value in value.items() {
                let node = items.element(shape, value).ok().and_then(|e| gone.get(&e));
                match node {
                    Some(node) if node.member => {}
                    Some(node) => out.push(remove(value, &node.below, shape.item())),
                    None => out.push(value.clone()),
                }
            }
            if out.is_empty() { Value::Null } else { Value::List(out) }
        }
        Shape::Struct { .. } | Shape::Map { .. } | Shape::List { .. } => Value::Null,
        _ => value.clone(),
    }
}

/// The set with every struct field that has something below it.
pub(super) fn named(set: &Set, shape: Shape) -> Set {
    let mut out = Growing::default();
    for (element, node) in set.iter() {
        let (known, below) = match (element, shape) {
            (Element::Field(name), Shape::Struct { .. }) => match shape.member(name) {
                Some(member) => (true, member),
                None => (false, Shape::Any),
            },
            (Element::Field(name), _) => (false, shape.member(name).unwrap_or(Shape::Any)),
            (Element::Key(_), Shape::List { .. }) => (false, shape.item()),
            _ => (false, Shape::Any),
        };
        out.hang(element, Node { member: node.member || known, below: named(&node.below, below) });
    }
    out.done()
}

/// What is below a value that is owned as a whole becomes the value itself.
pub(super) fn reconcile(set: &mut Set, shape: Shape) {
    for (element, node) in set.iter_mut() {
        let below = match (element, shape) {
            (Element::Field(name), _) => shape.member(name),
            (_, Shape::List { .. }) => Some(shape.item()),
            _ => None,
        };
        match below {
            Some(below) if below.is_atomic() && !node.below.is_empty() => *node = Node::leaf(),
            Some(below) => reconcile(&mut node.below, below),
            None => {}
        }
    }
}

/// What does not fit the type, with upstream's words.
pub(super) fn check(value: &Value, shape: Shape) -> Result<(), String> {
    let mut errors = Vec::new();
    judge(value, shape, &mut String::new(), &mut errors);
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

fn judge(value: &Value, shape: Shape, path: &mut String, errors: &mut Vec<String>) {
    let mut wrong = |path: &str, what: String| {
        errors.push(if path.is_empty() { what } else { format!("{path}: {what}") });
    };
    let shown = || format!("&{{{}}}", go_text(value));
    match (shape, value) {
        (_, Value::Null) | (Shape::Any, _) => {}
        (Shape::Struct { .. } | Shape::Map { .. }, Value::Map(map)) => {
            for (name, value) in map.iter() {
                let length = path.len();
                path.push('.');
                path.push_str(name);
                match shape.member(name) {
                    Some(shape) => judge(value, shape, path, errors),
                    None => {
                        errors.push(format!("{path}: field not declared in schema"));
                        path.truncate(length);
                        return;
                    }
                }
                path.truncate(length);
            }
        }
        (Shape::Struct { .. } | Shape::Map { .. }, _) => wrong(path, format!("expected map, got {}", shown())),
        (Shape::List { items, .. }, Value::List(list)) => judge_items(list, shape, items, path, errors),
        (Shape::List { .. }, _) => wrong(path, format!("expected list, got {}", shown())),
        (Shape::String, Value::String(_)) | (Shape::Bool, Value::Bool(_)) => {}
        (Shape::Number, Value::Int(_) | Value::Float(_)) => {}
        (Shape::Scalar, Value::Map(_) | Value::List(_)) => wrong(path, format!("expected any scalar, got {}", shown())),
        (Shape::Scalar, _) => {}
        (Shape::String, _) => {
            wrong(path, format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_syntax(value)));
        }
        (Shape::Bool, _) => wrong(path, format!("expected boolean, got {}", shown())),
        (Shape::Number, _) => {
            wrong(path, format!("expected numeric (int or float), got {}", go_type(value)));
        }
    }
}

fn judge_items(list: &[Value], shape: Shape, items: Items, path: &mut String, errors: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (n, value) in list.iter().enumerate() {
        let element = match items {
            Items::Atomic => Element::Index(n as i64),
            _ => match items.element(shape, value) {
                Ok(element) => element,
                Err(why) => {
                    errors.push(format!("{path}: element {n}: {why}"));
                    return;
                }
            },
        };
        let length = path.len();
        let shown = element.to_string();
        if !matches!(items, Items::Atomic) && !seen.insert(element) {
            errors.push(format!("{path}: duplicate entries for key {shown}"));
        }
        path.push_str(&shown);
        judge(value, shape.item(), path, errors);
        path.truncate(length);
    }
}

/// `%T` of a decoded value.
pub(crate) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::List(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
    }
}

/// `%#v` of a decoded value.
pub(crate) fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".into(),
        Value::String(s) => meta::goquote::quote(s),
        Value::List(l) => format!("[]interface {{}}{{{}}}", l.iter().map(go_syntax).collect::<Vec<_>>().join(", ")),
        Value::Map(m) => {
            let mut members: Vec<(&str, &Value)> = m.iter().collect();
            members.sort_by_key(|(n, _)| *n);
            let members: Vec<String> =
                members.iter().map(|(n, v)| format!("{}:{}", meta::goquote::quote(n), go_syntax(v))).collect();
            format!("map[string]interface {{}}{{{}}}", members.join(", "))
        }
        other => go_text(other),
    }
}
