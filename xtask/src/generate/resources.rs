//! The rows of served resources, and the groups in discovery's order.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::defaults::Statics;
use super::rust::{ident, string, strings};
use super::{Reference, Writer};

pub(super) fn write(reference: &Reference, defaults: &Statics, writer: &mut Writer) -> Result<()> {
    let mut rows: Vec<&Value> = list(&reference.resources["resources"]).collect();
    rows.sort_by_key(|r| (text(&r["group"]), text(&r["version"]), text(&r["plural"])));
    let mut out = String::from("pub(crate) static RESOURCES: &[ResourceType] = &[\n");
    for r in rows {
        out.push_str(&row(reference, defaults, r)?);
    }
    out.push_str("];\n");
    writer.module("resources", "one row per served resource, sorted by group, version, plural", &out)?;

    let mut groups =
        String::from("pub(crate) static GROUPS: &[Group] = &[\n    Group { name: \"\", versions: &[\"v1\"] },\n");
    for g in list(&reference.groups["groups"]) {
        let versions: Vec<String> = list(&g["versions"]).map(|v| string(text(&v["version"]))).collect();
        groups.push_str(&format!(
            "    Group {{ name: {}, versions: &[{}] }},\n",
            string(text(&g["name"])),
            versions.join(", ")
        ));
    }
    groups.push_str("];\n");
    let r = &reference.resources;
    for (name, what, names) in [
        ("MUTATE_EVERY_WRITE", "Plugins that see every write, mutating phase.", &r["everyWrite"]["mutate"]),
        ("VALIDATE_EVERY_WRITE", "Plugins that see every write, validating phase.", &r["everyWrite"]["validate"]),
        ("MUTATING_ORDER", "Upstream's order of mutating plugins.", &r["mutatingOrder"]),
        ("VALIDATING_ORDER", "Upstream's order of validating plugins.", &r["validatingOrder"]),
    ] {
        groups.push_str(&format!("/// {what}\npub static {name}: &[&str] = {};\n", strings(names)));
    }
    writer.module("groups", "API groups in discovery's order, admission order", &groups)?;
    writer.head("use crate::resource::*;\n");
    Ok(())
}

fn list(v: &Value) -> impl Iterator<Item = &Value> {
    v.as_array().into_iter().flatten()
}

fn text(v: &Value) -> &str {
    v.as_str().unwrap_or_default()
}

fn row(reference: &Reference, defaults: &Statics, r: &Value) -> Result<String> {
    let (group, version, kind, plural) = (text(&r["group"]), text(&r["version"]), text(&r["kind"]), text(&r["plural"]));
    let type_ =
        type_of(reference, group, version, kind).with_context(|| format!("no type for {group}/{version} {kind}"))?;
    let list_type = type_of(reference, group, version, &format!("{kind}List"));
    let stored = !r["storage"].is_null();
    let mut out = format!(
        "    ResourceType {{\n        group: {}, version: {}, kind: {},\n",
        string(group),
        string(version),
        string(kind)
    );
    let mut line = |name: &str, value: String| out.push_str(&format!("        {name}: {value},\n"));
    line("plural", string(plural));
    line("singular", string(text(&r["singular"])));
    line("short_names", strings(&r["shortNames"]));
    line("categories", strings(&r["categories"]));
    line("namespaced", r["namespaced"].to_string());
    line("verbs", strings(&r["verbs"]));
    line("subresources", subresources(reference, defaults, r)?);
    line("storage", string(&if stored { storage_id(group, plural) } else { String::new() }));
    line("stored", if stored { stored_form(&r["storage"]) } else { "None".into() });
    line("columns", columns(&r["columns"]));
    line("field_selectors", strings(&r["fieldSelectors"]));
    line("field_aliases", aliases(&r["fieldSelectorAlias"]));
    line("name_rule", format!("NameRule::{}", name_rule(r["name"].as_str())?));
    line("strategy", strategy(&r["strategy"])?);
    line("admission", admission(&r["admission"])?);
    line("type_", format!("&{}", ident(type_)));
    line("list_type", list_type.map_or("None".into(), |t| format!("Some(&{})", ident(t))));
    line("defaults", steps(defaults, group, version, kind));
    out.push_str("    },\n");
    Ok(out)
}

fn type_of<'a>(reference: &'a Reference, group: &str, version: &str, kind: &str) -> Option<&'a str> {
    reference.types.as_object()?.iter().find_map(|(name, t)| {
        let hit = list(&t["gvk"]).any(|g| (text(&g[0]), text(&g[1]), text(&g[2])) == (group, version, kind));
        hit.then_some(name.as_str())
    })
}

fn steps(defaults: &Statics, group: &str, version: &str, kind: &str) -> String {
    let key = if group.is_empty() { format!("{version}/{kind}") } else { format!("{group}/{version}/{kind}") };
    defaults.get(&key).cloned().unwrap_or_else(|| "&[]".into())
}

/// Events of both groups are stored as one.
fn storage_id(group: &str, plural: &str) -> String {
    match group {
        "" => plural.to_owned(),
        "events.k8s.io" => "events".to_owned(),
        _ => format!("{plural}.{group}"),
    }
}

fn stored_form(s: &Value) -> String {
    format!(
        "Some(Stored {{ prefix: {}, version: {}, json: {}, hash: {} }})",
        string(text(&s["prefix"])),
        string(text(&s["version"])),
        text(&s["encoding"]) == "json",
        string(text(&s["hash"]))
    )
}

fn subresources(reference: &Reference, defaults: &Statics, r: &Value) -> Result<String> {
    let mut rows = Vec::new();
    for s in list(&r["subresources"]) {
        let (group, version, kind) = (text(&s["kind"][0]), text(&s["kind"][1]), text(&s["kind"][2]));
        let own = if version.is_empty() { (text(&r["group"]), text(&r["version"])) } else { (group, version) };
        let type_ = type_of(reference, own.0, own.1, kind);
        rows.push(format!(
            "\n            Subresource {{ name: {}, group: {}, version: {}, kind: {}, verbs: {}, type_: {}, defaults: {} }}",
            string(text(&s["name"])),
            string(group),
            string(version),
            string(kind),
            strings(&s["verbs"]),
            type_.map_or("None".into(), |t| format!("Some(&{})", ident(t))),
            steps(defaults, own.0, own.1, kind)
        ));
    }
    Ok(format!("&[{}]", rows.join(",")))
}

fn columns(c: &Value) -> String {
    let rows: Vec<String> = list(c)
        .map(|c| {
            format!(
                "\n            Column {{ name: {}, kind: {}, format: {}, priority: {} }}",
                string(text(&c[0])),
                string(text(&c[1])),
                string(text(&c[2])),
                c[3]
            )
        })
        .collect();
    format!("&[{}]", rows.join(","))
}

fn aliases(a: &Value) -> String {
    let rows: Vec<String> = a
        .as_object()
        .into_iter()
        .flatten()
        .map(|(from, to)| format!("({}, {})", string(from), string(text(to))))
        .collect();
    format!("&[{}]", rows.join(", "))
}

fn name_rule(name: Option<&str>) -> Result<&'static str> {
    Ok(match name {
        None => "None",
        Some("pathSegment") => "PathSegment",
        Some("dns1123Subdomain") => "Dns1123Subdomain",
        Some("dns1123Label") => "Dns1123Label",
        Some("canonical IP") => "IpAddress",
        Some(n) if n.contains("spec.version") => "ApiService",
        Some(n) if n.contains("spec.names.plural") => "CustomResourceDefinition",
        Some(n) if n.contains("signerName") => "ClusterTrustBundle",
        Some(n) => bail!("name rule {n}"),
    })
}

fn strategy(s: &Value) -> Result<String> {
    let reset: Vec<String> = s["resetFields"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(endpoint, fields)| format!("({}, {})", string(endpoint), strings(fields)))
        .collect();
    let generation = match &s["generation"] {
        Value::Null => "None".to_owned(),
        g => format!("Some(Generation {{ create: {}, bump: {} }})", g["create"], strings(&g["bump"])),
    };
    let status = match s["statusOnCreate"].as_str() {
        None => "Untouched",
        Some("cleared") => "Cleared",
        Some("kept") => "Kept",
        Some(other) => bail!("statusOnCreate {other}"),
    };
    let gc = match s["gc"].as_str() {
        None | Some("delete") => "Delete",
        Some("orphan") => "Orphan",
        Some("unsupported") => "Unsupported",
        Some(other) => bail!("gc {other}"),
    };
    Ok(format!(
        "Strategy {{ create_on_update: {}, unconditional_update: {}, reset_fields: &[{}], generation: {generation}, status_on_create: StatusOnCreate::{status}, gc: Gc::{gc}, graceful: {} }}",
        s["createOnUpdate"] == Value::Bool(true),
        s["unconditionalUpdate"] == Value::Bool(true),
        reset.join(", "),
        s["graceful"].is_string()
    ))
}

fn admission(a: &Value) -> Result<String> {
    let mut rows = Vec::new();
    for a in list(a) {
        let phase = match text(&a[3]) {
            "mutate" => "Mutate",
            "validate" => "Validate",
            "both" => "Both",
            "warn+audit only" => "Warn",
            other => bail!("phase {other}"),
        };
        rows.push(format!(
            "\n            Admission {{ plugin: {}, subresource: {}, operations: {}, phase: Phase::{phase} }}",
            string(text(&a[0])),
            string(text(&a[1])),
            strings(&a[2])
        ));
    }
    Ok(format!("&[{}]", rows.join(",")))
}
