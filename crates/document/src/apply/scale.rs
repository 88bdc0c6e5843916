//! Managed fields between an object and its `scale`: through `scale` there is one field, `spec.replicas`, and the path
//! where the object keeps it depends on the version.

use super::element::Element;
use super::managers::{Entry, Managers};
use super::set::Set;
use crate::Value;

const VERSION: &str = "autoscaling/v1";
const PATH: [&str; 2] = ["spec", "replicas"];

/// (apiVersion of the object, where it keeps its replicas).
type Paths<'a> = [(&'a str, &'a [&'a str])];

fn elements(path: &[&str]) -> Vec<Element> {
    path.iter().map(|name| Element::Field((*name).to_owned().into())).collect()
}

fn set_of(path: &[&str]) -> Set {
    let mut set = Set::default();
    set.insert_fields(path);
    set
}

fn path_in<'a>(paths: &'a Paths<'a>, version: &str) -> Option<&'a [&'a str]> {
    paths.iter().find(|(v, _)| *v == version).map(|(_, path)| *path)
}

/// The entries of an object as those of its scale; `None` when nobody manages the replicas.
///
/// # Errors
/// When an entry is none; with upstream's words.
pub fn to_scale(parent: &Value, paths: &Paths<'_>) -> Result<Option<Value>, String> {
    let mut managers = Managers::decode(parent)?;
    managers.0.retain(|_, entry| {
        let manages = path_in(paths, &entry.version).is_some_and(|path| entry.set.has(&elements(path)));
        (entry.set, entry.version) = (set_of(&PATH), VERSION.to_owned());
        manages
    });
    Ok(managers.encode())
}

/// The entries of an object after those of its scale have changed. `version` is the object's in the request.
///
/// # Errors
/// When an entry is none; with upstream's words.
pub fn to_parent(parent: &Value, scale: &Value, version: &str, paths: &Paths<'_>) -> Result<Option<Value>, String> {
    let (before, mut scale) = (Managers::decode(parent)?, Managers::decode(scale)?);
    let mut after = Managers::default();
    for entry in before.0.values() {
        let Some(path) = path_in(paths, &entry.version) else { continue };
        let mut entry = entry.clone();
        if entry.set.has(&elements(path)) && scale.take(&entry.id).is_none() {
            // somebody else took the replicas
            entry.set = entry.set.minus(&set_of(path));
        }
        if !entry.set.is_empty() {
            after.put(entry);
        }
    }
    let Some(path) = path_in(paths, version) else { return Ok(after.encode()) };
    for entry in scale.0.into_values().filter(|e| e.set.has(&elements(&PATH))) {
        let time = before.get(&entry.id).map(|e| e.time.clone()).unwrap_or_default();
        after.put(Entry { version: version.to_owned(), set: set_of(path), time, ..entry });
    }
    Ok(after.encode())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc;

    fn entry(manager: &str, operation: &str, version: &str, fields: Value) -> Value {
        doc!({"manager": manager, "operation": operation, "apiVersion": version, "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    const PATHS: &Paths<'static> = &[("apps/v1", &["spec", "replicas"])];

    #[test]
    fn who_scales_takes_the_replicas_from_the_object_s_manager() {
        let both = doc!({"f:spec": {"f:paused": {}, "f:replicas": {}}});
        let parent = Value::List(vec![entry("one", "Apply", "apps/v1", both)]);
        let replicas = doc!({"f:spec": {"f:replicas": {}}});
        let shown = to_scale(&parent, PATHS).expect("entries").expect("a manager");
        assert_eq!(shown, Value::List(vec![entry("one", "Apply", "autoscaling/v1", replicas.clone())]));
        let mut taken = entry("two", "Apply", "autoscaling/v1", replicas.clone());
        taken.set("subresource", "scale");
        let after =
            to_parent(&parent, &Value::List(vec![taken]), "apps/v1", PATHS).expect("entries").expect("managers");
        let mut scaler = entry("two", "Apply", "apps/v1", replicas);
        scaler.set("subresource", "scale");
        assert_eq!(
            after,
            Value::List(vec![entry("one", "Apply", "apps/v1", doc!({"f:spec": {"f:paused": {}}})), scaler])
        );
    }

    #[test]
    fn an_object_whose_replicas_nobody_manages_has_a_scale_without_managers() {
        let parent = Value::List(vec![entry("one", "Update", "apps/v1", doc!({"f:spec": {"f:paused": {}}}))]);
        assert_eq!(to_scale(&parent, PATHS), Ok(None));
        assert_eq!(to_parent(&parent, &Value::Null, "apps/v1", PATHS), Ok(Some(parent)));
    }
}
