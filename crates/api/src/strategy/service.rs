//! Services: the empty load balancer status, and what an update takes over from the old Service. Addresses and node
//! ports themselves are allocated by the registry (`Need::ServiceAddresses`).

use document::{Value, doc};

use super::Need;

pub(super) fn create(service: &mut Value) -> Vec<Need> {
    service.set("status", doc!({"loadBalancer": {}}));
    let spec = service.entry("spec");
    if !spec["clusterIP"].str().is_empty() && spec["clusterIPs"].is_empty() {
        let ip = spec["clusterIP"].clone();
        spec.set("clusterIPs", vec![ip]);
    }
    vec![Need::ServiceAddresses]
}

pub(super) fn update(new: &mut Value, old: &Value) -> Vec<Need> {
    follow_cluster_ip(new.entry("spec"), &old["spec"]);
    copy_unset(new, old);
    wipe_unneeded(new, old);
    if new["spec"]["type"].str() != "LoadBalancer" {
        new.entry("status").set("loadBalancer", Value::map());
    }
    vec![Need::ServiceAddresses]
}

/// `clusterIPs` follows `clusterIP` when only the latter was changed.
fn follow_cluster_ip(new: &mut Value, old: &Value) {
    if new["clusterIP"].str().is_empty() && new["clusterIPs"].is_empty() || new["clusterIP"] == old["clusterIP"] {
        if new["clusterIPs"].is_empty() && !new["clusterIP"].str().is_empty() {
            let ip = new["clusterIP"].clone();
            new.set("clusterIPs", vec![ip]);
        }
        return;
    }
    if new["clusterIPs"] == old["clusterIPs"] || new["clusterIPs"].is_empty() {
        match new["clusterIP"].str() {
            "" => drop(new.remove("clusterIPs")),
            ip => {
                let mut ips = new["clusterIPs"].items().to_vec();
                ips.truncate(1);
                ips.splice(0..ips.len(), [Value::from(ip)]);
                new.set("clusterIPs", ips);
            }
        }
    }
}

fn needs_cluster_ip(service: &Value) -> bool {
    matches!(service["spec"]["type"].str(), "ClusterIP" | "NodePort" | "LoadBalancer")
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

fn copy_node_ports(new: &mut Value, old: &Value) {
    let taken: Vec<i64> = new["spec"]["ports"].items().iter().filter_map(|p| p["nodePort"].as_i64()).collect();
    let Some(ports) = new.entry("spec").get_mut("ports").and_then(Value::as_list_mut) else { return };
    for port in ports.iter_mut().filter(|p| p["nodePort"].as_i64().unwrap_or_default() == 0) {
        let same = |p: &&Value| p["protocol"].str() == port["protocol"].str() && p["port"] == port["port"];
        let found = old["spec"]["ports"].items().iter().find(same).and_then(|p| p["nodePort"].as_i64());
        if let Some(number) = found.filter(|n| *n != 0 && !taken.contains(n)) {
            port.set("nodePort", number);
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
    wipe(|s| matches!(s["spec"]["type"].str(), "NodePort" | "LoadBalancer"), &["externalTrafficPolicy"]);
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
