//! YAML as upstream reads and writes it: YAML 1.1 scalars (`y`, `on`, `012`), merge keys, the first document only;
//! written with sorted keys in go-yaml's style. A tree that was read has sorted keys, as it has upstream, where YAML
//! becomes JSON first.

mod parse;
mod resolve;
mod style;
mod write;

pub use parse::{Parsed, YamlError, parse};
pub use write::{to_string, write};
