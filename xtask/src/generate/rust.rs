//! Rust spellings of JSON: string literals, slices, names of statics.

use serde_json::Value;

/// `"text"` as a Rust literal.
pub(super) fn string(text: &str) -> String {
    format!("{text:?}")
}

/// `&["a", "b"]` of a JSON list of strings; `&[]` for anything else.
pub(super) fn strings(list: &Value) -> String {
    let items: Vec<String> = list.as_array().into_iter().flatten().filter_map(Value::as_str).map(string).collect();
    format!("&[{}]", items.join(", "))
}

/// The package and type part of an OpenAPI name: `io.k8s.api.core.v1.Pod` → (`core_v1`, `Pod`).
pub(super) fn split(name: &str) -> (String, &str) {
    let (package, type_) = name.rsplit_once('.').unwrap_or(("", name));
    let mut parts = package.rsplit('.');
    let last = parts.next().unwrap_or_default();
    let is_version = last.len() > 1 && last.starts_with('v') && last.as_bytes()[1].is_ascii_digit();
    let module = if is_version { format!("{}_{last}", parts.next().unwrap_or_default()) } else { last.to_owned() };
    (module.replace('-', "_"), type_)
}

/// The static of a type: `io.k8s.api.core.v1.PodSpec` → `CORE_V1_POD_SPEC`.
pub(super) fn ident(name: &str) -> String {
    let (module, type_) = split(name);
    format!("{}_{}", module.to_uppercase(), upper_snake(type_))
}

/// `PodIPs.Set` → `POD_IPS_SET`.
pub(super) fn upper_snake(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::new();
    for (n, &b) in bytes.iter().enumerate() {
        let new_word = n > 0
            && b.is_ascii_uppercase()
            && (!bytes[n - 1].is_ascii_uppercase() || bytes.get(n + 1).is_some_and(u8::is_ascii_lowercase));
        if new_word && !out.ends_with('_') {
            out.push('_');
        }
        out.push(if b.is_ascii_alphanumeric() { b.to_ascii_uppercase() as char } else { '_' });
    }
    out
}

/// A `Literal` of document::default.
pub(super) fn literal(v: &Value) -> String {
    match v {
        Value::Null => "Literal::Null".into(),
        Value::Bool(b) => format!("Literal::Bool({b})"),
        Value::Number(n) => format!("Literal::Int({n})"),
        Value::String(s) => format!("Literal::String({})", string(s)),
        Value::Array(l) => format!("Literal::List({})", literals(l)),
        Value::Object(m) => {
            let members: Vec<String> = m.iter().map(|(k, v)| format!("({}, {})", string(k), literal(v))).collect();
            format!("Literal::Map(&[{}])", members.join(", "))
        }
    }
}

pub(super) fn literals(list: &[Value]) -> String {
    format!("&[{}]", list.iter().map(literal).collect::<Vec<_>>().join(", "))
}
