//! Field management at the verbs: whose name a write goes under, managedFields of every write, and the body of an apply.
//! The rules themselves are in `document::apply`.

use api::ResourceType;
use document::Value;
use document::apply::{self, ApplyError, Served, Versions};
use meta::field::Cause;
use meta::{GroupVersion, GroupVersionKind, Status, Time};

use crate::Body;
use crate::body::{self, Expected};
use crate::query::{FieldValidation, WriteOptions};
use crate::target::Target;

/// Longer names are cut.
const MAX_NAME: usize = 128;

/// What a write that names no manager is called: the user agent up to the slash, what cannot be printed left out.
pub(crate) fn manager_of(user_agent: &str) -> String {
    let mut name = String::new();
    for c in user_agent.split('/').next().unwrap_or_default().chars().filter(|c| !c.is_control()) {
        if name.len() + c.len_utf8() > MAX_NAME {
            break;
        }
        name.push(c);
    }
    name
}

/// The versions in which the objects of a row are served.
struct RowVersions {
    row: &'static ResourceType,
    subresource: &'static str,
}

impl RowVersions {
    fn row(&self, version: &str) -> Option<&'static ResourceType> {
        let version = GroupVersion::parse(version)?;
        // upstream does not convert between groups here, not even the two of events
        api::find(&version.group, &version.version, self.row.plural).filter(|row| row.group == self.row.group)
    }
}

impl Versions for RowVersions {
    fn find(&self, version: &str) -> Option<Served> {
        let row = self.row(version)?;
        Some(Served { type_: row.type_, reset: reset_fields(row, self.subresource) })
    }

    fn convert(&self, object: &Value, from: &str, to: &str) -> Value {
        let rows = self.row(from).zip(self.row(to));
        rows.and_then(|(from, to)| api::stored::convert(from, to, object)).unwrap_or_else(|| object.clone())
    }
}

/// A kind that is served in one version.
struct NoVersions;

impl Versions for NoVersions {
    fn find(&self, _version: &str) -> Option<Served> {
        None
    }

    fn convert(&self, object: &Value, _from: &str, _to: &str) -> Value {
        object.clone()
    }
}

fn reset_fields(row: &ResourceType, subresource: &str) -> &'static [&'static str] {
    row.strategy.reset_fields.iter().find(|(s, _)| *s == subresource).map_or(&[][..], |(_, paths)| paths)
}

/// The object of a write and where its fields are managed: the target's own kind, or a subresource's.
fn with<T>(
    target: &Target,
    expected: &Expected,
    options: &WriteOptions,
    work: impl FnOnce(&apply::Write<'_>) -> T,
) -> T {
    let (row, subresource) = (target.resource, target.subresource_name());
    let version = expected.gvk.group_version().to_string();
    let (now, others) = (Time::now().to_string(), RowVersions { row, subresource });
    let own = expected.gvk == row.gvk();
    work(&apply::Write {
        type_: expected.type_,
        version: &version,
        subresource,
        manager: &options.manager,
        now: &now,
        reset: if own { reset_fields(row, subresource) } else { &[] },
        versions: if own { &others } else { &NoVersions },
    })
}

/// Writes managedFields into the object of an update or a create.
pub(crate) fn track(target: &Target, options: &WriteOptions, live: Option<&Value>, new: &mut Value) {
    api::strategy::begin(target.resource, new);
    track_as(target, &Expected::of(target.resource), options, live, new);
}

/// The same for an object of a subresource's own kind.
pub(crate) fn track_as(
    target: &Target,
    expected: &Expected,
    options: &WriteOptions,
    live: Option<&Value>,
    new: &mut Value,
) {
    with(target, expected, options, |write| apply::update(write, live, new));
}

/// The object after an apply, and warnings about the body. `live` is absent when it is created.
///
/// # Errors
/// 400, 409 or 500 as upstream answers.
pub(crate) fn apply(
    target: &Target,
    options: &WriteOptions,
    body: &Body,
    expected: &Expected,
    live: Option<&Value>,
) -> Result<(Value, Vec<String>), Status> {
    let (patch, duplicates) = read(body)?;
    let version = GroupVersion::parse(patch["apiVersion"].str());
    let given = version.map(|version| version.with_kind(patch["kind"].str())).unwrap_or_default();
    if given != expected.gvk {
        return Err(Status::bad_request(format!("invalid object type: {}", shown(&given))));
    }
    let force = options.force.unwrap_or(false);
    let tree = with(target, expected, options, |write| apply::apply(write, live, &patch, force)).map_err(refused)?;
    let decoded = document::decode::convert(tree, expected.type_).map_err(|e| {
        let meta = &patch["metadata"];
        let name = format!("{}/{}; {}", meta["namespace"].str(), meta["name"].str(), shown(&given));
        Status::unclassified(format!("failed to convert new typed object ({name}) to object: {e}"))
    })?;
    let mut value = decoded.value;
    body::finish(&mut value, expected);
    let warnings = match options.field_validation {
        _ if duplicates.is_empty() => Vec::new(),
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Warn => vec![format!("error converting YAML to JSON: {duplicates}")],
        FieldValidation::Strict => {
            return Err(Status::bad_request(format!(
                "error strict decoding patch: error converting YAML to JSON: {duplicates}"
            )));
        }
    };
    Ok((value, warnings))
}

fn shown(gvk: &GroupVersionKind) -> String {
    format!("{}/{}, Kind={}", gvk.group, gvk.version, gvk.kind)
}

/// The configuration and what is written twice in it.
fn read(body: &Body) -> Result<(Value, String), Status> {
    let (tree, duplicates) = match body {
        Body::Value(value) => (value.clone(), String::new()),
        Body::Json(bytes) | Body::Yaml(bytes) => {
            let parsed = document::yaml::parse(bytes).map_err(|e| {
                Status::bad_request(format!("error decoding patch: error converting YAML to JSON: {e}"))
            })?;
            (parsed.value, parsed.duplicates)
        }
        Body::Protobuf(_) => return Err(Status::unsupported_media_type("415: Unsupported Media Type")),
    };
    let found = match &tree {
        Value::Map(_) | Value::Null => return Ok((tree, duplicates)),
        Value::List(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Float(_) => "number",
    };
    Err(Status::bad_request(format!(
        "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
    )))
}

fn refused(error: ApplyError) -> Status {
    let message = error.to_string();
    match error {
        ApplyError::BadRequest(_) => Status::bad_request(message),
        ApplyError::Internal(_) => Status::unclassified(message),
        ApplyError::Conflict(conflicts) => {
            let causes = conflicts
                .into_iter()
                .map(|c| Cause {
                    reason: "FieldManagerConflict".into(),
                    message: format!("conflict with {}", c.manager),
                    field: c.field,
                })
                .collect();
            Status::new(409, "Conflict", message, Some(meta::status::Details { causes, ..Default::default() }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::manager_of;

    #[test]
    fn a_manager_is_named_by_the_user_agent_up_to_the_slash() {
        assert_eq!(manager_of("kubectl/v1.37.2 (linux/amd64)"), "kubectl");
        assert_eq!(manager_of("a\tb"), "ab");
        assert_eq!(manager_of(&"ä".repeat(100)).len(), 128);
    }
}
