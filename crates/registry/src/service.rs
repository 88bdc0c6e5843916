//! Addresses and ports of Services: an index of what is taken, and the choice of what is free. Writers of Services take
//! turns from the choice to the commit, so that no two choose the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::ResourceType;
use document::{Value, doc};
use meta::field::{Error, Path, Shown};
use meta::{Key, ResourceId, Status};
use store::{Change, Committed, Effect, Observer, Precondition, View, Write};

use crate::Registry;
use crate::query::WriteOptions;
use crate::write::refuse_invalid;

const PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;

/// The turn of a writer of Services; `None` for those of everything else.
pub(crate) type Turn = Option<tokio::sync::OwnedMutexGuard<()>>;

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
    pub(crate) async fn service_turn(&self, target: crate::Target) -> Turn {
        if target.resource.plural == "services" && target.resource.group.is_empty() {
            Some(self.services.clone().lock_owned().await)
        } else {
            None
        }
    }

    /// Commits and only then ends the turn, whether or not the request is still there to hear of it: what is queued is
    /// committed even if its client has gone, and the next one must see that.
    pub(crate) async fn commit_in_turn(
        &self,
        admitted: gate::Admitted,
        turn: Turn,
    ) -> Result<Result<Committed, Key>, Status> {
        let (Some(turn), Some(registry)) = (turn, self.me.upgrade()) else { return self.commit(admitted).await };
        let commit = tokio::spawn(async move {
            let outcome = registry.commit(admitted).await;
            drop(turn);
            outcome
        });
        commit.await.unwrap_or_else(|_| Err(Status::internal("the commit was cut short")))
    }
}

/// Fills in clusterIP(s), families and node ports of a Service, and refuses what is taken or outside of the range:
/// before anything else is looked at, as upstream does. A dry run takes nothing and answers stand-ins.
pub(crate) fn allocate(
    registry: &Registry,
    row: &ResourceType,
    view: &View,
    object: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<(), Status> {
    if row.plural != "services" || !row.group.is_empty() {
        return Ok(());
    }
    api::strategy::begin_service(object, old);
    let taken = view.index(&registry.addresses);
    let owner = format!("{}/{}", object["metadata"]["namespace"].str(), object["metadata"]["name"].str());
    let range = registry.config.service_range;
    families(row, range, object, old)?;
    let claimed = |address: &str| claim(view, address).is_some();
    let free = Free { range, taken: &taken, claimed: &claimed, owner: &owner, dry_run };
    let errors = free.cluster_address(object, old);
    refuse_invalid(row, object, errors)?;
    let mut ports = Ports { taken: &taken, dry_run, own: Vec::new() };
    let errors = ports.allocate(object, old)?;
    refuse_invalid(row, object, errors)
}

/// The IPAddress that stands for an address of the range.
fn claim(view: &View, address: &str) -> Option<std::sync::Arc<document::Object>> {
    view.get(&Key::new(ResourceId::new("networking.k8s.io", "ipaddresses"), "", address))
}

/// What goes with a Service in one transaction: an IPAddress for each new cluster IP, none for those it has no more.
/// `new` is absent when the Service goes.
pub(crate) fn claims(
    row: &ResourceType,
    view: &View,
    new: Option<&Value>,
    old: Option<&Value>,
) -> Result<Vec<Write>, Status> {
    let mut writes = Vec::new();
    if row.plural != "services" || !row.group.is_empty() {
        return Ok(writes);
    }
    let (now, before) = (new.map(addresses).unwrap_or_default(), old.map(addresses).unwrap_or_default());
    for address in before.iter().filter(|a| !now.contains(a)) {
        if let Some(found) = claim(view, address) {
            let effect = Effect::Remove(found.key.clone());
            writes.push(Write { precondition: Precondition::At(found.revision), effect });
        }
    }
    for address in now.iter().filter(|a| !before.contains(a)) {
        let (Some(service), Some(row)) = (new, api::find("networking.k8s.io", "v1", "ipaddresses")) else { continue };
        let key = Key::new(ResourceId::new("networking.k8s.io", "ipaddresses"), "", address);
        let effect = Effect::Put(crate::write::seal(row, key, &claim_of(row, service, address))?);
        writes.push(Write { precondition: Precondition::Absent, effect });
    }
    Ok(writes)
}

fn claim_of(row: &'static ResourceType, service: &Value, address: &str) -> Value {
    let meta = &service["metadata"];
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    let mut claim = doc!({
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": address,
            "uid": (meta::random::uuid()),
            "creationTimestamp": (meta::Time::now().to_string()),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {
            "resource": "services", "namespace": (meta["namespace"].str()), "name": (meta["name"].str()),
        }},
    });
    let options = WriteOptions::of("kube-apiserver");
    crate::manage::track(&crate::Target { resource: row, subresource: None }, &options, None, &mut claim);
    document::normalize(&mut claim, row.type_);
    claim
}

fn invalid(path: &str, value: &Value, detail: &str) -> Error {
    let text = match value {
        Value::String(text) => Shown::from(text.as_str()),
        other => Shown::json(document::json::to_string(other)),
    };
    Error::invalid(&path.into(), text, detail)
}

/// Family policy and families of a Service, as the cluster has them.
fn families(row: &ResourceType, range: (IpAddr, u8), object: &mut Value, old: Option<&Value>) -> Result<(), Status> {
    if object["spec"]["type"].str() == "ExternalName" || keeps_preferred_families(object, old) {
        return Ok(());
    }
    let family = if range.0.is_ipv4() { "IPv4" } else { "IPv6" };
    let headless = object["spec"]["clusterIP"].str() == "None";
    let selectorless = headless && object["spec"]["selector"].is_empty();
    let spec = object.entry("spec");
    if spec["ipFamilyPolicy"].is_null() {
        let kept = old.map(|o| o["spec"]["ipFamilyPolicy"].str().to_owned()).filter(|p| !p.is_empty());
        let fresh = if selectorless { "RequireDualStack" } else { "SingleStack" };
        spec.set("ipFamilyPolicy", kept.as_deref().unwrap_or(fresh));
    }
    refuse_invalid(row, object, api::validation::service_addresses(object, old))?;
    let spec = object.entry("spec");
    let mut errors = Vec::new();
    if let Some(old) = old {
        one_family(spec, &old["spec"], &mut errors);
    }
    if spec["ipFamilyPolicy"].str() == "SingleStack" {
        for (field, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
            if spec[field].items().len() == 2 {
                let detail =
                    format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
                errors.push(invalid("spec.ipFamilyPolicy", &spec["ipFamilyPolicy"], &detail));
            }
        }
    }
    families_of_addresses(spec, family, &mut errors);
    refuse_invalid(row, object, std::mem::take(&mut errors))?;
    let spec = object.entry("spec");
    if selectorless {
        both_families(spec, family);
        return Ok(());
    }
    if spec["ipFamilyPolicy"].str() == "RequireDualStack" {
        let detail = "this cluster is not configured for dual-stack services";
        errors.push(invalid("spec.ipFamilyPolicy", &spec["ipFamilyPolicy"], detail));
    }
    for (n, other) in spec["ipFamilies"].items().iter().enumerate().filter(|(_, f)| f.str() != family) {
        errors.push(invalid(&format!("spec.ipFamilies[{n}]"), other, "not configured on this cluster"));
    }
    if spec["ipFamilies"].is_empty() {
        spec.set("ipFamilies", doc!([family]));
    }
    refuse_invalid(row, object, errors)
}

/// An update that changes nothing of a Service that prefers both families leaves it as it is.
fn keeps_preferred_families(object: &Value, old: Option<&Value>) -> bool {
    let Some(old) = old.map(|o| &o["spec"]) else { return false };
    let new = &object["spec"];
    new["ipFamilyPolicy"].str() == "PreferDualStack"
        && ["type", "ipFamilyPolicy", "clusterIPs", "ipFamilies"].iter().all(|f| new[*f] == old[*f])
}

/// A second address or family goes when the policy says one, and only then.
fn one_family(spec: &mut Value, old: &Value, errors: &mut Vec<Error>) {
    let single = spec["ipFamilyPolicy"].str() == "SingleStack";
    for (field, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (now, before) = (spec[field].items(), old[field].items());
        if single && now == before && now.len() > 1 {
            let first = now[0].clone();
            spec.set(field, vec![first]);
        } else if !single && before.len() == 2 && now.len() == 1 && now[0] == before[0] {
            let detail = format!("must be 'SingleStack' to release the secondary {what}");
            errors.push(invalid("spec.ipFamilyPolicy", &spec["ipFamilyPolicy"], &detail));
        }
    }
}

/// Families that are not said are those of the addresses.
fn families_of_addresses(spec: &mut Value, family: &str, errors: &mut Vec<Error>) {
    let ips = spec["clusterIPs"].clone();
    let known = spec["ipFamilies"].items().len();
    for (n, ip) in ips.items().iter().enumerate().take_while(|(_, ip)| ip.str() != "None").skip(known) {
        let own = if ip.str().contains(':') { "IPv6" } else { "IPv4" };
        if own == family {
            spec.entry("ipFamilies").make_list().push(own.into());
        } else {
            let detail = format!("{own} is not configured on this cluster");
            errors.push(invalid(&format!("spec.clusterIPs[{n}]"), &ips, &detail));
        }
    }
}

/// Without a selector nothing says which families the endpoints have.
fn both_families(spec: &mut Value, family: &str) {
    if spec["ipFamilies"].is_empty() {
        spec.set("ipFamilies", doc!([family]));
    }
    let list = spec["ipFamilies"].items();
    if list.len() < 2 && spec["ipFamilyPolicy"].str() != "SingleStack" {
        let first = list[0].str().to_owned();
        let other = if first == "IPv4" { "IPv6" } else { "IPv4" };
        spec.set("ipFamilies", doc!([(first.as_str()), other]));
    }
}

/// The choice of an address.
struct Free<'a> {
    range: (IpAddr, u8),
    taken: &'a Allocated,
    /// Is there an IPAddress of this name?
    claimed: &'a dyn Fn(&str) -> bool,
    owner: &'a str,
    dry_run: bool,
}

impl Free<'_> {
    fn cluster_address(&self, object: &mut Value, old: Option<&Value>) -> Vec<Error> {
        let spec = object.entry("spec");
        let mut errors = Vec::new();
        let had = old.is_some_and(|o| o["spec"]["type"].str() != "ExternalName");
        if spec["type"].str() == "ExternalName" || had || spec["clusterIPs"][0].str() == "None" {
            return errors;
        }
        let given = spec["clusterIPs"][0].str().to_owned();
        let path = "spec.clusterIPs";
        let address = match given.as_str() {
            "" if self.dry_run => self.range.0.to_string(),
            "" => match self.any() {
                Some(address) => address,
                None => return vec![Error::internal(&path.into(), "range is full")],
            },
            _ => match self.refusal(&given) {
                Some(why) => {
                    errors.push(invalid(path, &spec["clusterIPs"], &format!("failed to allocate IP {given}: {why}")));
                    return errors;
                }
                None => given,
            },
        };
        spec.set("clusterIP", address.as_str());
        spec.set("clusterIPs", doc!([(address.as_str())]));
        errors
    }

    /// Why this address cannot be had.
    fn refusal(&self, address: &str) -> Option<String> {
        let ip: IpAddr = address.parse().ok()?;
        if !contains(self.range, ip) || is_edge(self.range, ip) {
            let (base, bits) = self.range;
            return Some(match self.dry_run {
                true => format!(
                    "the provided IP ({address}) is not in the valid range. The range of valid IPs is {base}/{bits}"
                ),
                false => "the provided network does not match the current range".into(),
            });
        }
        let address = ip.to_string();
        let used = self.taken.addresses.get(&address).is_some_and(|o| o != self.owner) || (self.claimed)(&address);
        (used && !self.dry_run).then(|| "provided IP is already allocated".into())
    }

    /// A random free address: never the network's own, its first (the API server's) or its broadcast address.
    fn any(&self) -> Option<String> {
        let (base, bits) = (to_number(self.range.0), if self.range.0.is_ipv4() { 32 } else { 128 });
        let size: u128 = 1u128.checked_shl(bits - u32::from(self.range.1)).unwrap_or(u128::MAX).min(1 << 20);
        let usable = size.checked_sub(3)?;
        let start = u128::from(u64::from_le_bytes(meta::random::bytes::<8>())) % usable.max(1);
        (0..usable)
            .map(|n| from_number(base + 2 + (start + n) % usable, self.range.0.is_ipv4()))
            .find(|a| !self.taken.addresses.contains_key(a) && !(self.claimed)(a))
    }
}

/// The choice of node ports. Upstream counts numbers, whatever their protocol.
struct Ports<'a> {
    taken: &'a Allocated,
    dry_run: bool,
    /// What this write takes.
    own: Vec<i64>,
}

impl Ports<'_> {
    /// Invalid are ports that were asked for; that no port is free is no fault of the Service.
    fn allocate(&mut self, object: &mut Value, old: Option<&Value>) -> Result<Vec<Error>, Status> {
        let mut errors = Vec::new();
        if matches!(object["spec"]["type"].str(), "NodePort" | "LoadBalancer") {
            match old {
                None => self.fresh(object, &mut errors)?,
                Some(old) => self.changed(object, old, &mut errors)?,
            }
        }
        let needs = |s: &Value| {
            s["spec"]["type"].str() == "LoadBalancer" && s["spec"]["externalTrafficPolicy"].str() == "Local"
        };
        if errors.is_empty() && needs(object) && !old.is_some_and(needs) {
            self.health_check(object.entry("spec"))?;
        }
        Ok(errors)
    }

    /// Ports of a new Service: those of one number share a node port.
    fn fresh(&mut self, object: &mut Value, errors: &mut Vec<Error>) -> Result<(), Status> {
        let wants = wants_ports(&object["spec"]);
        let asked: Vec<(i64, i64)> = object["spec"]["ports"].items().iter().map(numbers).collect();
        let mut shared: Vec<(i64, i64)> = Vec::new();
        let ports = object.entry("spec").get_mut("ports").and_then(Value::as_list_mut);
        for (n, port) in ports.into_iter().flatten().enumerate() {
            let (number, given) = numbers(port);
            if given == 0 && !wants {
                continue;
            }
            let known = shared.iter().find(|(p, _)| *p == number).map(|(_, node)| *node);
            let requested = asked.iter().find(|(p, node)| *p == number && *node != 0).map(|(_, node)| *node);
            let chosen = match (known, requested) {
                (Some(node), _) if given == 0 => node,
                (Some(node), _) if given == node => continue,
                (Some(_), _) => given,
                (None, Some(node)) => node,
                (None, None) => 0,
            };
            let chosen = match chosen {
                0 => self.any()?,
                node if known == Some(node) => node,
                node => match self.take(node) {
                    Ok(()) => node,
                    Err(why) => {
                        errors.push(Error::invalid(&node_port_path(n), node, &why));
                        return Ok(());
                    }
                },
            };
            if known.is_none() {
                shared.push((number, chosen));
            }
            port.set("nodePort", chosen);
        }
        Ok(())
    }

    /// Ports of a Service that is changed: those it has stay.
    fn changed(&mut self, object: &mut Value, old: &Value, errors: &mut Vec<Error>) -> Result<(), Status> {
        let wants = wants_ports(&object["spec"]);
        let had: Vec<i64> = old["spec"]["ports"].items().iter().map(|p| numbers(p).1).collect();
        let mut seen: Vec<(String, i64)> = Vec::new();
        let ports = object.entry("spec").get_mut("ports").and_then(Value::as_list_mut);
        for (n, port) in ports.into_iter().flatten().enumerate() {
            let (_, given) = numbers(port);
            let node = match given {
                0 if !wants => continue,
                0 => self.any()?,
                node if had.contains(&node) || self.own.contains(&node) => node,
                node => match self.take(node) {
                    Ok(()) => node,
                    Err(why) => {
                        errors.push(Error::invalid(&node_port_path(n), node, &why));
                        return Ok(());
                    }
                },
            };
            port.set("nodePort", node);
            let this = (port["protocol"].str().to_owned(), node);
            if seen.contains(&this) {
                return Err(Status::unclassified(format!("duplicate nodePort: {{{} {node}}}", this.0)));
            }
            seen.push(this);
        }
        Ok(())
    }

    /// A balancer that keeps traffic on the nodes asks them at a port of its own whether they have endpoints.
    fn health_check(&mut self, spec: &mut Value) -> Result<(), Status> {
        const FIELD: &str = "healthCheckNodePort";
        match spec[FIELD].as_i64().unwrap_or(0) {
            0 => {
                let node = self.any()?;
                spec.set(FIELD, node);
                Ok(())
            }
            node => self.take(node).map_err(|why| {
                Status::internal(format!("failed to allocate requested HealthCheck NodePort {node}: {why}"))
            }),
        }
    }

    fn take(&mut self, node: i64) -> Result<(), String> {
        if !self.dry_run && !PORTS.contains(&node) {
            return Err("provided port is not in the valid range. The range of valid ports is 30000-32767".into());
        }
        if self.is_used(node) || self.own.contains(&node) {
            return Err("provided port is already allocated".into());
        }
        self.own.push(node);
        Ok(())
    }

    /// By any Service, this one's earlier form included: what that had is kept, or is free only once this is committed.
    fn is_used(&self, node: i64) -> bool {
        self.taken.ports.range((node, String::new())..(node + 1, String::new())).next().is_some()
    }

    fn any(&mut self) -> Result<i64, Status> {
        if self.dry_run {
            // stand-ins beyond the range, one after the other
            let node = self.own.iter().max().map_or(*PORTS.end() + 2, |last| last + 1);
            self.own.push(node);
            return Ok(node);
        }
        let count = PORTS.end() - PORTS.start() + 1;
        let start = i64::from(u32::from_le_bytes(meta::random::bytes::<4>())) % count;
        let candidates = (0..count).map(|n| PORTS.start() + (start + n) % count);
        let free = candidates.into_iter().find(|n| !self.is_used(*n) && !self.own.contains(n));
        let node = free.ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))?;
        self.own.push(node);
        Ok(node)
    }
}

/// Port and node port; 0 when it is not said.
fn numbers(port: &Value) -> (i64, i64) {
    (port["port"].as_i64().unwrap_or(0), port["nodePort"].as_i64().unwrap_or(0))
}

fn wants_ports(spec: &Value) -> bool {
    spec["type"].str() == "NodePort" || spec["allocateLoadBalancerNodePorts"].as_bool() != Some(false)
}

fn node_port_path(n: usize) -> Path {
    Path::from(format!("spec.ports[{n}].nodePort").as_str())
}

/// Its cluster addresses, in the one form of each.
fn addresses(service: &Value) -> Vec<String> {
    service["spec"]["clusterIPs"]
        .items()
        .iter()
        .map(Value::str)
        .filter(|a| !a.is_empty() && *a != "None")
        .map(|a| a.parse::<IpAddr>().map_or_else(|_| a.to_owned(), |ip| ip.to_string()))
        .collect()
}

fn node_ports(service: &Value) -> Vec<(i64, String)> {
    let ports = service["spec"]["ports"].items().iter();
    let health = service["spec"]["healthCheckNodePort"].as_i64().filter(|n| *n > 0).map(|n| (n, "TCP".to_owned()));
    let own = ports.filter_map(|p| Some((p["nodePort"].as_i64().filter(|n| *n > 0)?, p["protocol"].str().to_owned())));
    own.chain(health).collect()
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
        let any = |taken: &Allocated| {
            Free { range, taken, claimed: &|a| a == "10.0.0.5", owner: "a/b", dry_run: false }.any()
        };
        for _ in 0..4 {
            let address = any(&taken).unwrap();
            assert!(contains(range, address.parse().unwrap()), "{address}");
            assert!(!["10.0.0.0", "10.0.0.1", "10.0.0.5", "10.0.0.7"].contains(&address.as_str()));
            assert!(taken.addresses.insert(address, "a/b".into()).is_none());
        }
        assert_eq!(any(&taken), None);
    }

    #[test]
    fn ports_of_one_number_share_a_node_port() {
        let taken = Allocated::default();
        let mut ports = Ports { taken: &taken, dry_run: false, own: Vec::new() };
        let mut service = doc!({"spec": {"type": "NodePort", "ports": [
            {"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}, {"port": 80, "nodePort": 30_080},
        ]}});
        assert!(ports.allocate(&mut service, None).unwrap().is_empty());
        let node = |n: usize| service["spec"]["ports"][n]["nodePort"].as_i64();
        assert_eq!(node(0), node(1));
        assert_eq!(node(2), Some(30_080));
    }

    #[test]
    fn a_new_port_never_gets_the_number_that_another_of_the_same_service_has() {
        let old = doc!({
            "metadata": {"namespace": "a", "name": "b"},
            "spec": {"type": "NodePort", "ports": [{"port": 1, "protocol": "TCP", "nodePort": 30_001}]},
        });
        let mut taken = Allocated::default();
        // all but one, and that of the Service itself
        for node in PORTS.filter(|n| *n != 31_000) {
            taken.ports.insert((node, "TCP".into()), if node == 30_001 { "a/b" } else { "c/d" }.into());
        }
        let check = |wanted: Value, got: Option<i64>| {
            let mut ports = Ports { taken: &taken, dry_run: false, own: Vec::new() };
            let mut service = old.clone();
            service.entry("spec").set("ports", wanted);
            let errors = ports.allocate(&mut service, Some(&old)).unwrap();
            assert_eq!(errors.is_empty().then(|| service["spec"]["ports"][0]["nodePort"].as_i64().unwrap()), got);
        };
        check(doc!([{"port": 2, "protocol": "TCP"}, {"port": 1, "protocol": "UDP", "nodePort": 30_001}]), Some(31_000));
        check(doc!([{"port": 1, "protocol": "TCP", "nodePort": 30_001}]), Some(30_001));
        check(doc!([{"port": 1, "protocol": "TCP", "nodePort": 30_002}]), None);
    }

    #[test]
    fn one_address_is_the_same_however_it_is_written() {
        let mut taken = Allocated::default();
        taken.addresses.insert("fd00::1:5".into(), "c/d".into());
        let range = ("fd00::1:0".parse().unwrap(), 112);
        let free = Free { range, taken: &taken, claimed: &|a| a == "fd00::1:6", owner: "a/b", dry_run: false };
        for (address, used) in [("FD00::1:5", true), ("fd00:0::1:6", true), ("fd00::1:7", false)] {
            assert_eq!(free.refusal(address).is_some(), used, "{address}");
        }
        assert_eq!(addresses(&doc!({"spec": {"clusterIPs": ["FD00:0::1"]}})), ["fd00::1"]);
    }

    #[test]
    fn a_dry_run_answers_stand_ins() {
        let taken = Allocated::default();
        let mut ports = Ports { taken: &taken, dry_run: true, own: Vec::new() };
        let mut service = doc!({"spec": {
            "type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 53}, {"port": 80}],
        }});
        assert!(ports.allocate(&mut service, None).unwrap().is_empty());
        assert_eq!(service["spec"]["ports"][1]["nodePort"].as_i64(), Some(32_770));
        assert_eq!(service["spec"]["healthCheckNodePort"].as_i64(), Some(32_771));
    }
}
