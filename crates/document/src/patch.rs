//! The three patches that are not apply, with upstream's behaviour and error texts. The result is a tree that still
//! has to be converted along its type.

mod json_patch;
mod merge;
mod order;
mod strategic;

pub use json_patch::json_patch;
pub use merge::{merge, merge_value};
pub use strategic::{Strategic, strategic};

use crate::Value;
use crate::decode::{DecodeError, Decoded, decode_any};

/// Why a patch cannot be applied, by the status that upstream answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// 400 with this message.
    #[error("{0}")]
    BadRequest(String),
    /// The generic 422; the message is upstream's, but not shown.
    #[error("{0}")]
    Unprocessable(String),
    /// 413.
    #[error("{0}")]
    TooLarge(String),
    /// 500 with this message and no reason.
    #[error("{0}")]
    Internal(String),
}

/// Go's name of a patch's type.
const GO_MAP: &str = "map[string]interface {}";

/// Reads a patch that must be an object; `context` stands before what is wrong with its type.
fn read_object(patch: &[u8], context: &str) -> Result<Decoded, PatchError> {
    let decoded = decode_any(patch).map_err(|e| unreadable(&e))?;
    let found = match &decoded.value {
        Value::Map(_) => return Ok(decoded),
        // as Go: null leaves the map empty
        Value::Null => return Ok(Decoded { value: Value::map(), ..decoded }),
        other => go_kind(other),
    };
    Err(PatchError::BadRequest(format!("{context}json: cannot unmarshal {found} into Go value of type {GO_MAP}")))
}

fn unreadable(error: &DecodeError) -> PatchError {
    PatchError::BadRequest(match error {
        DecodeError::Syntax(_) => "invalid JSON patch".into(),
        DecodeError::Mismatch(text) => text.clone(),
    })
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Float(_) => "number",
        Value::String(_) => "string",
        Value::List(_) => "array",
        Value::Map(_) => "object",
    }
}

/// A tree as Go's `%v` prints it: `map[a:1 b:[x y]]`.
pub fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Float(x) => go_float(*x),
        Value::String(s) => s.clone(),
        Value::List(l) => format!("[{}]", l.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Map(m) => {
            let mut members: Vec<(&str, &Value)> = m.iter().collect();
            members.sort_by(|a, b| a.0.cmp(b.0));
            let members: Vec<String> = members.into_iter().map(|(n, v)| format!("{n}:{}", go_text(v))).collect();
            format!("map[{}]", members.join(" "))
        }
    }
}

/// `%v` of a float64: an exponent of two digits below 1e-4 and from 1e21 on.
fn go_float(x: f64) -> String {
    let magnitude = x.abs();
    if magnitude == 0.0 || (1e-4..1e21).contains(&magnitude) {
        return format!("{x}");
    }
    let text = format!("{x:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
    format!("{mantissa}e{sign}{digits:0>2}")
}
