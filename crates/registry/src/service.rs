//! Addresses and ports of Services: an index of what is taken, and the choice of what is free. Writers of Services take
//! turns from the choice to the commit, so that no two choose the same.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::ResourceType;
use document::{Value, doc};
use meta::field::Error;
use meta::{ResourceId, Status};
use store::{Change, Observer, View};

use crate::Registry;
use crate::write::refuse_invalid;

const PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;

/// Taken addresses and node ports, each with its owner's `namespace/name`.
#[derive(Clone, Default)]
pub(crate) struct Allocated {
    addresses: imbl::OrdMap<String, String>,
    ports: imbl::OrdMap<(i64, String), String>,
}

/// Watches Services for [`Allocated`].
pub(crate) struct Addresses;

impl Observer for Addresses {
    type Index = Allocated;

    fn resources(&self) -> Vec<ResourceId> {
        vec![ResourceId::from_text("services")]
    }

    fn build(&self, view: &View) -> Allocated {
        let mut index = Allocated::default();
        for object in view.list(&ResourceId::from_text("services"), None) {
            index.add(&object);
        }
        index
    }

    fn apply(&self, index: &Allocated, changes: &[Change], _view: &View) -> Allocated {
        let mut index = index.clone();
        for change in changes {
            if let Some(old) = &change.old {
                index.remove(old);
            }
            if let Some(new) = &change.new {
                index.add(new);
            }
        }
        index
    }
}

impl Allocated {
    fn add(&mut self, object: &document::Object) {
        let owner = format!("{}/{}", object.key.namespace, object.key.name);
        let service = object.document("Service", "v1");
        for address in addresses(&service) {
            self.addresses.insert(address, owner.clone());
        }
        for port in node_ports(&service) {
            self.ports.insert(port, owner.clone());
        }
    }

    fn remove(&mut self, object: &document::Object) {
        let service = object.document("Service", "v1");
        for address in addresses(&service) {
            self.addresses.remove(&address);
        }
        for port in node_ports(&service) {
            self.ports.remove(&port);
        }
    }
}

impl Registry {
    /// Held by a writer of a Service until its commit; nobody else waits.
    pub(crate) async fn service_turn(&self, target: crate::Target) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if target.resource.plural == "services" && target.resource.group.is_empty() {
            Some(self.services.lock().await)
        } else {
            None
        }
    }
}

/// Fills in clusterIP(s), families and node ports of a Service, and refuses what is taken or outside of the range.
pub(crate) fn allocate(
    registry: &Registry,
    row: &ResourceType,
    view: &View,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if row.plural != "services" || !row.group.is_empty() {
        return Ok(());
    }
    let taken = view.index(&registry.addresses);
    let owner = format!("{}/{}", object["metadata"]["namespace"].str(), object["metadata"]["name"].str());
    let mut errors = Vec::new();
    allocate_address(registry.config.service_range, &taken, &owner, object, old, &mut errors);
    allocate_ports(&taken, &owner, object, &mut errors);
    refuse_invalid(row, object, errors)
}

fn allocate_address(
    range: (IpAddr, u8),
    taken: &Allocated,
    owner: &str,
    object: &mut Value,
    old: Option<&Value>,
    errors: &mut Vec<Error>,
) {
    let spec = object.entry("spec");
    if spec["type"].str() == "ExternalName" {
        return;
    }
    let family = if range.0.is_ipv4() { "IPv4" } else { "IPv6" };
    let given = spec["clusterIP"].str().to_owned();
    if given == "None" {
        spec.set("clusterIPs", doc!(["None"]));
        headless_families(spec, family);
        return;
    }
    if spec["ipFamilyPolicy"].is_null() {
        spec.set("ipFamilyPolicy", "SingleStack");
    }
    if spec["ipFamilies"].items().is_empty() {
        spec.set("ipFamilies", doc!([family]));
    }
    let address = match given.as_str() {
        "" => match free_address(range, taken) {
            Some(address) => address,
            None => return errors.push(Error::internal(&"spec.clusterIPs".into(), "range is full")),
        },
        _ if old.is_some_and(|o| o["spec"]["clusterIP"].str() == given) => given,
        _ => match given.parse::<IpAddr>() {
            Err(_) => return,
            Ok(ip) => {
                let path = "spec.clusterIPs".into();
                let shown = meta::field::Shown::json(format!("[{}]", meta::field::Shown::json_string(&given).0));
                if !contains(range, ip) || is_edge(range, ip) {
                    let why =
                        format!("failed to allocate IP {given}: the provided network does not match the current range");
                    return errors.push(Error::invalid(&path, shown, &why));
                }
                if taken.addresses.get(&given).is_some_and(|o| o != owner) {
                    let why = format!("failed to allocate IP {given}: provided IP is already allocated");
                    return errors.push(Error::invalid(&path, shown, &why));
                }
                given
            }
        },
    };
    spec.set("clusterIP", address.as_str());
    spec.set("clusterIPs", doc!([(address.as_str())]));
}

/// Without a selector nothing says which families the endpoints have.
fn headless_families(spec: &mut Value, family: &str) {
    let selects = !spec["selector"].is_empty();
    if spec["ipFamilyPolicy"].is_null() {
        spec.set("ipFamilyPolicy", if selects { "SingleStack" } else { "RequireDualStack" });
    }
    if spec["ipFamilies"].items().is_empty() {
        let other = if family == "IPv4" { "IPv6" } else { "IPv4" };
        let both = spec["ipFamilyPolicy"].str() == "RequireDualStack" && !selects;
        spec.set("ipFamilies", if both { doc!([family, other]) } else { doc!([family]) });
    }
}

fn allocate_ports(taken: &Allocated, owner: &str, object: &mut Value, errors: &mut Vec<Error>) {
    let kind = object["spec"]["type"].str().to_owned();
    let wants = match kind.as_str() {
        "NodePort" => true,
        "LoadBalancer" => object["spec"]["allocateLoadBalancerNodePorts"].as_bool() != Some(false),
        _ => return,
    };
    let mut own: BTreeSet<(i64, String)> = BTreeSet::new();
    health_check_port(taken, owner, object, &mut own, errors);
    let Some(ports) = object.entry("spec").entry("ports").as_list_mut() else { return };
    for (n, port) in ports.iter_mut().enumerate() {
        let protocol = port["protocol"].str().to_owned();
        let given = port["nodePort"].as_i64().unwrap_or(0);
        let path = meta::field::Path::root("spec").child("ports").index(n).child("nodePort");
        if given != 0 {
            if taken.ports.get(&(given, protocol.clone())).is_some_and(|o| o != owner) {
                errors.push(Error::invalid(&path, given, "provided port is already allocated"));
            } else if !PORTS.contains(&given) {
                errors.push(Error::invalid(
                    &path,
                    given,
                    "provided port is not in the valid range. The range of valid ports is 30000-32767",
                ));
            }
            own.insert((given, protocol));
        } else if wants {
            match free_port(taken, &own, &protocol) {
                Some(free) => {
                    port.set("nodePort", free);
                    own.insert((free, protocol));
                }
                None => errors.push(Error::internal(&path, "failed to allocate a nodePort: range is full")),
            }
        }
    }
}

/// A balancer that keeps traffic on the nodes asks them at a port of its own whether they have endpoints.
fn health_check_port(
    taken: &Allocated,
    owner: &str,
    object: &mut Value,
    own: &mut BTreeSet<(i64, String)>,
    errors: &mut Vec<Error>,
) {
    const FIELD: &str = "healthCheckNodePort";
    let spec = object.entry("spec");
    if spec["type"].str() != "LoadBalancer" || spec["externalTrafficPolicy"].str() != "Local" {
        return;
    }
    let given = spec[FIELD].as_i64().unwrap_or(0);
    let protocol = "TCP".to_owned();
    if given == 0 {
        let declared = spec["ports"].items().iter().filter_map(|p| p["nodePort"].as_i64());
        let mut avoided = own.clone();
        avoided.extend(declared.map(|n| (n, protocol.clone())));
        match free_port(taken, &avoided, &protocol) {
            Some(free) => {
                spec.set(FIELD, free);
                own.insert((free, protocol));
            }
            None => errors.push(Error::internal(
                &"spec.healthCheckNodePort".into(),
                "failed to allocate a HealthCheck NodePort: range is full",
            )),
        }
    } else if taken.ports.get(&(given, protocol.clone())).is_some_and(|o| o != owner) {
        let why =
            format!("failed to allocate requested HealthCheck NodePort {given}: provided port is already allocated");
        errors.push(Error::internal(&"spec.healthCheckNodePort".into(), &why));
    } else {
        own.insert((given, protocol));
    }
}

fn addresses(service: &Value) -> Vec<String> {
    service["spec"]["clusterIPs"]
        .items()
        .iter()
        .map(Value::str)
        .filter(|a| !a.is_empty() && *a != "None")
        .map(str::to_owned)
        .collect()
}

fn node_ports(service: &Value) -> Vec<(i64, String)> {
    let ports = service["spec"]["ports"].items().iter();
    let health = service["spec"]["healthCheckNodePort"].as_i64().filter(|n| *n > 0).map(|n| (n, "TCP".to_owned()));
    let own = ports.filter_map(|p| Some((p["nodePort"].as_i64().filter(|n| *n > 0)?, p["protocol"].str().to_owned())));
    own.chain(health).collect()
}

/// A random free address: never the network's own, its first (the API server's) or its broadcast address.
fn free_address(range: (IpAddr, u8), taken: &Allocated) -> Option<String> {
    let (base, bits) = (to_number(range.0), if range.0.is_ipv4() { 32 } else { 128 });
    let size: u128 = 1u128.checked_shl(bits - u32::from(range.1)).unwrap_or(u128::MAX).min(1 << 20);
    let usable = size.checked_sub(3)?;
    let start = u128::from(u64::from_le_bytes(meta::random::bytes::<8>())) % usable.max(1);
    (0..usable)
        .map(|n| from_number(base + 2 + (start + n) % usable, range.0.is_ipv4()))
        .find(|a| !taken.addresses.contains_key(a))
}

fn free_port(taken: &Allocated, own: &BTreeSet<(i64, String)>, protocol: &str) -> Option<i64> {
    let count = PORTS.end() - PORTS.start() + 1;
    let start = i64::from(u32::from_le_bytes(meta::random::bytes::<4>())) % count;
    let candidates = (0..count).map(|n| PORTS.start() + (start + n) % count);
    candidates.into_iter().find(|n| {
        let key = (*n, protocol.to_owned());
        !taken.ports.contains_key(&key) && !own.contains(&key)
    })
}

fn contains((base, prefix): (IpAddr, u8), ip: IpAddr) -> bool {
    let bits: u32 = if base.is_ipv4() { 32 } else { 128 };
    if base.is_ipv4() != ip.is_ipv4() {
        return false;
    }
    let shift = bits - u32::from(prefix).min(bits);
    let cut = |ip| to_number(ip).checked_shr(shift).unwrap_or(0);
    cut(base) == cut(ip)
}

/// The network's own address, or the broadcast address of IPv4.
fn is_edge((base, prefix): (IpAddr, u8), ip: IpAddr) -> bool {
    let bits: u32 = if base.is_ipv4() { 32 } else { 128 };
    let hosts = 1_u128.checked_shl(bits - u32::from(prefix).min(bits)).map_or(u128::MAX, |size| size - 1);
    let within = to_number(ip) & hosts;
    within == 0 || (ip.is_ipv4() && within == hosts)
}

fn to_number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn from_number(n: u128, v4: bool) -> String {
    if v4 { Ipv4Addr::from(n as u32).to_string() } else { Ipv6Addr::from(n).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_from_the_range_and_are_free() {
        let range = ("10.0.0.0".parse().unwrap(), 29);
        let mut taken = Allocated::default();
        for _ in 0..5 {
            let address = free_address(range, &taken).unwrap();
            assert!(contains(range, address.parse().unwrap()), "{address}");
            assert!(address != "10.0.0.0" && address != "10.0.0.1" && address != "10.0.0.7");
            assert!(taken.addresses.insert(address, "a/b".into()).is_none());
        }
        assert_eq!(free_address(range, &taken), None);
    }
}
