//! The grammar of requests: names, groups and kinds, labels and selectors, quantities, times, revisions,
//! who asks (`UserInfo`), what is asked (`Attributes`) and how a refusal is said (`Status`).
//! Not here: objects (crate `document`) and anything that knows a Kubernetes kind (crate `api`).

pub mod attributes;
pub mod field;
pub mod fields;
pub mod goquote;
pub mod gvk;
pub mod key;
pub mod labels;
pub mod metrics;
pub mod names;
pub mod oid;
pub mod quantity;
pub mod random;
pub mod revision;
pub mod status;
pub mod time;
pub mod user;

pub use attributes::Attributes;
pub use gvk::{GroupKind, GroupResource, GroupVersion, GroupVersionKind, GroupVersionResource};
pub use key::{Key, ResourceId};
pub use quantity::Quantity;
pub use revision::Revision;
pub use status::Status;
pub use time::{MicroTime, Time};
pub use user::UserInfo;
