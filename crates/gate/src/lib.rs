//! The one way in: who (`authn`), as whom (impersonation), may they (`authz`), may it look like this (`admission`). Makes
//! a [`Passage`] from a request, and from it the only value that may be committed, [`Admitted`].
//! Not here: what the verbs mean (`registry`).

mod admitted;
mod caller;
mod forbidden;
mod impersonation;
mod passage;

use std::sync::Arc;

use authz::{Authorizer, Decision, Record};
use meta::{Attributes, Status, UserInfo};
use store::{Store, Transaction, View};

pub use admitted::Admitted;
pub use caller::{Caller, Insiders};
pub use forbidden::forbidden;
pub use passage::Passage;

/// Takes every decision, of requests and of secondary checks.
pub type Sink = Arc<dyn Fn(&Record) + Send + Sync>;

/// What a gate is made of.
pub struct Parts {
    pub authenticators: authn::Chain,
    /// An empty chain denies.
    pub authorizers: authz::Chain,
    pub rbac: Arc<authz::Rbac>,
    pub admission: admission::Chain,
    pub store: Store,
    pub sink: Sink,
}

/// A request whose sender is not known.
#[derive(Clone, Debug, PartialEq)]
pub struct Unauthenticated {
    /// 401.
    pub status: Status,
    /// The Secret of a legacy token that is marked invalid: its use is noted all the same.
    pub used_secret: Option<Box<meta::Key>>,
}

pub(crate) struct Inner {
    pub(crate) parts: Parts,
    pub(crate) modes: impersonation::Modes,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

impl Gate {
    /// The gate, and once the right to be someone without a credential: for the loops of this process.
    pub fn new(parts: Parts) -> (Gate, Insiders) {
        (Gate(Arc::new(Inner { parts, modes: Default::default() })), Insiders::new())
    }

    /// Who sends this request. Impersonation headers are read here and judged in [`Gate::enter`].
    ///
    /// # Errors
    /// 401 for a bad credential.
    pub fn authenticate(&self, request: &authn::Request<'_>) -> Result<Caller, Unauthenticated> {
        match self.0.parts.authenticators.authenticate(request, &self.view()) {
            Ok(found) => Ok(Caller::from_request(found, request.headers)),
            Err(refusal) => {
                tracing::debug!(%refusal, "unauthenticated");
                Err(Unauthenticated { status: Status::unauthorized(), used_secret: refusal.1.map(Box::new) })
            }
        }
    }

    /// Decides whether the caller may do this, as whom it says it acts.
    ///
    /// # Errors
    /// 403 in upstream's words; 400 or 403 of impersonation.
    pub fn enter(&self, caller: Caller, attributes: Attributes) -> Result<Passage, Status> {
        let view = self.view();
        let (caller, attributes) = impersonation::apply(&self.0, caller, attributes, &view)?;
        let passage = Passage::new(self.0.clone(), caller, attributes);
        let decision = self.0.parts.authorizers.authorize(&passage, &view);
        passage.decided(decision)
    }

    /// The mutating admission plugins. Skipped by nobody.
    ///
    /// # Errors
    /// The first refusal.
    pub fn mutate(&self, _: &Passage, review: &mut admission::Review<'_>) -> Result<(), Status> {
        self.0.parts.admission.mutate(review)
    }

    /// Runs the validating admission plugins, then seals what `make` says is to be committed.
    ///
    /// # Errors
    /// The first refusal, or that of `make`.
    pub fn seal(
        &self,
        passage: &Passage,
        review: &mut admission::Review<'_>,
        make: impl FnOnce(&mut admission::Review<'_>) -> Result<Transaction, Status>,
    ) -> Result<Admitted, Status> {
        self.validate(passage, review)?;
        Ok(Admitted::new(make(review)?))
    }

    /// Only the validating plugins: for what is admitted but not stored (dry run, reviews, connects).
    ///
    /// # Errors
    /// The first refusal.
    pub fn validate(&self, _: &Passage, review: &mut admission::Review<'_>) -> Result<(), Status> {
        self.0.parts.admission.validate(review)
    }

    /// Seals a write that admission does not see: a companion or follow-up of an admitted request (label of a used token
    /// Secret, allocation, the policy at start), of `system:apiserver` only.
    ///
    /// # Errors
    /// 403 for anybody else.
    pub fn seal_internal(&self, passage: &Passage, transaction: Transaction) -> Result<Admitted, Status> {
        match passage.user().name == meta::user::API_SERVER && passage.user().in_group(meta::user::MASTERS) {
            true => Ok(Admitted::new(transaction)),
            false => {
                Err(Status::forbidden(&passage.attributes().group_resource(), "", "only for the API server itself"))
            }
        }
    }

    /// The newest view.
    pub fn view(&self) -> View {
        self.0.parts.store.view()
    }

    pub fn authenticators(&self) -> &authn::Chain {
        &self.0.parts.authenticators
    }

    pub fn authorizers(&self) -> &authz::Chain {
        &self.0.parts.authorizers
    }

    /// The RBAC index, whatever the authorization mode: escalation checks always need it.
    pub fn policy(&self, view: &View) -> Arc<authz::rbac::Policy> {
        self.0.parts.rbac.policy(view)
    }

    /// A question about anyone (access reviews), decided by the whole chain.
    pub fn decide(&self, user: &UserInfo, attributes: &Attributes, view: &View) -> Decision {
        self.0.parts.authorizers.authorize(&authz::Question { user, attributes }, view)
    }
}

#[cfg(test)]
mod tests;
