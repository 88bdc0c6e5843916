//! RBAC: subject → namespace → bindings, in a persistent index that hangs on the view. Allows or has no opinion.

pub mod cover;
pub mod index;
pub mod policy;

use std::ops::ControlFlow;
use std::sync::Arc;

use meta::UserInfo;
use meta::goquote::quote;
use store::{Store, View};

pub use index::{Grant, Observe, Policy};
pub use policy::{Binding, Role, Rule, Subject, SubjectKind};

use crate::chain::aggregate;
use crate::decision::{Ask, Authorizer, Decision, NonResourceRule, ResourceRule, Rules};

/// The RBAC authorizer: where its index is found in a view.
#[derive(Clone, Debug)]
pub struct Rbac {
    slot: store::Slot<Policy>,
}

impl Rbac {
    /// Attaches the index to the store.
    pub fn attach(store: &Store) -> Arc<Self> {
        Arc::new(Rbac { slot: store.observe(Observe) })
    }

    /// The whole policy as it stands in this view: what `access` asks its questions of.
    pub fn policy(&self, view: &View) -> Arc<Policy> {
        view.index(&self.slot)
    }
}

impl Authorizer for Rbac {
    fn name(&self) -> &'static str {
        "rbac"
    }

    fn authorize(&self, ask: &dyn Ask, view: &View) -> Decision {
        self.policy(view).decide(ask)
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str, view: &View) -> Rules {
        let (held, errors) = self.policy(view).rules_held(user, namespace);
        let mut rules = Rules { error: aggregate(errors).unwrap_or_default(), ..Default::default() };
        for rule in held {
            if rule.non_resource_urls.is_empty() {
                rules.resource.push(ResourceRule {
                    verbs: rule.verbs,
                    api_groups: rule.api_groups,
                    resources: rule.resources,
                    resource_names: rule.resource_names,
                });
            } else {
                rules.non_resource.push(NonResourceRule { verbs: rule.verbs, urls: rule.non_resource_urls });
            }
        }
        rules
    }
}

impl Policy {
    /// The first grant that allows, with upstream's reason; else the missing roles.
    pub fn decide(&self, ask: &dyn Ask) -> Decision {
        let (user, attributes) = (ask.user(), ask.attributes());
        let mut errors = Vec::new();
        let found = self.visit(user, &attributes.namespace, |binding| match self.role_of(binding) {
            Ok(role) if role.rules.iter().any(|r| r.allows(attributes)) => ControlFlow::Break(binding.describe(user)),
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                errors.push(error);
                ControlFlow::Continue(())
            }
        });
        match (found, aggregate(errors)) {
            (Some(source), _) => Decision::allow(format!("RBAC: allowed by {source}")),
            (None, Some(error)) => Decision::no_opinion(format!("RBAC: {error}")),
            (None, None) => Decision::no_opinion(""),
        }
    }

    /// Every rule of every binding that applies, in evaluation order with duplicates, and what could not be resolved.
    pub fn rules_held(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        let _: Option<()> = self.visit(user, namespace, |binding| {
            match self.role_of(binding) {
                Ok(role) => rules.extend(role.rules.iter().cloned()),
                Err(error) => errors.push(error),
            }
            ControlFlow::Continue(())
        });
        (rules, errors)
    }

    /// All grants that allow what is asked: for `access`, which wants every one.
    pub fn grants(&self, ask: &dyn Ask) -> Vec<Grant> {
        let (user, attributes) = (ask.user(), ask.attributes());
        let mut grants = Vec::new();
        let _: Option<()> = self.visit(user, &attributes.namespace, |binding| {
            if let Ok(role) = self.role_of(binding)
                && let Some(rule) = role.rules.iter().find(|r| r.allows(attributes))
            {
                grants.push(Grant { binding: binding.clone(), rule: rule.clone() });
            }
            ControlFlow::Continue(())
        });
        grants
    }

    /// The role a binding names, or upstream's error.
    pub fn role_of(&self, binding: &Binding) -> Result<&Arc<Role>, String> {
        self.role(&binding.role_kind, &binding.namespace, &binding.role_name)
    }

    /// A role by kind and name; `namespace` is the binding's.
    pub fn role(&self, kind: &policy::RoleKind, namespace: &str, name: &str) -> Result<&Arc<Role>, String> {
        match kind {
            policy::RoleKind::ClusterRole => self
                .cluster_role(name)
                .ok_or_else(|| format!("clusterrole.{} {} not found", policy::GROUP, quote(name))),
            policy::RoleKind::Role => self
                .namespaced_role(namespace, name)
                .ok_or_else(|| format!("role.{} {} not found", policy::GROUP, quote(name))),
            policy::RoleKind::Unsupported(kind) => Err(format!("unsupported role reference kind: {}", quote(kind))),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
