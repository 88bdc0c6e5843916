//! The order of merged lists: `$setElementOrder` before the order in the patch before the order of the original.

use std::collections::HashMap;

use super::strategic::{ELEMENT_ORDER, Member, go_type, internal, member, merge_list, no_merge_key, taken};
use super::{PatchError, go_text};
use crate::schema::Kind;
use crate::{ByValue, Map, Value};

type Outcome<T> = Result<T, PatchError>;

/// Carries out every `$setElementOrder/list` of a patch, and takes those lists out of it.
pub(super) fn set_element_order(original: &mut Map, patch: &mut Map, kind: Kind) -> Outcome<()> {
    let names: Vec<String> = patch.keys().filter(|k| k.starts_with(ELEMENT_ORDER)).map(str::to_owned).collect();
    for directive in names {
        let bad = || PatchError::BadRequest("invalid patch format of setElementOrder list".into());
        let wanted = match patch.remove(&directive) {
            Some(Value::List(wanted)) => wanted,
            other => return Err(not_a_list(&other.unwrap_or_default())),
        };
        let name = directive.strip_prefix(ELEMENT_ORDER).and_then(|n| n.strip_prefix('/')).ok_or_else(bad)?;
        let old = taken_list(original, name)?;
        let new = taken_list(patch, name)?;
        let member = member(kind, name)?;
        check(new.as_deref().unwrap_or_default(), &wanted, member.key)?;
        let before = old.clone().unwrap_or_default();
        let nothing = before.is_empty() && new.as_ref().is_none_or(Vec::is_empty);
        let merged = match (old, new) {
            (None, None) => continue,
            (Some(list), None) => list,
            (None, Some(list)) => list.into_iter().filter_map(taken).collect(),
            (Some(old), Some(new)) if member.merges => merge_list(old, new, member, false)?,
            (Some(_), Some(new)) => new,
        };
        if nothing {
            return Err(internal("no elements in any of the given slices"));
        }
        let list = arrange(merged, &wanted, &wanted, &before, key_of(member))?;
        original.insert(name.to_owned(), list);
    }
    Ok(())
}

fn key_of(member: Member) -> &'static str {
    member.key
}

fn not_a_list(found: &Value) -> PatchError {
    internal(format!("expected a []interface {{}}, but received a {}", go_type(found)))
}

fn taken_list(map: &mut Map, name: &str) -> Outcome<Option<Vec<Value>>> {
    match map.remove(name) {
        None => Ok(None),
        Some(Value::List(list)) => Ok(Some(list)),
        Some(other) => Err(not_a_list(&other)),
    }
}

/// The patch's elements must stand in the wanted order; deletions are passed over.
fn check(patch: &[Value], wanted: &[Value], key: &str) -> Outcome<()> {
    if patch.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let mut wanted_left = wanted.iter();
    for element in patch.iter().filter(|e| e.get("$patch").is_none()) {
        let found = loop {
            match wanted_left.next() {
                None => break false,
                Some(w) if same(element, w, key)? => break true,
                Some(_) => {}
            }
        };
        if !found {
            let show = |l: &[Value]| go_text(&Value::List(l.to_vec()));
            return Err(internal(format!(
                "The order in patch list:\n{}\n doesn't match {ELEMENT_ORDER} list:\n{}\n",
                show(patch),
                show(wanted)
            )));
        }
    }
    Ok(())
}

fn same(left: &Value, right: &Value, key: &str) -> Outcome<bool> {
    if key.is_empty() {
        return Ok(left == right);
    }
    let of = |v: &Value| match v {
        Value::Map(m) => m.get(key).cloned().ok_or_else(|| no_merge_key(m, key)),
        other => Err(internal(format!("expected a map[string]interface {{}}, but received a {}", go_type(other)))),
    };
    Ok(of(left)? == of(right)?)
}

/// Whether the elements are maps; they must all be alike.
pub(super) fn are_maps(original: &[Value], patch: &[Value]) -> Outcome<bool> {
    let mut all = original.iter().chain(patch);
    let Some(first) = all.next() else { return Ok(false) };
    let kind = std::mem::discriminant(first);
    if matches!(first, Value::List(_)) {
        return Err(PatchError::Unprocessable("lists of lists are not supported".into()));
    }
    if all.any(|v| std::mem::discriminant(v) != kind) {
        let lists = Value::List(vec![Value::List(original.to_vec()), Value::List(patch.to_vec())]);
        return Err(internal(format!("list element types are not identical: {}", go_text(&lists))));
    }
    Ok(matches!(first, Value::Map(_)))
}

/// Sorts what the patch knows by the patch's order, what it does not know by the original's, and weaves the two.
pub(super) fn arrange(
    merged: Vec<Value>,
    known: &[Value],
    patch_order: &[Value],
    original_order: &[Value],
    key: &str,
) -> Outcome<Vec<Value>> {
    if !key.is_empty() {
        for m in merged.iter().filter_map(Value::as_map) {
            m.get(key).ok_or_else(|| no_merge_key(m, key))?;
        }
    }
    let (known, of_patch, of_original) =
        (Places::new(known, key), Places::new(patch_order, key), Places::new(original_order, key));
    let (mut from_patch, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|m| known.of(m).is_some());
    from_patch.sort_by_cached_key(|m| of_patch.of(m));
    others.sort_by_cached_key(|m| of_original.of(m));
    Ok(woven(others, from_patch, &of_original))
}

/// Where the elements of a list stand: those with a merge key by its value, others as a whole.
pub(super) struct Places<'a> {
    key: &'a str,
    first: HashMap<Option<ByValue<'a>>, usize>,
}

impl<'a> Places<'a> {
    pub(super) fn new(list: &'a [Value], key: &'a str) -> Self {
        let mut first = HashMap::with_capacity(list.len());
        for (n, element) in list.iter().enumerate() {
            first.entry(identity(element, key)).or_insert(n);
        }
        Places { key, first }
    }

    /// The first place of an element that is the same.
    pub(super) fn of(&self, element: &Value) -> Option<usize> {
        self.first.get(&identity(element, self.key)).copied()
    }
}

fn identity<'a>(element: &'a Value, key: &str) -> Option<ByValue<'a>> {
    if key.is_empty() { Some(ByValue(element)) } else { element.get(key).map(ByValue) }
}

/// Each of `left` goes before the first of `right` that stands behind it in the original.
fn woven(left: Vec<Value>, right: Vec<Value>, original: &Places<'_>) -> Vec<Value> {
    let mut out = Vec::with_capacity(left.len() + right.len());
    let mut left = left.into_iter().peekable();
    for r in right {
        let behind = original.of(&r);
        while let Some(l) = left.peek() {
            match (original.of(l), behind) {
                (Some(l_at), Some(r_at)) if l_at < r_at => out.extend(left.next()),
                _ => break,
            }
        }
        out.push(r);
    }
    out.extend(left);
    out
}
