//! Between the API's documents and this crate's typed views.

use document::{Object, Value, json, object::Head};
use serde::{Serialize, de::DeserializeOwned};

use crate::pod::Pod;

/// The pod in an object.
pub(crate) fn pod(object: &Object) -> Result<Pod, serde_json::Error> {
    typed_object(object)
}

/// Any typed view of an object.
pub(crate) fn typed_object<T: DeserializeOwned>(object: &Object) -> Result<T, serde_json::Error> {
    let mut bytes = Vec::new();
    object.write_json(Head::Item, &mut bytes);
    serde_json::from_slice(&bytes)
}

/// A typed view as a tree; null members are kept.
pub(crate) fn tree(view: &impl Serialize) -> Value {
    let bytes = serde_json::to_vec(view).unwrap_or_default();
    json::parse(&bytes).unwrap_or_default()
}
