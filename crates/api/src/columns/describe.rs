//! What a column means: the description of the field that it shows.

use crate::ResourceType;

pub(super) fn column(_row: &ResourceType, name: &str) -> String {
    common(name, false)
}

pub(super) fn common(_name: &str, _scale: bool) -> String {
    String::new()
}
