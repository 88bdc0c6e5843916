//! May they? The chain of authorizers over one `store::View`: masters, Node, RBAC. RBAC is an index by subject that hangs
//! on the view; the same index answers escalation checks and (through crate `access`) why and who-can.
//! Not here: who asks (`authn`), what an object may look like (`admission`), the 403's words (`gate`).

pub mod bootstrap;
pub mod chain;
pub mod decision;
pub mod escalation;
pub mod node;
pub mod rbac;

pub use chain::{Chain, Mode};
pub use decision::{Ask, Authorizer, Decision, NonResourceRule, Question, Record, ResourceRule, Rules, Verdict};
pub use node::NodeAuthorizer;
pub use rbac::Rbac;
