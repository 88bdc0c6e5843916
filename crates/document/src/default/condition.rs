//! Conditions of defaulting operations.

use super::operation::{Binding, at, field_at};
use super::{Condition, Literal, Path};
use crate::schema::Kind;
use crate::{Type, Value};

pub(super) fn holds(value: &Value, type_: Option<&'static Type>, condition: &Condition, binding: &Binding) -> bool {
    match condition {
        Condition::Equal(path, literal) => equal(at(value, path, binding), literal),
        Condition::In(path, literals) => literals.iter().any(|l| equal(at(value, path, binding), l)),
        Condition::Has(path) => has(value, type_, path, binding),
        Condition::Lacks(path) => {
            let found = at(value, path, binding);
            found.is_null() || found.as_str() == Some("")
        }
        Condition::Less(path, n) => at(value, path, binding).as_i64().is_some_and(|v| v < *n),
        Condition::All(all) => all.iter().all(|c| holds(value, type_, c, binding)),
        Condition::Any(any) => any.iter().any(|c| holds(value, type_, c, binding)),
        Condition::Not(c) => !holds(value, type_, c, binding),
        Condition::ImageTag(path, tag) => image_tag(at(value, path, binding).str()) == Some(*tag),
        Condition::NoneOf(names) => names.iter().all(|n| value[*n].is_null()),
    }
}

fn equal(value: &Value, literal: &Literal) -> bool {
    *value == literal.to_value() || (value.is_null() && matches!(literal, Literal::String("") | Literal::Bool(false)))
}

/// Present and not empty; a struct behind a pointer counts when it is there.
fn has(value: &Value, type_: Option<&'static Type>, path: Path, binding: &Binding) -> bool {
    let found = at(value, path, binding);
    let pointer = type_.and_then(|t| field_at(t, path)).is_some_and(|f| f.pointer && matches!(f.kind, Kind::Ref(_)));
    if pointer { !found.is_null() } else { !found.is_empty() }
}

/// The tag of an image reference: `latest` when it has neither tag nor digest, none when it is no reference.
fn image_tag(image: &str) -> Option<&str> {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    };
    let path = match repository.split_once('/') {
        Some((domain, path)) if domain.contains(['.', ':']) || domain == "localhost" => path,
        _ => repository,
    };
    let component = |c: &str| {
        c.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
            && c.starts_with(|f: char| f.is_ascii_alphanumeric())
            && c.ends_with(|l: char| l.is_ascii_alphanumeric())
    };
    if !path.split('/').all(component) {
        return None;
    }
    match (tag, digest) {
        (Some(tag), _) => Some(tag),
        (None, Some(_)) => None,
        (None, None) => Some("latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_tags_are_found() {
        for (image, want) in [
            ("nginx", Some("latest")),
            ("nginx:1.2", Some("1.2")),
            ("registry:5000/a/b", Some("latest")),
            ("registry.example.com/a/b:latest", Some("latest")),
            ("a@sha256:abc", None),
            ("a:1@sha256:abc", Some("1")),
            ("", None),
            ("Upper", None),
        ] {
            assert_eq!(image_tag(image), want, "{image}");
        }
    }
}
