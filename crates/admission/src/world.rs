//! `World`: what plugins may look up. `store::View` is the one implementation outside tests.

use document::object::Head;
use document::{Value, json};
use meta::labels::Labels;
use meta::{Key, ResourceId, Time};
use store::View;

/// Whether an object is there and staying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    Live,
    /// It has this deletionTimestamp.
    Deleting(Time),
}

/// Stored objects at one revision.
pub trait World: Sync {
    /// Whether the object exists, without decoding it.
    fn life(&self, key: &Key) -> Option<Life>;

    fn read(&self, key: &Key) -> Option<Value>;

    /// The labels of an object, without decoding it.
    fn labels(&self, key: &Key) -> Option<Labels>;

    /// All objects of a resource (`pods`, `runtimeclasses.node.k8s.io`), of one namespace when given, in key order.
    fn all(&self, resource: &str, namespace: Option<&str>) -> Vec<Value>;

    /// Is there any?
    fn has_any(&self, resource: &str, namespace: Option<&str>) -> bool {
        !self.all(resource, namespace).is_empty()
    }

    /// Of all objects of a resource those whose stored text has `part` in it somewhere: a sieve that spares decoding the
    /// others. The caller looks at what is left.
    fn all_with(&self, resource: &str, namespace: Option<&str>, _part: &str) -> Vec<Value> {
        self.all(resource, namespace)
    }
}

impl World for View {
    fn life(&self, key: &Key) -> Option<Life> {
        let object = self.get(key)?;
        Some(object.deletion.map_or(Life::Live, Life::Deleting))
    }

    fn read(&self, key: &Key) -> Option<Value> {
        tree(&*self.get(key)?)
    }

    fn labels(&self, key: &Key) -> Option<Labels> {
        Some(self.get(key)?.labels.clone())
    }

    fn all(&self, resource: &str, namespace: Option<&str>) -> Vec<Value> {
        self.list(&ResourceId::from_text(resource), namespace).filter_map(|o| tree(&o)).collect()
    }

    fn has_any(&self, resource: &str, namespace: Option<&str>) -> bool {
        self.list(&ResourceId::from_text(resource), namespace).next().is_some()
    }

    fn all_with(&self, resource: &str, namespace: Option<&str>, part: &str) -> Vec<Value> {
        let finder = memchr::memmem::Finder::new(part);
        let objects = self.list(&ResourceId::from_text(resource), namespace);
        objects.filter(|o| finder.find(&o.bytes).is_some()).filter_map(|o| tree(&o)).collect()
    }
}

/// What is stored is valid JSON; were it not, the object would count as missing, which refuses.
fn tree(object: &document::Object) -> Option<Value> {
    let mut bytes = Vec::new();
    object.write_json(Head::Item, &mut bytes);
    json::parse(&bytes).ok()
}
