//! Bodies: which kind may stand where, decoding along its type, defaults, and patches, with upstream's refusals.

use std::collections::HashSet;

use api::ResourceType;
use api::resource::Subresource;
use bytes::Bytes;
use document::decode::Problem;
use document::default::Step;
use document::{ByValue, Type, Value};
use meta::field::Error;
use meta::{GroupKind, GroupVersion, GroupVersionKind, Status};

use crate::query::{FieldValidation, WriteOptions};
use crate::{Body, PatchKind};

/// What upstream's scheme calls itself in its errors.
const SCHEME: &str = "pkg/runtime/scheme.go:111";

/// The type that a body must have.
pub struct Expected {
    pub gvk: GroupVersionKind,
    pub type_: &'static Type,
    pub defaults: &'static [Step],
}

/// A body as an object with defaults, and what was odd about it.
pub struct Decoded {
    pub value: Value,
    pub warnings: Vec<String>,
}

impl Expected {
    pub fn of(resource: &'static ResourceType) -> Self {
        Expected { gvk: resource.gvk(), type_: resource.type_, defaults: resource.defaults }
    }

    /// # Errors
    /// 404 when the subresource has no body.
    pub fn of_subresource(resource: &'static ResourceType, sub: &'static Subresource) -> Result<Self, Status> {
        let or = |own: &'static str, parent: &'static str| if own.is_empty() { parent } else { own };
        let type_ = sub.type_.ok_or_else(Status::no_such_resource)?;
        let version = if sub.group.is_empty() && sub.version.is_empty() { resource.version } else { sub.version };
        let group = if sub.version.is_empty() { resource.group } else { sub.group };
        Ok(Expected {
            gvk: GroupVersionKind::new(group, version, or(sub.kind, resource.kind)),
            type_,
            defaults: sub.defaults,
        })
    }
}

/// Decodes a body into a defaulted, normalized object.
///
/// # Errors
/// 400 for what cannot be read or is another kind.
pub fn decode(body: Option<Body>, expected: &Expected, validation: FieldValidation) -> Result<Decoded, Status> {
    let (mut value, problems) = match body.unwrap_or(Body::Json(Bytes::new())) {
        Body::Json(bytes) => from_json(&bytes, expected)?,
        Body::Yaml(bytes) => from_yaml(&bytes, expected)?,
        Body::Protobuf(bytes) => (from_protobuf(&bytes, expected)?, Vec::new()),
        Body::Value(value) => (value, Vec::new()),
    };
    let mut warnings = judge(&problems, expected, validation)?;
    finish(&mut value, expected);
    warnings.extend(single_owners(&mut value, ""));
    Ok(Decoded { value, warnings })
}

/// Decodes the DeleteOptions that may come with a DELETE.
///
/// # Errors
/// 400 with the decoder's text.
pub fn delete_options(body: Option<Body>) -> Result<Option<Value>, Status> {
    let type_ = api::type_of_meta("DeleteOptions").ok_or_else(|| Status::internal("DeleteOptions has no type"))?;
    let bad = |e: document::decode::DecodeError| Status::bad_request(e.to_string());
    let value = match body {
        None => return Ok(None),
        Some(Body::Json(bytes) | Body::Yaml(bytes) | Body::Protobuf(bytes)) if bytes.is_empty() => return Ok(None),
        Some(Body::Value(value)) => value,
        Some(Body::Json(bytes)) => {
            document::decode::identify(&bytes).map_err(Status::bad_request)?;
            document::decode::decode(&bytes, type_).map_err(bad)?.value
        }
        Some(Body::Yaml(bytes)) => {
            let tree = document::yaml::parse(&bytes).map_err(|e| Status::bad_request(e.to_string()))?;
            document::decode::convert(tree.value, type_).map_err(bad)?.value
        }
        Some(Body::Protobuf(bytes)) => {
            let refused = |e: document::proto::ProtoError| Status::bad_request(e.to_string());
            let envelope = document::proto::unwrap(&bytes).map_err(refused)?;
            let mut value = document::proto::decode(envelope.raw, type_).map_err(refused)?;
            value.set("kind", envelope.kind.to_string());
            value.set("apiVersion", envelope.api_version.to_string());
            value
        }
    };
    let (kind, version) = (value["kind"].str(), value["apiVersion"].str());
    if !kind.is_empty() && kind != "DeleteOptions" {
        return Err(Status::bad_request(unregistered(kind, version)));
    }
    Ok(Some(value))
}

/// Applies a patch to an object and reads the result as one of the expected type.
///
/// # Errors
/// 400, 415, 422 or 500 as upstream's patch handlers answer.
pub fn patch(
    kind: PatchKind,
    body: &Body,
    old: &Value,
    expected: &Expected,
    options: &WriteOptions,
) -> Result<(Value, Vec<String>), Status> {
    let bytes = bytes_of(body)?;
    let mut tree = old.clone();
    let (decoded, shown, mut problems) = match kind {
        PatchKind::Json | PatchKind::Merge => {
            let apply = if kind == PatchKind::Json { document::patch::json_patch } else { document::patch::merge };
            let problems = apply(&mut tree, &bytes).map_err(refused)?;
            let shown = document::json::to_string(&tree);
            (along_its_kind(tree, expected), shown, problems)
        }
        PatchKind::Strategic => {
            let done = document::patch::strategic(tree, &bytes, expected.type_).map_err(refused)?;
            (document::decode::restore(done.value, expected.type_), done.shown, done.problems)
        }
        PatchKind::Apply => return Err(Status::not_implemented("apply to this subresource is not built yet")),
    };
    let mut decoded = decoded.map_err(|e| not_of_type(&e.to_string(), &shown))?;
    if kind != PatchKind::Strategic {
        decoded = of_patched_kind(decoded, expected).map_err(|why| not_of_type(&why, &shown))?;
    }
    if kind == PatchKind::Strategic {
        decoded.problems.sort_by_cached_key(ToString::to_string);
    }
    problems.extend(decoded.problems);
    let mut value = decoded.value;
    let mut warnings = judge_patch(&problems, options.field_validation, &shown)?;
    finish(&mut value, expected);
    warnings.extend(single_owners(&mut value, " after mutating admission happens"));
    Ok((value, warnings))
}

/// Head, defaults and normal form.
pub(crate) fn finish(value: &mut Value, expected: &Expected) {
    if value["metadata"]["managedFields"].as_list().is_some_and(<[Value]>::is_empty) {
        // the empty list means "forget": an empty entry says the same and is kept by the normal form
        value.entry("metadata").set("managedFields", Value::List(vec![Value::map()]));
    }
    value.set("kind", expected.gvk.kind.as_str());
    value.set("apiVersion", expected.gvk.group_version().to_string());
    document::default::apply(value, expected.type_, expected.defaults);
    match api::by_kind(&expected.gvk).filter(|row| !row.storage.is_empty()) {
        Some(row) => {
            api::stored::settle(row, value);
            document::normalize_given(value, expected.type_);
        }
        None => document::normalize(value, expected.type_),
    }
}

/// Brings an object into its output form once its managers are known; answers where it had empty maps, which that
/// form does not have.
pub(crate) fn settle(row: &ResourceType, value: &mut Value) -> Vec<String> {
    // most bodies have none, and are brought into their output form once more before they are judged
    if !document::has_empties(value, row.type_) {
        return Vec::new();
    }
    let found = document::empty_maps(value, row.type_);
    document::normalize(value, row.type_);
    found
}

/// Errors about a map that was there and empty show `{}`, not `null`.
pub(crate) fn with_empty_maps(mut errors: Vec<Error>, empty_maps: &[String]) -> Vec<Error> {
    if errors.is_empty() {
        return errors;
    }
    let empty_maps: HashSet<&str> = empty_maps.iter().map(String::as_str).collect();
    for error in &mut errors {
        let shown = error.body.strip_prefix("Invalid value: null");
        if let Some(rest) = shown.filter(|_| empty_maps.contains(error.path.to_string().as_str())) {
            error.body = format!("Invalid value: {{}}{rest}");
        }
    }
    errors
}

/// Drops owners that are named twice, and says so.
fn single_owners(value: &mut Value, when: &str) -> Option<String> {
    let owners = value["metadata"]["ownerReferences"].items();
    let (mut seen, mut kept, mut twice) = (HashSet::new(), Vec::new(), Vec::new());
    for owner in owners {
        if seen.insert(ByValue(owner)) {
            kept.push(owner.clone());
        } else {
            twice.push(owner["uid"].str());
        }
    }
    if twice.is_empty() {
        return None;
    }
    let warning = format!(
        ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        twice.join(", ")
    );
    value.entry("metadata").set("ownerReferences", kept);
    Some(warning)
}

fn from_json(bytes: &Bytes, expected: &Expected) -> Result<(Value, Vec<Problem>), Status> {
    match document::decode::decode(bytes, expected.type_) {
        Ok(decoded) => {
            check_version(decoded.value["apiVersion"].str(), bytes, expected)?;
            check_kind(decoded.value["kind"].str(), decoded.value["apiVersion"].str(), expected)?;
            Ok((decoded.value, decoded.problems))
        }
        Err(error) => {
            let (version, kind) = document::decode::identify(bytes).map_err(|e| unrecognized(expected, bytes, &e))?;
            check_version(&version, bytes, expected)?;
            check_kind(&kind, &version, expected)?;
            Err(unhandled(&expected.gvk.kind, &expected.gvk.version, expected, &error.to_string()))
        }
    }
}

fn from_yaml(bytes: &Bytes, expected: &Expected) -> Result<(Value, Vec<Problem>), Status> {
    let parsed = document::yaml::parse(bytes).map_err(|e| unrecognized(expected, bytes, &e.to_string()))?;
    let named = |name| matches!(parsed.value[name], Value::String(_) | Value::Null);
    if !matches!(parsed.value, Value::Map(_) | Value::Null) || !named("kind") || !named("apiVersion") {
        let json = document::json::to_vec(&parsed.value);
        document::decode::identify(&json).map_err(|e| unrecognized(expected, bytes, &e))?;
    }
    check_version(parsed.value["apiVersion"].str(), bytes, expected)?;
    check_kind(parsed.value["kind"].str(), parsed.value["apiVersion"].str(), expected)?;
    let decoded = document::decode::convert(parsed.value, expected.type_)
        .map_err(|e| unhandled(&expected.gvk.kind, &expected.gvk.version, expected, &e.to_string()))?;
    let twice = (!parsed.duplicates.is_empty()).then_some(Problem::Text(parsed.duplicates));
    let problems = twice.into_iter().chain(decoded.problems).collect();
    Ok((decoded.value, problems))
}

fn from_protobuf(bytes: &Bytes, expected: &Expected) -> Result<Value, Status> {
    let envelope = document::proto::unwrap(bytes).map_err(|e| unrecognized(expected, bytes, &e.to_string()))?;
    check_kind(&envelope.kind, &envelope.api_version, expected)?;
    document::proto::decode(envelope.raw, expected.type_)
        .map_err(|e| unhandled(&expected.gvk.kind, &expected.gvk.version, expected, &e.to_string()))
}

fn check_version(version: &str, bytes: &[u8], expected: &Expected) -> Result<(), Status> {
    match GroupVersion::parse(version) {
        Some(_) => Ok(()),
        None => Err(unrecognized(expected, bytes, &format!("unexpected GroupVersion string: {version}"))),
    }
}

/// Kind and version of the body, absent ones taken from what is expected.
fn check_kind(kind: &str, version: &str, expected: &Expected) -> Result<(), Status> {
    let want = &expected.gvk;
    let given_version = GroupVersion::parse(version).unwrap_or_default();
    let kind = if kind.is_empty() { want.kind.as_str() } else { kind };
    let version = if given_version.version.is_empty() { want.group_version() } else { given_version };
    // evictions kept their shape when they left beta
    let eviction = kind == "Eviction" && version.group == "policy" && version.version == "v1beta1";
    if kind == want.kind && (version == want.group_version() || eviction) {
        return Ok(());
    }
    let given = version.clone().with_kind(kind);
    let registered = api::by_kind(&given).is_some() || is_retired(&given);
    if kind == want.kind && registered && is_same_kind(&given, want) {
        return Err(Status::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({})",
            want.group_version()
        )));
    }
    let known = api::type_by_kind(&version.group, &version.version, kind).is_some();
    let why = if known {
        let (from, to) = (&version.version, go_package(&want.group));
        format!("converting ({from}.{kind}) to ({to}.{}): unknown conversion", want.kind)
    } else {
        unregistered(kind, &version.to_string())
    };
    Err(unhandled(kind, &version.version, expected, &why))
}

/// Two groups' names for one kind of object.
fn is_same_kind(given: &GroupVersionKind, want: &GroupVersionKind) -> bool {
    given.group == want.group
        || given.group == "extensions"
        || (given.kind == "Event"
            && [&given.group, &want.group].iter().all(|g| matches!(g.as_str(), "" | "events.k8s.io")))
}

/// Versions that upstream can still read though it serves them no more.
const RETIRED: &[(&str, &str, &[&str])] = &[
    ("apps", "v1beta1", &["Deployment", "StatefulSet", "ControllerRevision"]),
    ("apps", "v1beta2", &["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ControllerRevision"]),
    ("authentication.k8s.io", "v1alpha1", &["SelfSubjectReview"]),
    ("authentication.k8s.io", "v1beta1", &["SelfSubjectReview", "TokenReview"]),
    (
        "authorization.k8s.io",
        "v1beta1",
        &["SelfSubjectRulesReview", "SelfSubjectAccessReview", "SubjectAccessReview", "LocalSubjectAccessReview"],
    ),
    ("batch", "v1beta1", &["CronJob"]),
    ("certificates.k8s.io", "v1alpha1", &["ClusterTrustBundle"]),
    ("certificates.k8s.io", "v1beta1", &["CertificateSigningRequest", "ClusterTrustBundle", "PodCertificateRequest"]),
    ("coordination.k8s.io", "v1beta1", &["Lease"]),
    ("discovery.k8s.io", "v1beta1", &["EndpointSlice"]),
    ("events.k8s.io", "v1beta1", &["Event"]),
    ("extensions", "v1beta1", &["Deployment", "DaemonSet", "ReplicaSet", "Ingress", "NetworkPolicy"]),
    ("flowcontrol.apiserver.k8s.io", "v1beta1", &["FlowSchema", "PriorityLevelConfiguration"]),
    ("flowcontrol.apiserver.k8s.io", "v1beta2", &["FlowSchema", "PriorityLevelConfiguration"]),
    ("flowcontrol.apiserver.k8s.io", "v1beta3", &["FlowSchema", "PriorityLevelConfiguration"]),
    ("networking.k8s.io", "v1beta1", &["Ingress", "IngressClass", "IPAddress", "ServiceCIDR"]),
    ("node.k8s.io", "v1alpha1", &["RuntimeClass"]),
    ("node.k8s.io", "v1beta1", &["RuntimeClass"]),
    ("policy", "v1beta1", &["PodDisruptionBudget", "Eviction"]),
    ("rbac.authorization.k8s.io", "v1alpha1", &["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]),
    ("rbac.authorization.k8s.io", "v1beta1", &["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]),
    ("scheduling.k8s.io", "v1beta1", &["PriorityClass"]),
    ("storage.k8s.io", "v1alpha1", &["VolumeAttachment", "CSIStorageCapacity", "VolumeAttributesClass"]),
    (
        "storage.k8s.io",
        "v1beta1",
        &["StorageClass", "VolumeAttachment", "CSIDriver", "CSINode", "CSIStorageCapacity", "VolumeAttributesClass"],
    ),
];

fn is_retired(gvk: &GroupVersionKind) -> bool {
    RETIRED.iter().any(|(group, version, kinds)| {
        *group == gvk.group && *version == gvk.version && kinds.contains(&gvk.kind.as_str())
    })
}

/// The name of the Go package that holds a group's internal types.
fn go_package(group: &str) -> &str {
    if group.is_empty() { "core" } else { group.split('.').next().unwrap_or(group) }
}

fn unregistered(kind: &str, version: &str) -> String {
    format!("no kind \"{kind}\" is registered for version \"{version}\" in scheme \"{SCHEME}\"")
}

fn unhandled(kind: &str, version: &str, expected: &Expected, why: &str) -> Status {
    Status::bad_request(document::decode::not_handled(kind, version, &expected.gvk.kind, why))
}

fn unrecognized(expected: &Expected, bytes: &[u8], why: &str) -> Status {
    Status::bad_request(document::decode::unrecognized(&expected.gvk.kind, why, bytes))
}

fn judge(problems: &[Problem], expected: &Expected, validation: FieldValidation) -> Result<Vec<String>, Status> {
    match validation {
        _ if problems.is_empty() => Ok(Vec::new()),
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(problems.iter().map(ToString::to_string).collect()),
        FieldValidation::Strict => Err(unhandled(
            &expected.gvk.kind,
            &expected.gvk.version,
            expected,
            &document::decode::strict_error(problems),
        )),
    }
}

fn judge_patch(problems: &[Problem], validation: FieldValidation, shown: &str) -> Result<Vec<String>, Status> {
    match validation {
        _ if problems.is_empty() => Ok(Vec::new()),
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(problems.iter().map(ToString::to_string).collect()),
        FieldValidation::Strict => {
            let error = Error::invalid(&"patch".into(), shown, &document::decode::strict_error(problems));
            Err(Status::invalid(&GroupKind::default(), "", vec![error]))
        }
    }
}

fn bytes_of(body: &Body) -> Result<Bytes, Status> {
    match body {
        Body::Json(bytes) | Body::Yaml(bytes) => Ok(bytes.clone()),
        Body::Value(value) => Ok(document::json::to_vec(value).into()),
        Body::Protobuf(_) => Err(Status::unsupported_media_type("415: Unsupported Media Type")),
    }
}

fn refused(error: document::patch::PatchError) -> Status {
    use document::patch::PatchError;
    match error {
        PatchError::BadRequest(why) => Status::bad_request(why),
        PatchError::TooLarge(why) => Status::new(413, "RequestEntityTooLarge", why, None),
        PatchError::Internal(why) => Status::unclassified(why),
        PatchError::Unprocessable(_) => Status::new(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
            Some(Default::default()),
        ),
    }
}

/// Decodes what a JSON or merge patch made, along the type that it says it has now: another version of the same objects
/// is read as such and converted.
fn along_its_kind(tree: Value, expected: &Expected) -> Result<document::Decoded, document::decode::DecodeError> {
    let version = tree["apiVersion"].as_str().and_then(GroupVersion::parse);
    let kind = tree["kind"].as_str().filter(|kind| !kind.is_empty()).unwrap_or(&expected.gvk.kind);
    let given = version.map(|version| version.with_kind(kind)).filter(|given| *given != expected.gvk);
    let rows = given.and_then(|given| Some((api::by_kind(&given)?, api::by_kind(&expected.gvk)?)));
    let Some((from, to)) = rows.filter(|(from, to)| api::stored::are_same_objects(from, to)) else {
        return document::decode::convert(tree, expected.type_);
    };
    let mut decoded = document::decode::convert(tree, from.type_)?;
    document::default::apply(&mut decoded.value, from.type_, from.defaults);
    let value = api::stored::convert(from, to, &decoded.value).unwrap_or(decoded.value);
    Ok(document::Decoded { value, ..decoded })
}

/// What a JSON or merge patch makes of kind and apiVersion is taken seriously: another version has been converted
/// (`along_its_kind`), another kind is refused. Without an apiVersion upstream reads the text as its internal struct, whose
/// members have other names.
fn of_patched_kind(mut decoded: document::Decoded, expected: &Expected) -> Result<document::Decoded, String> {
    let want = &expected.gvk;
    let (kind, text) = (decoded.value["kind"].str(), decoded.value["apiVersion"].str());
    if text.is_empty() {
        let unknown = decoded.value.members().filter(|(name, _)| !matches!(*name, "kind" | "apiVersion"));
        decoded.problems = unknown.map(|(name, _)| Problem::Unknown(name.to_owned())).collect();
        decoded.value = Value::map();
        return Ok(decoded);
    }
    let Some(version) = GroupVersion::parse(text) else {
        return Err(format!("unexpected GroupVersion string: {text}"));
    };
    let kind = if kind.is_empty() { want.kind.as_str() } else { kind };
    if kind == want.kind && version == want.group_version() {
        return Ok(decoded);
    }
    if api::type_by_kind(&version.group, &version.version, kind).is_none() {
        return Err(unregistered(kind, text));
    }
    Err(format!(
        "converting ({}.{kind}) to ({}.{}): unknown conversion",
        version.version,
        go_package(&want.group),
        want.kind
    ))
}

/// A patched object that is no object of its type: upstream shows the whole of it.
fn not_of_type(why: &str, shown: &str) -> Status {
    let error = Error::invalid(&"patch".into(), shown, why);
    Status::invalid(&GroupKind::default(), "", vec![error])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_version_is_another_version_and_an_unknown_one_is_no_kind() {
        let row = api::find("rbac.authorization.k8s.io", "v1", "roles").unwrap();
        let check = |version: &str, want: &str| {
            let body = format!(r#"{{"apiVersion":"rbac.authorization.k8s.io/{version}","kind":"Role"}}"#);
            let found = decode(Some(Body::Json(body.into())), &Expected::of(row), FieldValidation::Warn);
            let message = found.err().map(|e| e.message).unwrap_or_default();
            assert!(message.contains(want), "{message}");
        };
        check(
            "v1beta1",
            "the API version in the data (rbac.authorization.k8s.io/v1beta1) does not match the expected API version (rbac.authorization.k8s.io/v1)",
        );
        check("v7", "no kind \"Role\" is registered");
    }
}
