//! persistentvolume-binder-controller: claims and volumes that fit are bound to each other, and each says how it stands.
//! One worker: what it has just bound nobody else takes.

use std::sync::Arc;

use client::events::{Recorder, Reference};
use client::{Api, Informer, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES, Scope, WorkQueue};
use document::{Value, doc};
use meta::Status;

use super::matching::{best, class, is_for, mismatch};
use crate::driver::{Outcome, Tasks, Work};
use crate::{Config, World};

const COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_US: &str = "pv.kubernetes.io/bound-by-controller";
/// The scheduler has a pod for the claim, and wants a volume to be made.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const NAME: &str = "persistentvolume-controller";

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Volume(String),
    /// Namespace and name.
    Claim(String, String),
}

struct Binder {
    api: Api,
    volumes: Informer<Value>,
    claims: Informer<Value>,
    recorder: Recorder,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(tasks: &mut Tasks, _: &Config, world: &World) {
    let volumes = Informer::start(&world.reader, Scope::all(PERSISTENT_VOLUMES), volume_facts);
    let claims = Informer::start(&world.reader, Scope::all(PERSISTENT_VOLUME_CLAIMS), claim_facts);
    let queue = WorkQueue::new();
    let (changed, waiting) = (queue.clone(), claims.clone());
    volumes.on_change(move |change| {
        let name = &*change.key.name;
        changed.add(Key::Volume(name.to_owned()));
        let (old, new) = (change.old.as_ref().map(|k| &k.facts), change.new.as_ref().map(|k| &k.facts));
        let of = |facts: Option<&Value>| facts.map(|f| f["spec"]["claimRef"].clone()).filter(|r| !r.is_null());
        if of(old) != of(new) || new.is_none() {
            for reference in [of(old), of(new)].into_iter().flatten() {
                changed.add(Key::Claim(reference["namespace"].str().into(), reference["name"].str().into()));
            }
        }
        if !is_news(old, new) {
            return;
        }
        for claim in waiting.list().iter().filter(|claim| waits_for(&claim.facts, name)) {
            changed.add(Key::Claim(claim.key.namespace.to_string(), claim.key.name.to_string()));
        }
    });
    let changed = queue.clone();
    claims.on_change(move |change| {
        changed.add(Key::Claim(change.key.namespace.to_string(), change.key.name.to_string()));
        let known = change.new.as_ref().or(change.old.as_ref());
        let volume = known.map_or("", |k| k.facts["spec"]["volumeName"].str());
        if !volume.is_empty() {
            changed.add(Key::Volume(volume.to_owned()));
        }
    });
    let recorder = Recorder::new(world.api.clone(), NAME, "");
    let work = Binder { api: world.api.clone(), volumes, claims, recorder, queue: queue.clone() };
    tasks.work(1, &queue, &Arc::new(work));
}

/// All that matching looks at: who manages its fields is no part of it.
fn volume_facts(object: &Arc<document::Object>) -> Value {
    let mut volume = client::object::item(object);
    volume.entry("metadata").remove("managedFields");
    volume.entry("metadata").remove("resourceVersion");
    volume
}

/// Which volume a claim has, and how it stands.
fn claim_facts(object: &Arc<document::Object>) -> Value {
    let claim = client::object::item(object);
    let (volume, phase) = (claim["spec"]["volumeName"].str(), claim["status"]["phase"].str());
    doc!({"spec": {"volumeName": volume}, "status": {"phase": phase}})
}

/// May somebody have this volume now who could not before?
fn is_news(old: Option<&Value>, new: Option<&Value>) -> bool {
    new.is_some_and(|new| old != Some(new) && matches!(new["status"]["phase"].str(), "Available" | "Bound" | ""))
}

/// Is this a claim that might take the volume of this name?
fn waits_for(claim: &Value, volume: &str) -> bool {
    match (claim["status"]["phase"].str(), claim["spec"]["volumeName"].str()) {
        ("Bound", _) => false,
        ("Lost", named) => named == volume,
        (_, named) => named.is_empty() || named == volume,
    }
}

impl Work<Key> for Binder {
    const NAME: &'static str = "persistentvolume-binder-controller";

    async fn sync(&self, key: Key) -> Outcome {
        self.volumes.synced().await;
        self.claims.synced().await;
        match key {
            Key::Volume(name) => {
                if let Some(volume) = self.volume(&name).await? {
                    self.sync_volume(volume).await?;
                }
            }
            Key::Claim(namespace, name) => match self.claim(&namespace, &name).await? {
                Some(claim) if claim["metadata"]["annotations"].get(COMPLETED).is_some() => {
                    self.sync_bound(claim).await?;
                }
                Some(claim) => self.sync_unbound(claim).await?,
                None => {}
            },
        }
        Ok(None)
    }
}

fn found(outcome: Result<Value, Status>) -> Result<Option<Value>, Status> {
    match outcome {
        Err(error) if error.is_not_found() => Ok(None),
        outcome => outcome.map(Some),
    }
}

impl Binder {
    async fn volume(&self, name: &str) -> Result<Option<Value>, Status> {
        found(self.api.get(&PERSISTENT_VOLUMES, "", name).await)
    }

    async fn claim(&self, namespace: &str, name: &str) -> Result<Option<Value>, Status> {
        found(self.api.get(&PERSISTENT_VOLUME_CLAIMS, namespace, name).await)
    }

    async fn sync_volume(&self, volume: Value) -> Result<(), Status> {
        let reference = &volume["spec"]["claimRef"];
        if reference.is_null() || reference["uid"].str().is_empty() {
            return self.volume_phase(volume, "Available").await;
        }
        let (namespace, name) = (reference["namespace"].str().to_owned(), reference["name"].str().to_owned());
        let claim = self.claim(&namespace, &name).await?.filter(|c| c["metadata"]["uid"] == reference["uid"]);
        let Some(claim) = claim else {
            let failed = volume["status"]["phase"].str() == "Failed";
            return if failed { Ok(()) } else { self.volume_phase(volume, "Released").await };
        };
        match claim["spec"]["volumeName"].str() {
            "" => self.queue.add(Key::Claim(namespace, name)),
            bound if bound == volume["metadata"]["name"].str() => return self.volume_phase(volume, "Bound").await,
            _ if volume["metadata"]["annotations"].get(BOUND_BY_US).is_some() => return self.unbind(volume).await,
            _ => {}
        }
        Ok(())
    }

    /// The claim has another volume: this one is free again.
    async fn unbind(&self, mut volume: Value) -> Result<(), Status> {
        volume.entry("spec").remove("claimRef");
        volume.entry("metadata").entry("annotations").remove(BOUND_BY_US);
        let volume = self.api.update(&PERSISTENT_VOLUMES, volume).await?;
        self.volume_phase(volume, "Available").await
    }

    async fn volume_phase(&self, mut volume: Value, phase: &str) -> Result<(), Status> {
        if volume["status"]["phase"].str() == phase {
            return Ok(());
        }
        volume.entry("status").set("phase", phase);
        volume.entry("status").remove("message");
        self.api.update_status(&PERSISTENT_VOLUMES, volume).await.map(drop)
    }

    async fn claim_phase(&self, mut claim: Value, phase: &str, volume: Option<&Value>) -> Result<(), Status> {
        let before = claim["status"].clone();
        let status = claim.entry("status");
        status.set("phase", phase);
        // what a bound claim has of these is for who grows and changes it to say
        let fresh = before["phase"].str() != phase;
        let attributes = "volumeAttributesClassName";
        let fields = [
            ("accessModes", "accessModes", true),
            ("capacity", "capacity", fresh),
            ("currentVolumeAttributesClassName", attributes, fresh && before["phase"].str() == "Pending"),
        ];
        for (field, from, said) in fields {
            match volume.map(|volume| &volume["spec"][from]) {
                Some(_) if !said => {}
                Some(value) if !value.is_null() => status.set(field, value.clone()),
                _ => drop(status.remove(field)),
            }
        }
        if claim["status"] == before {
            return Ok(());
        }
        self.api.update_status(&PERSISTENT_VOLUME_CLAIMS, claim).await.map(drop)
    }

    async fn sync_unbound(&self, claim: Value) -> Result<(), Status> {
        let wanted = claim["spec"]["volumeName"].str();
        if !wanted.is_empty() {
            return match self.volume(wanted).await? {
                Some(volume) if volume["spec"]["claimRef"].is_null() && mismatch(&volume, &claim).is_some() => {
                    let why = mismatch(&volume, &claim).unwrap_or_default();
                    let why = format!("Cannot bind to requested volume {}: {why}", meta::goquote::quote(wanted));
                    self.warn(&claim, "VolumeMismatch", &why);
                    self.claim_phase(claim, "Pending", None).await
                }
                Some(volume) if volume["spec"]["claimRef"].is_null() || is_for(&volume, &claim) => {
                    self.bind(volume, claim).await
                }
                Some(_) if claim["metadata"]["annotations"].get(BOUND_BY_US).is_none() => {
                    let why = format!("volume {wanted:?} already bound to a different claim.");
                    self.warn(&claim, "FailedBinding", &why);
                    self.claim_phase(claim, "Pending", None).await
                }
                _ => self.claim_phase(claim, "Pending", None).await,
            };
        }
        let waits = self.waits_for_consumer(&claim).await?;
        let known = self.volumes.list();
        let found = best(known.iter().map(|k| &k.facts), &claim, waits);
        let Some(name) = found.map(|v| v["metadata"]["name"].str().to_owned()) else {
            return self.nothing_fits(claim, waits).await;
        };
        // as it is now: what was just bound may still look free here
        match self.volume(&name).await? {
            Some(volume) if volume["spec"]["claimRef"].is_null() || is_for(&volume, &claim) => {
                self.bind(volume, claim).await
            }
            _ => Err(Status::unclassified("the volume was taken, will try again")),
        }
    }

    /// As the class says.
    async fn waits_for_consumer(&self, claim: &Value) -> Result<bool, Status> {
        let name = class(claim);
        if name.is_empty() {
            return Ok(false);
        }
        let class = found(self.api.get(&STORAGE_CLASSES, "", name).await)?;
        Ok(class.is_some_and(|c| c["volumeBindingMode"].str() == "WaitForFirstConsumer"))
    }

    async fn nothing_fits(&self, claim: Value, waits: bool) -> Result<(), Status> {
        let name = class(&claim).to_owned();
        if waits && claim["metadata"]["annotations"].get(SELECTED_NODE).is_none() {
            self.tell(&claim, "WaitForFirstConsumer", "waiting for first consumer to be created before binding");
        } else if name.is_empty() {
            let why = "no persistent volumes available for this claim and no storage class is set";
            self.tell(&claim, "FailedBinding", why);
        } else if found(self.api.get(&STORAGE_CLASSES, "", &name).await)?.is_none() {
            let why = format!("storageclass.storage.k8s.io {name:?} not found");
            self.warn(&claim, "ProvisioningFailed", &why);
        }
        self.claim_phase(claim, "Pending", None).await
    }

    /// A claim that was bound: it has its volume, or it has lost it.
    async fn sync_bound(&self, claim: Value) -> Result<(), Status> {
        let name = claim["spec"]["volumeName"].str();
        let volume = if name.is_empty() { None } else { self.volume(name).await? };
        let lost = match &volume {
            _ if name.is_empty() => "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
            None => "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
            Some(volume) if !volume["spec"]["claimRef"].is_null() && !is_for(volume, &claim) => {
                if claim["status"]["phase"].str() != "Lost" {
                    let why = "Two claims are bound to the same volume, this one is bound incorrectly";
                    self.warn(&claim, "ClaimMisbound", why);
                }
                return self.claim_phase(claim, "Lost", None).await;
            }
            Some(_) => "",
        };
        match volume {
            Some(volume) if lost.is_empty() => self.bind(volume, claim).await,
            _ => {
                if claim["status"]["phase"].str() != "Lost" {
                    self.warn(&claim, "ClaimLost", lost);
                }
                self.claim_phase(claim, "Lost", None).await
            }
        }
    }

    /// Both sides name each other, in the order in which an interruption does no harm.
    async fn bind(&self, volume: Value, claim: Value) -> Result<(), Status> {
        let volume = match with_claim(&volume, &claim) {
            Some(changed) => self.api.update(&PERSISTENT_VOLUMES, changed).await?,
            None => volume,
        };
        self.volume_phase(volume.clone(), "Bound").await?;
        let claim = match with_volume(&claim, &volume) {
            Some(changed) => self.api.update(&PERSISTENT_VOLUME_CLAIMS, changed).await?,
            None => claim,
        };
        self.claim_phase(claim, "Bound", Some(&volume)).await
    }

    fn tell(&self, claim: &Value, reason: &str, message: &str) {
        self.recorder.normal(&Reference::to(&PERSISTENT_VOLUME_CLAIMS, claim), reason, message);
    }

    fn warn(&self, claim: &Value, reason: &str, message: &str) {
        self.recorder.warning(&Reference::to(&PERSISTENT_VOLUME_CLAIMS, claim), reason, message);
    }
}

/// The volume with its claim, when it has not got it.
fn with_claim(volume: &Value, claim: &Value) -> Option<Value> {
    let (mut changed, meta) = (volume.clone(), &claim["metadata"]);
    let reference = &volume["spec"]["claimRef"];
    if is_for(volume, claim) && !reference["uid"].str().is_empty() {
        return None;
    }
    if reference.is_null() {
        changed.entry("metadata").entry("annotations").set(BOUND_BY_US, "yes");
    }
    changed.entry("spec").set(
        "claimRef",
        doc!({
            "kind": "PersistentVolumeClaim",
            "apiVersion": "v1",
            "namespace": (meta["namespace"].str()),
            "name": (meta["name"].str()),
            "uid": (meta["uid"].str()),
            "resourceVersion": (meta["resourceVersion"].str()),
        }),
    );
    Some(changed)
}

/// The claim with its volume, when it has not got it or does not say that this is final.
fn with_volume(claim: &Value, volume: &Value) -> Option<Value> {
    let mut changed = claim.clone();
    let name = volume["metadata"]["name"].str();
    if claim["spec"]["volumeName"].str() != name {
        changed.entry("spec").set("volumeName", name);
        changed.entry("metadata").entry("annotations").set(BOUND_BY_US, "yes");
    }
    changed.entry("metadata").entry("annotations").set(COMPLETED, "yes");
    (changed != *claim).then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_say_who_bound_them() {
        let claim = doc!({"metadata": {"name": "c", "namespace": "n", "uid": "u", "resourceVersion": "7"}, "spec": {}});
        let volume = doc!({"metadata": {"name": "v"}, "spec": {}});
        let bound = with_claim(&volume, &claim).unwrap();
        assert_eq!(bound["spec"]["claimRef"]["uid"].str(), "u");
        assert_eq!(bound["metadata"]["annotations"][BOUND_BY_US].str(), "yes");
        assert_eq!(with_claim(&bound, &claim), None);
        let done = with_volume(&claim, &volume).unwrap();
        assert_eq!(done["metadata"]["annotations"], doc!({BOUND_BY_US: "yes", COMPLETED: "yes"}));
        assert_eq!(with_volume(&done, &volume), None);
        let named = doc!({"metadata": {"name": "c"}, "spec": {"volumeName": "v"}});
        let done = with_volume(&named, &volume).unwrap();
        assert_eq!(done["metadata"]["annotations"], doc!({COMPLETED: "yes"}));
    }

    #[test]
    fn a_volume_kept_for_a_claim_gets_its_uid_only() {
        let claim = doc!({"metadata": {"name": "c", "namespace": "n", "uid": "u"}});
        let kept = doc!({"metadata": {"name": "v"}, "spec": {"claimRef": {"name": "c", "namespace": "n"}}});
        let bound = with_claim(&kept, &claim).unwrap();
        assert!(bound["metadata"]["annotations"].is_null());
        assert_eq!(bound["spec"]["claimRef"]["uid"].str(), "u");
    }
}
