//! Services.

use std::collections::BTreeSet;

use document::Value;
use meta::field::{Error, Path, Shown};
use meta::names;

use super::address::{legacy_cidr, legacy_ip, parse_sloppy};
use super::check::{Check, each};
use super::shown;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const FAMILY_POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
const ONLY_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";

pub(super) fn create(service: &Value) -> Vec<Error> {
    let mut check = Check::default();
    body(&mut check, service, &Value::Null);
    check.errors
}

pub(super) fn update(subresource: &str, new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    if subresource == "status" {
        balancer_status(&mut check, new, old);
        return check.errors;
    }
    keep_addresses(&mut check, &new["spec"], &old["spec"]);
    keep_families(&mut check, &new["spec"], &old["spec"]);
    let balancer = |s: &Value| s["spec"]["type"].str() == "LoadBalancer";
    let class = &new["spec"]["loadBalancerClass"];
    if balancer(new) && balancer(old) && class != &old["spec"]["loadBalancerClass"] {
        check.invalid(&Path::from("spec.loadBalancerClass"), shown(class), "may not change once set");
    }
    let health = |s: &Value| s["spec"]["healthCheckNodePort"].as_i64().unwrap_or_default();
    if needs_health_check(&new["spec"]) && needs_health_check(&old["spec"]) && health(new) != health(old) {
        check.forbidden(&Path::from("spec.healthCheckNodePort"), "field is immutable");
    }
    body(&mut check, new, old);
    check.errors
}

fn needs_health_check(spec: &Value) -> bool {
    spec["type"].str() == "LoadBalancer" && spec["externalTrafficPolicy"].str() == "Local"
}

fn is_headless(spec: &Value) -> bool {
    spec["clusterIPs"][0].str() == "None"
}

fn keep_addresses(check: &mut Check, new: &Value, old: &Value) {
    if new["type"].str() == "ExternalName"
        || old["type"].str() == "ExternalName"
        || (is_headless(new) && is_headless(old))
    {
        return;
    }
    let path = Path::from("spec.clusterIPs");
    let (now, before) = (new["clusterIPs"].items(), old["clusterIPs"].items());
    let changed = "may not change once set";
    if now.len() == before.len() {
        for (n, _) in now.iter().zip(before).enumerate().filter(|(_, (a, b))| a != b) {
            check.invalid(&path.index(n), shown(&new["clusterIPs"]), changed);
        }
        return;
    }
    if now.is_empty() {
        check.invalid(&path.index(0), shown(&new["clusterIPs"]), "primary clusterIP can not be unset");
    } else if !before.is_empty() && now[0] != before[0] {
        check.invalid(&path.index(0), shown(&new["clusterIPs"]), changed);
    }
    if now.len() == 1 && before.len() > 1 && new["ipFamilyPolicy"].str() != "SingleStack" {
        let detail = "must be set to 'SingleStack' when releasing the secondary clusterIP";
        check.invalid(&Path::from("spec.ipFamilyPolicy"), shown(&new["ipFamilyPolicy"]), detail);
    }
}

/// Families stay, but for a second one that is added or, by the policy, given up.
fn keep_families(check: &mut Check, new: &Value, old: &Value) {
    let external = |spec: &Value| spec["type"].str() == "ExternalName";
    if external(new) || external(old) || is_headless(new) || is_headless(old) {
        return;
    }
    let (now, before) = (new["ipFamilies"].items(), old["ipFamilies"].items());
    let (path, changed) = (Path::from("spec.ipFamilies").index(0), "may not change once set");
    if now.len() == before.len() {
        for _ in now.iter().zip(before).filter(|(a, b)| a != b) {
            check.invalid(&path, shown(&new["ipFamilies"]), changed);
        }
        return;
    }
    if now.len() < before.len() && new["clusterIPs"].is_empty() {
        check.invalid(&path, shown(&new["ipFamilies"]), "primary ipFamily can not be unset");
    }
    if !now.is_empty() && !before.is_empty() && now[0] != before[0] {
        check.invalid(&path, shown(&new["clusterIPs"]), changed);
    }
    if now.len() == 1 && before.len() > 1 && new["ipFamilyPolicy"].str() != "SingleStack" {
        let detail = "must be set to 'SingleStack' when releasing the secondary ipFamily";
        check.invalid(&Path::from("spec.ipFamilyPolicy"), shown(&new["ipFamilyPolicy"]), detail);
    }
}

/// Where a balancer takes traffic.
fn balancer_status(check: &mut Check, new: &Value, old: &Value) {
    let (list, path) = (&new["status"]["loadBalancer"]["ingress"], Path::from("status.loadBalancer.ingress"));
    if new["spec"]["type"].str() != "LoadBalancer" {
        if !list.is_empty() {
            check.forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'");
        }
        return;
    }
    let known = old["status"]["loadBalancer"]["ingress"].items();
    for (at, ingress) in each(list, &path) {
        let (ip, name, mode_at) = (ingress["ip"].str(), ingress["hostname"].str(), at.child("ipMode"));
        if !ip.is_empty()
            && let Some(why) = legacy_ip(ip).filter(|_| !known.iter().any(|k| k["ip"].str() == ip))
        {
            check.invalid(&at.child("ip"), ip, why);
        }
        match ingress["ipMode"].as_str() {
            None if !ip.is_empty() => check.required(&mode_at, "must be specified when `ip` is set"),
            None => {}
            Some(_) if ip.is_empty() => check.forbidden(&mode_at, "may not be specified when `ip` is not set"),
            Some(_) => check.optional_one_of(&mode_at, &ingress["ipMode"], &["Proxy", "VIP"]),
        }
        if !name.is_empty() {
            check.format(&at.child("hostname"), name, &names::dns1123_subdomain(name));
            if parse_sloppy(name).is_some() {
                check.invalid(&at.child("hostname"), name, "must be a DNS name, not an IP address");
            }
        }
    }
}

fn body(check: &mut Check, service: &Value, old: &Value) {
    let (spec, path) = (&service["spec"], Path::root("spec"));
    let kind = spec["type"].str();
    let ports_at = path.child("ports");
    if spec["ports"].is_empty() && !is_headless(spec) && kind != "ExternalName" {
        check.required(&ports_at, "");
    }
    by_type(check, spec, &path);
    let mut seen = BTreeSet::new();
    for (at, port) in each(&spec["ports"], &ports_at) {
        one_port(check, port, spec["ports"].items().len() > 1, &mut seen, &at);
    }
    check.labels(&path.child("selector"), &spec["selector"]);
    affinity(check, spec, &path);
    addresses(check, spec, &old["spec"], &path);
    for (at, ip) in each(&spec["externalIPs"], &path.child("externalIPs")) {
        match legacy_ip(ip.str()) {
            Some(why) => check.invalid(&at, ip.str(), why),
            None => reachable(check, ip.str(), &at),
        }
    }
    check.one_of(&path.child("type"), kind, &TYPES);
    unique_ports(check, spec, &ports_at);
    balancer(check, spec, &path);
    traffic(check, spec, &path);
}

fn by_type(check: &mut Check, spec: &Value, path: &Path) {
    let at = path.child("clusterIPs");
    match spec["type"].str() {
        kind @ ("LoadBalancer" | "NodePort") if is_headless(spec) => {
            check.invalid(&at.index(0), "None", &format!("may not be set to 'None' for {kind} services"));
        }
        "ExternalName" => {
            const DETAIL: &str = "may not be set for ExternalName services";
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !spec[field].is_null() {
                    check.forbidden(&path.child(field), DETAIL);
                }
            }
            let name = spec["externalName"].str();
            let name = name.strip_suffix('.').unwrap_or(name);
            check.named(&path.child("externalName"), name, names::dns1123_subdomain);
        }
        _ => {}
    }
}

fn one_port<'a>(check: &mut Check, port: &'a Value, named: bool, seen: &mut BTreeSet<&'a str>, at: &Path) {
    let name = port["name"].str();
    if named && name.is_empty() {
        check.required(&at.child("name"), "");
    } else if !name.is_empty() {
        check.format(&at.child("name"), name, &names::dns1123_label(name));
        if !seen.insert(name) {
            check.push(Error::duplicate(&at.child("name"), name));
        }
    }
    check.port_number(&at.child("port"), port["port"].as_i64().unwrap_or_default());
    check.one_of(&at.child("protocol"), port["protocol"].str(), &["SCTP", "TCP", "UDP"]);
    check.port(&at.child("targetPort"), &port["targetPort"]);
    if let Some(protocol) = port["appProtocol"].as_str() {
        check.format(&at.child("appProtocol"), protocol, &names::label_key(protocol));
    }
}

fn affinity(check: &mut Check, spec: &Value, path: &Path) {
    check.one_of(&path.child("sessionAffinity"), spec["sessionAffinity"].str(), &["ClientIP", "None"]);
    let (config, at) = (&spec["sessionAffinityConfig"], path.child("sessionAffinityConfig"));
    match spec["sessionAffinity"].str() {
        "None" if !config.is_null() => check.forbidden(&at, "must not be set when session affinity is None"),
        "ClientIP" => {
            let at = at.child("clientIP").child("timeoutSeconds");
            match config["clientIP"]["timeoutSeconds"].as_i64() {
                None => check.required(&at, "when session affinity type is ClientIP"),
                Some(n) if !(1..=86_400).contains(&n) => {
                    check.invalid(&at, n, "must be greater than 0 and less than 86400");
                }
                Some(_) => {}
            }
        }
        _ => {}
    }
}

/// The rules of addresses, families and their policy alone: upstream's allocator asks for them first. An address that
/// the old Service had is not looked at again.
pub(super) fn addresses(check: &mut Check, spec: &Value, old: &Value, path: &Path) {
    if spec["type"].str() == "ExternalName" {
        return;
    }
    let (ips, at) = (&spec["clusterIPs"], path.child("clusterIPs"));
    match (spec["clusterIP"].str(), ips.items()) {
        ("", []) => {}
        ("", _) => check.invalid(&at, shown(ips), "must be empty when `clusterIP` is not specified"),
        (_, []) => check.required(&at, ""),
        (ip, [first, ..]) if first.str() != ip => check.invalid(&at, shown(ips), "first value must match `clusterIP`"),
        _ => {}
    }
    let mut seen = BTreeSet::new();
    for (at, family) in each(&spec["ipFamilies"], &path.child("ipFamilies")) {
        let name = family.str();
        if !["IPv4", "IPv6"].contains(&name) {
            check.push(Error::not_supported(&at, name, &["IPv4", "IPv6"]));
        }
        if !seen.insert(name) {
            check.push(Error::duplicate(&at, name));
        }
    }
    check.optional_one_of(&path.child("ipFamilyPolicy"), &spec["ipFamilyPolicy"], &FAMILY_POLICIES);
    let mut invalid = false;
    for (n, ip) in ips.items().iter().enumerate() {
        if n == 0 && ip.str() == "None" {
            if ips.items().len() > 1 {
                invalid = true;
                check.invalid(&at, shown(ips), "'None' must be the first and only value");
            }
        } else if let Some(why) = legacy_ip(ip.str()).filter(|_| !old["clusterIPs"].items().contains(ip)) {
            invalid = true;
            check.invalid(&at.index(n), ip.str(), why);
        }
    }
    if ips.items().len() > 2 {
        check.invalid(&at, shown(ips), "may only hold up to 2 values");
    }
    if !invalid && !is_headless(spec) {
        families_fit(check, spec, &at);
    }
}

fn families_fit(check: &mut Check, spec: &Value, at: &Path) {
    let ips = spec["clusterIPs"].items();
    let v6 = |ip: &Value| ip.str().contains(':');
    let families: BTreeSet<bool> = ips.iter().map(v6).collect();
    if ips.len() > 1 && families.len() < 2 {
        check.invalid(at, shown(&spec["clusterIPs"]), "may specify no more than one IP for each IP family");
    }
    for (n, (ip, family)) in ips.iter().zip(spec["ipFamilies"].items()).enumerate() {
        let own = if v6(ip) { "IPv6" } else { "IPv4" };
        if ["IPv4", "IPv6"].contains(&family.str()) && family.str() != own {
            let detail = format!("expected an {} value as indicated by `ipFamilies[{n}]`", family.str());
            check.invalid(&at.index(n), ip.str(), &detail);
        }
    }
}

/// An address that traffic from outside can have.
pub(super) fn reachable(check: &mut Check, ip: &str, at: &Path) {
    use std::net::IpAddr;
    let Some(address) = parse_sloppy(ip) else { return check.invalid(at, ip, "must be a valid IP address") };
    if address.is_unspecified() {
        check.invalid(at, ip, &format!("may not be unspecified ({ip})"));
    }
    if address.is_loopback() {
        check.invalid(at, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link_local, multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    if link_local {
        check.invalid(at, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if multicast {
        check.invalid(at, ip, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

fn unique_ports(check: &mut Check, spec: &Value, path: &Path) {
    if spec["type"].str() == "ClusterIP" {
        for (at, _) in each(&spec["ports"], path).filter(|(_, p)| p["nodePort"].as_i64().is_some_and(|n| n != 0)) {
            check.forbidden(&at.child("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    let mut nodes = BTreeSet::new();
    for (at, port) in each(&spec["ports"], path) {
        let Some(number) = port["nodePort"].as_i64().filter(|n| *n != 0) else { continue };
        if !nodes.insert((port["protocol"].str(), number)) {
            check.push(Error::duplicate(&at.child("nodePort"), number));
        }
    }
    let mut ports = BTreeSet::new();
    for (at, port) in each(&spec["ports"], path) {
        let (protocol, number) = (port["protocol"].str(), port["port"].as_i64().unwrap_or_default());
        if !ports.insert((protocol, number)) {
            let protocol = Shown::json_string(protocol).0;
            let value = format!(
                "{{\"Name\":\"\",\"Protocol\":{protocol},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\"NodePort\":0}}"
            );
            check.push(Error::duplicate(&at, Shown::json(value)));
        }
    }
}

fn balancer(check: &mut Check, spec: &Value, path: &Path) {
    let is_balancer = spec["type"].str() == "LoadBalancer";
    let at = path.child("LoadBalancerSourceRanges");
    if !spec["loadBalancerSourceRanges"].is_empty() && !is_balancer {
        check.forbidden(&at, ONLY_BALANCER);
    }
    for (at, range) in each(&spec["loadBalancerSourceRanges"], &at) {
        let range = range.str().trim();
        if let Some(why) = legacy_cidr(range) {
            check.invalid(&at, range, why);
        }
    }
    let allocate = &spec["allocateLoadBalancerNodePorts"];
    if !allocate.is_null() && !is_balancer {
        check.forbidden(&path.child("allocateLoadBalancerNodePorts"), ONLY_BALANCER);
    } else if allocate.is_null() && is_balancer {
        check.required(&Path::root("allocateLoadBalancerNodePorts"), "");
    }
    if let Some(class) = spec["loadBalancerClass"].as_str() {
        let at = path.child("loadBalancerClass");
        if is_balancer {
            check.format(&at, class, &names::label_key(class));
        } else {
            check.forbidden(&at, ONLY_BALANCER);
        }
    }
}

fn traffic(check: &mut Check, spec: &Value, path: &Path) {
    let kind = spec["type"].str();
    let external =
        matches!(kind, "LoadBalancer" | "NodePort") || (kind == "ClusterIP" && !spec["externalIPs"].is_empty());
    let (policy, at) = (spec["externalTrafficPolicy"].str(), path.child("externalTrafficPolicy"));
    if external {
        check.one_of(&at, policy, &["Cluster", "Local"]);
    } else if !policy.is_empty() {
        check.invalid(&at, policy, "may only be set for externally-accessible services");
    }
    let (port, at) = (spec["healthCheckNodePort"].as_i64().unwrap_or_default(), path.child("healthCheckNodePort"));
    match (kind == "LoadBalancer" && policy == "Local", port) {
        (false, 0) => {}
        (false, n) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            check.invalid(&at, n, detail);
        }
        (true, 0) => check.required(&at, ""),
        (true, n) => check.port_number(&at, n),
    }
    let at = path.child("internalTrafficPolicy");
    match spec["internalTrafficPolicy"].as_str() {
        None if matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer") => check.required(&at, ""),
        _ => check.optional_one_of(&at, &spec["internalTrafficPolicy"], &["Cluster", "Local"]),
    }
    let supported = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    check.optional_one_of(&path.child("trafficDistribution"), &spec["trafficDistribution"], &supported);
}
