//! Scalars with a form of their own: quantities and base64; and Go's names of types, which errors print.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use meta::Quantity;

use crate::Value;
use crate::schema::Kind;

/// A quantity from its JSON text, quoted or not.
pub(super) fn quantity(raw: &[u8]) -> Result<Value, String> {
    let text = String::from_utf8_lossy(raw);
    let text = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(&text).trim();
    Quantity::printed(text).map(|t| Value::String(t.into_owned())).map_err(|e| e.to_string())
}

/// Re-encoded when it holds line breaks or loose end bits; where it is broken otherwise.
pub(super) fn canonical_base64(text: String) -> Result<String, usize> {
    match STANDARD.decode(&text) {
        Ok(_) => Ok(text),
        Err(_) => decode_base64(&text).map(|bytes| STANDARD.encode(bytes)),
    }
}

pub fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// As Go's `StdEncoding`: line breaks are passed over, end bits ignored. The error is the byte that Go names.
pub fn decode_base64(text: &str) -> Result<Vec<u8>, usize> {
    let src = text.as_bytes();
    let mut out = Vec::with_capacity(src.len() / 4 * 3);
    let mut at = 0;
    while let Some((quantum, len)) = next_quantum(src, &mut at)? {
        let n = quantum.iter().fold(0u32, |n, b| n << 6 | u32::from(*b));
        out.extend_from_slice(&n.to_be_bytes()[1..len]);
    }
    Ok(out)
}

/// Four sextets, and how many of them count.
fn next_quantum(src: &[u8], at: &mut usize) -> Result<Option<([u8; 4], usize)>, usize> {
    let mut quantum = [0; 4];
    let mut n = 0;
    while n < 4 {
        let Some(&b) = src.get(*at) else {
            return if n == 0 { Ok(None) } else { Err(*at - n) };
        };
        *at += 1;
        match (sextet(b), b) {
            (Some(s), _) => {
                quantum[n] = s;
                n += 1;
            }
            (None, b'\n' | b'\r') => {}
            (None, b'=') if n >= 2 => return padded(src, at, n).map(|()| Some((quantum, n))),
            _ => return Err(*at - 1),
        }
    }
    Ok(Some((quantum, 4)))
}

/// After the first `=`: a second one when two sextets stand before it, and then nothing.
fn padded(src: &[u8], at: &mut usize, n: usize) -> Result<(), usize> {
    if n == 2 {
        skip_breaks(src, at);
        match src.get(*at) {
            None => return Err(src.len()),
            Some(b'=') => *at += 1,
            Some(_) => return Err(*at - 1),
        }
    }
    skip_breaks(src, at);
    if *at < src.len() { Err(*at) } else { Ok(()) }
}

fn skip_breaks(src: &[u8], at: &mut usize) {
    while matches!(src.get(*at), Some(b'\n' | b'\r')) {
        *at += 1;
    }
}

fn sextet(b: u8) -> Option<u8> {
    Some(match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

/// The Go kind of a number in a tree.
pub(super) fn go_number(token: &str) -> String {
    if token.parse::<i64>().is_ok() { "int64" } else { "float64" }.into()
}

/// `io.k8s.api.core.v1.PodSpec` → `v1.PodSpec`.
pub(super) fn go_type(name: &str) -> String {
    let mut parts = name.rsplitn(3, '.');
    match (parts.next(), parts.next()) {
        (Some(type_), Some(package)) => format!("{package}.{type_}"),
        _ => name.to_owned(),
    }
}

pub(super) fn go_kind(kind: &Kind) -> String {
    match kind {
        Kind::String => "string".into(),
        Kind::Bool => "bool".into(),
        Kind::Int32 => "int32".into(),
        Kind::Int64 => "int64".into(),
        Kind::Float64 => "float64".into(),
        Kind::Bytes => "[]uint8".into(),
        Kind::Any => "interface {}".into(),
        Kind::Time => "v1.Time".into(),
        Kind::MicroTime => "v1.MicroTime".into(),
        Kind::Duration => "v1.Duration".into(),
        Kind::Quantity => "resource.Quantity".into(),
        Kind::IntOrString => "intstr.IntOrString".into(),
        Kind::RawExtension => "runtime.RawExtension".into(),
        Kind::FieldsV1 => "v1.FieldsV1".into(),
        Kind::Json => "v1.JSON".into(),
        Kind::JsonSchemaPropsOrBool => "v1.JSONSchemaPropsOrBool".into(),
        Kind::JsonSchemaPropsOrArray => "v1.JSONSchemaPropsOrArray".into(),
        Kind::JsonSchemaPropsOrStringArray => "v1.JSONSchemaPropsOrStringArray".into(),
        Kind::Ref(type_) => go_type(type_.name),
        Kind::List(item) => format!("[]{}", go_kind(item)),
        Kind::Map(Kind::Quantity) => "v1.ResourceList".into(),
        Kind::Map(value) => format!("map[string]{}", go_kind(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_go_reads_it() {
        for (text, want) in [
            ("", Ok(&b""[..])),
            ("YQ==", Ok(b"a")),
            ("YW\nI=\n", Ok(b"ab")),
            ("YR==", Ok(b"a")),
            ("YWJj", Ok(b"abc")),
            ("%%%", Err(0)),
            ("YWJjZ", Err(4)),
            ("YQ=", Err(3)),
            ("YQ==x", Err(4)),
            ("Y===", Err(1)),
        ] {
            assert_eq!(decode_base64(text).as_deref().map_err(|e| *e), want, "{text}");
        }
        assert_eq!(canonical_base64("YR==".into()).as_deref(), Ok("YQ=="));
    }
}
