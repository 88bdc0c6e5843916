//! Strategic merge patch: lists merge by the keys of the type table, directives say what else is meant.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{PatchError, go_text, order, read_object};
use crate::schema::{Kind, Shape};
use crate::value::Members;
use crate::{ByValue, Field, Map, Problem, Type, Value};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
pub(super) const ELEMENT_ORDER: &str = "$setElementOrder";

type Outcome<T> = Result<T, PatchError>;

/// A patched tree; `decode::restore` is next.
#[derive(Debug)]
pub struct Strategic {
    pub value: Value,
    /// What strict decoding finds in the patch.
    pub problems: Vec<Problem>,
    /// The patch as upstream prints it in errors about the result.
    pub shown: String,
}

/// Merges a patch's text into a normalized document of a type.
pub fn strategic(document: Value, patch: &[u8], type_: &'static Type) -> Outcome<Strategic> {
    let decoded = read_object(patch, "")?;
    let Value::Map(patch) = decoded.value else { return Err(internal("patch is no object")) };
    let Value::Map(document) = document else { return Err(internal("document is no object")) };
    let shown = go_text(&Value::Map(patch.clone()));
    let value = Value::Map(merge_map(document, patch, Kind::Ref(type_))?);
    Ok(Strategic { value, problems: decoded.problems, shown })
}

pub(super) fn internal(text: impl Into<String>) -> PatchError {
    PatchError::Internal(text.into())
}

pub(super) fn no_merge_key(map: &Map, key: &str) -> PatchError {
    internal(format!("map: {} does not contain declared merge key: {key}", go_text(&Value::Map(map.clone()))))
}

fn bad_patch_type(directive: &Value, map: &Map) -> PatchError {
    let directive = match directive {
        Value::String(text) => text.clone(),
        Value::Null => "%!s(<nil>)".into(),
        other => format!("%!s({}={})", go_type(other), go_text(other)),
    };
    internal(format!("unknown patch type: {directive} in map: {}", go_text(&Value::Map(map.clone()))))
}

/// `%T` of a decoded value, as `%s` shows a missing one.
pub(super) fn go_type(value: &Value) -> &'static str {
    if value.is_null() { "%!s(<nil>)" } else { crate::apply::go_type(value) }
}

/// What is left of a value that the original does not have: no nulls in maps, no directives; none when it is one.
pub(super) fn taken(mut value: Value) -> Option<Value> {
    discard_nulls(&mut value);
    without_directives(value)
}

fn discard_nulls(value: &mut Value) {
    match value {
        Value::Map(map) => {
            map.retain(|_, v| !v.is_null());
            map.iter_mut().for_each(|(_, v)| discard_nulls(v));
        }
        Value::List(list) => list.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Map(map) if map.contains(DIRECTIVE) => None,
        Value::Map(map) => {
            let members = map.into_members().into_iter();
            Some(Value::Map(members.filter_map(|(n, v)| Some((n, without_directives(v)?))).collect()))
        }
        Value::List(list) => Some(Value::List(list.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

/// Where a member is declared: its kind, whether a list merges, whether a map is replaced, and the merge key.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) kind: Kind,
    pub(super) merges: bool,
    replaces: bool,
    pub(super) key: &'static str,
}

pub(super) fn member(kind: Kind, name: &str) -> Outcome<Member> {
    let of = |f: &Field| Member { kind: f.kind, merges: f.merges(), replaces: f.replaces(), key: f.patch_merge_key };
    match kind {
        Kind::Map(value) => Ok(Member { kind: *value, merges: false, replaces: false, key: "" }),
        Kind::Ref(type_) => match type_.shape {
            Shape::Struct(_) => type_.field(name).map(of).ok_or_else(|| unknown_field(type_, name)),
            Shape::Alias(kind) => member(kind, name),
        },
        // anything goes below
        _ => Ok(Member { kind: Kind::Any, merges: false, replaces: false, key: "" }),
    }
}

fn unknown_field(type_: &Type, name: &str) -> PatchError {
    let go = type_.name.rsplit('.').next().unwrap_or_default();
    internal(format!("unable to find api field in struct {go} for the json field {name:?}"))
}

pub(super) fn merge_map(mut original: Map, mut patch: Map, kind: Kind) -> Outcome<Map> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.str() {
            "replace" => {
                patch.remove(DIRECTIVE);
                Ok(patch)
            }
            "delete" => Ok(Map::new()),
            _ => Err(bad_patch_type(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    order::set_element_order(&mut original, &mut patch, kind)?;
    // through an index: both may have very many members
    let mut members = Members::from(original);
    let mut removed = HashSet::new();
    for (name, value) in patch.into_members() {
        let (name, deletes) = match name.strip_prefix(DELETE_FROM) {
            Some(rest) => match rest.strip_prefix('/') {
                Some(list) => (list.to_owned().into(), true),
                None => return Err(PatchError::BadRequest("invalid patch format of primitive list".into())),
            },
            None => (name, false),
        };
        if value.is_null() {
            removed.insert(name);
            continue;
        }
        let Some(old) = members.get_mut(&name).filter(|old| same_type(old, &value)) else {
            if !deletes {
                removed.remove(&name);
                match taken(value) {
                    Some(value) => members.put(name, value),
                    None => drop(removed.insert(name)),
                }
            }
            continue;
        };
        let merged = match (old.take(), value) {
            (Value::Map(old), Value::Map(new)) => {
                let member = member(kind, &name)?;
                if member.replaces { Value::Map(new) } else { Value::Map(merge_map(old, new, member.kind)?) }
            }
            (Value::List(old), Value::List(new)) => {
                let member = member(kind, &name)?;
                if member.merges { Value::List(merge_list(old, new, member, deletes)?) } else { Value::List(new) }
            }
            (_, new) => new,
        };
        members.put(name, merged);
    }
    Ok(members.into_map_without(&removed))
}

fn same_type(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// `$retainKeys`: members of the original that are not listed go; the patch may have no others.
fn retain_keys(original: &mut Map, patch: &mut Map) -> Outcome<()> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let bad = || PatchError::BadRequest("invalid patch format of retainKeys".into());
    let Value::List(keys) = keys else { return Err(bad()) };
    let keys: HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let kept = |name: &str| keys.contains(name);
    let directive = |name: &str| name.starts_with(DELETE_FROM) || name.starts_with(ELEMENT_ORDER);
    if patch.iter().any(|(name, value)| !value.is_null() && !directive(name) && !kept(name)) {
        return Err(bad());
    }
    original.retain(|name, _| kept(name));
    Ok(())
}

/// Merges two lists; new elements stand where `order` puts them.
pub(super) fn merge_list(
    original: Vec<Value>,
    patch: Vec<Value>,
    member: Member,
    deletes: bool,
) -> Outcome<Vec<Value>> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let maps = order::are_maps(&original, &patch)?;
    if !maps && deletes {
        let gone: HashSet<ByValue<'_>> = patch.iter().map(ByValue).collect();
        return Ok(original.into_iter().filter(|v| !gone.contains(&ByValue(v))).collect());
    }
    if !maps {
        let before = original.clone();
        let merged = deduplicated(original.into_iter().chain(patch.iter().cloned()).collect());
        return order::arrange(merged, &patch, &patch, &before, "");
    }
    if member.key.is_empty() {
        return Err(internal("cannot merge lists without merge key for type struct"));
    }
    let (original, patch) = special_elements(original, patch, member.key)?;
    let item = match member.kind {
        Kind::List(item) => *item,
        _ => Kind::Any,
    };
    let mut merged = original.clone();
    // merging an element does not change its key
    let mut places: HashMap<ByValue<'_>, usize> = HashMap::with_capacity(original.len());
    for (n, value) in original.iter().enumerate().filter_map(|(n, o)| Some((n, o.get(member.key)?))) {
        places.entry(ByValue(value)).or_insert(n);
    }
    for element in &patch {
        let Value::Map(new) = element else { continue };
        let value = new.get(member.key).ok_or_else(|| no_merge_key(new, member.key))?;
        match places.get(&ByValue(value)) {
            Some(n) => {
                if let Value::Map(old) = merged[*n].take() {
                    merged[*n] = Value::Map(merge_map(old, new.clone(), item)?);
                }
            }
            None => {
                places.insert(ByValue(value), merged.len());
                merged.push(element.clone());
            }
        }
    }
    order::arrange(merged, &patch, &patch, &original, member.key)
}

/// Carries out `$patch` elements; answers the original and the patch without them.
fn special_elements(mut original: Vec<Value>, patch: Vec<Value>, key: &str) -> Outcome<(Vec<Value>, Vec<Value>)> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut replace = false;
    let mut deleted = HashSet::new();
    for element in &patch {
        let Value::Map(map) = element else { continue };
        let Some(directive) = map.get(DIRECTIVE) else {
            plain.push(element.clone());
            continue;
        };
        match directive.str() {
            "delete" => {
                deleted.insert(ByValue(map.get(key).ok_or_else(|| no_merge_key(map, key))?));
            }
            "replace" => replace = true,
            "merge" => return Err(internal("merging lists cannot yet be specified in the patch")),
            _ => return Err(bad_patch_type(directive, map)),
        }
    }
    original.retain(|o| o.get(key).is_none_or(|value| !deleted.contains(&ByValue(value))));
    Ok(if replace { (plain, Vec::new()) } else { (original, plain) })
}

/// Upstream's way: a repeated item is replaced by the last one of the list.
fn deduplicated(mut list: Vec<Value>) -> Vec<Value> {
    let (mut alike, mut places) = alike(&list);
    let mut i = 0;
    while i < list.len() {
        while let Some(&again) = places[alike[i]].range(i + 1..).next() {
            let last = list.len() - 1;
            places[alike[again]].remove(&again);
            if again != last {
                places[alike[last]].remove(&last);
                places[alike[last]].insert(again);
            }
            list.swap_remove(again);
            alike.swap_remove(again);
        }
        i += 1;
    }
    list
}

/// For each item the number of its value, and for each such number the places where the value stands.
fn alike(list: &[Value]) -> (Vec<usize>, Vec<BTreeSet<usize>>) {
    let mut numbers = HashMap::with_capacity(list.len());
    let mut places: Vec<BTreeSet<usize>> = Vec::new();
    let mut alike = Vec::with_capacity(list.len());
    for (n, value) in list.iter().enumerate() {
        let number = *numbers.entry(ByValue(value)).or_insert(places.len());
        if number == places.len() {
            places.push(BTreeSet::new());
        }
        places[number].insert(n);
        alike.push(number);
    }
    (alike, places)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As upstream does it, word for word.
    fn plainly(mut list: Vec<Value>) -> Vec<Value> {
        let mut i = 0;
        while i + 1 < list.len() {
            let mut j = i + 1;
            while j < list.len() {
                if list[i] == list[j] {
                    list.swap_remove(j);
                } else {
                    j += 1;
                }
            }
            i += 1;
        }
        list
    }

    #[test]
    fn repeated_items_go_as_they_do_upstream() {
        let (length, values) = (7, 3_usize);
        for seed in 0..values.pow(length) {
            let list: Vec<Value> = (0..length).map(|n| Value::Int((seed / values.pow(n) % values) as i64)).collect();
            assert_eq!(deduplicated(list.clone()), plainly(list.clone()), "{list:?}");
        }
    }
}
