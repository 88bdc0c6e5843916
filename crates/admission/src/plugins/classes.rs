//! Default classes and protection: DefaultStorageClass, DefaultIngressClass, StorageObjectInUseProtection,
//! PersistentVolumeClaimResize.

use document::Value;
use meta::{Key, Quantity, ResourceId, Status};

use crate::{Operation, Plugin, Review};

pub struct DefaultStorageClass;

impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.is("", "persistentvolumeclaims") || review.operation != Operation::Create {
            return Ok(());
        }
        let claim = review.new_object();
        let annotated = claim["metadata"]["annotations"].get("volume.beta.kubernetes.io/storage-class").is_some();
        if annotated || !claim["spec"]["storageClassName"].is_null() {
            return Ok(());
        }
        let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
        if let Some(name) = default_of(review, "storageclasses.storage.k8s.io", &marks) {
            set(review, "storageClassName", name);
        }
        Ok(())
    }
}

pub struct DefaultIngressClass;

impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.is("networking.k8s.io", "ingresses") || review.operation != Operation::Create {
            return Ok(());
        }
        let ingress = review.new_object();
        let annotated = ingress["metadata"]["annotations"].get("kubernetes.io/ingress.class").is_some();
        if annotated || !ingress["spec"]["ingressClassName"].is_null() {
            return Ok(());
        }
        let marks = ["ingressclass.kubernetes.io/is-default-class"];
        if let Some(name) = default_of(review, "ingressclasses.networking.k8s.io", &marks) {
            set(review, "ingressClassName", name);
        }
        Ok(())
    }
}

fn set(review: &mut Review<'_>, field: &'static str, name: String) {
    if let Some(object) = &mut review.object {
        object.entry("spec").set(field, name);
    }
}

/// The newest class that is marked as the default; the first by name among equals.
fn default_of(review: &Review<'_>, resource: &str, marks: &[&str]) -> Option<String> {
    let marked = |c: &Value| marks.iter().any(|m| c["metadata"]["annotations"][*m].str() == "true");
    let mut classes: Vec<Value> = review.world.all(resource, None).into_iter().filter(marked).collect();
    let key = |c: &Value| (c["metadata"]["creationTimestamp"].str().to_owned(), c["metadata"]["name"].str().to_owned());
    classes.sort_by(|a, b| key(b).0.cmp(&key(a).0).then_with(|| key(a).1.cmp(&key(b).1)));
    Some(classes.first()?["metadata"]["name"].str().to_owned())
}

pub struct StorageObjectInUseProtection;

/// (group, plural, finalizer)
const PROTECTED: [(&str, &str, &str); 3] = [
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let Some((_, _, finalizer)) = PROTECTED.iter().find(|(g, p, _)| review.is(g, p)) else { return Ok(()) };
        if review.operation != Operation::Create {
            return Ok(());
        }
        let Some(object) = &mut review.object else { return Ok(()) };
        if !object["metadata"]["finalizers"].items().iter().any(|f| f.str() == *finalizer) {
            object.entry("metadata").entry("finalizers").make_list().push((*finalizer).into());
        }
        Ok(())
    }
}

pub struct PersistentVolumeClaimResize;

impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.is("", "persistentvolumeclaims") || review.operation != Operation::Update {
            return Ok(());
        }
        let (new, old) = (review.new_object(), review.old_object());
        let size = |claim: &Value| {
            let text = claim.at(["spec", "resources", "requests", "storage"]).str();
            Quantity::parse(text).map(|q| q.nano).unwrap_or_default()
        };
        if size(new) <= size(old) {
            return Ok(());
        }
        if old["status"]["phase"].str() != "Bound" {
            return Err(review.forbidden("Only bound persistent volume claims can be expanded"));
        }
        if may_grow(review, class_of(new), class_of(old)) {
            return Ok(());
        }
        Err(review.forbidden("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"))
    }
}

fn class_of(claim: &Value) -> &str {
    let annotation = claim["metadata"]["annotations"].get("volume.beta.kubernetes.io/storage-class");
    annotation.map_or_else(|| claim["spec"]["storageClassName"].str(), Value::str)
}

fn may_grow(review: &Review<'_>, new: &str, old: &str) -> bool {
    let key = Key::new(ResourceId::from_text("storageclasses.storage.k8s.io"), "", new);
    !new.is_empty() && new == old && review.world.read(&key).is_some_and(|c| c["allowVolumeExpansion"].is_true())
}
