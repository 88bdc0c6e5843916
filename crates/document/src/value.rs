//! The tree of one document. Members of a map keep the order in which they stand; `normalize` brings them into output
//! order along a type table. Not a typed struct: caches hold bytes (`Object`), trees live as long as one request.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Index;

/// A JSON value. Integers are `i64`, as upstream's decoder has them; everything else numeric is a float.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    List(Vec<Value>),
    Map(Map),
}

/// A member name: borrowed from the type tables when the field is known.
pub type Name = Cow<'static, str>;

/// Members in order. Look-ups are linear: objects are small and known orders make hits early.
#[derive(Clone, Debug, Default)]
pub struct Map(Vec<(Name, Value)>);

static NULL: Value = Value::Null;

/// Whether two member names are equal; most that are not differ in length or in their last byte, and need no call.
#[inline]
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.as_bytes().last() == b.as_bytes().last() && a == b
}

impl Map {
    pub fn new() -> Self {
        Map::default()
    }

    pub fn with_capacity(n: usize) -> Self {
        Map(Vec::with_capacity(n))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(n, _)| same_name(n, name)).map(|(_, v)| v)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.0.iter_mut().find(|(n, _)| same_name(n, name)).map(|(_, v)| v)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Replaces in place or appends; the old value comes back.
    pub fn insert(&mut self, name: impl Into<Name>, value: impl Into<Value>) -> Option<Value> {
        let (name, value) = (name.into(), value.into());
        match self.get_mut(&name) {
            Some(slot) => Some(std::mem::replace(slot, value)),
            None => {
                self.0.push((name, value));
                None
            }
        }
    }

    /// Appends without looking for an equal name: for decoders that have checked.
    pub fn push(&mut self, name: impl Into<Name>, value: Value) {
        self.0.push((name.into(), value));
    }

    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(n, _)| same_name(n, name))?;
        Some(self.0.remove(at).1)
    }

    /// The member, made null when missing.
    pub fn entry(&mut self, name: impl Into<Name>) -> &mut Value {
        let name = name.into();
        let at = match self.0.iter().position(|(n, _)| same_name(n, &name)) {
            Some(at) => at,
            None => {
                self.0.push((name, Value::Null));
                self.0.len() - 1
            }
        };
        &mut self.0[at].1
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Value)> + ExactSizeIterator {
        self.0.iter().map(|(n, v)| (&**n, v))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value)> {
        self.0.iter_mut().map(|(n, v)| (&**n, v))
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(n, _)| &**n)
    }

    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().map(|(_, v)| v)
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        self.0.retain_mut(|(n, v)| keep(n, v));
    }

    /// Bytewise order of names, as maps are printed.
    pub fn sort(&mut self) {
        self.0.sort_by(|a, b| a.0.cmp(&b.0));
    }

    /// The members themselves, for code that reorders them.
    pub fn as_members(&self) -> &[(Name, Value)] {
        &self.0
    }

    pub fn as_members_mut(&mut self) -> &mut Vec<(Name, Value)> {
        &mut self.0
    }

    pub fn into_members(self) -> Vec<(Name, Value)> {
        self.0
    }
}

/// Collects members of a map whose names are not known beforehand: look-ups stay fast when there are many.
#[derive(Debug, Default)]
pub struct Members {
    members: Vec<(Name, Value)>,
    index: HashMap<Box<str>, usize>,
}

/// Members from which on names are indexed instead of searched.
const INDEX_FROM: usize = 16;

impl Members {
    /// Whether the name has been seen.
    pub fn contains(&mut self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Replaces in place or appends.
    pub fn put(&mut self, name: impl Into<Name>, value: Value) {
        let name = name.into();
        match self.find(&name) {
            Some(at) => self.members[at].1 = value,
            None => {
                if !self.index.is_empty() {
                    self.index.insert((&*name).into(), self.members.len());
                }
                self.members.push((name, value));
            }
        }
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        let at = self.find(name)?;
        Some(&mut self.members[at].1)
    }

    pub fn into_map(self) -> Map {
        Map(self.members)
    }

    /// The map without these members.
    pub fn into_map_without(self, names: &HashSet<Name>) -> Map {
        let mut map = self.into_map();
        if !names.is_empty() {
            map.0.retain(|(n, _)| !names.contains(n));
        }
        map
    }

    fn find(&mut self, name: &str) -> Option<usize> {
        if self.members.len() < INDEX_FROM {
            return self.members.iter().position(|(n, _)| same_name(n, name));
        }
        if self.index.is_empty() {
            self.index.extend(self.members.iter().enumerate().map(|(at, (n, _))| ((&**n).into(), at)));
        }
        self.index.get(name).copied()
    }
}

impl From<Map> for Members {
    fn from(map: Map) -> Self {
        Members { members: map.0, index: HashMap::new() }
    }
}

/// Two maps are equal when they have the same members, whatever their order.
impl PartialEq for Map {
    fn eq(&self, other: &Map) -> bool {
        self.len() == other.len()
            && self.0.iter().enumerate().all(|(n, (name, value))| match other.0.get(n) {
                Some((other_name, other_value)) if other_name == name => other_value == value,
                _ => other.get(name) == Some(value),
            })
    }
}

impl<N: Into<Name>, V: Into<Value>> FromIterator<(N, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(members: I) -> Self {
        Map(members.into_iter().map(|(n, v)| (n.into(), v.into())).collect())
    }
}

impl IntoIterator for Map {
    type Item = (Name, Value);
    type IntoIter = std::vec::IntoIter<(Name, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Value {
    /// An empty map.
    pub fn map() -> Self {
        Value::Map(Map::new())
    }

    /// A map of the given members.
    pub fn of<N: Into<Name>, V: Into<Value>>(members: impl IntoIterator<Item = (N, V)>) -> Self {
        Value::Map(members.into_iter().collect())
    }

    pub fn list<V: Into<Value>>(items: impl IntoIterator<Item = V>) -> Self {
        Value::List(items.into_iter().map(Into::into).collect())
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Null, "", an empty list or an empty map. Zero and false are not empty.
    pub fn is_empty(&self) -> bool {
        match self {
            Value::Null => true,
            Value::String(s) => s.is_empty(),
            Value::List(l) => l.is_empty(),
            Value::Map(m) => m.is_empty(),
            _ => false,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(s) = self { Some(s) } else { None }
    }

    /// The string, or "" for anything else.
    pub fn str(&self) -> &str {
        self.as_str().unwrap_or_default()
    }

    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            Value::Float(x) if x.fract() == 0.0 && x.abs() < 9e15 => Some(*x as i64),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(b) = self { Some(*b) } else { None }
    }

    pub fn is_true(&self) -> bool {
        self.as_bool() == Some(true)
    }

    pub fn as_map(&self) -> Option<&Map> {
        if let Value::Map(m) = self { Some(m) } else { None }
    }

    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        if let Value::Map(m) = self { Some(m) } else { None }
    }

    pub fn as_list(&self) -> Option<&[Value]> {
        if let Value::List(l) = self { Some(l) } else { None }
    }

    pub fn as_list_mut(&mut self) -> Option<&mut Vec<Value>> {
        if let Value::List(l) = self { Some(l) } else { None }
    }

    /// The items, none for anything that is not a list.
    pub fn items(&self) -> &[Value] {
        self.as_list().unwrap_or_default()
    }

    /// The members, none for anything that is not a map.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.as_map().into_iter().flat_map(Map::iter)
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.as_map()?.get(name)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.as_map_mut()?.get_mut(name)
    }

    /// Follows member names: `value.at(["spec", "nodeName"])`; null where the path ends early.
    pub fn at<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> &Value {
        path.into_iter().try_fold(self, |v, name| v.get(name)).unwrap_or(&NULL)
    }

    /// The member, made on the way: null or anything that is not a map becomes a map first.
    pub fn entry(&mut self, name: impl Into<Name>) -> &mut Value {
        self.make_map().entry(name)
    }

    /// Follows member names, making maps on the way; the last one is null when it was missing.
    pub fn at_mut(&mut self, path: impl IntoIterator<Item = &'static str>) -> &mut Value {
        path.into_iter().fold(self, |v, name| v.entry(name))
    }

    /// Sets a member; a value that is not a map becomes one.
    pub fn set(&mut self, name: impl Into<Name>, value: impl Into<Value>) {
        self.make_map().insert(name, value);
    }

    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.as_map_mut()?.remove(name)
    }

    /// Itself as a map; anything else is replaced by an empty one.
    pub fn make_map(&mut self) -> &mut Map {
        if !matches!(self, Value::Map(_)) {
            *self = Value::map();
        }
        match self {
            Value::Map(m) => m,
            _ => unreachable!("made a map above"),
        }
    }

    /// Itself as a list; anything else is replaced by an empty one.
    pub fn make_list(&mut self) -> &mut Vec<Value> {
        if !matches!(self, Value::List(_)) {
            *self = Value::List(Vec::new());
        }
        match self {
            Value::List(l) => l,
            _ => unreachable!("made a list above"),
        }
    }

    pub fn take(&mut self) -> Value {
        std::mem::take(self)
    }
}

/// `value["spec"]["nodeName"]`: null where there is no such member.
impl Index<&str> for Value {
    type Output = Value;
    fn index(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&NULL)
    }
}

impl Index<usize> for Value {
    type Output = Value;
    fn index(&self, n: usize) -> &Value {
        self.items().get(n).unwrap_or(&NULL)
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::String(s.to_owned())
    }
}
impl From<String> for Value {
    fn from(s: String) -> Self {
        Value::String(s)
    }
}
impl From<&String> for Value {
    fn from(s: &String) -> Self {
        Value::String(s.clone())
    }
}
impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Value::Bool(b)
    }
}
impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Value::Int(n)
    }
}
impl From<f64> for Value {
    fn from(x: f64) -> Self {
        Value::Float(x)
    }
}
impl From<i32> for Value {
    fn from(n: i32) -> Self {
        Value::Int(n.into())
    }
}
impl From<u32> for Value {
    fn from(n: u32) -> Self {
        Value::Int(n.into())
    }
}
impl From<Vec<Value>> for Value {
    fn from(l: Vec<Value>) -> Self {
        Value::List(l)
    }
}
impl From<Map> for Value {
    fn from(m: Map) -> Self {
        Value::Map(m)
    }
}
impl<V: Into<Value>> From<Option<V>> for Value {
    fn from(v: Option<V>) -> Self {
        v.map_or(Value::Null, Into::into)
    }
}

/// Builds a `Value`: `doc!({"kind": "Pod", "metadata": {"name": name}, "n": (a + 1), "l": [1, "x"], "none": null})`.
/// A value is a literal, a variable, an expression in parentheses, `{…}`, `[…]` or `null`.
#[macro_export]
macro_rules! doc {
    (null) => { $crate::Value::Null };
    ({ $($name:tt : $value:tt),* $(,)? }) => {{
        #[allow(unused_mut)]
        let mut map = $crate::Map::new();
        $( map.push($name, $crate::doc!($value)); )*
        $crate::Value::Map(map)
    }};
    ([ $($value:tt),* $(,)? ]) => { $crate::Value::List(vec![ $( $crate::doc!($value) ),* ]) };
    (($value:expr)) => { $crate::Value::from($value) };
    ($value:expr) => { $crate::Value::from($value) };
}

#[cfg(test)]
mod tests {
    #[test]
    fn documents_are_built_and_read() {
        let name = "x";
        let mut pod = doc!({"kind": "Pod", "metadata": {"name": name}, "spec": {"n": (1 + 1), "l": ["a", true, null]}});
        assert_eq!(pod["metadata"]["name"].str(), "x");
        assert_eq!(pod.at(["spec", "n"]).as_i64(), Some(2));
        assert!(pod["nope"]["nope"].is_null());
        *pod.at_mut(["status", "phase"]) = "Running".into();
        assert_eq!(pod["status"], doc!({"phase": "Running"}));
        assert_eq!(doc!({"a": 1, "b": 2}), doc!({"b": 2, "a": 1}));
    }
}
