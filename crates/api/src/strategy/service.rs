//! Services: the empty load balancer status, and what an update takes over from the old Service. Addresses and node
//! ports themselves are allocated by the registry.

use document::{Value, doc};

pub(super) fn begin(new: &mut Value, old: Option<&Value>) {
    if let Some(old) = old {
        copy_unset(new, old);
        follow_cluster_ip(new.entry("spec"), &old["spec"]);
    } else if !new["spec"]["clusterIP"].str().is_empty() && new["spec"]["clusterIPs"].is_empty() {
        let ip = new["spec"]["clusterIP"].clone();
        new.entry("spec").set("clusterIPs", vec![ip]);
    }
}

pub(super) fn create(service: &mut Value) {
    service.set("status", doc!({"loadBalancer": {}}));
    no_internal_policy(service);
}

/// A name outside has no traffic in the cluster, whatever was asked for.
fn no_internal_policy(service: &mut Value) {
    let spec = &service["spec"];
    if spec["type"].str() == "ExternalName" && matches!(spec["internalTrafficPolicy"].str(), "Cluster" | "Local") {
        service.entry("spec").remove("internalTrafficPolicy");
    }
}

pub(super) fn update(new: &mut Value, old: &Value) {
    wipe_unneeded(new, old);
    no_internal_policy(new);
    if new["spec"]["type"].str() != "LoadBalancer" {
        new.entry("status").set("loadBalancer", Value::map());
    }
}

/// `clusterIPs` follows `clusterIP` when only the latter was changed.
fn follow_cluster_ip(new: &mut Value, old: &Value) {
    let unset = |value: &Value| value.is_empty();
    if !unset(&old["clusterIPs"]) && unset(&new["clusterIPs"]) && old["clusterIP"] == new["clusterIP"] {
        new.set("clusterIPs", old["clusterIPs"].clone());
    }
    let same = new["clusterIPs"] == old["clusterIPs"] || (unset(&new["clusterIPs"]) && unset(&old["clusterIPs"]));
    if old["clusterIP"].str() == new["clusterIP"].str() || !same {
        return;
    }
    match new["clusterIP"].str().to_owned() {
        ip if ip.is_empty() => drop(new.remove("clusterIPs")),
        ip => new.set("clusterIPs", doc!([(ip.as_str())])),
    }
}

fn needs_cluster_ip(service: &Value) -> bool {
    service["spec"]["type"].str() != "ExternalName"
}

fn needs_node_port(service: &Value) -> bool {
    let spec = &service["spec"];
    match spec["type"].str() {
        "NodePort" => true,
        "LoadBalancer" => spec["allocateLoadBalancerNodePorts"].as_bool() != Some(false),
        _ => false,
    }
}

fn needs_health_port(service: &Value) -> bool {
    service["spec"]["type"].str() == "LoadBalancer" && service["spec"]["externalTrafficPolicy"].str() == "Local"
}

/// Can traffic from outside reach it?
fn is_external(service: &Value) -> bool {
    let spec = &service["spec"];
    match spec["type"].str() {
        "NodePort" | "LoadBalancer" => true,
        kind => kind == "ClusterIP" && !spec["externalIPs"].is_empty(),
    }
}

fn copy_unset(new: &mut Value, old: &Value) {
    if needs_cluster_ip(old) && needs_cluster_ip(new) {
        for name in ["clusterIP", "clusterIPs"] {
            if new["spec"][name].is_empty() && !old["spec"][name].is_empty() {
                new.entry("spec").set(name, old["spec"][name].clone());
            }
        }
    }
    if needs_node_port(old) && needs_node_port(new) {
        copy_node_ports(new, old);
    }
    let health = &old["spec"]["healthCheckNodePort"];
    if needs_health_port(old)
        && needs_health_port(new)
        && new["spec"]["healthCheckNodePort"].is_null()
        && !health.is_null()
    {
        new.entry("spec").set("healthCheckNodePort", health.clone());
    }
}

/// A port that names no node port keeps the one that the port of the same name had, unless another has it now.
fn copy_node_ports(new: &mut Value, old: &Value) {
    let node = |port: &Value| port["nodePort"].as_i64().unwrap_or_default();
    let asked: Vec<i64> = new["spec"]["ports"].items().iter().map(node).collect();
    let before = old["spec"]["ports"].items();
    let Some(ports) = new.entry("spec").get_mut("ports").and_then(Value::as_list_mut) else { return };
    for port in ports.iter_mut().filter(|p| node(p) == 0) {
        let found = before.iter().rev().find(|p| p["name"].str() == port["name"].str()).map_or(0, node);
        if found != 0 && !asked.contains(&found) {
            port.set("nodePort", found);
        }
    }
}

/// Fields that no longer fit the type go when the request left them as they were.
fn wipe_unneeded(new: &mut Value, old: &Value) {
    let mut wipe = |needed: fn(&Value) -> bool, names: &[&'static str]| {
        if needed(old) && !needed(new) && names.iter().all(|n| new["spec"][*n] == old["spec"][*n]) {
            names.iter().for_each(|n| drop(new.entry("spec").remove(n)));
        }
    };
    wipe(needs_cluster_ip, &["clusterIP", "clusterIPs"]);
    wipe(needs_cluster_ip, &["ipFamilies"]);
    wipe(needs_cluster_ip, &["ipFamilyPolicy"]);
    wipe(needs_health_port, &["healthCheckNodePort"]);
    wipe(|s| s["spec"]["type"].str() == "LoadBalancer", &["allocateLoadBalancerNodePorts"]);
    wipe(|s| s["spec"]["type"].str() == "LoadBalancer", &["loadBalancerClass"]);
    wipe(is_external, &["externalTrafficPolicy"]);
    if needs_node_port(old) && !needs_node_port(new) {
        let before: Vec<Value> = old["spec"]["ports"].items().to_vec();
        let ports = new.entry("spec").get_mut("ports").and_then(Value::as_list_mut);
        for port in ports.into_iter().flatten() {
            if before.iter().any(|p| p["nodePort"] == port["nodePort"] && p["port"] == port["port"]) {
                port.remove("nodePort");
            }
        }
    }
}
