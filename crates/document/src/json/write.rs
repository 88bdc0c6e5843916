//! Writing: compact, Go's HTML escaping, members in the order in which they stand.

use super::number::{push_float, push_int};
use crate::Value;

/// Appends the value's JSON.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(n) => push_int(*n, out),
        Value::Float(x) => push_float(*x, out),
        Value::String(s) => push_string(s, out),
        Value::List(l) => {
            out.push(b'[');
            for (n, item) in l.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Map(m) => {
            out.push(b'{');
            for (n, (name, member)) in m.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                push_string(name, out);
                out.push(b':');
                write(member, out);
            }
            out.push(b'}');
        }
    }
}

pub fn to_vec(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write(value, &mut out);
    out
}

pub fn to_string(value: &Value) -> String {
    String::from_utf8_lossy(&to_vec(value)).into_owned()
}

/// Appends a quoted string; `<`, `>`, `&`, U+2028 and U+2029 are escaped, as upstream's encoder does.
pub fn push_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    let mut at = 0;
    while at < bytes.len() {
        let b = bytes[at];
        let step = if b == 0xe2 { line_separator(&bytes[at..]) } else { usize::from(PLAIN[b as usize] == 0) };
        if step == 0 {
            at += 1;
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        push_escape(&bytes[at..at + step], out);
        at += step;
        start = at;
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

/// 1 for bytes that are written as they are.
static PLAIN: [u8; 256] = {
    let mut table = [1; 256];
    let mut b = 0;
    while b < 0x20 {
        table[b] = 0;
        b += 1;
    }
    table[b'"' as usize] = 0;
    table[b'\\' as usize] = 0;
    table[b'<' as usize] = 0;
    table[b'>' as usize] = 0;
    table[b'&' as usize] = 0;
    table
};

/// 3 when U+2028 or U+2029 starts here.
fn line_separator(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"\xe2\x80\xa8") || bytes.starts_with(b"\xe2\x80\xa9") { 3 } else { 0 }
}

fn push_escape(bytes: &[u8], out: &mut Vec<u8>) {
    match bytes {
        b"\"" => out.extend_from_slice(b"\\\""),
        b"\\" => out.extend_from_slice(b"\\\\"),
        b"\n" => out.extend_from_slice(b"\\n"),
        b"\r" => out.extend_from_slice(b"\\r"),
        b"\t" => out.extend_from_slice(b"\\t"),
        b"\x08" => out.extend_from_slice(b"\\b"),
        b"\x0c" => out.extend_from_slice(b"\\f"),
        [b] => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(b >> 4)]);
            out.push(HEX[usize::from(b & 15)]);
        }
        b"\xe2\x80\xa8" => out.extend_from_slice(b"\\u2028"),
        _ => out.extend_from_slice(b"\\u2029"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc;

    #[test]
    fn strings_are_escaped_as_go_does() {
        let text = to_string(&doc!({"a<b>": "&\u{2028}\u{2029}\u{20ac}\n\u{1}\"\\\u{8}", "l": [1, 2.5, null, true]}));
        let want = r#"{"a\u003cb\u003e":"\u0026\u2028\u2029€\n\u0001\"\\\b","l":[1,2.5,null,true]}"#;
        assert_eq!(text, want);
    }
}
