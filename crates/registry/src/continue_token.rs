//! Continue tokens: upstream's JSON in unpadded base64url, so that clients that look inside find what they know.

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, URL_SAFE_NO_PAD};
use document::{Value, doc, json};
use meta::{Key, Revision, Status};

/// Where a list goes on.
#[derive(Debug)]
pub struct Token {
    /// `None`: continue at the newest revision.
    pub revision: Option<Revision>,
    /// Empty within one namespace, and for objects that have none.
    pub namespace: String,
    /// Of the last object of the page before.
    pub name: String,
    start: String,
}

impl Token {
    /// The same place at the newest revision, whatever that will be.
    pub fn inconsistent(&self) -> String {
        text(-1, &self.start)
    }
}

/// After `last` of a list at `revision`.
pub fn encode(revision: Revision, last: &Key, one_namespace: bool) -> String {
    let within =
        if one_namespace || last.namespace.is_empty() { String::new() } else { format!("{}/", last.namespace) };
    text(i64::try_from(revision.0).unwrap_or(i64::MAX), &format!("{within}{}\u{0}", last.name))
}

fn text(revision: i64, start: &str) -> String {
    let value = doc!({"v": "meta.k8s.io/v1", "rv": revision, "start": start});
    URL_SAFE_NO_PAD.encode(json::to_vec(&value))
}

/// # Errors
/// 400 with upstream's text.
pub fn decode(text: &str) -> Result<Token, Status> {
    let bad = |why: String| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
    let bytes =
        LENIENT.decode(text).map_err(|_| bad(format!("illegal base64 data at input byte {}", wrong_byte(text))))?;
    let value = json::parse(&bytes).map_err(|e| bad(e.to_string()))?;
    check_types(&value).map_err(bad)?;
    if value["v"].str() != "meta.k8s.io/v1" {
        return Err(bad(format!("server does not recognize this encoded version {}", value["v"].str())));
    }
    let start = value["start"].str();
    if start.is_empty() {
        return Err(bad("encoded start key empty (version meta.k8s.io/v1)".into()));
    }
    let revision = match value["rv"].as_i64() {
        Some(n) if n > 0 => Some(Revision(n as u64)),
        Some(n) if n < 0 => None,
        _ => return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into())),
    };
    let key = start.trim_end_matches('\u{0}');
    let (namespace, name) = key.split_once('/').unwrap_or(("", key));
    if [namespace, name].iter().any(|part| part.contains('/') || *part == "..") {
        return Err(bad(start.to_owned()));
    }
    Ok(Token { revision, namespace: namespace.into(), name: name.into(), start: start.into() })
}

/// As Go: bits that are left over do not matter.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

/// Where Go's decoder stops.
fn wrong_byte(text: &str) -> usize {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    text.bytes().position(|b| !fits(b)).unwrap_or_else(|| text.len().saturating_sub(1))
}

fn check_types(token: &Value) -> Result<(), String> {
    let kind = |value: &Value| match value {
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::Float(_) => "number",
        Value::String(_) => "string",
        Value::List(_) => "array",
        _ => "object",
    };
    if !matches!(token, Value::Map(_) | Value::Null) {
        let kind = kind(token);
        return Err(format!("json: cannot unmarshal {kind} into Go value of type storage.continueToken"));
    }
    for (name, value) in token.members() {
        let (fits, wanted) = match name {
            "v" | "start" => (matches!(value, Value::String(_) | Value::Null), "string"),
            "rv" => (matches!(value, Value::Int(_) | Value::Null), "int64"),
            _ => continue,
        };
        if !fits {
            let kind = kind(value);
            return Err(format!(
                "json: cannot unmarshal {kind} into Go struct field continueToken.{name} of type {wanted}"
            ));
        }
    }
    Ok(())
}
