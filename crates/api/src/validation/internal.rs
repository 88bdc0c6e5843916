//! Structs as upstream's errors print them: JSON of its internal types, with Go's field names and every field.

use document::schema::Shape;
use document::{Field, Kind, Type, Value};
use meta::field::Shown;

use super::push_json;

/// A value of the named type (`io.k8s.api.core.v1.SecurityContext`).
pub(super) fn shown_as(value: &Value, type_name: &str) -> Shown {
    let mut out = String::new();
    match crate::type_by_name(type_name) {
        Some(type_) => push_type(&mut out, value, type_),
        None => push_json(&mut out, value),
    }
    Shown::json(out)
}

fn push_type(out: &mut String, value: &Value, type_: &'static Type) {
    let fields = match type_.shape {
        Shape::Alias(kind) => return push_kind(out, value, kind, false),
        Shape::Struct(_) if type_.name.contains(".apimachinery.") => return push_json(out, value),
        Shape::Struct(fields) => fields,
    };
    out.push('{');
    let mut first = true;
    for field in fields {
        if !type_.gvk.is_empty() && matches!(field.name, "kind" | "apiVersion") {
            // internal objects do not say what they are
            continue;
        }
        if field.name == "metadata" {
            // embedded in Go: its members stand among the others, by their JSON names
            for (name, member) in value["metadata"].members() {
                out.push_str(if std::mem::take(&mut first) { "" } else { "," });
                meta::status::push_json_string(out, name);
                out.push(':');
                push_json(out, member);
            }
            continue;
        }
        out.push_str(if std::mem::take(&mut first) { "\"" } else { ",\"" });
        push_go_name(out, field);
        out.push_str("\":");
        push_kind(out, &value[field.name], field.kind, field.pointer);
    }
    out.push('}');
}

fn push_kind(out: &mut String, value: &Value, kind: Kind, pointer: bool) {
    if value.is_null() && pointer {
        return out.push_str("null");
    }
    match (kind, value) {
        (Kind::Ref(type_), _) => push_type(out, value, type_),
        (Kind::List(item), Value::List(items)) => {
            out.push('[');
            for (n, element) in items.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { "," });
                push_kind(out, element, *item, false);
            }
            out.push(']');
        }
        (Kind::Map(item), Value::Map(map)) => {
            out.push('{');
            for (n, (name, element)) in map.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { "," });
                meta::status::push_json_string(out, name);
                out.push(':');
                push_kind(out, element, *item, false);
            }
            out.push('}');
        }
        (Kind::String | Kind::Duration, Value::Null) => out.push_str("\"\""),
        (Kind::Bool, Value::Null) => out.push_str("false"),
        (Kind::Int32 | Kind::Int64 | Kind::Float64 | Kind::IntOrString, Value::Null) => out.push('0'),
        (Kind::Quantity, Value::Null) => out.push_str("\"0\""),
        _ => push_json(out, value),
    }
}

/// Words that Go writes in capitals: (beginning of the JSON name, of the Go name).
const INITIALS: [(&str, &str); 34] = [
    ("api", "API"),
    ("aws", "AWS"),
    ("ca", "CA"),
    ("cel", "CEL"),
    ("cidr", "CIDR"),
    ("cidrs", "CIDRs"),
    ("csi", "CSI"),
    ("dns", "DNS"),
    ("fc", "FC"),
    ("fs", "FS"),
    ("gce", "GCE"),
    ("gid", "GID"),
    ("gmsa", "GMSA"),
    ("grpc", "GRPC"),
    ("http", "HTTP"),
    ("ip", "IP"),
    ("ips", "IPs"),
    ("iqn", "IQN"),
    ("iscsi", "ISCSI"),
    ("json", "JSON"),
    ("nfs", "NFS"),
    ("os", "OS"),
    ("pd", "PD"),
    ("qos", "QOS"),
    ("rbd", "RBD"),
    ("seLinux", "SELinux"),
    ("ssl", "SSL"),
    ("tcp", "TCP"),
    ("tls", "TLS"),
    ("ttl", "TTL"),
    ("tty", "TTY"),
    ("uid", "UID"),
    ("url", "URL"),
    ("wwids", "WWIDs"),
];
/// Names that follow no rule.
const WHOLE: [(&str, &str); 3] = [("cephfs", "CephFS"), ("pdID", "PdID"), ("storageos", "StorageOS")];

fn push_go_name(out: &mut String, field: &Field) {
    if !field.go.is_empty() {
        return out.push_str(field.go);
    }
    if let Some((_, go)) = WHOLE.iter().find(|(json, _)| *json == field.name) {
        return out.push_str(go);
    }
    let boundary = |rest: &str| rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_uppercase());
    for (json, go) in INITIALS {
        if let Some(rest) = field.name.strip_prefix(json).filter(|r| boundary(r)) {
            out.push_str(go);
            return out.push_str(rest);
        }
    }
    let mut letters = field.name.chars();
    out.extend(letters.next().map(|c| c.to_ascii_uppercase()));
    out.push_str(letters.as_str());
}
