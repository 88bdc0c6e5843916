//! The Node authorizer: a node may see what the pods bound to it need, and little else. It never says Deny.

pub mod graph;

use std::sync::Arc;

use meta::goquote::quote;
use meta::user::{NODE_PREFIX, NODES};
use meta::{Attributes, Key, ResourceId, UserInfo};
use store::{Slot, Store, View};

use crate::bootstrap;
use crate::decision::{Ask, Authorizer, Decision, Rules};
use crate::rbac::Rule;
use graph::{Graph, Observe};

const LEASES: &str = "kube-node-lease";
const NO_NODE: &str = "no relationship found between node";

/// Where its graph is found in a view, and the rules that hold for every node alike.
pub struct NodeAuthorizer {
    slot: Slot<Graph>,
    rules: Vec<Rule>,
}

impl NodeAuthorizer {
    /// Attaches the graph to the store.
    pub fn attach(store: &Store) -> Arc<Self> {
        let role = bootstrap::policy().into_iter().find(|o| o["metadata"]["name"].str() == "system:node");
        let rules = role.map(|role| Rule::list_of(&role)).unwrap_or_default();
        Arc::new(NodeAuthorizer { slot: store.observe(Observe), rules })
    }
}

impl Authorizer for NodeAuthorizer {
    fn name(&self) -> &'static str {
        "node"
    }

    fn authorize(&self, ask: &dyn Ask, view: &View) -> Decision {
        let Some(node) = node_of(ask.user()) else { return Decision::no_opinion("") };
        if node.is_empty() {
            return Decision::no_opinion(format!("unknown node for user {}", quote(&ask.user().name)));
        }
        let question = Question { node, a: ask.attributes(), view, graph: &view.index(&self.slot) };
        match question.answer(&self.rules) {
            Ok(()) => Decision::allow(""),
            Err(reason) => Decision::no_opinion(reason),
        }
    }

    fn rules_for(&self, user: &UserInfo, _: &str, _: &View) -> Rules {
        match node_of(user) {
            None => Rules::default(),
            Some(_) => Rules {
                incomplete: true,
                error: "node authorizer does not support user rule resolution".to_owned(),
                ..Default::default()
            },
        }
    }
}

/// The node's name, possibly empty; `None` for whoever is no node.
fn node_of(user: &UserInfo) -> Option<&str> {
    user.name.strip_prefix(NODE_PREFIX).filter(|_| user.in_group(NODES))
}

/// Why not; empty when there is nothing to say.
type Answer = Result<(), String>;

struct Question<'a> {
    node: &'a str,
    a: &'a Attributes,
    view: &'a View,
    graph: &'a Graph,
}

fn refuse(reason: &str) -> Answer {
    Err(reason.to_owned())
}

impl Question<'_> {
    fn answer(&self, rules: &[Rule]) -> Answer {
        if self.a.is_resource {
            match (self.a.group.as_str(), self.a.resource.as_str()) {
                ("", "secrets" | "configmaps") => return self.read_one(),
                ("", "persistentvolumeclaims") if self.a.subresource == "status" => return self.write_status(),
                ("", "persistentvolumeclaims" | "persistentvolumes")
                | ("resource.k8s.io", "resourceclaims")
                | ("storage.k8s.io", "volumeattachments") => return self.get(),
                ("", "serviceaccounts") => return self.account(),
                ("coordination.k8s.io", "leases") => return self.lease(),
                ("storage.k8s.io", "csinodes") => return self.csi_node(),
                ("resource.k8s.io", "resourceslices") => return self.slice(),
                ("certificates.k8s.io", "podcertificaterequests") => return self.certificate_request(),
                ("", "nodes") => return self.own_node(),
                ("", "pods") => return self.pod(),
                _ => {}
            }
        }
        if rules.iter().any(|rule| rule.allows(self.a)) { Ok(()) } else { refuse("") }
    }

    fn verb(&self) -> &str {
        &self.a.verb
    }

    fn read_one(&self) -> Answer {
        if !matches!(self.verb(), "get" | "list" | "watch") {
            return refuse("can only read resources of this type");
        }
        if !self.a.subresource.is_empty() {
            return refuse("cannot read subresource");
        }
        if self.a.namespace.is_empty() {
            return refuse("can only read namespaced object of this type");
        }
        self.related()
    }

    fn get(&self) -> Answer {
        if self.verb() != "get" {
            return refuse("can only get individual resources of this type");
        }
        if !self.a.subresource.is_empty() {
            return refuse("cannot get subresource");
        }
        self.related()
    }

    fn write_status(&self) -> Answer {
        if matches!(self.verb(), "update" | "patch") {
            self.related()
        } else {
            refuse("can only get/update/patch this type")
        }
    }

    fn account(&self) -> Answer {
        if self.verb() == "get" && self.a.subresource.is_empty() {
            return self.related();
        }
        if self.verb() != "create" || self.a.name.is_empty() {
            return refuse("can only create tokens for individual service accounts");
        }
        if self.a.subresource != "token" {
            return refuse("can only create token subresource of serviceaccount");
        }
        self.related()
    }

    fn lease(&self) -> Answer {
        if !matches!(self.verb(), "get" | "create" | "update" | "patch" | "delete") {
            return refuse("can only get, create, update, patch, or delete a node lease");
        }
        if self.a.namespace != LEASES {
            return Err(format!("can only access leases in the {} system namespace", quote(LEASES)));
        }
        if self.verb() != "create" && self.a.name != self.node {
            return refuse("can only access node lease with the same name as the requesting node");
        }
        Ok(())
    }

    fn csi_node(&self) -> Answer {
        match self.a.subresource.as_str() {
            "" if matches!(self.verb(), "get" | "create" | "update" | "patch" | "delete") => {}
            "" => return refuse("can only get, create, update, patch, or delete a CSINode"),
            "status" => return refuse("CSINode status access requires CSIVolumeHealth feature"),
            _ => return refuse("cannot authorize CSINode subresources"),
        }
        if self.verb() != "create" && self.a.name != self.node {
            return refuse("can only access CSINode with the same name as the requesting node");
        }
        Ok(())
    }

    fn slice(&self) -> Answer {
        if !self.a.subresource.is_empty() {
            return refuse("cannot authorize ResourceSlice subresources");
        }
        match self.verb() {
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.related(),
            "watch" | "list" | "deletecollection" if self.selects("spec.nodeName") => Ok(()),
            "watch" | "list" | "deletecollection" => {
                refuse("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => refuse(
                "only the following verbs are allowed for a ResourceSlice: \
                 get, watch, list, create, update, patch, delete, deletecollection",
            ),
        }
    }

    fn certificate_request(&self) -> Answer {
        if !self.a.subresource.is_empty() {
            return refuse("nodes may not access the status subresource of PodCertificateRequests");
        }
        match self.verb() {
            "create" => Ok(()),
            "get" => self.related(),
            "list" | "watch" if self.selects("spec.nodeName") => Ok(()),
            "list" | "watch" => refuse("can only list/watch podcertificaterequests with nodeName field selector"),
            verb => Err(format!("nodes may not {verb} podcertificaterequests")),
        }
    }

    fn own_node(&self) -> Answer {
        match (self.a.subresource.as_str(), self.verb()) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
            ("", "get" | "list" | "watch") if self.a.name == self.node => Ok(()),
            ("", "get" | "list" | "watch") if self.a.name.is_empty() => {
                Err(format!("node '{}' cannot read all nodes, only its own Node object", self.node))
            }
            ("", "get" | "list" | "watch") => {
                Err(format!("node '{}' cannot read '{}', only its own Node object", self.node, self.a.name))
            }
            _ => refuse(""),
        }
    }

    fn pod(&self) -> Answer {
        match (self.a.subresource.as_str(), self.verb()) {
            ("", "get") => self.get(),
            ("", "list" | "watch") if self.selects("spec.nodeName") => Ok(()),
            ("", "list" | "watch") if !self.a.name.is_empty() => self.related(),
            ("", "list" | "watch") => refuse("can only list/watch pods with spec.nodeName field selector"),
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => refuse(""),
        }
    }

    /// Whether the field selector holds the request to this node.
    fn selects(&self, field: &str) -> bool {
        self.a.field_selector.as_ref().is_some_and(|s| s.requires(field) == Some(self.node))
    }

    /// Whether a pod of this node, or the object itself, leads from the object to the node.
    fn related(&self) -> Answer {
        if self.a.name.is_empty() {
            return refuse("No Object name found");
        }
        let (namespace, name) = (self.a.namespace.as_str(), self.a.name.as_str());
        let found = match self.a.resource.as_str() {
            "pods" => self.graph.has_pod(self.node, namespace, name),
            "persistentvolumes" => self.graph.uses_volume(self.node, name),
            "volumeattachments" => self.object_names_node(&["spec", "nodeName"]),
            "resourceslices" | "podcertificaterequests" => self.object_names_node(&["spec", "nodeName"]),
            kind => self.graph.uses(self.node, kind, namespace, name),
        };
        if found { Ok(()) } else { Err(format!("{NO_NODE} '{}' and this object", self.node)) }
    }

    fn object_names_node(&self, path: &[&str]) -> bool {
        let resource = ResourceId::new(&self.a.group, &self.a.resource);
        let Some(object) = self.view.get(&Key::new(resource, &self.a.namespace, &self.a.name)) else { return false };
        let json = crate::rbac::policy::json(&object);
        document::json::parse(&json).is_ok_and(|value| value.at(path.iter().copied()).str() == self.node)
    }
}

#[cfg(test)]
mod tests;
