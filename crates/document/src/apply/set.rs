//! Sets of paths, kept as a tree; FieldsV1 is their JSON. Not here: how a set follows from an object (`walk`).

use super::element::Element;
use crate::{Map, Value};

/// Deeper sets than any object has are refused.
const MAX_DEPTH: usize = 200;

/// Paths below one point, in the order of their first elements, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set(Vec<(Element, Node)>);

/// A set that is being made: its points come in any order.
#[derive(Default)]
pub(super) struct Growing(Vec<(Element, Node)>);

impl Growing {
    /// Hangs in what is not empty. Of the same point the last one counts.
    pub(super) fn hang(&mut self, element: &Element, node: Node) {
        if !node.is_empty() {
            self.0.push((element.clone(), node));
        }
    }

    /// The set, its points in order.
    pub(super) fn done(mut self) -> Set {
        if !self.0.is_sorted_by(|(a, _), (b, _)| a < b) {
            self.0.sort_by(|(a, _), (b, _)| a.cmp(b));
            self.0.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same {
                    std::mem::swap(later, kept);
                }
                same
            });
        }
        Set(self.0)
    }
}

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
            *self = Node::default();
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

    /// The points in order, and what is below them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Element, &Node)> {
        self.0.iter().map(|(element, node)| (element, node))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Element, &mut Node)> {
        self.0.iter_mut().map(|(element, node)| (&*element, node))
    }

    pub(super) fn get(&self, element: &Element) -> Option<&Node> {
        self.find(element).ok().map(|n| &self.0[n].1)
    }

    fn find(&self, element: &Element) -> Result<usize, usize> {
        self.0.binary_search_by(|(e, _)| e.cmp(element))
    }

    /// A set of one path of field names.
    pub fn insert_fields(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let element = Element::Field((*first).to_owned().into());
        let n = self.find(&element).unwrap_or_else(|n| {
            self.0.insert(n, (element, Node::default()));
            n
        });
        let node = &mut self.0[n].1;
        if rest.is_empty() {
            node.member = true;
        } else {
            node.below.insert_fields(rest);
        }
    }

    pub fn has(&self, path: &[Element]) -> bool {
        match path.split_first() {
            None => false,
            Some((first, [])) => self.get(first).is_some_and(|n| n.member),
            Some((first, rest)) => self.get(first).is_some_and(|n| n.below.has(rest)),
        }
    }

    pub fn union(mut self, other: &Set) -> Set {
        let mut new = Vec::new();
        for (element, node) in &other.0 {
            match self.find(element) {
                Err(_) => new.push((element.clone(), node.clone())),
                Ok(n) => {
                    let own = &mut self.0[n].1;
                    own.member |= node.member;
                    own.below = std::mem::take(&mut own.below).union(&node.below);
                }
            }
        }
        if !new.is_empty() {
            self.0.extend(new);
            self = Growing(self.0).done();
        }
        self
    }

    /// The union of many, in one pass: one after the other, each would move what is there already.
    pub(super) fn of_all(sets: &[&Set]) -> Set {
        if let [one] = sets {
            return (*one).clone();
        }
        let mut points: Vec<_> = sets.iter().flat_map(|s| s.iter()).collect();
        points.sort_by_key(|(element, _)| *element);
        let same = points.chunk_by(|(a, _), (b, _)| a == b);
        Set(same
            .map(|nodes| {
                let below: Vec<_> = nodes.iter().map(|(_, n)| &n.below).filter(|b| !b.is_empty()).collect();
                let member = nodes.iter().any(|(_, n)| n.member);
                (nodes[0].0.clone(), Node { member, below: Set::of_all(&below) })
            })
            .collect())
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
            self.0.retain_mut(|(element, own)| other.get(element).is_none_or(|theirs| own.cut(theirs, deep)));
            return self;
        }
        let mut gone = false;
        for (element, theirs) in &other.0 {
            if let Ok(n) = self.find(element) {
                gone |= !self.0[n].1.cut(theirs, deep);
            }
        }
        if gone {
            self.0.retain(|(_, own)| !own.is_empty());
        }
        self
    }

    pub fn intersect(&self, other: &Set) -> Set {
        let mut both = Growing::default();
        let (small, big) = if self.0.len() <= other.0.len() { (self, other) } else { (other, self) };
        for (element, node) in &small.0 {
            if let Some(theirs) = big.get(element) {
                let member = node.member && theirs.member;
                both.hang(element, Node { member, below: node.below.intersect(&theirs.below) });
            }
        }
        both.done()
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
        let (mut member, mut set) = (map.is_empty(), Growing::default());
        for (name, below) in map.iter() {
            if name == "." {
                member = true;
                continue;
            }
            let (member, below) = Set::read(below, depth + 1)?;
            set.hang(&Element::decode(name)?, Node { member, below });
        }
        Ok((member, set.done()))
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
        for sets in [&[][..], &[&a], &[&a, &b], &[&b, &a, &b], &[&a, &b, &set(doc!({"f:a": {"f:0": {}}}))]] {
            let one_by_one = sets.iter().fold(Set::default(), |all, set| all.union(set));
            assert_eq!(Set::of_all(sets), one_by_one);
        }
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
    fn points_come_in_any_order_and_the_last_of_equals_counts() {
        let field = |name: &'static str| Element::Field(name.into());
        let below = |name: &'static str| Node { member: false, below: set(doc!({ name: {} })) };
        let mut growing = Growing::default();
        for (name, node) in [("c", Node::leaf()), ("a", below("f:x")), ("b", Node::default()), ("a", below("f:y"))] {
            growing.hang(&field(name), node);
        }
        let mut grown = growing.done();
        assert_eq!(grown.encode(), doc!({"f:a": {"f:y": {}}, "f:c": {}}));
        grown.insert_fields(&["b"]);
        grown.insert_fields(&["a", "x"]);
        assert_eq!(grown.encode(), doc!({"f:a": {"f:x": {}, "f:y": {}}, "f:b": {}, "f:c": {}}));
        let cut = grown.minus_below(&set(doc!({"f:a": {}, "f:c": {}})));
        assert_eq!(cut.encode(), doc!({"f:b": {}}));
    }

    #[test]
    fn what_is_no_field_set_is_refused() {
        for fields in [doc!({"x": {}}), doc!({"q:x": {}}), doc!({"f:x": 1}), doc!({"k:1": {}})] {
            assert!(Set::decode(&fields).is_err(), "{fields:?}");
        }
    }
}
