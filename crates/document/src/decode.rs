//! Decoding along a type: one pass over JSON (`decode`), or over a tree that came from YAML or a patch (`convert`).
//! Unknown fields are dropped and reported, duplicates reported, texts of mismatches are upstream's.

mod duration;
mod names;
mod scalar;
mod source;
mod time;
mod walk;

pub(crate) use walk::position;

pub use duration::{format_duration, parse_duration};
pub use names::{identify, not_handled, unrecognized};
pub use scalar::{decode_base64, encode_base64};
pub use time::{canonical_micro_time, canonical_time};

use crate::json::{Parser, SyntaxError};
use crate::{Type, Value};

/// What a body holds.
#[derive(Debug)]
pub struct Decoded {
    /// Members in the order of the body; `normalize` brings them into output order.
    pub value: Value,
    pub problems: Vec<Problem>,
}

/// What strict decoding finds; printed as upstream prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    Unknown(String),
    Duplicate(String),
    /// A text of its own: YAML mappings with a key twice, members of a JSON patch.
    Text(String),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Problem::Unknown(path) => write!(f, "unknown field {}", meta::goquote::quote(path)),
            Problem::Duplicate(path) => write!(f, "duplicate field {}", meta::goquote::quote(path)),
            Problem::Text(text) => f.write_str(text),
        }
    }
}

/// `strict decoding error: a, b`.
pub fn strict_error(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    format!("strict decoding error: {}", texts.join(", "))
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON.
    #[error("{0}")]
    Syntax(String),
    /// JSON of the wrong type, in Go's words.
    #[error("{0}")]
    Mismatch(String),
}

impl From<SyntaxError> for DecodeError {
    fn from(e: SyntaxError) -> Self {
        DecodeError::Syntax(e.0)
    }
}

/// Upstream reports no more.
const MAX_PROBLEMS: usize = 100;

/// Decodes JSON along a type.
pub fn decode(bytes: &[u8], type_: &'static Type) -> Result<Decoded, DecodeError> {
    let mut parser = Parser::new(bytes);
    let mut walk = walk::Walk::default();
    let value = walk.root(&mut source::Text(&mut parser), type_)?;
    parser.end()?;
    walk.finish(value)
}

/// The same for a tree.
pub fn convert(value: Value, type_: &'static Type) -> Result<Decoded, DecodeError> {
    let mut walk = walk::Walk::default();
    let value = walk.root(&mut source::Tree::new(value), type_)?;
    walk.finish(value)
}

/// The same for the result of a strategic merge patch, which upstream converts without JSON: mismatches read
/// `cannot restore slice from string`.
pub fn restore(value: Value, type_: &'static Type) -> Result<Decoded, DecodeError> {
    let mut walk = walk::Walk::restoring();
    let value = walk.root(&mut source::Tree::new(value), type_)?;
    walk.finish(value)
}

/// Any JSON, with its duplicate members.
pub fn decode_any(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut parser = Parser::new(bytes);
    let mut walk = walk::Walk::default();
    let value = walk.any(&mut source::Text(&mut parser))?;
    parser.end()?;
    walk.finish(value)
}
