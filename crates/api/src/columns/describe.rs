//! What a column means: the description of the field that it shows, or a few words.

mod table;

use crate::{ResourceType, openapi};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

pub(super) fn column(row: &ResourceType, name: &str) -> String {
    of(row.kind, name)
}

/// Of something that has no row: a Scale, or any other kind.
pub(super) fn common(name: &str, scale: bool) -> String {
    of(if scale { "Scale" } else { "" }, name)
}

fn of(kind: &str, name: &str) -> String {
    let field = match name {
        "Name" => "name",
        "Age" | "Created At" => "creationTimestamp",
        _ => "",
    };
    if !field.is_empty() {
        return openapi::description(META, field).unwrap_or_default().to_owned();
    }
    let at = table::COLUMNS.binary_search_by(|(k, _)| (*k).cmp(kind));
    let source = at.ok().and_then(|at| table::COLUMNS[at].1.iter().find(|(n, _)| *n == name)).map_or("", |(_, s)| *s);
    match source.strip_prefix('=') {
        Some(words) => words.to_owned(),
        None => {
            let (type_, field) = source.split_once(' ').unwrap_or_default();
            let text = openapi::description(&format!("io.k8s.api.{type_}"), field).unwrap_or_default();
            // upstream's printers still speak of the older version, which had not said so
            text.strip_suffix(" This field is immutable.").filter(|_| field == "roleRef").unwrap_or(text).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_described() {
        assert!(table::COLUMNS.windows(2).all(|w| w[0].0 < w[1].0));
        for (kind, name, want) in [
            ("Secret", "Type", "Used to facilitate programmatic handling of secret data."),
            ("Pod", "Ready", "The aggregate readiness state"),
            ("Pod", "Node", "NodeName indicates in which node"),
            ("Pod", "Name", "Name must be unique within a namespace."),
            ("Event", "Object", ""),
        ] {
            assert!(of(kind, name).starts_with(want), "{kind} {name}: {}", of(kind, name));
        }
    }
}
