//! Sets of paths, kept as a tree; FieldsV1 is their JSON. Not here: how a set follows from an object (`walk`).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::element::Element;
use crate::{Map, Value};

/// Deeper sets than any object has are refused.
const MAX_DEPTH: usize = 200;

/// Paths below one point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set(pub(super) BTreeMap<Element, Node>);

/// One point: whether it is in the set itself, and what is below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) member: bool,
    pub(super) below: Set,
}

impl Node {
    pub(super) fn leaf() -> Self {
        Node { member: true, below: Set::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    /// Takes what the other has; false when nothing is left.
    fn cut(&mut self, theirs: &Node, deep: bool) -> bool {
        if deep && theirs.member {
            return false;
        }
        self.member &= !theirs.member;
        self.below = std::mem::take(&mut self.below).without(&theirs.below, deep);
        !self.is_empty()
    }
}

impl Set {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Hangs in what is not empty.
    pub(super) fn hang(&mut self, element: &Element, node: Node) {
        if !node.is_empty() {
            self.0.insert(element.clone(), node);
        }
    }

    /// A set of one path of field names.
    pub fn insert_fields(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.0.entry(Element::Field((*first).to_owned().into())).or_default();
        if rest.is_empty() {
            node.member = true;
        } else {
            node.below.insert_fields(rest);
        }
    }

    pub fn has(&self, path: &[Element]) -> bool {
        match path.split_first() {
            None => false,
            Some((first, [])) => self.0.get(first).is_some_and(|n| n.member),
            Some((first, rest)) => self.0.get(first).is_some_and(|n| n.below.has(rest)),
        }
    }

    pub fn union(mut self, other: &Set) -> Set {
        for (element, node) in &other.0 {
            match self.0.entry(element.clone()) {
                Entry::Vacant(place) => drop(place.insert(node.clone())),
                Entry::Occupied(mut place) => {
                    let own = place.get_mut();
                    own.member |= node.member;
                    own.below = std::mem::take(&mut own.below).union(&node.below);
                }
            }
        }
        self
    }

    /// Without the members of the other; what is below them stays.
    pub fn minus(self, other: &Set) -> Set {
        self.without(other, false)
    }

    /// Without the members of the other and all that is below them.
    pub fn minus_below(self, other: &Set) -> Set {
        self.without(other, true)
    }

    /// Walks the smaller one: many small sets are cut by one that is big.
    fn without(mut self, other: &Set, deep: bool) -> Set {
        if self.0.len() <= other.0.len() {
            self.0.retain(|element, own| other.0.get(element).is_none_or(|theirs| own.cut(theirs, deep)));
            return self;
        }
        for (element, theirs) in &other.0 {
            if self.0.get_mut(element).is_some_and(|own| !own.cut(theirs, deep)) {
                self.0.remove(element);
            }
        }
        self
    }

    pub fn intersect(&self, other: &Set) -> Set {
        let mut both = Set::default();
        let (small, big) = if self.0.len() <= other.0.len() { (self, other) } else { (other, self) };
        for (element, node) in &small.0 {
            if let Some(theirs) = big.0.get(element) {
                let member = node.member && theirs.member;
                both.hang(element, Node { member, below: node.below.intersect(&theirs.below) });
            }
        }
        both
    }

    /// All paths: the members of a point come before what is below it.
    pub fn paths(&self) -> Vec<Vec<Element>> {
        let mut all = Vec::new();
        self.collect(&mut Vec::new(), &mut all);
        all
    }

    fn collect(&self, prefix: &mut Vec<Element>, all: &mut Vec<Vec<Element>>) {
        for (element, _) in self.0.iter().filter(|(_, n)| n.member) {
            let mut path = prefix.clone();
            path.push(element.clone());
            all.push(path);
        }
        for (element, node) in &self.0 {
            prefix.push(element.clone());
            node.below.collect(prefix, all);
            prefix.pop();
        }
    }

    /// FieldsV1.
    pub fn encode(&self) -> Value {
        Value::Map(self.members(false))
    }

    fn members(&self, own: bool) -> Map {
        let mut map = Map::with_capacity(self.0.len() + usize::from(own));
        if own {
            map.push(".", Value::map());
        }
        for (element, node) in &self.0 {
            let own = node.member && !node.below.is_empty();
            map.push(element.encode(), Value::Map(node.below.members(own)));
        }
        map
    }

    /// # Errors
    /// When the tree is no FieldsV1.
    pub fn decode(fields: &Value) -> Result<Set, String> {
        Set::read(fields, 0).map(|(_, set)| set)
    }

    /// The set below a point, and whether the point itself is a member (`.`, or nothing below it).
    fn read(fields: &Value, depth: usize) -> Result<(bool, Set), String> {
        if depth > MAX_DEPTH {
            return Err("too deep".into());
        }
        let map = match fields {
            Value::Null => return Ok((true, Set::default())),
            Value::Map(map) => map,
            _ => return Err("expected an object".into()),
        };
        let (mut member, mut set) = (map.is_empty(), Set::default());
        for (name, below) in map.iter() {
            if name == "." {
                member = true;
                continue;
            }
            let (member, below) = Set::read(below, depth + 1)?;
            set.hang(&Element::decode(name)?, Node { member, below });
        }
        Ok((member, set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc;

    fn set(fields: Value) -> Set {
        Set::decode(&fields).expect("fields")
    }

    #[test]
    fn fields_are_written_in_upstreams_order() {
        let text = r#"{"f:b":{},"f:l":{".":{},"k:{\"a\":1,\"b\":\"x\"}":{},"v:\"x\"":{},"i:1":{}}}"#;
        let fields = crate::json::parse(text.as_bytes()).expect("JSON");
        assert_eq!(crate::json::to_string(&set(fields).encode()), text);
    }

    #[test]
    fn sets_are_joined_cut_and_split() {
        let a = set(doc!({"f:a": {".": {}, "f:x": {}}, "f:b": {}}));
        let b = set(doc!({"f:a": {}, "f:c": {}}));
        assert_eq!(a.clone().union(&b).encode(), doc!({"f:a": {".": {}, "f:x": {}}, "f:b": {}, "f:c": {}}));
        assert_eq!(a.clone().minus(&b).encode(), doc!({"f:a": {"f:x": {}}, "f:b": {}}));
        assert_eq!(a.clone().minus_below(&b).encode(), doc!({"f:b": {}}));
        assert_eq!(a.intersect(&b).encode(), doc!({"f:a": {}}));
    }

    #[test]
    fn a_set_is_cut_alike_whichever_is_the_bigger() {
        let small = || set(doc!({"f:a": {}, "f:b": {".": {}, "f:x": {}}}));
        let big = || set(doc!({"f:a": {".": {}, "f:y": {}}, "f:b": {"f:x": {}}, "f:c": {}, "f:d": {}}));
        let check = |cut: Set, wanted: Value| assert_eq!(cut.encode(), wanted);
        check(small().minus(&big()), doc!({"f:b": {}}));
        check(small().minus_below(&big()), doc!({"f:b": {}}));
        check(big().minus(&small()), doc!({"f:a": {"f:y": {}}, "f:c": {}, "f:d": {}}));
        check(big().minus_below(&small()), doc!({"f:c": {}, "f:d": {}}));
        check(small().intersect(&big()), doc!({"f:a": {}, "f:b": {"f:x": {}}}));
        assert_eq!(small().intersect(&big()), big().intersect(&small()));
    }

    #[test]
    fn what_is_no_field_set_is_refused() {
        for fields in [doc!({"x": {}}), doc!({"q:x": {}}), doc!({"f:x": 1}), doc!({"k:1": {}})] {
            assert!(Set::decode(&fields).is_err(), "{fields:?}");
        }
    }
}
