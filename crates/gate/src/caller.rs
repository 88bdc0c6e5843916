//! Who sends a request, before it is known what they may do.

use std::sync::Arc;

use authn::Authenticated;
use http::HeaderMap;
use meta::UserInfo;

use crate::impersonation::Wanted;

/// An authenticated sender and whom it wants to act as. Made by [`crate::Gate::authenticate`] and by [`Insiders`] only.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(crate) found: Authenticated,
    pub(crate) wanted: Option<Wanted>,
    pub(crate) impersonator: Option<Arc<UserInfo>>,
}

impl Caller {
    pub(crate) fn from_request(found: Authenticated, headers: &HeaderMap) -> Self {
        Caller { found, wanted: Wanted::from_headers(headers), impersonator: None }
    }

    pub fn user(&self) -> &UserInfo {
        &self.found.user
    }

    /// `Warning` headers that authentication asks for.
    pub fn warnings(&self) -> &[String] {
        &self.found.warnings
    }

    pub fn is_anonymous(&self) -> bool {
        self.found.is_anonymous()
    }

    /// The Secret of a legacy token that was used, whose last-used label is to be kept.
    pub fn used_secret(&self) -> Option<&meta::Key> {
        self.found.used_secret.as_ref()
    }
}

/// The identities of the loops in this process. Given once, to the wiring.
pub struct Insiders(());

impl Insiders {
    pub(crate) fn new() -> Self {
        Insiders(())
    }

    /// Someone of this process, under the name that controllers, scheduler and API server have upstream.
    pub fn caller(&self, user: impl Into<Arc<UserInfo>>) -> Caller {
        Caller { found: Authenticated::new(user), wanted: None, impersonator: None }
    }

    /// `system:apiserver`, in `system:masters`.
    pub fn api_server(&self) -> Caller {
        self.caller(UserInfo::new(meta::user::API_SERVER, [meta::user::MASTERS, meta::user::AUTHENTICATED]))
    }
}
