//! The chain: privileged group first, then the authorizers in order. An empty chain denies.

use std::str::FromStr;
use std::sync::Arc;

use meta::UserInfo;
use meta::metrics::Counter;
use meta::user::MASTERS;
use store::View;

use crate::decision::{Ask, Authorizer, Decision, Rules, Verdict};

/// A word of `--authorization-mode` that is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Node,
    Rbac,
    AlwaysAllow,
    AlwaysDeny,
}

/// A word that is not: `Webhook` and `ABAC` are not built, others do not exist.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnknownMode {
    #[error("authorization mode {0} is not built; use Node, RBAC, AlwaysAllow or AlwaysDeny")]
    NotBuilt(String),
    #[error("{0:?} is not a valid authorization mode; use Node, RBAC, AlwaysAllow or AlwaysDeny")]
    Unknown(String),
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(word: &str) -> Result<Self, UnknownMode> {
        match word {
            "Node" => Ok(Mode::Node),
            "RBAC" => Ok(Mode::Rbac),
            "AlwaysAllow" => Ok(Mode::AlwaysAllow),
            "AlwaysDeny" => Ok(Mode::AlwaysDeny),
            "Webhook" | "ABAC" => Err(UnknownMode::NotBuilt(word.to_owned())),
            _ => Err(UnknownMode::Unknown(word.to_owned())),
        }
    }
}

/// Authorizers in order. Cheap to clone.
#[derive(Clone, Default)]
pub struct Chain {
    links: Arc<[Link]>,
}

/// An authorizer and how often it had the last word.
struct Link {
    authorizer: Arc<dyn Authorizer>,
    allowed: Counter,
    denied: Counter,
}

/// How often one authorizer decided in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decisions {
    /// As `--authorization-mode` says it.
    pub type_: &'static str,
    pub name: &'static str,
    /// `allowed` or `denied`.
    pub decision: &'static str,
    pub count: u64,
}

impl Chain {
    pub fn new(links: impl IntoIterator<Item = Arc<dyn Authorizer>>) -> Self {
        let link = |authorizer| Link { authorizer, allowed: Counter::default(), denied: Counter::default() };
        Chain { links: links.into_iter().map(link).collect() }
    }

    /// How often which authorizer allowed or denied something; those that never did are left out.
    pub fn decisions(&self) -> Vec<Decisions> {
        let of = |link: &Link| {
            let name = link.authorizer.name();
            let made =
                |decision, counter: &Counter| Decisions { type_: type_of(name), name, decision, count: counter.get() };
            [made("allowed", &link.allowed), made("denied", &link.denied)]
        };
        self.links.iter().flat_map(of).filter(|made| made.count > 0).collect()
    }

    /// The authorizers that `modes` names. `rbac` and `node` hang on the store's observers and are given.
    pub fn of_modes(modes: &[Mode], node: Arc<crate::NodeAuthorizer>, rbac: Arc<crate::Rbac>) -> Self {
        Chain::new(modes.iter().map(|mode| -> Arc<dyn Authorizer> {
            match mode {
                Mode::Node => node.clone(),
                Mode::Rbac => rbac.clone(),
                Mode::AlwaysAllow => Arc::new(Always(true)),
                Mode::AlwaysDeny => Arc::new(Always(false)),
            }
        }))
    }
}

impl Authorizer for Chain {
    fn name(&self) -> &'static str {
        "union"
    }

    fn authorize(&self, ask: &dyn Ask, view: &View) -> Decision {
        if ask.user().in_group(MASTERS) {
            return Decision::allow("");
        }
        let (mut reasons, mut errors) = (Vec::new(), Vec::new());
        for link in self.links.iter() {
            let decision = link.authorizer.authorize(ask, view);
            match decision.verdict {
                Verdict::Allow => link.allowed.inc(),
                Verdict::Deny => link.denied.inc(),
                Verdict::NoOpinion => {}
            }
            if decision.verdict != Verdict::NoOpinion {
                return decision;
            }
            if !decision.reason.is_empty() {
                reasons.push(format!("{}: {}", link.authorizer.name(), decision.reason));
            }
            errors.extend(decision.error);
        }
        Decision { verdict: Verdict::NoOpinion, reason: reasons.join("\n"), error: aggregate(errors) }
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str, view: &View) -> Rules {
        let (mut all, mut errors) = (Rules::default(), Vec::new());
        for link in self.links.iter() {
            let rules = link.authorizer.rules_for(user, namespace, view);
            all.resource.extend(rules.resource);
            all.non_resource.extend(rules.non_resource);
            all.incomplete |= rules.incomplete;
            if !rules.error.is_empty() {
                errors.push(rules.error);
            }
        }
        all.error = aggregate(errors).unwrap_or_default();
        all
    }
}

fn type_of(name: &'static str) -> &'static str {
    match name {
        "node" => "Node",
        "rbac" => "RBAC",
        "alwaysallow" => "AlwaysAllow",
        "alwaysdeny" => "AlwaysDeny",
        other => other,
    }
}

/// Several errors as one text: `[a, b]`; equal ones once; one alone without brackets.
pub(crate) fn aggregate(errors: Vec<String>) -> Option<String> {
    let mut once: Vec<String> = Vec::with_capacity(errors.len());
    for error in errors {
        if !once.contains(&error) {
            once.push(error);
        }
    }
    match once.len() {
        0 => None,
        1 => once.pop(),
        _ => Some(format!("[{}]", once.join(", "))),
    }
}

/// AlwaysAllow and AlwaysDeny.
struct Always(bool);

impl Authorizer for Always {
    fn name(&self) -> &'static str {
        if self.0 { "alwaysallow" } else { "alwaysdeny" }
    }

    fn authorize(&self, _: &dyn Ask, _: &View) -> Decision {
        if self.0 { Decision::allow("") } else { Decision::no_opinion("Everything is forbidden.") }
    }

    fn rules_for(&self, _: &UserInfo, _: &str, _: &View) -> Rules {
        if !self.0 {
            return Rules::default();
        }
        let all = || vec!["*".to_owned()];
        Rules {
            resource: vec![crate::ResourceRule {
                verbs: all(),
                api_groups: all(),
                resources: all(),
                resource_names: vec![],
            }],
            non_resource: vec![crate::NonResourceRule { verbs: all(), urls: all() }],
            ..Default::default()
        }
    }
}
