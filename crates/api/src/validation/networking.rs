//! Ingresses, NetworkPolicies, IngressClasses, Endpoints and EndpointSlices.

use std::collections::BTreeSet;

use document::Value;
use meta::field::{Error, Path, Shown};
use meta::names;

use super::address::{legacy_cidr, legacy_ip, network, parse_cidr, parse_sloppy};
use super::batch::domain_prefixed_path;
use super::check::{Check, each, same};
use super::service::reachable;
use super::shown;

const CLASS: &str = "kubernetes.io/ingress.class";

/// Where an Ingress can be reached.
pub(super) fn ingress_status(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let balancer = &object["status"]["loadBalancer"];
    for (at, entry) in each(&balancer["ingress"], &Path::from("status.loadBalancer.ingress")) {
        let (ip, name) = (entry["ip"].str(), entry["hostname"].str());
        if let Some(why) = legacy_ip(ip).filter(|_| !ip.is_empty()) {
            check.invalid(&at.child("ip"), ip, why);
        }
        if !name.is_empty() {
            check.format(&at.child("hostname"), name, &names::dns1123_subdomain(name));
            if parse_sloppy(name).is_some() {
                check.invalid(&at.child("hostname"), name, "must be a DNS name, not an IP address");
            }
        }
    }
    check.errors
}

pub(super) fn ingress(object: &Value, create: bool) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let default = &spec["defaultBackend"];
    if spec["rules"].is_empty() && default.is_null() {
        check.invalid(&path, Shown::null(), "either `defaultBackend` or `rules` must be specified");
    }
    if !default.is_null() {
        backend(&mut check, default, &path.child("defaultBackend"));
    }
    for (at, rule) in each(&spec["rules"], &path.child("rules")) {
        host(&mut check, rule["host"].str(), &at.child("host"));
        if let Some(http) = rule.get("http").filter(|h| !h.is_null()) {
            paths(&mut check, http, &at.child("http").child("paths"));
        }
    }
    for (at, tls) in each(&spec["tls"], &path.child("tls")) {
        for (at, name) in each(&tls["hosts"], &at.child("hosts")) {
            dns_name(&mut check, name.str(), &at);
        }
        let secret = tls["secretName"].str();
        if !secret.is_empty() {
            check.format(&at.child("secretName"), secret, &names::dns1123_subdomain(secret));
        }
    }
    if let Some(class) = spec["ingressClassName"].as_str() {
        check.format(&path.child("ingressClassName"), class, &names::dns1123_subdomain(class));
        let annotation = object["metadata"]["annotations"].get(CLASS).map(Value::str);
        if let Some(other) = annotation.filter(|a| create && *a != class) {
            // Upstream forgets `metadata` here.
            let at = Path::root("annotations").child(CLASS);
            check.invalid(&at, other, "must match `ingressClassName` when both are specified");
        }
    }
    check.errors
}

fn dns_name(check: &mut Check, name: &str, at: &Path) {
    let wrong = if name.contains('*') { names::wildcard_subdomain(name) } else { names::dns1123_subdomain(name) };
    check.format(at, name, &wrong);
}

fn host(check: &mut Check, name: &str, at: &Path) {
    if name.is_empty() {
        return;
    }
    if parse_sloppy(name).is_some() {
        check.invalid(at, name, "must be a DNS name, not an IP address");
    }
    dns_name(check, name, at);
}

fn paths(check: &mut Check, http: &Value, path: &Path) {
    if http["paths"].is_empty() {
        return check.required(path, "");
    }
    for (at, one) in each(&http["paths"], path) {
        let (kind, text, text_at) = (one["pathType"].as_str(), one["path"].str(), at.child("path"));
        match kind {
            None => {
                check.required(&at.child("pathType"), "pathType must be specified");
                continue;
            }
            Some("Exact" | "Prefix") => exact_path(check, text, &text_at),
            Some("ImplementationSpecific") => {
                if !text.is_empty() && !text.starts_with('/') {
                    check.invalid(&text_at, text, "must be an absolute path");
                }
            }
            Some(other) => {
                let supported = ["Exact", "ImplementationSpecific", "Prefix"];
                check.push(Error::not_supported(&at.child("pathType"), other, &supported));
            }
        }
        backend(check, &one["backend"], &at.child("backend"));
    }
}

fn exact_path(check: &mut Check, text: &str, at: &Path) {
    if !text.starts_with('/') {
        check.invalid(at, text, "must be an absolute path");
    }
    for part in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|p| text.contains(**p)) {
        check.invalid(at, text, &format!("must not contain '{part}'"));
    }
    for end in ["/..", "/."].iter().filter(|e| text.ends_with(**e)) {
        check.invalid(at, text, &format!("cannot end with '{end}'"));
    }
}

fn backend(check: &mut Check, backend: &Value, at: &Path) {
    let (service, resource) =
        (backend.get("service").filter(|s| !s.is_null()), backend.get("resource").filter(|r| !r.is_null()));
    match (service, resource) {
        (Some(_), Some(_)) => check.invalid(at, "", "cannot set both resource and service backends"),
        (None, None) => check.invalid(at, "", "resource or service backend is required"),
        (None, Some(resource)) => {
            let at = at.child("resource");
            for field in ["kind", "name"] {
                match resource[field].str() {
                    "" => check.required(&at.child(field), ""),
                    value => check.format(&at.child(field), value, &names::path_segment(value)),
                }
            }
        }
        (Some(service), None) => {
            check.named(&at.child("service").child("name"), service["name"].str(), names::dns1123_label);
            let (name, number) =
                (service["port"]["name"].str(), service["port"]["number"].as_i64().unwrap_or_default());
            let port_at = at.child("service").child("port");
            match (name.is_empty(), number) {
                (true, 0) => check.required(at, "port name or number is required"),
                (false, n) if n != 0 => check.invalid(at, "", "cannot set both port name & port number"),
                (false, _) => check.format(&port_at.child("name"), name, &names::port_name(name)),
                (true, n) => check.port_number(&port_at.child("number"), n),
            }
        }
    }
}

pub(super) fn ingress_class(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let mut late = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let controller = spec["controller"].str();
    if controller.len() > 250 {
        check.push(Error::too_long_bytes(&path.child("controller"), 250));
    }
    domain_prefixed_path(&mut check, controller, &path.child("controller"));
    if let Some(parameters) = spec.get("parameters").filter(|p| !p.is_null()) {
        let at = path.child("parameters");
        let namespace = parameters["namespace"].str();
        if let Some(group) = parameters["apiGroup"].as_str() {
            check.format(&at.child("apiGroup"), group, &names::dns1123_subdomain(group));
        }
        for field in ["kind", "name"] {
            match parameters[field].str() {
                "" => late.required(&at.child(field), ""),
                value => check.format(&at.child(field), value, &names::path_segment(value)),
            }
        }
        let scope = parameters["scope"].as_str();
        if scope.is_none() {
            check.required(&at.child("scope"), "");
        }
        match scope {
            Some("Namespace") if parameters["namespace"].is_null() => {
                check.required(&at.child("namespace"), "`parameters.scope` is set to 'Namespace'");
            }
            Some("Namespace") => check.format(&at.child("namespace"), namespace, &names::dns1123_label(namespace)),
            Some("Cluster") if !parameters["namespace"].is_null() => {
                check.forbidden(&at.child("namespace"), "`parameters.scope` is set to 'Cluster'");
            }
            Some("Cluster") | None => {}
            Some(other) => check.push(Error::not_supported(&at.child("scope"), other, &["Cluster", "Namespace"])),
        }
    }
    check.errors.append(&mut late.errors);
    check.errors
}

pub(super) fn ingress_class_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check::default();
    check.immutable_text(&Path::from("spec.controller"), &new["spec"]["controller"], &old["spec"]["controller"]);
    check.errors.extend(ingress_class(new));
    check.errors
}

pub(super) fn network_policy(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let (spec, path) = (&object["spec"], Path::root("spec"));
    check.label_selector(&path.child("podSelector"), &spec["podSelector"]);
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for (at, rule) in each(&spec[rules], &path.child(rules)) {
            for (at, port) in each(&rule["ports"], &at.child("ports")) {
                policy_port(&mut check, port, &at);
            }
            for (at, peer) in each(&rule[peers], &at.child(peers)) {
                policy_peer(&mut check, peer, &at);
            }
        }
    }
    let (types, at) = (&spec["policyTypes"], path.child("policyTypes"));
    if types.items().len() > 2 {
        check.invalid(&at, shown(types), "may not specify more than two policyTypes");
        return check.errors;
    }
    for (at, kind) in each(types, &at) {
        if !["Ingress", "Egress"].contains(&kind.str()) {
            check.push(Error::not_supported(&at, kind.str(), &["Ingress", "Egress"]));
        }
    }
    check.errors
}

fn policy_port(check: &mut Check, port: &Value, at: &Path) {
    if let Some(protocol) = port["protocol"].as_str().filter(|p| !["TCP", "UDP", "SCTP"].contains(p)) {
        check.push(Error::not_supported(&at.child("protocol"), protocol, &["TCP", "UDP", "SCTP"]));
    }
    let (number, end, end_at) = (&port["port"], port["endPort"].as_i64(), at.child("endPort"));
    if !number.is_null() {
        check.port(&at.child("port"), number);
    }
    let Some(end) = end else { return };
    match number {
        Value::Null => check.invalid(&end_at, end, "may not be specified when `port` is not specified"),
        Value::String(_) => check.invalid(&end_at, end, "may not be specified when `port` is non-numeric"),
        other => {
            if end < other.as_i64().unwrap_or_default() {
                check.invalid(&end_at, end, "must be greater than or equal to `port`");
            }
            check.port_number(&end_at, end);
        }
    }
}

fn policy_peer(check: &mut Check, peer: &Value, at: &Path) {
    let has = |field: &str| peer.get(field).is_some_and(|f| !f.is_null());
    for field in ["podSelector", "namespaceSelector"] {
        if has(field) {
            check.label_selector(&at.child(field), &peer[field]);
        }
    }
    if has("ipBlock") {
        ip_block(check, &peer["ipBlock"], &at.child("ipBlock"));
    }
    let count = ["podSelector", "namespaceSelector", "ipBlock"].iter().filter(|f| has(f)).count();
    if count == 0 {
        check.required(at, "must specify a peer");
    } else if count > 1 && has("ipBlock") {
        check.forbidden(at, "may not specify both ipBlock and another peer");
    }
}

fn ip_block(check: &mut Check, block: &Value, at: &Path) {
    let cidr = block["cidr"].str();
    if cidr.is_empty() {
        return check.required(&at.child("cidr"), "");
    }
    if let Some(why) = legacy_cidr(cidr) {
        return check.invalid(&at.child("cidr"), cidr, why);
    }
    let Some((outer, bits)) = parse_cidr(cidr) else { return };
    for (at, except) in each(&block["except"], &at.child("except")) {
        let text = except.str();
        if let Some(why) = legacy_cidr(text) {
            check.invalid(&at, text, why);
            continue;
        }
        let inside = parse_cidr(text).is_some_and(|(inner, n)| {
            inner.is_ipv4() == outer.is_ipv4() && network(inner, bits) == network(outer, bits) && n > bits
        });
        if !inside {
            check.invalid(&at, text, "must be a strict subset of `cidr`");
        }
    }
}

pub(super) fn endpoints(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    for (at, subset) in each(&object["subsets"], &Path::root("subsets")) {
        if subset["addresses"].is_empty() && subset["notReadyAddresses"].is_empty() {
            check.required(&at, "must specify `addresses` or `notReadyAddresses`");
        }
        for list in ["addresses", "notReadyAddresses"] {
            for (at, address) in each(&subset[list], &at.child(list)) {
                let ip = address["ip"].str();
                if let Some(why) = legacy_ip(ip) {
                    check.invalid(&at.child("ip"), ip, why);
                }
                let name = address["hostname"].str();
                if !name.is_empty() {
                    check.format(&at.child("hostname"), name, &names::dns1123_label(name));
                }
                if let Some(node) = address["nodeName"].as_str() {
                    check.format(&at.child("nodeName"), node, &names::dns1123_subdomain(node));
                }
                reachable(&mut check, ip, &at.child("ip"));
            }
        }
        let several = subset["ports"].items().len() > 1;
        for (at, port) in each(&subset["ports"], &at.child("ports")) {
            let name = port["name"].str();
            if several && name.is_empty() {
                check.required(&at.child("name"), "");
            } else if !name.is_empty() {
                check.format(&at.child("name"), name, &names::dns1123_label(name));
            }
            check.port_number(&at.child("port"), port["port"].as_i64().unwrap_or_default());
            check.one_of(&at.child("protocol"), port["protocol"].str(), &["SCTP", "TCP", "UDP"]);
            app_protocol(&mut check, port, &at);
        }
    }
    check.errors
}

fn app_protocol(check: &mut Check, port: &Value, at: &Path) {
    if let Some(protocol) = port["appProtocol"].as_str() {
        check.format(&at.child("appProtocol"), protocol, &names::label_key(protocol));
    }
}

pub(super) fn endpoint_slice(object: &Value) -> Vec<Error> {
    let mut check = Check::default();
    let mut late = Check::default();
    let kind = object["addressType"].str();
    let kinds = ["FQDN", "IPv4", "IPv6"];
    if kind.is_empty() {
        check.required(&Path::root("addressType"), "");
        return check.errors;
    }
    if !kinds.contains(&kind) {
        check.push(Error::not_supported(&Path::root("addressType"), kind, &kinds));
    }
    slice_ports(&mut check, &object["ports"], &Path::root("ports"));
    let at = Path::root("endpoints");
    if object["endpoints"].items().len() > 1000 {
        check.push(Error::too_many(&at, object["endpoints"].items().len(), 1000));
        return check.errors;
    }
    for (at, endpoint) in each(&object["endpoints"], &at) {
        if endpoint["addresses"].is_empty() {
            late.required(&at.child("addresses"), "");
        }
        slice_addresses(&mut check, endpoint, kind, &at.child("addresses"));
        if let Some(name) = endpoint["nodeName"].as_str() {
            check.format(&at.child("nodeName"), name, &names::dns1123_subdomain(name));
        }
        hints(&mut check, &endpoint["hints"], &at.child("hints"));
        if let Some(name) = endpoint["hostname"].as_str() {
            check.format(&at.child("hostname"), name, &names::dns1123_label(name));
        }
    }
    check.errors.append(&mut late.errors);
    check.errors
}

/// Where an endpoint is best reached from: a few zones and nodes, each once.
fn hints(check: &mut Check, hints: &Value, path: &Path) {
    const MOST: usize = 8;
    for (field, rule) in
        [("forZones", names::label_value as fn(&str) -> Vec<String>), ("forNodes", names::dns1123_subdomain)]
    {
        let (list, at) = (&hints[field], path.child(field));
        if list.items().len() > MOST {
            check.push(Error::too_many(&at, list.items().len(), MOST));
            continue;
        }
        let mut seen = BTreeSet::new();
        for (at, hint) in each(list, &at) {
            let (name, at) = (hint["name"].str(), at.child("name"));
            if !seen.insert(name) {
                check.push(Error::duplicate(&at, name));
            } else {
                check.format(&at, name, &rule(name));
            }
        }
    }
}

fn slice_addresses(check: &mut Check, endpoint: &Value, kind: &str, path: &Path) {
    let addresses = endpoint["addresses"].items();
    if addresses.len() > 100 {
        check.push(Error::too_many(path, addresses.len(), 100));
    }
    for (n, address) in addresses.iter().enumerate() {
        let (text, at) = (address.str(), path.index(n));
        match kind {
            "IPv4" | "IPv6" => {
                let fits = parse_sloppy(text).is_some_and(|ip| ip.is_ipv4() == (kind == "IPv4"));
                if let Some(why) = legacy_ip(text) {
                    check.invalid(&at, text, why);
                    continue;
                }
                if !fits {
                    check.invalid(path, text, &format!("must be an {kind} address"));
                }
                reachable(check, text, &at);
            }
            "FQDN" => check.format(&at, text, &names::dns1123_subdomain(text)),
            _ => {}
        }
    }
}

fn slice_ports(check: &mut Check, ports: &Value, path: &Path) {
    let mut seen = BTreeSet::new();
    if ports.items().len() > 20_000 {
        return check.push(Error::too_many(path, ports.items().len(), 20_000));
    }
    for (at, port) in each(ports, path) {
        let name = port["name"].str();
        if !name.is_empty() {
            check.format(&at.child("name"), name, &names::dns1123_label(name));
        }
        if !seen.insert(name) {
            check.push(Error::duplicate(&at.child("name"), name));
        }
        let (protocol, protocols) = (port["protocol"].str(), ["SCTP", "TCP", "UDP"]);
        if !protocols.contains(&protocol) {
            check.push(Error::not_supported(&at.child("protocol"), protocol, &protocols));
        }
        app_protocol(check, port, &at);
    }
}

pub(super) fn endpoint_slice_update(new: &Value, old: &Value) -> Vec<Error> {
    let mut check = Check { errors: endpoint_slice(new) };
    if same(&new["endpoints"], &old["endpoints"]) {
        check.errors.retain(|e| !e.path.to_string().starts_with("endpoints"));
    }
    if new["addressType"] != old["addressType"] {
        check.invalid(&Path::root("addressType"), Shown::null(), "field is immutable");
    }
    check.errors
}
