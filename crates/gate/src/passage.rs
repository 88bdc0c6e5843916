//! `Passage`: a request that was let in. Verb, resource, namespace and name are taken from it and from nowhere else, and
//! whatever else must be asked for the same request is asked of it.

use std::sync::Arc;

use authz::{Ask, Authorizer, Decision, Record};
use meta::{Attributes, Status, UserInfo};

use crate::caller::Caller;
use crate::{Inner, forbidden};

/// Who, as whom, what, and why it is allowed.
pub struct Passage {
    inner: Arc<Inner>,
    caller: Caller,
    attributes: Attributes,
    decision: Decision,
}

impl Passage {
    pub(crate) fn new(inner: Arc<Inner>, caller: Caller, attributes: Attributes) -> Self {
        Passage { inner, caller, attributes, decision: Decision::no_opinion("") }
    }

    /// Records the decision and lets in who is allowed.
    pub(crate) fn decided(mut self, decision: Decision) -> Result<Self, Status> {
        self.record(&self.attributes, &decision, false);
        if decision.is_allowed() {
            self.decision = decision;
            return Ok(self);
        }
        match &decision.error {
            Some(error) => Err(Status::internal(error)),
            None => Err(forbidden(self.user(), &self.attributes, &decision.reason)),
        }
    }

    /// The effective user.
    pub fn user(&self) -> &UserInfo {
        &self.caller.found.user
    }

    /// Who really sent it, when it acts as someone else.
    pub fn impersonator(&self) -> Option<&UserInfo> {
        self.caller.impersonator.as_deref()
    }

    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// A secondary question of the same request and user, decided by the newest view and recorded.
    pub fn ask(&self, attributes: Attributes) -> Decision {
        let question = authz::Question { user: self.user(), attributes: &attributes };
        let decision = self.inner.parts.authorizers.authorize(&question, &self.inner.parts.store.view());
        self.record(&attributes, &decision, true);
        decision
    }

    /// The same, for those who want to know no more.
    pub fn may(&self, attributes: Attributes) -> bool {
        self.ask(attributes).is_allowed()
    }

    /// A secondary question whose refusal is an ordinary 403.
    ///
    /// # Errors
    /// That 403.
    pub fn demand(&self, attributes: Attributes) -> Result<(), Status> {
        let decision = self.ask(attributes.clone());
        if decision.is_allowed() { Ok(()) } else { Err(forbidden(self.user(), &attributes, &decision.reason)) }
    }

    fn record(&self, attributes: &Attributes, decision: &Decision, secondary: bool) {
        (self.inner.parts.sink)(&Record {
            user: self.caller.found.user.clone(),
            impersonator: self.caller.impersonator.clone(),
            attributes: attributes.clone(),
            decision: decision.clone(),
            secondary,
        });
    }
}

impl Ask for Passage {
    fn user(&self) -> &UserInfo {
        self.user()
    }

    fn attributes(&self) -> &Attributes {
        &self.attributes
    }
}
