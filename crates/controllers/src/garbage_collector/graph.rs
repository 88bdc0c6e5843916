//! Who owns whom, as far as is known. Every change tells what may be due because of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use client::informer::Known;
use document::Owner;

pub(super) type Uid = Box<str>;

/// What the graph wants to know of an object.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) owners: Box<[Owner]>,
    pub(super) deleting: bool,
    /// Holds the finalizer of foreground deletion.
    pub(super) foreground: bool,
    /// Holds the finalizer of orphaning deletion.
    pub(super) orphan: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Which resource, by its number.
    pub(super) resource: usize,
    pub(super) known: Arc<Known<Facts>>,
}

#[derive(Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Node>,
    /// By the owner's uid, whether it is there or not.
    dependents: HashMap<Uid, HashSet<Uid>>,
}

/// What is to be looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) check: Vec<Uid>,
    pub(super) orphan: Vec<Uid>,
}

impl Due {
    pub(super) fn extend(&mut self, other: Due) {
        self.check.extend(other.check);
        self.orphan.extend(other.orphan);
    }
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    pub(super) fn dependents(&self, uid: &str) -> Vec<Node> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        uids.filter_map(|dependent| self.nodes.get(dependent).cloned()).collect()
    }

    /// Dependents that an owner must wait for.
    pub(super) fn blocking(&self, uid: &str) -> Vec<Node> {
        let blocks = |node: &Node| node.known.facts.owners.iter().any(|o| &*o.uid == uid && o.block_owner_deletion);
        self.dependents(uid).into_iter().filter(blocks).collect()
    }

    pub(super) fn put(&mut self, node: Node) -> Due {
        let (uid, new) = (node.known.uid.clone(), node.known.clone());
        let old = self.nodes.insert(uid.clone(), node);
        let old_owners = old.as_ref().map_or(&[][..], |o| &*o.known.facts.owners);
        let mut due = Due::default();
        self.unlink(&uid, old_owners, &mut due);
        for owner in &new.facts.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
        }
        if old.is_none() || old_owners != &*new.facts.owners {
            let suspect = |owner: &Owner| self.nodes.get(&owner.uid).is_none_or(|n| n.known.facts.foreground);
            if new.facts.owners.iter().any(suspect) {
                due.check.push(uid.clone());
            }
        } else {
            // unlinked for nothing: its owners need not be looked at
            due.check.clear();
        }
        let was = |fact: fn(&Facts) -> bool| old.as_ref().is_some_and(|o| fact(&o.known.facts));
        if is_orphaning(&new.facts) && !was(is_orphaning) {
            due.orphan.push(uid.clone());
        }
        if is_foreground(&new.facts) && !was(is_foreground) {
            due.check.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
            due.check.push(uid);
        }
        due
    }

    pub(super) fn remove(&mut self, uid: &str) -> Due {
        let mut due = Due::default();
        let Some(node) = self.nodes.remove(uid) else { return due };
        self.unlink(uid, &node.known.facts.owners, &mut due);
        due.check.extend(self.dependents.get(uid).into_iter().flatten().cloned());
        due
    }

    /// Owners that wait for their dependents are to be looked at.
    fn unlink(&mut self, uid: &str, owners: &[Owner], due: &mut Due) {
        for owner in owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
            if self.nodes.get(&owner.uid).is_some_and(|n| is_foreground(&n.known.facts)) {
                due.check.push(owner.uid.clone());
            }
        }
    }
}

fn is_foreground(facts: &Facts) -> bool {
    facts.deleting && facts.foreground
}

fn is_orphaning(facts: &Facts) -> bool {
    facts.deleting && facts.orphan
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta::{Key, ResourceId, Revision};

    fn node(uid: &str, owners: &[&str], facts: Facts) -> Node {
        let owner = |uid: &&str| Owner {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            name: (*uid).into(),
            uid: (*uid).into(),
            controller: false,
            block_owner_deletion: true,
        };
        let facts = Facts { owners: owners.iter().map(owner).collect(), ..facts };
        let key = Key::new(ResourceId::new("", "configmaps"), "n", uid);
        Node { resource: 0, known: Arc::new(Known { key, uid: uid.into(), revision: Revision(1), facts }) }
    }

    fn checks(due: Due) -> Vec<String> {
        assert!(due.orphan.is_empty());
        let mut uids: Vec<String> = due.check.iter().map(ToString::to_string).collect();
        uids.sort();
        uids
    }

    #[test]
    fn dependents_of_what_is_absent_or_goes_are_checked() {
        let mut graph = Graph::default();
        assert_eq!(checks(graph.put(node("d", &["o"], Facts::default()))), ["d"]);
        assert!(checks(graph.put(node("o", &[], Facts::default()))).is_empty());
        assert!(checks(graph.put(node("d", &["o"], Facts::default()))).is_empty());
        assert!(checks(graph.put(node("e", &["o"], Facts::default()))).is_empty());
        assert_eq!(checks(graph.remove("o")), ["d", "e"]);
        assert!(checks(graph.remove("e")).is_empty());
    }

    #[test]
    fn an_owner_in_the_foreground_is_checked_when_a_dependent_goes_or_lets_go() {
        let foreground = || Facts { deleting: true, foreground: true, ..Facts::default() };
        let mut graph = Graph::default();
        graph.put(node("o", &[], Facts::default()));
        graph.put(node("a", &["o"], Facts::default()));
        graph.put(node("b", &["o"], Facts::default()));
        assert_eq!(checks(graph.put(node("o", &[], foreground()))), ["a", "b", "o"]);
        assert_eq!(graph.blocking("o").len(), 2);
        assert_eq!(checks(graph.remove("a")), ["o"]);
        assert_eq!(checks(graph.put(node("b", &[], Facts::default()))), ["o"]);
        assert!(graph.blocking("o").is_empty());
    }

    #[test]
    fn orphaning_is_due_once() {
        let orphaning = || Facts { deleting: true, orphan: true, ..Facts::default() };
        let mut graph = Graph::default();
        graph.put(node("o", &[], Facts::default()));
        assert_eq!(graph.put(node("o", &[], orphaning())).orphan, ["o".into()]);
        assert!(graph.put(node("o", &[], orphaning())).orphan.is_empty());
    }
}
