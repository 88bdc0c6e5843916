//! Field management at the verbs: whose name a write goes under, managedFields of every write, and the body of an apply.
//! The rules themselves are in `document::apply`.

use api::ResourceType;
use document::Value;
use document::apply::{self, ApplyError};
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

fn with<T>(target: &Target, options: &WriteOptions, work: impl FnOnce(&apply::Write<'_>) -> T) -> T {
    let (row, subresource) = (target.resource, target.subresource_name());
    let version = row.gvk().group_version().to_string();
    let now = Time::now().to_string();
    let reset = row.strategy.reset_fields.iter().find(|(s, _)| *s == subresource).map_or(&[][..], |(_, paths)| paths);
    work(&apply::Write {
        type_: row.type_,
        version: &version,
        subresource,
        manager: &options.manager,
        now: &now,
        reset,
        serves: &|version| serves(row, version),
    })
}

fn serves(row: &ResourceType, version: &str) -> bool {
    let Some(version) = GroupVersion::parse(version) else { return false };
    version.group == row.group && api::by_kind(&version.with_kind(row.kind)).is_some()
}

/// Writes managedFields into the object of an update or a create.
pub(crate) fn track(target: &Target, options: &WriteOptions, live: Option<&Value>, new: &mut Value) {
    api::strategy::begin(target.resource, new);
    with(target, options, |write| apply::update(write, live, new));
}

/// The same for a write through `scale`; as upstream, an entry that is new by it has no time.
pub(crate) fn track_scale(target: &Target, options: &WriteOptions, live: &Value, new: &mut Value) {
    let known = |entry: &Value| live["metadata"]["managedFields"].items().iter().find(|e| is_same(e, entry)).cloned();
    track(target, options, Some(live), new);
    let Some(entries) = new.entry("metadata").get_mut("managedFields").and_then(Value::as_list_mut) else { return };
    for entry in entries.iter_mut().filter(|e| e["subresource"].str() == "scale") {
        match known(entry) {
            Some(before) => entry.set("time", before["time"].clone()),
            None => drop(entry.remove("time")),
        }
    }
}

fn is_same(a: &Value, b: &Value) -> bool {
    ["manager", "operation", "apiVersion", "subresource"].iter().all(|name| a[*name] == b[*name])
}

/// The object after an apply, and warnings about the body. `live` is absent when it is created.
///
/// # Errors
/// 400, 409 or 500 as upstream answers.
pub(crate) fn apply(
    target: &Target,
    options: &WriteOptions,
    body: &Body,
    live: Option<&Value>,
) -> Result<(Value, Vec<String>), Status> {
    let (patch, duplicates) = read(body)?;
    let row = target.resource;
    let given = GroupVersion::parse(patch["apiVersion"].str()).unwrap_or_default().with_kind(patch["kind"].str());
    if given != row.gvk() {
        return Err(Status::bad_request(format!("invalid object type: {}", shown(&given))));
    }
    let force = options.force.unwrap_or(false);
    let tree = with(target, options, |write| apply::apply(write, live, &patch, force)).map_err(refused)?;
    let expected = Expected::of(row);
    let decoded = document::decode::convert(tree, row.type_).map_err(|e| {
        let meta = &patch["metadata"];
        let name = format!("{}/{}; {}", meta["namespace"].str(), meta["name"].str(), shown(&given));
        Status::unclassified(format!("failed to convert new typed object ({name}) to object: {e}"))
    })?;
    let mut value = decoded.value;
    body::finish(&mut value, &expected);
    let warnings = match options.field_validation {
        _ if duplicates.is_empty() => Vec::new(),
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Warn => vec![duplicates],
        FieldValidation::Strict => {
            return Err(Status::bad_request(format!("error strict decoding patch: {duplicates}")));
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
