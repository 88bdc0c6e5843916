//! Which volume a claim gets: the smallest that has all that it asks for.

use document::Value;
use meta::Quantity;

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The storage class of a claim or volume; empty: none. The older annotation says it even when it is empty.
pub(super) fn class(object: &Value) -> &str {
    let annotated = object["metadata"]["annotations"].get(CLASS_ANNOTATION);
    annotated.unwrap_or(&object["spec"]["storageClassName"]).str()
}

/// The claim that a volume is for, when it is this one. A reference without a uid names a claim to come.
pub(super) fn is_for(volume: &Value, claim: &Value) -> bool {
    let (reference, meta) = (&volume["spec"]["claimRef"], &claim["metadata"]);
    let uid = reference["uid"].str();
    !reference.is_null()
        && reference["name"] == meta["name"]
        && reference["namespace"] == meta["namespace"]
        && (uid.is_empty() || uid == meta["uid"].str())
}

fn size(value: &Value) -> Option<Quantity> {
    Quantity::parse(value.str()).ok()
}

/// Why a claim cannot have the free volume that it names; upstream's `checkVolumeSatisfyClaim` and its words.
pub(super) fn mismatch(volume: &Value, claim: &Value) -> Option<String> {
    let shape = Shape::of(volume, claim);
    let why = if shape.deleted {
        let name = meta::goquote::quote(volume["metadata"]["name"].str());
        return Some(format!("the volume is marked for deletion {name}"));
    } else if !shape.large {
        "requested PV is too small"
    } else if class(volume) != class(claim) {
        "storageClassName does not match"
    } else if !shape.attributes {
        "volumeAttributesClassName does not match"
    } else if !shape.mode {
        "incompatible volumeMode"
    } else if !shape.access {
        "incompatible accessMode"
    } else {
        return None;
    };
    Some(why.into())
}

/// What of a volume is as the claim asks for.
struct Shape {
    deleted: bool,
    large: bool,
    attributes: bool,
    mode: bool,
    access: bool,
}

impl Shape {
    fn of(volume: &Value, claim: &Value) -> Shape {
        let (has, wants) = (&volume["spec"], &claim["spec"]);
        let mode = |spec: &Value| spec["volumeMode"].as_str().unwrap_or("Filesystem").to_owned();
        let modes = has["accessModes"].items();
        let asked = size(wants.at(["resources", "requests", "storage"]));
        Shape {
            deleted: !volume["metadata"]["deletionTimestamp"].is_null(),
            large: match (size(&has["capacity"]["storage"]), asked) {
                (Some(capacity), Some(asked)) => capacity >= asked,
                _ => false,
            },
            attributes: has["volumeAttributesClassName"].str() == wants["volumeAttributesClassName"].str(),
            mode: mode(has) == mode(wants),
            access: wants["accessModes"].items().iter().all(|m| modes.contains(m)),
        }
    }

    fn fits(&self) -> bool {
        !self.deleted && self.large && self.attributes && self.mode && self.access
    }
}

fn is_selected(volume: &Value, claim: &Value) -> bool {
    let selector = &claim["spec"]["selector"];
    if selector.is_null() {
        return true;
    }
    let labels = volume["metadata"]["labels"].members().map(|(k, v)| (k, v.str())).collect();
    ::api::label_selector(selector).is_some_and(|s| s.matches(&labels))
}

/// The volume for a claim: one that is kept for it, else the smallest that is free and fits. With a class that waits
/// for a consumer only the former, since the scheduler chooses.
pub(super) fn best<'a>(volumes: impl Iterator<Item = &'a Value>, claim: &Value, waits: bool) -> Option<&'a Value> {
    let mut found: Option<&Value> = None;
    for volume in volumes.filter(|v| Shape::of(v, claim).fits()) {
        if is_for(volume, claim) {
            return Some(volume);
        }
        let free = !waits && volume["spec"]["claimRef"].is_null() && volume["status"]["phase"].str() == "Available";
        let capacity = |v: &Value| size(&v["spec"]["capacity"]["storage"]);
        let smaller = found.is_none_or(|f| capacity(volume) < capacity(f));
        if free && smaller && class(volume) == class(claim) && is_selected(volume, claim) {
            found = Some(volume);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    fn volume(name: &str, size: &str, more: Value) -> Value {
        let mut volume = doc!({
            "metadata": {"name": name},
            "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "storageClassName": "c"},
            "status": {"phase": "Available"},
        });
        for (field, value) in more.members() {
            volume.entry("spec").set(field.to_owned(), value.clone());
        }
        volume
    }

    #[test]
    fn the_smallest_that_fits_is_taken() {
        let claim = |spec: Value| {
            let mut claim = doc!({
                "metadata": {"name": "a", "namespace": "n", "uid": "u"},
                "spec": {"storageClassName": "c", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            });
            spec.members().for_each(|(k, v)| claim.entry("spec").set(k.to_owned(), v.clone()));
            claim
        };
        let check = |volumes: &[Value], spec: Value, want: Option<&str>| {
            assert_eq!(best(volumes.iter(), &claim(spec), false).map(|v| v["metadata"]["name"].str()), want);
        };
        let all = [volume("big", "5Gi", doc!({})), volume("tiny", "1Mi", doc!({})), volume("small", "2Gi", doc!({}))];
        check(&all, doc!({}), Some("small"));
        check(&all, doc!({"storageClassName": "d"}), None);
        check(&all, doc!({"accessModes": ["ReadWriteMany"]}), None);
        check(&all, doc!({"volumeMode": "Block"}), None);
        check(&all, doc!({"selector": {"matchLabels": {"a": "b"}}}), None);
        let kept = volume("kept", "9Gi", doc!({"claimRef": {"name": "a", "namespace": "n"}}));
        let other = volume("other", "1Gi", doc!({"claimRef": {"name": "b", "namespace": "n"}}));
        let all = [other, volume("small", "2Gi", doc!({})), kept];
        check(&all, doc!({}), Some("kept"));
        let waiting = |volumes: &[Value]| best(volumes.iter(), &claim(doc!({})), true).cloned();
        assert_eq!(waiting(&all), Some(all[2].clone()), "what is kept for it is taken at once");
        assert_eq!(waiting(&all[..2]), None, "the scheduler chooses");
    }

    #[test]
    fn a_claim_that_names_its_volume_gets_it_only_if_it_fits() {
        let has = volume("v", "2Gi", doc!({"volumeAttributesClassName": "a"}));
        let check = |field: &'static str, value: Value, want: Option<&str>| {
            let mut claim = doc!({"spec": {
                "storageClassName": "c", "accessModes": ["ReadWriteOnce"], "volumeAttributesClassName": "a",
                "resources": {"requests": {"storage": "1Gi"}},
            }});
            claim.entry("spec").set(field, value);
            assert_eq!(mismatch(&has, &claim).as_deref(), want, "{field}");
        };
        check("resources", doc!({"requests": {"storage": "2Gi"}}), None);
        check("resources", doc!({"requests": {"storage": "3Gi"}}), Some("requested PV is too small"));
        check("storageClassName", "d".into(), Some("storageClassName does not match"));
        check("volumeAttributesClassName", "b".into(), Some("volumeAttributesClassName does not match"));
        check("volumeMode", "Block".into(), Some("incompatible volumeMode"));
        check("accessModes", doc!(["ReadWriteMany"]), Some("incompatible accessMode"));
    }

    #[test]
    fn the_older_annotation_says_the_class_even_when_it_is_empty() {
        let object =
            |annotations: Value| doc!({"metadata": {"annotations": (annotations)}, "spec": {"storageClassName": "c"}});
        assert_eq!(class(&object(doc!({}))), "c");
        assert_eq!(class(&object(doc!({CLASS_ANNOTATION: ""}))), "");
        assert_eq!(class(&object(doc!({CLASS_ANNOTATION: "b"}))), "b");
    }
}
