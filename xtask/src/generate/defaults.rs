//! Defaulting steps. Feature gates are decided here: what a gate switches off is not written.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde_json::Value;

use super::rust::{literal, literals, string, strings, upper_snake};
use super::{Reference, Writer};

/// Statics by kind (`v1/Pod` → `DEFAULTS_V1_POD`).
pub(super) type Statics = BTreeMap<String, String>;

pub(super) fn write(reference: &Reference, writer: &mut Writer) -> Result<Statics> {
    let mut functions = String::new();
    for (name, operations) in reference.defaults["functions"].as_object().into_iter().flatten() {
        functions.push_str(&format!("pub(crate) static {}: &[Operation] = &[\n", function_ident(name)));
        for o in operations.as_array().into_iter().flatten() {
            if let Some(text) = operation(reference, o)? {
                functions.push_str(&format!("    {text},\n"));
            }
        }
        functions.push_str("];\n");
    }
    writer.module("default_functions", "defaulting functions", &functions)?;

    let mut statics = Statics::new();
    let mut kinds = String::new();
    for (kind, steps) in reference.defaults["kinds"].as_object().into_iter().flatten() {
        let ident = format!("DEFAULTS_{}", upper_snake(kind));
        kinds.push_str(&format!("pub(crate) static {ident}: &[Step] = &[\n"));
        for s in steps.as_array().into_iter().flatten() {
            let run = match s["fn"].as_str() {
                Some(f) => format!("Run::Function({})", function_ident(f)),
                None => format!("Run::Default({})", literal(&s["default"])),
            };
            kinds.push_str(&format!("    Step {{ at: {}, run: {run} }},\n", path(&s["at"])?));
        }
        if kind == "apps/v1/StatefulSet" {
            // protobuf storage drops them and upstream's conversion puts them back
            kinds.push_str("    Step { at: &[N(\"spec\"), N(\"volumeClaimTemplates\"), I, N(\"kind\")], run: Run::Default(Literal::String(\"PersistentVolumeClaim\")) },\n");
            kinds.push_str("    Step { at: &[N(\"spec\"), N(\"volumeClaimTemplates\"), I, N(\"apiVersion\")], run: Run::Default(Literal::String(\"v1\")) },\n");
        }
        kinds.push_str("];\n");
        statics.insert(kind.clone(), ident);
    }
    kinds.push_str("pub(crate) static DEFAULTS: &[(&str, &[Step])] = &[\n");
    for (kind, ident) in &statics {
        kinds.push_str(&format!("    ({}, {ident}),\n", string(kind)));
    }
    kinds.push_str("];\n");
    writer.module("defaults", "defaulting of each kind, and an index by apiVersion/kind", &kinds)?;
    writer.head(
        "use document::default::{Action, Condition, Literal, Operation, Run, Segment, Special, Step, To, When};\nuse Segment::{Items as I, Name as N, Values as V};\n",
    );
    Ok(statics)
}

fn function_ident(name: &str) -> String {
    upper_snake(&name.replace("SetDefaults_", "default_"))
}

fn path(v: &Value) -> Result<String> {
    let Some(text) = v.as_str() else { bail!("path {v}") };
    let mut segments = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(r) = rest.strip_prefix("[*]") {
            segments.push("I".to_owned());
            rest = r;
        } else if let Some(r) = rest.strip_prefix("{*}") {
            segments.push("V".to_owned());
            rest = r;
        } else if let Some(r) = rest.strip_prefix("[\"") {
            let Some((name, r)) = r.split_once("\"]") else { bail!("path {text}") };
            segments.push(format!("N({})", string(name)));
            rest = r;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[', '{']).unwrap_or(rest.len());
            segments.push(format!("N({})", string(&rest[..end])));
            rest = &rest[end..];
        }
    }
    Ok(format!("&[{}]", segments.join(", ")))
}

/// `None` when a gate switches the operation off.
fn operation(reference: &Reference, o: &Value) -> Result<Option<String>> {
    let conditions = match &o["if"] {
        Value::Null => String::new(),
        c => match condition(reference, c)? {
            Decided::Known(true) => String::new(),
            Decided::Known(false) => return Ok(None),
            Decided::Open(text) => text,
        },
    };
    Ok(Some(format!("Operation {{ action: {}, conditions: &[{conditions}] }}", action(o)?)))
}

fn action(o: &Value) -> Result<String> {
    if !o["set"].is_null() {
        return Ok(format!("Action::Set {{ path: {}, to: {}, when: {} }}", path(&o["set"])?, to(&o["to"])?, when(o)?));
    }
    if !o["clear"].is_null() {
        return Ok(format!("Action::Clear({})", path(&o["clear"])?));
    }
    if !o["fill"].is_null() {
        return Ok(format!("Action::Fill {{ path: {}, from: {} }}", path(&o["fill"])?, path(&o["from"])?));
    }
    if !o["merge"].is_null() {
        return Ok(format!("Action::Merge {{ path: {}, over: {} }}", path(&o["merge"])?, literal(&o["over"])));
    }
    if !o["roundUp"].is_null() {
        return Ok(format!("Action::RoundUp {{ path: {}, scale: {} }}", path(&o["roundUp"])?, o["scale"]));
    }
    Ok(match o["fn"].as_str() {
        Some("podIPs") => "Action::Special(Special::PodIps)",
        Some("crdStoredVersions") => "Action::Special(Special::StoredVersions)",
        Some("podLevelResources") => "Action::Special(Special::PodLevelResources)",
        _ => bail!("operation {o}"),
    }
    .into())
}

fn to(v: &Value) -> Result<String> {
    if let Some(m) = v.as_object().filter(|m| m.len() == 1) {
        if let Some(p) = m.get("from") {
            return Ok(format!("To::From({})", path(p)?));
        }
        if let Some(p) = m.get("lower") {
            return Ok(format!("To::Lower({})", path(p)?));
        }
        if let Some(c) = m.get("concat") {
            return Ok(format!("To::Concat({}, {})", path(&c[0])?, string(c[1].as_str().unwrap_or_default())));
        }
        if m.contains_key("now") {
            return Ok("To::Now".into());
        }
    }
    Ok(format!("To::Literal({})", literal(v)))
}

fn when(o: &Value) -> Result<String> {
    if o["force"] == Value::Bool(true) {
        return Ok("When::Always".into());
    }
    if let Some(values) = o["unset"].as_array() {
        return Ok(format!("When::OneOf({})", literals(values)));
    }
    Ok(match o["when"].as_str() {
        None => "When::Unset",
        Some("empty") => "When::Empty",
        Some("nil") => "When::Nil",
        Some(other) => bail!("when {other}"),
    }
    .into())
}

enum Decided {
    Known(bool),
    Open(String),
}

fn condition(reference: &Reference, c: &Value) -> Result<Decided> {
    let Some((op, arg)) = c.as_object().and_then(|m| m.iter().next()) else { bail!("condition {c}") };
    let all = |list: &Value| -> Result<Vec<Decided>> {
        list.as_array().into_iter().flatten().map(|c| condition(reference, c)).collect()
    };
    Ok(Decided::Open(match op.as_str() {
        "eq" => format!("Condition::Equal({}, {})", path(&arg[0])?, literal(&arg[1])),
        "in" => {
            format!("Condition::In({}, {})", path(&arg[0])?, literals(arg[1].as_array().map_or(&[], Vec::as_slice)))
        }
        "has" => format!("Condition::Has({})", path(arg)?),
        "lacks" => format!("Condition::Lacks({})", path(arg)?),
        "lt" => format!("Condition::Less({}, {})", path(&arg[0])?, arg[1]),
        "imageTag" => {
            format!("Condition::ImageTag({}, {})", path(&arg[0])?, string(arg[1].as_str().unwrap_or_default()))
        }
        "noneOf" => format!("Condition::NoneOf({})", member_names(reference, arg)),
        "gate" => {
            let Some(on) = reference.features["gates"][arg.as_str().unwrap_or_default()][1].as_bool() else {
                bail!("feature {arg}")
            };
            return Ok(Decided::Known(on));
        }
        "not" => match condition(reference, arg)? {
            Decided::Known(b) => return Ok(Decided::Known(!b)),
            Decided::Open(c) => format!("Condition::Not(&{c})"),
        },
        "all" => return Ok(joined("All", all(arg)?, true)),
        "any" => return Ok(joined("Any", all(arg)?, false)),
        other => bail!("condition {other}"),
    }))
}

/// All or any of them, without those that are already decided (`neutral`).
fn joined(name: &str, parts: Vec<Decided>, neutral: bool) -> Decided {
    let mut open = Vec::new();
    for p in parts {
        match p {
            Decided::Known(b) if b == neutral => {}
            Decided::Known(b) => return Decided::Known(b),
            Decided::Open(c) => open.push(c),
        }
    }
    match open.len() {
        0 => Decided::Known(neutral),
        1 => Decided::Open(open.remove(0)),
        _ => Decided::Open(format!("Condition::{name}(&[{}])", open.join(", "))),
    }
}

fn member_names(reference: &Reference, type_: &Value) -> String {
    let name = type_.as_str().unwrap_or_default().trim_start_matches('@');
    let names: Vec<Value> =
        reference.types[name]["f"].as_array().into_iter().flatten().map(|f| f["n"].clone()).collect();
    strings(&Value::Array(names))
}
