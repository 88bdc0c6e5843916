//! The version 2 document as protobuf, package `openapi.v2` of gnostic: what client-go's `OpenAPISchema()` asks for.
//! Written along a small table of messages; values of extensions are YAML inside.

use document::{Map, Value};

/// Fields of the messages that a Kubernetes document uses: number, JSON key, kind. Kinds: `s` string, `b` bool, `i`
/// integer, `d` number, `*s` strings, `any`, `*any`, a message, `*` and a message. Keys `x-` and `*` stand for
/// the extensions and for all members.
const MESSAGES: &[(&str, &str)] = &[
    (
        "Document",
        "1 swagger s,2 info Info,3 host s,4 basePath s,5 schemes *s,6 consumes *s,7 produces *s,8 paths Paths,9 definitions Schemas,10 parameters Parameters,12 security *Requirement,13 securityDefinitions Securities,16 x- any",
    ),
    ("Info", "1 title s,2 version s,3 description s,4 termsOfService s,7 x- any"),
    (
        "PathItem",
        "1 $ref s,2 get Operation,3 put Operation,4 post Operation,5 delete Operation,6 options Operation,7 head Operation,8 patch Operation,9 parameters *ParametersItem,10 x- any",
    ),
    (
        "Operation",
        "1 tags *s,2 summary s,3 description s,5 operationId s,6 produces *s,7 consumes *s,8 parameters *ParametersItem,9 responses Responses,10 schemes *s,11 deprecated b,12 security *Requirement,13 x- any",
    ),
    ("JsonReference", "1 $ref s,2 description s"),
    ("BodyParameter", "1 description s,2 name s,3 in s,4 required b,5 schema Schema,6 x- any"),
    (
        "PathParameter",
        "1 required b,2 in s,3 description s,4 name s,5 type s,6 format s,9 default any,22 x- any,20 uniqueItems b",
    ),
    (
        "QueryParameter",
        "1 required b,2 in s,3 description s,4 name s,5 allowEmptyValue b,6 type s,7 format s,10 default any,20 uniqueItems b,23 x- any",
    ),
    (
        "HeaderParameter",
        "1 required b,2 in s,3 description s,4 name s,5 type s,6 format s,9 default any,19 uniqueItems b,22 x- any",
    ),
    ("Response", "1 description s,2 schema SchemaItem,5 x- any"),
    (
        "Schema",
        "1 $ref s,2 format s,3 title s,4 description s,5 default any,6 multipleOf d,7 maximum d,8 exclusiveMaximum b,9 minimum d,10 exclusiveMinimum b,11 maxLength i,12 minLength i,13 pattern s,14 maxItems i,15 minItems i,16 uniqueItems b,17 maxProperties i,18 minProperties i,19 required *s,20 enum *any,21 additionalProperties Additional,22 type Strings,23 items Items,24 allOf *Schema,25 properties Schemas,27 readOnly b,30 example any,31 x- any",
    ),
    ("ApiKey", "1 type s,2 name s,3 in s,4 description s,5 x- any"),
    ("Basic", "1 type s,2 description s,3 x- any"),
];

/// Encodes a whole document.
pub(super) fn document(tree: &Value) -> Vec<u8> {
    message("Document", tree)
}

fn message(name: &str, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match name {
        "Paths" => {
            named(1, extensions(value), any, &mut out);
            named(2, others(value), |v| message("PathItem", v), &mut out);
        }
        "Responses" => {
            named(1, others(value), |v| message("ResponseValue", v), &mut out);
            named(2, extensions(value), any, &mut out);
        }
        "Schemas" => named(1, value.members(), |v| message("Schema", v), &mut out),
        "Parameters" => named(1, value.members(), |v| message("Parameter", v), &mut out),
        "Requirement" => named(1, value.members(), |v| message("Strings", v), &mut out),
        "Securities" => named(1, value.members(), |v| message("Security", v), &mut out),
        "Security" if value["type"].str() == "basic" => bytes(1, &message("Basic", value), &mut out),
        "Security" => bytes(2, &message("ApiKey", value), &mut out),
        "ParametersItem" | "ResponseValue" if value.get("$ref").is_some() => {
            bytes(2, &message("JsonReference", value), &mut out)
        }
        "ParametersItem" => bytes(1, &message("Parameter", value), &mut out),
        "ResponseValue" => bytes(1, &message("Response", value), &mut out),
        "Parameter" if value["in"].str() == "body" => bytes(1, &message("BodyParameter", value), &mut out),
        "Parameter" => {
            let (number, kind) = match value["in"].str() {
                "header" => (1, "HeaderParameter"),
                "query" => (3, "QueryParameter"),
                _ => (4, "PathParameter"),
            };
            let mut inner = Vec::new();
            bytes(number, &message(kind, value), &mut inner);
            bytes(2, &inner, &mut out);
        }
        "SchemaItem" | "Items" => bytes(1, &message("Schema", value), &mut out),
        "Additional" => match value.as_bool() {
            Some(flag) => out.extend_from_slice(&[2 << 3, u8::from(flag)]),
            None => bytes(1, &message("Schema", value), &mut out),
        },
        "Strings" if value.as_str().is_some() => bytes(1, value.str().as_bytes(), &mut out),
        "Strings" => value.items().iter().for_each(|v| bytes(1, v.str().as_bytes(), &mut out)),
        _ => fields(name, value, &mut out),
    }
    out
}

fn fields(name: &str, value: &Value, out: &mut Vec<u8>) {
    let table = MESSAGES.iter().find(|(n, _)| *n == name).map(|(_, fields)| *fields).unwrap_or_default();
    let mut all: Vec<(u32, &str, &str)> = table
        .split(',')
        .filter_map(|field| {
            let mut parts = field.split(' ');
            Some((parts.next()?.parse().ok()?, parts.next()?, parts.next()?))
        })
        .collect();
    all.sort_by_key(|(number, ..)| *number);
    for (number, key, kind) in all {
        match key {
            "x-" => named(number, extensions(value), any, out),
            _ => {
                if let Some(found) = value.get(key) {
                    field(number, kind, found, out);
                }
            }
        }
    }
}

fn field(number: u32, kind: &str, value: &Value, out: &mut Vec<u8>) {
    match kind {
        "s" if value.str().is_empty() => {}
        "s" => bytes(number, value.str().as_bytes(), out),
        "b" if value.is_true() => {
            varint(u64::from(number) << 3, out);
            out.push(1);
        }
        "b" => {}
        "i" => {
            if let Some(n) = value.as_i64().filter(|n| *n != 0) {
                varint(u64::from(number) << 3, out);
                varint(n as u64, out);
            }
        }
        "d" => {
            let n = match value {
                Value::Int(n) => *n as f64,
                Value::Float(x) => *x,
                _ => 0.0,
            };
            if n != 0.0 {
                varint(u64::from(number) << 3 | 1, out);
                out.extend_from_slice(&n.to_le_bytes());
            }
        }
        "*s" => value.items().iter().for_each(|v| bytes(number, v.str().as_bytes(), out)),
        "any" => bytes(number, &any(value), out),
        "*any" => value.items().iter().for_each(|v| bytes(number, &any(v), out)),
        _ => match kind.strip_prefix('*') {
            Some(kind) => value.items().iter().for_each(|v| bytes(number, &message(kind, v), out)),
            None => bytes(number, &message(kind, value), out),
        },
    }
}

/// Repeated pairs `{name 1, value 2}`.
fn named<'a>(
    number: u32,
    members: impl Iterator<Item = (&'a str, &'a Value)>,
    encode: impl Fn(&Value) -> Vec<u8>,
    out: &mut Vec<u8>,
) {
    for (name, value) in members {
        let mut pair = Vec::new();
        bytes(1, name.as_bytes(), &mut pair);
        bytes(2, &encode(value), &mut pair);
        bytes(number, &pair, out);
    }
}

fn extensions(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.members().filter(|(name, _)| name.starts_with("x-"))
}

fn others(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.members().filter(|(name, _)| !name.starts_with("x-"))
}

fn any(value: &Value) -> Vec<u8> {
    let mut text = String::new();
    block(value, 0, &mut text);
    let mut out = Vec::new();
    bytes(2, text.as_bytes(), &mut out);
    out
}

/// Block YAML that begins at the cursor; `column` is where this node's lines stand.
fn block(value: &Value, column: usize, out: &mut String) {
    match value {
        Value::Map(map) if !map.is_empty() => mapping(map, column, out),
        Value::List(list) if !list.is_empty() => {
            for (n, item) in list.iter().enumerate() {
                if n > 0 {
                    out.push_str(&" ".repeat(column));
                }
                out.push_str("- ");
                block(item, column + 2, out);
            }
        }
        Value::Map(_) => out.push_str("{}\n"),
        Value::List(_) => out.push_str("[]\n"),
        _ => {
            out.push_str(&scalar(value));
            out.push('\n');
        }
    }
}

fn mapping(map: &Map, column: usize, out: &mut String) {
    for (n, (name, value)) in map.iter().enumerate() {
        if n > 0 {
            out.push_str(&" ".repeat(column));
        }
        out.push_str(&text(name));
        out.push(':');
        let column = match value {
            Value::Map(m) if !m.is_empty() => (column / 4 + 1) * 4,
            Value::List(l) if !l.is_empty() => (column / 4 + 1) * 4,
            _ => {
                out.push(' ');
                block(value, column, out);
                continue;
            }
        };
        out.push('\n');
        out.push_str(&" ".repeat(column));
        block(value, column, out);
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(s) => text(s),
        Value::Null => "null".into(),
        other => document::json::to_string(other),
    }
}

fn text(s: &str) -> String {
    let other_type = matches!(
        s.to_ascii_lowercase().as_str(),
        "" | "true" | "false" | "null" | "~" | "yes" | "no" | "on" | "off" | "y" | "n"
    ) || s.parse::<f64>().is_ok();
    if other_type {
        return format!("\"{s}\"");
    }
    let special = s.starts_with(['*', '&', '!', '|', '>', '\'', '"', '%', '@', '`', '{', '[', ',', '#', '?', '-', ' '])
        || s.contains(": ")
        || s.contains(" #")
        || s.ends_with([':', ' ']);
    if special { format!("'{}'", s.replace('\'', "''")) } else { s.to_owned() }
}

fn bytes(number: u32, content: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | 2, out);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n as u8) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

#[cfg(test)]
mod tests {
    use document::doc;

    use super::*;

    #[test]
    fn extensions_are_yaml_inside() {
        let value = doc!([{"group": "", "kind": "Pod", "version": "v1"}]);
        let encoded = any(&value);
        assert_eq!(std::str::from_utf8(&encoded[2..]).unwrap(), "- group: \"\"\n  kind: Pod\n  version: v1\n");
    }

    #[test]
    fn a_document_is_encoded_along_the_table() {
        let tree = doc!({"swagger": "2.0", "paths": {"/x": {"get": {"responses": {"200": {"description": "OK"}}}}}});
        let encoded = document(&tree);
        assert_eq!(&encoded[..5], b"\x0a\x032.0");
        assert!(encoded.windows(4).any(|w| w == b"\x0a\x02OK"));
    }
}
