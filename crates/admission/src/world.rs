//! `World`: what plugins may look up. `store::View` is the one implementation outside tests.

use document::Value;
use meta::{Key, Time};

/// Whether an object is there and staying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    Live,
    /// It has this deletionTimestamp.
    Deleting(Time),
}

/// Stored objects at one revision.
pub trait World {
    /// Whether the object exists, without decoding it.
    fn life(&self, key: &Key) -> Option<Life>;

    fn read(&self, key: &Key) -> Option<Value>;

    /// All objects of a resource (`pods`, `runtimeclasses.node.k8s.io`), of one namespace when given, in key order.
    fn all(&self, resource: &str, namespace: Option<&str>) -> Vec<Value>;
}
