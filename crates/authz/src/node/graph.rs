//! The node graph: node → its pods → what they refer to, and claims → volumes → their secrets. Persistent, on the view.

use std::collections::BTreeSet;
use std::sync::Arc;

use document::{Object, Value, json};
use imbl::{HashMap, OrdMap};
use meta::{Key, ResourceId};
use store::{Change, Observer, View};

use crate::rbac::policy;

/// `namespace/name`.
type Place = Arc<str>;

/// What a pod refers to in its own namespace: (resource, name).
type References = BTreeSet<(&'static str, Box<str>)>;

#[derive(PartialEq)]
struct Pod {
    node: Arc<str>,
    namespace: Box<str>,
    references: References,
}

/// A PersistentVolume as the graph needs it.
#[derive(Clone)]
struct Volume {
    /// Of the claim: namespace and name.
    claim: Place,
    /// Secrets that the node reads to mount it: `namespace/name`.
    secrets: Arc<[Place]>,
}

/// All pods with a node, and all claimed volumes, of one view.
#[derive(Clone, Default)]
pub struct Graph {
    pods: HashMap<Place, Arc<Pod>>,
    /// How many pods of a node refer to an object: found by key, however many pods the node has.
    uses: HashMap<Arc<str>, u32>,
    volumes: HashMap<Arc<str>, Volume>,
    /// Volumes by the secrets they name.
    secrets: HashMap<Place, OrdMap<Arc<str>, ()>>,
}

impl Graph {
    pub fn has_pod(&self, node: &str, namespace: &str, name: &str) -> bool {
        self.pods.get(place(namespace, name).as_ref()).is_some_and(|pod| *pod.node == *node)
    }

    /// Whether a pod of the node refers to this object, for secrets also through a volume.
    pub fn uses(&self, node: &str, resource: &str, namespace: &str, name: &str) -> bool {
        self.uses.contains_key(use_key(node, resource, namespace, name).as_str())
            || (resource == "secrets"
                && self.volumes_with(namespace, name).any(|volume| self.uses_volume(node, volume)))
    }

    /// Whether a pod of the node uses the claim that this volume is bound to.
    pub fn uses_volume(&self, node: &str, name: &str) -> bool {
        let Some(volume) = self.volumes.get(name) else { return false };
        let Some((namespace, claim)) = volume.claim.split_once('/') else { return false };
        self.uses.contains_key(use_key(node, "persistentvolumeclaims", namespace, claim).as_str())
    }

    fn volumes_with(&self, namespace: &str, secret: &str) -> impl Iterator<Item = &Arc<str>> {
        self.secrets.get(place(namespace, secret).as_ref()).into_iter().flat_map(|volumes| volumes.keys())
    }

    /// A changed copy.
    pub fn after(&self, changes: &[Change]) -> Graph {
        let mut graph = self.clone();
        for change in changes.iter().filter(|c| matters(c)) {
            graph.change(&change.key, change.new.as_deref());
        }
        graph
    }

    fn change(&mut self, key: &Key, new: Option<&Object>) {
        match key.resource.as_str() {
            "pods" => self.change_pod(key, new.and_then(Pod::of)),
            _ => self.change_volume(key, new.and_then(Volume::of)),
        }
    }

    fn change_pod(&mut self, key: &Key, new: Option<Pod>) {
        let place = place(&key.namespace, &key.name);
        let old = self.pods.get(&place);
        if old.map(|pod| &**pod) == new.as_ref() {
            return;
        }
        if let Some(old) = self.pods.remove(&place) {
            for key in old.uses() {
                match self.uses.get_mut(key.as_str()) {
                    Some(count) if *count > 1 => *count -= 1,
                    _ => {
                        self.uses.remove(key.as_str());
                    }
                }
            }
        }
        if let Some(pod) = new.map(Arc::new) {
            for key in pod.uses() {
                *self.uses.entry(key.into()).or_default() += 1;
            }
            self.pods.insert(place, pod);
        }
    }

    fn change_volume(&mut self, key: &Key, new: Option<Volume>) {
        let name: Arc<str> = (*key.name).into();
        if let Some(old) = self.volumes.remove(&name) {
            for secret in old.secrets.iter() {
                if let Some(volumes) = self.secrets.get_mut(secret) {
                    volumes.remove(&name);
                }
            }
        }
        if let Some(volume) = new {
            for secret in volume.secrets.iter() {
                self.secrets.entry(secret.clone()).or_default().insert(name.clone(), ());
            }
            self.volumes.insert(name, volume);
        }
    }
}

fn place(namespace: &str, name: &str) -> Place {
    format!("{namespace}/{name}").into()
}

/// None of the parts can hold the separators.
fn use_key(node: &str, resource: &str, namespace: &str, name: &str) -> String {
    [node, " ", resource, " ", namespace, "/", name].concat()
}

impl Pod {
    fn of(object: &Object) -> Option<Pod> {
        let node = object.field("spec.nodeName");
        if node.is_empty() {
            return None;
        }
        let pod = json::parse(&policy::json(object)).ok()?;
        let mirror = pod.at(["metadata", "annotations"]).get("kubernetes.io/config.mirror").is_some();
        let references = if mirror { References::new() } else { references(&pod) };
        Some(Pod { node: node.into(), namespace: object.key.namespace.clone(), references })
    }

    fn uses(&self) -> impl Iterator<Item = String> {
        self.references.iter().map(|(resource, name)| use_key(&self.node, resource, &self.namespace, name))
    }
}

fn references(pod: &Value) -> References {
    let mut out = References::new();
    let spec = &pod["spec"];
    let account = spec["serviceAccountName"].str();
    add(&mut out, "serviceaccounts", account);
    for secret in spec["imagePullSecrets"].items() {
        add(&mut out, "secrets", secret["name"].str());
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec[list].items() {
            add_environment(&mut out, container);
        }
    }
    for volume in spec["volumes"].items() {
        add_volume(&mut out, volume, pod["metadata"]["name"].str());
    }
    for list in ["resourceClaims", "resourceClaimStatuses"] {
        for claim in spec[list].items().iter().chain(pod["status"][list].items()) {
            add(&mut out, "resourceclaims", claim["resourceClaimName"].str());
        }
    }
    add(&mut out, "resourceclaims", pod.at(["status", "extendedResourceClaimStatus", "resourceClaimName"]).str());
    out
}

fn add(out: &mut References, resource: &'static str, name: &str) {
    if !name.is_empty() {
        out.insert((resource, name.into()));
    }
}

fn add_environment(out: &mut References, container: &Value) {
    for from in container["envFrom"].items() {
        add(out, "secrets", from.at(["secretRef", "name"]).str());
        add(out, "configmaps", from.at(["configMapRef", "name"]).str());
    }
    for variable in container["env"].items() {
        add(out, "secrets", variable.at(["valueFrom", "secretKeyRef", "name"]).str());
        add(out, "configmaps", variable.at(["valueFrom", "configMapKeyRef", "name"]).str());
    }
}

fn add_volume(out: &mut References, volume: &Value, pod: &str) {
    add(out, "secrets", volume.at(["secret", "secretName"]).str());
    add(out, "configmaps", volume.at(["configMap", "name"]).str());
    add(out, "persistentvolumeclaims", volume.at(["persistentVolumeClaim", "claimName"]).str());
    if volume.get("ephemeral").is_some() {
        add(out, "persistentvolumeclaims", &format!("{pod}-{}", volume["name"].str()));
    }
    for source in volume.at(["projected", "sources"]).items() {
        add(out, "secrets", source.at(["secret", "name"]).str());
        add(out, "configmaps", source.at(["configMap", "name"]).str());
    }
    for (kind, reference) in [
        ("azureFile", "secretName"),
        ("cephfs", "secretRef"),
        ("cinder", "secretRef"),
        ("flexVolume", "secretRef"),
        ("iscsi", "secretRef"),
        ("rbd", "secretRef"),
        ("scaleIO", "secretRef"),
        ("storageos", "secretRef"),
        ("csi", "nodePublishSecretRef"),
    ] {
        let reference = volume.at([kind, reference]);
        add(out, "secrets", reference.as_str().unwrap_or(reference["name"].str()));
    }
}

impl Volume {
    fn of(object: &Object) -> Option<Volume> {
        let volume = json::parse(&policy::json(object)).ok()?;
        let claim = volume.at(["spec", "claimRef"]);
        if claim["name"].str().is_empty() {
            return None;
        }
        let own = claim["namespace"].str();
        let mut secrets = Vec::new();
        for (kind, source) in volume["spec"].members() {
            for (name, reference) in source.members() {
                // a CSI driver's controller secrets are not the node's business
                let wanted = match kind {
                    "csi" => matches!(name, "nodePublishSecretRef" | "nodeStageSecretRef" | "nodeExpandSecretRef"),
                    _ => name == "secretRef",
                };
                if wanted && !reference["name"].str().is_empty() {
                    let namespace = reference.get("namespace").map_or(own, Value::str);
                    secrets.push(place(namespace, reference["name"].str()));
                }
            }
            let file = source["secretName"].str();
            if kind == "azureFile" && !file.is_empty() {
                secrets.push(place(source.get("secretNamespace").map_or(own, Value::str), file));
            }
        }
        Some(Volume { claim: place(own, claim["name"].str()), secrets: secrets.into() })
    }
}

/// The observer that keeps a [`Graph`] on every view.
pub struct Observe;

impl Observer for Observe {
    type Index = Graph;

    fn resources(&self) -> Vec<ResourceId> {
        ["pods", "persistentvolumes"].map(ResourceId::from_text).to_vec()
    }

    fn build(&self, view: &View) -> Graph {
        let mut graph = Graph::default();
        for resource in self.resources() {
            for object in view.list(&resource, None) {
                graph.change(&object.key, Some(&object));
            }
        }
        graph
    }

    fn apply(&self, index: &Graph, changes: &[Change], _: &View) -> Graph {
        index.after(changes)
    }
}

/// A pod without a node before and after is nothing here.
fn matters(change: &Change) -> bool {
    let placed = |object: &Option<Arc<Object>>| object.as_ref().is_some_and(|o| !o.field("spec.nodeName").is_empty());
    change.key.resource.as_str() != "pods" || placed(&change.old) || placed(&change.new)
}
