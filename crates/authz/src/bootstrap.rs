//! The default RBAC policy as data, and what must be written at a start to bring it back: a pure plan.

use document::Value;
use meta::Key;
use store::View;

/// One write that brings the default policy back.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The object, as it is to be sent (kind and apiVersion included).
    Create { key: Key, object: Value },
    Update { key: Key, object: Value },
    /// A binding whose roleRef differs: delete (it has this uid), then create.
    Replace { key: Key, uid: String, object: Value },
}

/// What is missing of the default policy in this view, in order.
pub fn plan(_view: &View) -> Vec<Step> {
    Vec::new()
}
