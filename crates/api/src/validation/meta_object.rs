//! `metadata` of every kind: names by the row's rule, labels, annotations, owners, finalizers, and what an update may
//! not change.

use document::Value;
use meta::field::{Error, Path, Shown};
use meta::{GroupVersion, names};

use crate::ResourceType;
use crate::resource::NameRule;
use crate::validation::shown;

const ANNOTATIONS_LIMIT: usize = 256 << 10;
pub(super) const IMMUTABLE: &str = "field is immutable";

pub(super) fn create(resource: &ResourceType, object: &Value) -> Vec<Error> {
    let meta = &object["metadata"];
    let path = Path::root("metadata");
    let mut errors = name(meta, &path, &|value, prefix| name_errors(resource.name_rule, value, prefix));
    errors.extend(namespace(resource, meta, &path));
    errors.extend(common(meta, &path));
    errors.extend(finalizers(meta, &path));
    errors
}

/// Also of embedded metadata (templates), where no name is needed.
pub(super) fn labels_and_annotations(meta: &Value, path: &Path) -> Vec<Error> {
    let mut errors = labels(&meta["labels"], &path.child("labels"));
    errors.extend(annotations(&meta["annotations"], &path.child("annotations")));
    errors
}

pub(super) fn update(resource: &ResourceType, new: &Value, old: &Value) -> Vec<Error> {
    let (new, old) = (&new["metadata"], &old["metadata"]);
    let path = Path::root("metadata");
    let mut errors = name(new, &path, &|value, _| names::path_segment(value));
    errors.extend(namespace(resource, new, &path));
    errors.extend(common(new, &path));
    errors.extend(finalizers(new, &path));
    if !old["deletionTimestamp"].is_null() {
        errors.extend(no_new_finalizers(new, old, &path.child("finalizers")));
    }
    let version = &new["resourceVersion"];
    if version.str().is_empty() && !resource.strategy.unconditional_update {
        errors.push(Error::invalid(&path.child("resourceVersion"), "", "must be specified for an update"));
    }
    let (now, before) =
        (new["generation"].as_i64().unwrap_or_default(), old["generation"].as_i64().unwrap_or_default());
    if now < before {
        errors.push(Error::invalid(&path.child("generation"), now, "must not be decremented"));
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if !same(&new[field], &old[field]) {
            errors.push(Error::invalid(&path.child(field), shown(&new[field]), IMMUTABLE));
        }
    }
    errors
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || (a.is_empty() && b.is_empty())
}

type NameCheck<'a> = &'a dyn Fn(&str, bool) -> Vec<String>;

fn name(meta: &Value, path: &Path, check: NameCheck<'_>) -> Vec<Error> {
    let mut errors = Vec::new();
    let generate = meta["generateName"].str();
    if !generate.is_empty() {
        let at = path.child("generateName");
        errors.extend(check(generate, true).iter().map(|m| Error::invalid(&at, generate, m)));
    }
    let name = meta["name"].str();
    let at = path.child("name");
    if name.is_empty() {
        errors.push(Error::required(&at, "name or generateName is required"));
    } else {
        errors.extend(check(name, false).iter().map(|m| Error::invalid(&at, name, m)));
    }
    errors
}

fn namespace(resource: &ResourceType, meta: &Value, path: &Path) -> Vec<Error> {
    let namespace = meta["namespace"].str();
    let at = path.child("namespace");
    match (resource.namespaced, namespace.is_empty()) {
        (true, true) => vec![Error::required(&at, "")],
        (true, false) => names::dns1123_label(namespace).iter().map(|m| Error::invalid(&at, namespace, m)).collect(),
        (false, false) => vec![Error::forbidden(&at, "not allowed on this type")],
        (false, true) => Vec::new(),
    }
}

/// What is wrong with a name under a rule; `prefix` for a `generateName`.
pub fn name_errors(rule: NameRule, value: &str, prefix: bool) -> Vec<String> {
    let masked = if prefix && value.len() > 1 && value.ends_with('-') {
        let before = value[..value.len() - 1].char_indices().next_back().map_or(0, |(at, _)| at);
        format!("{}a", &value[..before])
    } else {
        value.to_owned()
    };
    match rule {
        NameRule::Dns1123Subdomain | NameRule::CustomResourceDefinition => names::dns1123_subdomain(&masked),
        NameRule::Dns1123Label => names::dns1123_label(&masked),
        NameRule::IpAddress => crate::validation::address::canonical_ip(value).into_iter().collect(),
        NameRule::PathSegment | NameRule::ApiService if prefix => names::path_segment_prefix(value),
        NameRule::PathSegment | NameRule::ApiService => names::path_segment(value),
        NameRule::ClusterTrustBundle | NameRule::None => Vec::new(),
    }
}

fn common(meta: &Value, path: &Path) -> Vec<Error> {
    let mut errors = Vec::new();
    if let Some(generation) = meta["generation"].as_i64().filter(|g| *g < 0) {
        errors.push(Error::invalid(&path.child("generation"), generation, "must be greater than or equal to 0"));
    }
    errors.extend(labels(&meta["labels"], &path.child("labels")));
    errors.extend(annotations(&meta["annotations"], &path.child("annotations")));
    errors.extend(owners(&meta["ownerReferences"], &path.child("ownerReferences")));
    errors
}

/// Keys and values of a label map.
pub(super) fn labels(labels: &Value, path: &Path) -> Vec<Error> {
    let mut errors = Vec::new();
    for (key, value) in labels.members() {
        errors.extend(names::label_key(key).iter().map(|m| Error::invalid(path, key, m)));
        errors.extend(names::label_value(value.str()).iter().map(|m| Error::invalid(path, value.str(), m)));
    }
    errors
}

pub(super) fn annotations(annotations: &Value, path: &Path) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut size = 0;
    for (key, value) in annotations.members() {
        size += key.len() + value.str().len();
        errors.extend(names::label_key(&key.to_lowercase()).iter().map(|m| Error::invalid(path, key, m)));
    }
    if size > ANNOTATIONS_LIMIT {
        errors.push(Error::too_long_bytes(path, ANNOTATIONS_LIMIT));
    }
    errors
}

fn owners(owners: &Value, path: &Path) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut controller: Option<String> = None;
    for (n, owner) in owners.items().iter().enumerate() {
        errors.extend(owner_reference(owner, &path.index(n)));
        if !owner["controller"].is_true() {
            continue;
        }
        let this = format!("{}/{}", owner["kind"].str(), owner["name"].str());
        match &controller {
            None => controller = Some(this),
            Some(first) => {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                );
                errors.push(Error::invalid(path, shown(owners), &detail));
            }
        }
    }
    errors
}

fn owner_reference(owner: &Value, path: &Path) -> Vec<Error> {
    let mut errors = Vec::new();
    let api_version = owner["apiVersion"].str();
    let gv = GroupVersion::parse(api_version);
    let at = path.child("apiVersion");
    if api_version.is_empty() {
        errors.push(Error::required(&at, "must not be empty"));
    } else if gv.as_ref().is_none_or(|gv| gv.version.is_empty()) {
        errors.push(Error::invalid(&at, api_version, "must be <group>/<version> or <version>"));
    }
    for field in ["kind", "name", "uid"] {
        if owner[field].str().is_empty() {
            errors.push(Error::required(&path.child(field), "must not be empty"));
        }
    }
    if api_version == "v1" && owner["kind"].str() == "Event" {
        errors.push(Error::invalid(path, shown(owner), "/v1, Kind=Event is disallowed from being an owner"));
    }
    errors
}

/// Qualified names; one without a domain must be a standard finalizer.
fn finalizers(meta: &Value, path: &Path) -> Vec<Error> {
    const STANDARD: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];
    let at = path.child("finalizers");
    let list = &meta["finalizers"];
    let mut errors = Vec::new();
    for finalizer in list.items() {
        errors.extend(names::label_key(finalizer.str()).iter().map(|m| Error::invalid(&at, finalizer.str(), m)));
    }
    let has = |name: &str| list.items().iter().any(|f| f.str() == name);
    if has("orphan") && has("foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(Error::invalid(&at, shown(list), detail));
    }
    for (n, finalizer) in list.items().iter().enumerate() {
        let name = finalizer.str();
        if !name.contains('/') && !STANDARD.contains(&name) && names::label_key(name).is_empty() {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(Error::invalid(&at.index(n), name, detail));
        }
    }
    errors
}

fn no_new_finalizers(new: &Value, old: &Value, path: &Path) -> Option<Error> {
    let mut extra: Vec<&str> = new["finalizers"].items().iter().map(Value::str).collect();
    extra.retain(|f| !old["finalizers"].items().iter().any(|o| o.str() == *f));
    extra.sort_unstable();
    extra.dedup();
    if extra.is_empty() {
        return None;
    }
    let list: Vec<String> = extra.iter().map(|f| Shown::from(*f).0).collect();
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        list.join(", ")
    );
    Some(Error::forbidden(path, &detail))
}
