//! Which volume a claim gets: the smallest that has all that it asks for.

use document::Value;
use meta::Quantity;

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The storage class of a claim or volume; empty: none.
pub(super) fn class(object: &Value) -> &str {
    let annotated = object["metadata"]["annotations"][CLASS_ANNOTATION].str();
    if annotated.is_empty() { object["spec"]["storageClassName"].str() } else { annotated }
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

/// Does the volume have what the claim asks for?
fn fits(volume: &Value, claim: &Value) -> bool {
    let (has, wants) = (&volume["spec"], &claim["spec"]);
    let mode = |spec: &Value| spec["volumeMode"].as_str().unwrap_or("Filesystem").to_owned();
    let attributes = |spec: &Value| spec["volumeAttributesClassName"].str().to_owned();
    let modes = has["accessModes"].items();
    let asked = size(wants.at(["resources", "requests", "storage"]));
    let large = match (size(&has["capacity"]["storage"]), asked) {
        (Some(capacity), Some(asked)) => capacity >= asked,
        _ => false,
    };
    large
        && mode(has) == mode(wants)
        && attributes(has) == attributes(wants)
        && wants["accessModes"].items().iter().all(|m| modes.contains(m))
        && volume["metadata"]["deletionTimestamp"].is_null()
}

fn is_selected(volume: &Value, claim: &Value) -> bool {
    let selector = &claim["spec"]["selector"];
    if selector.is_null() {
        return true;
    }
    let labels = volume["metadata"]["labels"].members().map(|(k, v)| (k, v.str())).collect();
    ::api::label_selector(selector).is_some_and(|s| s.matches(&labels))
}

/// The volume for a claim: one that is kept for it, else the smallest that is free and fits.
pub(super) fn best<'a>(volumes: impl Iterator<Item = &'a Value>, claim: &Value) -> Option<&'a Value> {
    let mut found: Option<&Value> = None;
    for volume in volumes.filter(|v| fits(v, claim)) {
        if is_for(volume, claim) {
            return Some(volume);
        }
        let free = volume["spec"]["claimRef"].is_null() && volume["status"]["phase"].str() == "Available";
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
            assert_eq!(best(volumes.iter(), &claim(spec)).map(|v| v["metadata"]["name"].str()), want);
        };
        let all = [volume("big", "5Gi", doc!({})), volume("tiny", "1Mi", doc!({})), volume("small", "2Gi", doc!({}))];
        check(&all, doc!({}), Some("small"));
        check(&all, doc!({"storageClassName": "d"}), None);
        check(&all, doc!({"accessModes": ["ReadWriteMany"]}), None);
        check(&all, doc!({"volumeMode": "Block"}), None);
        check(&all, doc!({"selector": {"matchLabels": {"a": "b"}}}), None);
        let kept = volume("kept", "9Gi", doc!({"claimRef": {"name": "a", "namespace": "n"}}));
        let other = volume("other", "1Gi", doc!({"claimRef": {"name": "b", "namespace": "n"}}));
        check(&[other, volume("small", "2Gi", doc!({})), kept], doc!({}), Some("kept"));
    }
}
