//! What a server has from its first moment: system namespaces, the default policy, priority classes, flow schemas, the
//! `kubernetes` Service, published configuration. One transaction of `system:apiserver`; what is there already stays.

use std::net::IpAddr;

use api::ResourceType;
use document::{Value, doc};
use gate::Passage;
use meta::{Key, Status, Time};
use store::{Effect, Precondition, Transaction, View, Write};

use crate::body::Expected;
use crate::query::WriteOptions;
use crate::write::{context, seal};
use crate::{Body, Registry, Target, manage};

/// Default objects as upstream makes them; `$now` and `$serviceRange` are filled in.
const OBJECTS: &str = include_str!("bootstrap/objects.json");

/// What is published and differs from server to server.
pub struct Published {
    /// PEM of `--client-ca-file`, the own CA included.
    pub client_ca: String,
    /// `requestheader-*` entries of `extension-apiserver-authentication`.
    pub request_header: Vec<(&'static str, String)>,
    /// The secure port, which the `kubernetes` Service points at.
    pub port: u16,
}

impl Registry {
    /// Makes what is missing.
    ///
    /// # Errors
    /// What the store or the tables refuse: the server does not start then.
    pub async fn bootstrap(&self, passage: &Passage, published: &Published) -> Result<(), Status> {
        let view = self.store.view();
        let new = view.get(&Key::new(meta::ResourceId::from_text("namespaces"), "", "default")).is_none();
        let mut writes = Vec::new();
        for object in self.default_objects(published)? {
            writes.extend(self.create_missing(passage, &view, object)?);
        }
        for step in authz::bootstrap::plan(&view) {
            writes.push(self.policy_write(passage, &view, step)?);
        }
        if writes.is_empty() {
            return Ok(());
        }
        let admitted = self.gate.seal_internal(passage, Transaction { writes, reads: Vec::new() })?;
        match self.commit(admitted).await? {
            Ok(committed) => {
                if new {
                    self.begun.store(committed.revision.0, std::sync::atomic::Ordering::Relaxed);
                }
                Ok(())
            }
            Err(key) => Err(Status::internal(format!("{key:?} changed while the server started"))),
        }
    }

    /// Brings `kube-system/extension-apiserver-authentication` up to date: other authorities are believed now.
    ///
    /// # Errors
    /// The object cannot be written.
    pub async fn publish(&self, published: &Published) -> Result<(), Status> {
        let Some(passage) = self.system.get() else { return Ok(()) };
        let wanted = authentication_config(published);
        let row = row_of(&wanted)?;
        let target = Target { resource: row, subresource: None };
        let key = target.key(wanted["metadata"]["namespace"].str(), wanted["metadata"]["name"].str())?;
        let view = self.store.view();
        let write = match view.get(&key) {
            None => self.system_write(passage, row, key, wanted)?,
            Some(found) => {
                let mut object = api::read(row, &found);
                if object["data"] == wanted["data"] {
                    return Ok(());
                }
                object.set("data", wanted["data"].clone());
                document::normalize(&mut object, row.type_);
                let effect = Effect::Put(seal(row, key, &object)?);
                Write { precondition: Precondition::At(found.revision), effect }
            }
        };
        let admitted = self.gate.seal_internal(passage, Transaction { writes: vec![write], reads: Vec::new() })?;
        self.commit(admitted).await?.map(|_| ()).map_err(|key| Status::internal(format!("{key:?} changed meanwhile")))
    }

    fn default_objects(&self, published: &Published) -> Result<Vec<Value>, Status> {
        let (base, prefix) = self.config.service_range;
        let text =
            OBJECTS.replace("$now", &Time::now().to_string()).replace("$serviceRange", &format!("{base}/{prefix}"));
        let list = document::json::parse(text.as_bytes()).map_err(Status::internal)?;
        let mut objects = list.items().to_vec();
        objects.push(kubernetes_service(first_address(base), published.port));
        objects.push(service_address(first_address(base)));
        objects.push(authentication_config(published));
        objects.push(config_map("kube-apiserver-legacy-service-account-token-tracking", [("since", today())]));
        Ok(objects)
    }

    fn create_missing(&self, passage: &Passage, view: &View, object: Value) -> Result<Option<Write>, Status> {
        let row = row_of(&object)?;
        let target = Target { resource: row, subresource: None };
        let key = target.key(object["metadata"]["namespace"].str(), object["metadata"]["name"].str())?;
        if view.get(&key).is_some() {
            return Ok(None);
        }
        Ok(Some(self.system_write(passage, row, key, object)?))
    }

    fn policy_write(&self, passage: &Passage, view: &View, step: authz::bootstrap::Step) -> Result<Write, Status> {
        use authz::bootstrap::Step;
        let (key, object, replaces) = match step {
            Step::Create { key, object } => return self.system_write(passage, row_of(&object)?, key, object),
            Step::Update { key, object } => (key, object, false),
            Step::Replace { key, object, .. } => (key, object, true),
        };
        let row = row_of(&object)?;
        let found =
            view.get(&key).ok_or_else(|| Status::internal(format!("{key:?} went away while the server started")))?;
        let precondition = Precondition::At(found.revision);
        if replaces {
            return Ok(Write { precondition, ..self.system_write(passage, row, key, object)? });
        }
        let mut object = object;
        document::normalize(&mut object, row.type_);
        track(row, Some(&api::read(row, &found)), &mut object);
        Ok(Write { precondition, effect: Effect::Put(seal(row, key, &object)?) })
    }

    fn system_write(
        &self,
        passage: &Passage,
        row: &'static ResourceType,
        key: Key,
        mut object: Value,
    ) -> Result<Write, Status> {
        let meta = object.entry("metadata");
        meta.set("uid", meta::random::uuid());
        meta.set("creationTimestamp", Time::now().to_string());
        document::default::apply(&mut object, row.type_, row.defaults);
        document::normalize(&mut object, row.type_);
        let status = object.remove("status");
        track(row, None, &mut object);
        api::strategy::prepare_create(row, &mut object, &context(passage));
        if let Some(status) = status {
            object.set("status", status);
            object = track_status(row, object)?;
        }
        document::normalize(&mut object, row.type_);
        Ok(Write { precondition: Precondition::Absent, effect: Effect::Put(seal(row, key, &object)?) })
    }
}

/// Who manages the fields of a default object: upstream's API server, or its part that keeps flow schemas.
fn track(row: &'static ResourceType, live: Option<&Value>, object: &mut Value) {
    let manager = match row.group {
        "flowcontrol.apiserver.k8s.io" => "api-priority-and-fairness-config-producer-v1",
        _ => "kube-apiserver",
    };
    let later: Vec<(&[&'static str], Value)> =
        FILLED_IN.iter().filter(|(kind, _)| *kind == row.kind).map(|(_, path)| (*path, take(object, path))).collect();
    manage::track(&Target { resource: row, subresource: None }, &WriteOptions::of_manager(manager), live, object);
    for (path, value) in later {
        let place = path.iter().fold(&mut *object, |at, name| at.entry(*name));
        *place = value;
    }
}

/// What upstream's strategies and controllers add to what is sent: nobody manages it by sending.
const FILLED_IN: &[(&str, &[&str])] = &[
    ("Namespace", &["spec", "finalizers"]),
    ("Service", &["spec", "clusterIPs"]),
    ("Service", &["spec", "ipFamilies"]),
    ("ServiceCIDR", &["metadata", "finalizers"]),
];

fn take(object: &mut Value, path: &[&'static str]) -> Value {
    match path {
        [] => Value::Null,
        [last] => object.remove(last).unwrap_or_default(),
        [first, rest @ ..] => take(object.entry(*first), rest),
    }
}

/// The status of a flow schema is applied by the part of upstream's API server that follows it.
fn track_status(row: &'static ResourceType, object: Value) -> Result<Value, Status> {
    let Some(subresource) = row.subresource("status").filter(|_| row.kind == "FlowSchema") else { return Ok(object) };
    let patch = doc!({
        "apiVersion": (object["apiVersion"].clone()), "kind": (object["kind"].clone()),
        "metadata": {"name": (object["metadata"]["name"].clone())}, "status": (object["status"].clone())
    });
    let target = Target { resource: row, subresource: Some(subresource) };
    let options =
        WriteOptions { applied: true, ..WriteOptions::of_manager("api-priority-and-fairness-config-consumer-v1") };
    let expected = Expected::of(row);
    Ok(manage::apply(&target, &options, &Body::Value(patch), &expected, Some(&object))?.0)
}

fn row_of(object: &Value) -> Result<&'static ResourceType, Status> {
    let version = meta::GroupVersion::parse(object["apiVersion"].str()).unwrap_or_default();
    api::by_kind(&version.with_kind(object["kind"].str()))
        .ok_or_else(|| Status::internal("a default object of an unknown kind"))
}

fn kubernetes_service(address: IpAddr, port: u16) -> Value {
    let (address, family) = (address.to_string(), if address.is_ipv4() { "IPv4" } else { "IPv6" });
    doc!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": (i64::from(port))}],
            "clusterIP": (address.as_str()), "clusterIPs": [(address.as_str())], "type": "ClusterIP", "sessionAffinity": "None",
            "ipFamilies": [family], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster"
        }
    })
}

/// Upstream keeps a claim for each cluster IP; the API server's own is there from the start.
fn service_address(address: IpAddr) -> Value {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    doc!({
        "kind": "IPAddress", "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": (address.to_string()),
            "labels": {"ipaddress.kubernetes.io/ip-family": family, "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}
        },
        "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "kubernetes"}}
    })
}

fn authentication_config(published: &Published) -> Value {
    let ca = [("client-ca-file", published.client_ca.clone())];
    config_map("extension-apiserver-authentication", ca.into_iter().chain(published.request_header.iter().cloned()))
}

fn config_map(name: &str, data: impl IntoIterator<Item = (&'static str, String)>) -> Value {
    let mut object =
        doc!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "namespace": "kube-system"}});
    object.set("data", Value::of(data));
    object
}

fn today() -> String {
    Time::now().to_string().chars().take(10).collect()
}

/// The first usable address of the range: the API server's.
pub fn first_address(base: IpAddr) -> IpAddr {
    match base {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4).saturating_add(1)).into()),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6).saturating_add(1)).into()),
    }
}
