//! The plugins, one file each, and which name makes which. A default-on plugin of upstream that is missing here is
//! listed in docs/compatibility.md; what it would protect is refused by `unenforced`.

pub mod namespace_lifecycle;
pub mod unenforced;

use crate::Plugin;

/// The plugin of that name; `None` when it is not built.
pub(crate) fn make(name: &str) -> Option<Box<dyn Plugin>> {
    Some(match name {
        "NamespaceLifecycle" => Box::new(namespace_lifecycle::NamespaceLifecycle),
        "AlwaysAdmit" => Box::new(AlwaysAdmit),
        _ => return None,
    })
}

/// Does nothing, as upstream's does.
struct AlwaysAdmit;

impl Plugin for AlwaysAdmit {
    fn name(&self) -> &'static str {
        "AlwaysAdmit"
    }
}
