//! What is taken of each node, pods included that were bound here and have not been seen bound yet.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use client::informer::Known;
use parking_lot::Mutex;

use crate::fit::{self, Candidate, Refusal};
use crate::node::NodeFacts;
use crate::pod::{Held, PodFacts, Wanted};
use crate::score::score;

pub(crate) type PodKey = (String, String);

#[derive(Default)]
pub(crate) struct State(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    nodes: HashMap<String, Arc<Known<NodeFacts>>>,
    taken: HashMap<String, Held>,
    /// By uid: where a pod was put here.
    assumed: HashMap<Box<str>, (String, Held)>,
    /// Did not fit anywhere.
    pending: HashSet<PodKey>,
    /// Starts the round among equals.
    turn: usize,
}

impl State {
    pub(crate) fn node(&self, name: &str, node: Option<Arc<Known<NodeFacts>>>) {
        let mut inner = self.0.lock();
        match node {
            Some(node) => inner.nodes.insert(name.to_owned(), node),
            None => inner.nodes.remove(name),
        };
    }

    /// Takes a pod's change over. True: something was freed.
    pub(crate) fn pod(&self, old: Option<&Known<PodFacts>>, new: Option<&Known<PodFacts>>) -> bool {
        let mut inner = self.0.lock();
        let before = old.filter(|old| old.facts.holds());
        let after = new.filter(|new| new.facts.holds());
        for known in old.into_iter().chain(new) {
            if !known.facts.node.is_empty() || new.is_none() {
                inner.forget(&known.uid);
            }
        }
        if let Some(old) = before {
            inner.give_back(&old.facts.node, &old.facts.held);
        }
        if let Some(new) = after {
            inner.take(&new.facts.node, &new.facts.held);
        }
        before.is_some() && after.is_none()
    }

    /// The best node for a pod, taken at once; or why there is none.
    pub(crate) fn assume(&self, uid: &str, wanted: &Wanted) -> Result<String, String> {
        let mut inner = self.0.lock();
        let name = inner.choose(wanted).map_err(|refusals| fit::message(wanted, &refusals))?;
        inner.take(&name, &wanted.held);
        inner.assumed.insert(uid.into(), (name.clone(), wanted.held.clone()));
        Ok(name)
    }

    /// The pod did not get there.
    pub(crate) fn forget(&self, uid: &str) {
        self.0.lock().forget(uid);
    }

    pub(crate) fn pending(&self, key: PodKey) {
        self.0.lock().pending.insert(key);
    }

    pub(crate) fn not_pending(&self, key: &PodKey) {
        self.0.lock().pending.remove(key);
    }

    pub(crate) fn take_pending(&self) -> Vec<PodKey> {
        self.0.lock().pending.drain().collect()
    }
}

impl Inner {
    fn take(&mut self, node: &str, held: &Held) {
        let taken = self.taken.entry(node.to_owned()).or_default();
        taken.requests.add(&held.requests);
        taken.ports.extend(held.ports.iter().cloned());
    }

    fn give_back(&mut self, node: &str, held: &Held) {
        let Some(taken) = self.taken.get_mut(node) else { return };
        taken.requests.subtract(&held.requests);
        for port in &held.ports {
            if let Some(at) = taken.ports.iter().position(|p| p == port) {
                taken.ports.swap_remove(at);
            }
        }
        if *taken == Held::default() {
            self.taken.remove(node);
        }
    }

    fn forget(&mut self, uid: &str) {
        if let Some((node, held)) = self.assumed.remove(uid) {
            self.give_back(&node, &held);
        }
    }

    fn choose(&mut self, wanted: &Wanted) -> Result<String, Vec<Refusal>> {
        let nothing = Held::default();
        let mut names: Vec<&String> = self.nodes.keys().collect();
        names.sort();
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn % names.len().max(1);
        names.rotate_left(turn);
        let (mut best, mut refusals): (Option<(i64, &String)>, _) = (None, Vec::new());
        for name in names {
            let Some(node) = self.nodes.get(name) else { continue };
            let taken = self.taken.get(name).unwrap_or(&nothing);
            let candidate = Candidate { node: &node.facts, taken: &taken.requests, ports: &taken.ports };
            match fit::refusal(wanted, &candidate) {
                Some(refusal) => refusals.push(refusal),
                None => {
                    let points = score(wanted, &candidate);
                    if best.is_none_or(|(most, _)| points > most) {
                        best = Some((points, name));
                    }
                }
            }
        }
        best.map(|(_, name)| name.clone()).ok_or(refusals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;
    use meta::{Key, ResourceId, Revision};

    fn known<F>(name: &str, facts: F) -> Arc<Known<F>> {
        Arc::new(Known {
            key: Key::new(ResourceId::new("", "x"), "n", name),
            uid: name.into(),
            revision: Revision(1),
            facts,
        })
    }

    fn with_nodes(names: &[&str]) -> State {
        let state = State::default();
        for name in names {
            let node = doc!({"metadata": {"name": (*name)}, "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}}});
            state.node(name, Some(known(name, NodeFacts::of(&node))));
        }
        state
    }

    fn wants(cpu: &str) -> document::Value {
        doc!({"containers": [{"resources": {"requests": {"cpu": cpu}}}]})
    }

    #[test]
    fn pods_spread_over_nodes_and_fill_them() {
        let state = with_nodes(&["a", "b"]);
        let wanted = Wanted::of(&wants("600m"));
        let mut nodes = [state.assume("1", &wanted).unwrap(), state.assume("2", &wanted).unwrap()];
        nodes.sort();
        assert_eq!(nodes, ["a", "b"]);
        assert!(state.assume("3", &wanted).unwrap_err().starts_with("0/2 nodes are available: 2 Insufficient cpu."));
    }

    #[test]
    fn an_assumed_pod_is_counted_once_when_it_is_seen_and_freed_when_it_goes() {
        let state = with_nodes(&["a"]);
        let wanted = Wanted::of(&wants("600m"));
        state.assume("p", &wanted).unwrap();
        let mut spec = wants("600m");
        let waiting = known("p", PodFacts::of(&doc!({"spec": (spec.clone())})));
        spec.set("nodeName", "a");
        let bound = known("p", PodFacts::of(&doc!({"spec": spec})));
        assert!(!state.pod(Some(&waiting), Some(&bound)));
        assert!(state.assume("q", &Wanted::of(&wants("300m"))).is_ok());
        state.forget("q");
        assert!(state.pod(Some(&bound), None));
        assert!(state.0.lock().taken.is_empty());
    }
}
