//! Services and what is around them.

use std::collections::BTreeSet;

use document::Value;

use super::{Cells, Row, format_labels, format_selector, join, name_and_creation, or, plain, shortened};

pub(super) fn function(kind: &str) -> Cells {
    match kind {
        "Ingress" => ingress,
        "IngressClass" => ingress_class,
        "IPAddress" => ip_address,
        "NetworkPolicy" => network_policy,
        "ServiceCIDR" => service_cidr,
        "EndpointSlice" => endpoint_slice,
        _ => name_and_creation,
    }
}

pub(super) fn service(row: &Row<'_>) -> Vec<Value> {
    let spec = &row.object["spec"];
    let ports: Vec<String> = spec["ports"].items().iter().map(service_port).collect();
    vec![
        row.name(),
        spec["type"].str().into(),
        or(&spec["clusterIPs"][0], "<none>").into(),
        external(row.object).into(),
        if ports.is_empty() { "<none>".into() } else { ports.join(",").into() },
        row.age(),
        format_labels(&spec["selector"]).into(),
    ]
}

fn service_port(port: &Value) -> String {
    let (number, protocol) = (port["port"].as_i64().unwrap_or(0), port["protocol"].str());
    match port["nodePort"].as_i64().unwrap_or(0) {
        0 => format!("{number}/{protocol}"),
        node => format!("{number}:{node}/{protocol}"),
    }
}

fn external(service: &Value) -> String {
    let spec = &service["spec"];
    let mut addresses: Vec<&str> = spec["externalIPs"].items().iter().map(Value::str).collect();
    let none = match spec["type"].str() {
        "ClusterIP" | "NodePort" => "<none>",
        "LoadBalancer" => {
            let balancer = ingress_points(&service["status"]["loadBalancer"]);
            return match (balancer.as_str(), addresses.is_empty()) {
                ("", true) => "<pending>".into(),
                ("", false) => addresses.join(","),
                (balancer, _) => {
                    addresses.insert(0, balancer);
                    addresses.join(",")
                }
            };
        }
        "ExternalName" => return spec["externalName"].str().to_owned(),
        _ => return "<unknown>".into(),
    };
    if addresses.is_empty() { none.into() } else { addresses.join(",") }
}

/// Addresses or host names of a load balancer, sorted, each once.
fn ingress_points(balancer: &Value) -> String {
    let points: BTreeSet<&str> = balancer["ingress"]
        .items()
        .iter()
        .map(|i| or(&i["ip"], i["hostname"].str()))
        .filter(|p| !p.is_empty())
        .collect();
    join(points, ",")
}

pub(super) fn endpoints(row: &Row<'_>) -> Vec<Value> {
    let mut list = Vec::new();
    for subset in row.object["subsets"].items() {
        let addresses: Vec<&str> = subset["addresses"].items().iter().map(|a| a["ip"].str()).collect();
        let ports = subset["ports"].items();
        if ports.is_empty() {
            list.extend(addresses.iter().map(|a| (*a).to_owned()));
        }
        for port in ports {
            let port = port["port"].as_i64().unwrap_or(0);
            list.extend(
                addresses.iter().map(|a| if a.contains(':') { format!("[{a}]:{port}") } else { format!("{a}:{port}") }),
            );
        }
    }
    let none = if row.object["subsets"].items().is_empty() { "<none>" } else { "" };
    vec![row.name(), shortened(&list, 3, none).into(), row.age()]
}

fn endpoint_slice(row: &Row<'_>) -> Vec<Value> {
    let port = |p: &Value| match p["port"].as_i64() {
        Some(n) => n.to_string(),
        None => or(&p["name"], "*").to_owned(),
    };
    let ports: Vec<String> = row.object["ports"].items().iter().map(port).collect();
    let endpoints = row.object["endpoints"].items().iter();
    let addresses: Vec<String> = endpoints.flat_map(|e| e["addresses"].items().iter().map(plain)).collect();
    vec![
        row.name(),
        row.object["addressType"].str().into(),
        shortened(&ports, 3, "<unset>").into(),
        shortened(&addresses, 3, "<unset>").into(),
        row.age(),
    ]
}

fn ingress(row: &Row<'_>) -> Vec<Value> {
    let spec = &row.object["spec"];
    vec![
        row.name(),
        or(&spec["ingressClassName"], "<none>").into(),
        hosts(spec["rules"].items()).into(),
        ingress_points(&row.object["status"]["loadBalancer"]).into(),
        if spec["tls"].items().is_empty() { "80".into() } else { "80, 443".into() },
        row.age(),
    ]
}

fn hosts(rules: &[Value]) -> String {
    const MOST: usize = 3;
    let mut list = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= list.len() == MOST;
        if !more && !rule["host"].str().is_empty() {
            list.push(rule["host"].str());
        }
    }
    match (list.is_empty(), more) {
        (true, _) => "*".into(),
        (false, true) => format!("{} + {} more...", list.join(","), rules.len() - MOST),
        (false, false) => list.join(","),
    }
}

fn ingress_class(row: &Row<'_>) -> Vec<Value> {
    let annotations = &row.object["metadata"]["annotations"];
    let default = annotations["ingressclass.kubernetes.io/is-default-class"].str() == "true";
    let name = row.object["metadata"]["name"].str();
    let parameters = &row.object["spec"]["parameters"];
    let text = match (parameters.is_null(), parameters["apiGroup"].as_str()) {
        (true, _) => "<none>".to_owned(),
        (false, Some(group)) => format!("{}.{group}/{}", parameters["kind"].str(), parameters["name"].str()),
        (false, None) => format!("{}/{}", parameters["kind"].str(), parameters["name"].str()),
    };
    let name = if default { format!("{name} (default)") } else { name.to_owned() };
    vec![name.into(), row.object["spec"]["controller"].str().into(), text.into(), row.age()]
}

fn ip_address(row: &Row<'_>) -> Vec<Value> {
    let parent = &row.object["spec"]["parentRef"];
    let text = match (parent.is_null(), parent["namespace"].str()) {
        (true, _) => "<none>".to_owned(),
        (false, namespace) => {
            let resource =
                meta::GroupResource::new(parent["group"].str(), parent["resource"].str()).to_string().to_lowercase();
            let namespace = if namespace.is_empty() { String::new() } else { format!("/{namespace}") };
            format!("{resource}{namespace}/{}", parent["name"].str())
        }
    };
    // one cell more than there are columns, as upstream
    vec![row.name(), text.into(), row.age()]
}

fn network_policy(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), format_selector(&row.object["spec"]["podSelector"]).into(), row.age()]
}

fn service_cidr(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), join(row.object["spec"]["cidrs"].items().iter().map(Value::str), ",").into(), row.age()]
}
