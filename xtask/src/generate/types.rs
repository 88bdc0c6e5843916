//! Types and protobuf messages.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Result, bail};
use serde_json::Value;

use super::rust::{ident, split, string, strings};
use super::{Reference, Writer};

/// Types of one module file at most.
const PER_FILE: usize = 60;

struct Context<'a> {
    reference: &'a Reference,
    /// Message name by Go type.
    messages: HashMap<&'a str, (&'a str, &'a Value)>,
    /// Types that pass through protobuf storage.
    stored: BTreeSet<&'a str>,
}

pub(super) fn write(reference: &Reference, writer: &mut Writer) -> Result<()> {
    let context = Context { reference, messages: messages(reference), stored: stored(reference) };
    let mut modules: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut names = Vec::new();
    for name in members(&reference.types).map(|(n, _)| n) {
        modules.entry(split(name).0).or_default().push(name);
        names.push(name);
    }
    for (module, types) in &modules {
        let parts = types.chunks(PER_FILE).count();
        for (n, part) in types.chunks(PER_FILE).enumerate() {
            let file = if parts == 1 { module.clone() } else { format!("{module}_{}", n + 1) };
            let body = part.iter().map(|t| context.type_(t)).collect::<Result<Vec<_>>>()?.join("\n");
            writer.module(&file, &format!("types of {module}"), &body)?;
        }
    }
    index(&names, writer)
}

/// All types, sorted by name for binary search.
fn index(names: &[&str], writer: &mut Writer) -> Result<()> {
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    let rows: String = sorted.iter().map(|n| format!("    &{},\n", ident(n))).collect();
    writer.module(
        "types",
        "every type, sorted by name",
        &format!("pub(crate) static TYPES: &[&Type] = &[\n{rows}];\n"),
    )?;
    writer.head(
        "use document::schema::{Field, Kind, ListType, Message, ProtoField, ProtoKind, Shape, Type, Zero};\n\nconst F: Field = Field::PLAIN;\nconst P: ProtoField = ProtoField::PLAIN;\n",
    );
    Ok(())
}

fn members(v: &Value) -> impl Iterator<Item = (&str, &Value)> {
    v.as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v))
}

fn list(v: &Value) -> impl Iterator<Item = &Value> {
    v.as_array().into_iter().flatten()
}

fn text(v: &Value) -> &str {
    v.as_str().unwrap_or_default()
}

fn messages(reference: &Reference) -> HashMap<&str, (&str, &Value)> {
    members(&reference.messages).map(|(name, m)| (text(&m["go"]), (name, m))).collect()
}

/// What is reachable from the kinds that are stored as protobuf.
fn stored(reference: &Reference) -> BTreeSet<&str> {
    let in_protobuf = |t: &Value| {
        list(&t["gvk"]).any(|gvk| {
            list(&reference.resources["resources"]).any(|r| {
                (&r["group"], &r["version"], &r["kind"]) == (&gvk[0], &gvk[1], &gvk[2])
                    && text(&r["storage"]["encoding"]) == "protobuf"
            })
        })
    };
    let mut found = BTreeSet::new();
    let mut todo: Vec<&str> = members(&reference.types).filter(|(_, t)| in_protobuf(t)).map(|(n, _)| n).collect();
    while let Some(name) = todo.pop() {
        if found.insert(name) {
            let fields = list(&reference.types[name]["f"]);
            todo.extend(fields.filter_map(|f| text(&f["t"]).split_once('@')).map(|(_, t)| t));
        }
    }
    found
}

impl Context<'_> {
    fn type_(&self, name: &str) -> Result<String> {
        let t = &self.reference.types[name];
        let mut out = format!("pub(crate) static {}: Type = Type {{\n    name: {},\n", ident(name), string(name));
        match t["t"].as_str() {
            Some(alias) => out.push_str(&format!("    shape: Shape::Alias({}),\n", kind(alias)?)),
            None => {
                out.push_str("    shape: Shape::Struct(&[\n");
                for f in list(&t["f"]) {
                    out.push_str(&format!("        {},\n", self.field(name, f)?));
                }
                out.push_str("    ]),\n");
            }
        }
        let gvks: Vec<String> = list(&t["gvk"])
            .map(|g| format!("({}, {}, {})", string(text(&g[0])), string(text(&g[1])), string(text(&g[2]))))
            .collect();
        out.push_str(&format!("    gvk: &[{}],\n    atomic: {},\n", gvks.join(", "), text(&t["map"]) == "atomic"));
        out.push_str(&format!("    message: {},\n}};\n", self.message(name)?));
        Ok(out)
    }

    fn field(&self, owner: &str, f: &Value) -> Result<String> {
        let mut parts = vec![format!("name: {}", string(text(&f["n"])))];
        let kind = kind(text(&f["t"]))?;
        if kind != "Kind::String" {
            parts.push(format!("kind: {kind}"));
        }
        if let Some(go) = f["go"].as_str() {
            parts.push(format!("go: {}", string(go)));
        }
        for (key, member) in [("ptr", "pointer"), ("oe", "omit_empty"), ("req", "required")] {
            if f[key] == Value::Bool(true) {
                parts.push(format!("{member}: true"));
            }
        }
        if let Some(zero) = f["z"].as_str() {
            parts.push(format!("zero: Zero::{}", self.zero(owner, zero)?));
        }
        if f["enum"].is_array() {
            parts.push(format!("enumeration: {}", strings(&f["enum"])));
        }
        match text(&f["list"]) {
            "" => {}
            "atomic" => parts.push("list: ListType::Atomic".into()),
            "set" => parts.push("list: ListType::Set".into()),
            "map" => parts.push("list: ListType::Map".into()),
            other => bail!("list type {other}"),
        }
        if f["keys"].is_array() {
            parts.push(format!("keys: {}", strings(&f["keys"])));
        }
        if text(&f["map"]) == "atomic" {
            parts.push("atomic: true".into());
        }
        for (key, member) in [("ps", "patch_strategy"), ("pk", "patch_merge_key")] {
            if let Some(v) = f[key].as_str() {
                parts.push(format!("{member}: {}", string(v)));
            }
        }
        Ok(format!("Field {{ {}, ..F }}", parts.join(", ")))
    }

    fn zero(&self, owner: &str, zero: &str) -> Result<&'static str> {
        Ok(match zero {
            "{}" => "Struct",
            "null" if self.stored.contains(owner) => "Null",
            "null" => "NullKept",
            "\"\"" => "EmptyString",
            "0" => "Number",
            "false" => "False",
            "\"0\"" => "Quantity",
            "\"0s\"" => "Duration",
            other => bail!("zero {other}"),
        })
    }

    fn message(&self, type_: &str) -> Result<String> {
        let Some((name, m)) = self.messages.get(type_).filter(|(_, m)| m["special"].is_null()) else {
            return Ok("None".into());
        };
        let mut fields: Vec<&Value> = list(&m["f"]).collect();
        fields.sort_by_key(|f| f["n"].as_u64());
        let mut out = format!("Some(&Message {{ name: {}, fields: &[\n", string(name));
        for f in fields {
            out.push_str(&format!("        {},\n", self.proto_field(f)?));
        }
        out.push_str("    ] })");
        Ok(out)
    }

    fn proto_field(&self, f: &Value) -> Result<String> {
        let mut kind = self.proto_kind(text(&f["t"]))?;
        if f["map"].is_string() {
            kind = format!("ProtoKind::Map(&{kind})");
        }
        let json = match &f["j"] {
            Value::String(j) => j.as_str(),
            Value::Null if f.get("j").is_some() => "",
            _ if f["inl"] == Value::Bool(true) => "",
            _ => text(&f["f"]),
        };
        let mut parts = vec![format!("number: {}", f["n"])];
        if kind != "ProtoKind::String" {
            parts.push(format!("kind: {kind}"));
        }
        parts.push(format!("json: {}", string(json)));
        for (set, member) in [
            (f["rep"] == Value::Bool(true), "repeated"),
            (f["inl"] == Value::Bool(true), "inline"),
            (f["w"] == "always", "always"),
        ] {
            if set {
                parts.push(format!("{member}: true"));
            }
        }
        Ok(format!("ProtoField {{ {}, ..P }}", parts.join(", ")))
    }

    fn proto_kind(&self, t: &str) -> Result<String> {
        let Some(name) = t.strip_prefix('@') else {
            return Ok(match t {
                "string" => "ProtoKind::String",
                "bytes" => "ProtoKind::Bytes",
                "bool" => "ProtoKind::Bool",
                "int32" => "ProtoKind::Int32",
                "int64" => "ProtoKind::Int64",
                "double" => "ProtoKind::Double",
                other => bail!("protobuf type {other}"),
            }
            .into());
        };
        let m = &self.reference.messages[name];
        match m["special"].as_str() {
            Some("items") => Ok("ProtoKind::Items".into()),
            Some(special) => Ok(format!("ProtoKind::{}", capital(special))),
            None => Ok(format!("ProtoKind::Ref(&{})", ident(text(&m["go"])))),
        }
    }
}

/// The `Kind` of a type's spelling.
fn kind(t: &str) -> Result<String> {
    if let Some(item) = t.strip_prefix("[]") {
        return Ok(format!("Kind::List(&{})", kind(item)?));
    }
    if let Some(value) = t.strip_prefix("{}") {
        return Ok(format!("Kind::Map(&{})", kind(value)?));
    }
    if let Some(name) = t.strip_prefix('@') {
        return Ok(format!("Kind::Ref(&{})", ident(name)));
    }
    match t {
        "string"
        | "bool"
        | "int32"
        | "int64"
        | "float64"
        | "bytes"
        | "any"
        | "time"
        | "microTime"
        | "duration"
        | "quantity"
        | "intOrString"
        | "rawExtension"
        | "fieldsV1"
        | "json"
        | "jsonSchemaPropsOrBool"
        | "jsonSchemaPropsOrArray"
        | "jsonSchemaPropsOrStringArray" => Ok(format!("Kind::{}", capital(t))),
        other => bail!("type {other}"),
    }
}

fn capital(t: &str) -> String {
    let mut chars = t.chars();
    chars.next().map(|c| c.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}
