//! What an authorizer is asked and what it answers.

use std::sync::Arc;

use meta::{Attributes, UserInfo};
use store::View;

/// A question, as the deciders see it. `gate::Passage` is one; [`Question`] is one without a request.
pub trait Ask {
    fn user(&self) -> &UserInfo;
    fn attributes(&self) -> &Attributes;
}

/// A question that stands alone: access reviews, secondary checks, tests.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub user: &'a UserInfo,
    pub attributes: &'a Attributes,
}

impl Ask for Question<'_> {
    fn user(&self) -> &UserInfo {
        self.user
    }

    fn attributes(&self) -> &Attributes {
        self.attributes
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// Refused, and nobody else is asked. Neither Node nor RBAC says so.
    Deny,
    /// Nobody allowed it: at the end of the chain a refusal.
    NoOpinion,
}

/// The answer with upstream's reason text: which binding allowed it, or what stood in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    pub reason: String,
    /// An authorizer's own failure. Without an allow it is a 500, in a review it is `evaluationError`.
    pub error: Option<String>,
}

impl Decision {
    pub fn allow(reason: impl Into<String>) -> Self {
        Decision { verdict: Verdict::Allow, reason: reason.into(), error: None }
    }

    pub fn deny(reason: impl Into<String>) -> Self {
        Decision { verdict: Verdict::Deny, reason: reason.into(), error: None }
    }

    pub fn no_opinion(reason: impl Into<String>) -> Self {
        Decision { verdict: Verdict::NoOpinion, reason: reason.into(), error: None }
    }

    pub fn is_allowed(&self) -> bool {
        self.verdict == Verdict::Allow
    }
}

/// One entry of `resourceRules` in a SelfSubjectRulesReview.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceRule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
}

/// One entry of `nonResourceRules`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NonResourceRule {
    pub verbs: Vec<String>,
    pub urls: Vec<String>,
}

/// What a user may do in a namespace, as far as the authorizers can list it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    pub resource: Vec<ResourceRule>,
    pub non_resource: Vec<NonResourceRule>,
    pub incomplete: bool,
    pub error: String,
}

/// Decides from the question and one view; never waits.
pub trait Authorizer: Send + Sync {
    /// The lower-case type: the prefix of its reason when nobody allowed.
    fn name(&self) -> &'static str;
    fn authorize(&self, ask: &dyn Ask, view: &View) -> Decision;
    fn rules_for(&self, user: &UserInfo, namespace: &str, view: &View) -> Rules;
}

/// One decision as it is recorded: what `gate` hands to its sink (audit, `access`).
#[derive(Clone, Debug)]
pub struct Record {
    /// The effective user; `impersonator` is the real one when they differ.
    pub user: Arc<UserInfo>,
    pub impersonator: Option<Arc<UserInfo>>,
    pub attributes: Attributes,
    pub decision: Decision,
    /// Asked besides the request's own question (escalate, bind, create on update, …).
    pub secondary: bool,
}
