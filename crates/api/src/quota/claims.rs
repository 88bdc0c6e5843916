//! Claims: storage that a PersistentVolumeClaim asks for, by class too; devices that a ResourceClaim may get, by class
//! and by the extended resource that a class stands for.

use std::borrow::Cow;

use document::Value;
use meta::{Quantity, quantity::Format};

use super::{Amounts, DeviceClasses, add, pod};

const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
const BY_DEVICE_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
const IMPLICIT: &str = "requests.deviceclass.resource.kubernetes.io/";
const VOLUMES: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
/// As many devices as a claim can get at all.
const ALL_DEVICES: i64 = 32;

pub(super) fn tracks_volumes(name: &str) -> bool {
    let by_class = |what: &&str| name.strip_suffix(*what).is_some_and(|rest| rest.ends_with(BY_CLASS));
    VOLUMES.contains(&name) || VOLUMES.iter().any(by_class)
}

pub(super) fn tracks_devices(name: &str, classes: &DeviceClasses) -> bool {
    if name.ends_with(BY_DEVICE_CLASS) {
        return true;
    }
    if name.strip_prefix(IMPLICIT).is_some_and(|class| classes.0.contains_key(class)) {
        return true;
    }
    let known = |resource: &str| {
        let implicit = resource.strip_prefix("deviceclass.resource.kubernetes.io/");
        implicit.is_some_and(|class| classes.0.contains_key(class)) || classes.0.values().any(|r| r == resource)
    };
    pod::is_extended_for_quota(name) && name.strip_prefix("requests.").is_some_and(known)
}

pub(super) fn volumes(claim: &Value) -> Amounts {
    let one = Quantity::new(1, Format::DecimalSi);
    let annotation = claim["metadata"]["annotations"].get("volume.beta.kubernetes.io/storage-class");
    let class = annotation.unwrap_or(&claim["spec"]["storageClassName"]).str();
    let mut usage = Amounts::from([(Cow::Borrowed(VOLUMES[0]), one.clone())]);
    if !class.is_empty() {
        usage.insert(format!("{class}{BY_CLASS}{}", VOLUMES[0]).into(), one);
    }
    if let Some(bytes) = storage(claim) {
        if !class.is_empty() {
            usage.insert(format!("{class}{BY_CLASS}{}", VOLUMES[1]).into(), bytes.clone());
        }
        usage.insert(Cow::Borrowed(VOLUMES[1]), bytes);
    }
    usage
}

/// What is asked for, or what is set aside already where that is more; whole bytes.
fn storage(claim: &Value) -> Option<Quantity> {
    let read = |list: &Value| Quantity::parse(list["storage"].str()).ok();
    let asked = read(&claim["spec"]["resources"]["requests"])?;
    let allocated = read(&claim["status"]["allocatedResources"]).filter(|a| a.nano > asked.nano);
    Some(allocated.unwrap_or(asked).round_up(0))
}

/// All VolumeAttributesClasses that the claim has to do with.
pub(super) fn attributes_classes(claim: &Value) -> Vec<String> {
    let status = &claim["status"];
    let names = [
        &claim["spec"]["volumeAttributesClassName"],
        &status["currentVolumeAttributesClassName"],
        &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
    ];
    names.into_iter().map(Value::str).filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

pub(super) fn devices(claim: &Value, classes: &DeviceClasses) -> Amounts {
    let mut usage = Amounts::new();
    for request in claim["spec"]["devices"]["requests"].items() {
        let mut most = Amounts::new();
        let alternatives = request["firstAvailable"].items();
        let exactly = request.get("exactly").filter(|_| alternatives.is_empty());
        for wanted in alternatives.iter().chain(exactly) {
            let name = format!("{}{BY_DEVICE_CLASS}", wanted["deviceClassName"].str());
            let count = Quantity::new(count(wanted), Format::DecimalSi);
            let known = most.entry(name.into()).or_insert_with(|| Quantity::new(0, Format::DecimalSi));
            if count.nano > known.nano {
                *known = count;
            }
        }
        add(&mut usage, &most);
    }
    let extended: Vec<_> = usage.iter().flat_map(|(name, amount)| extended(name, amount, classes)).collect();
    usage.extend(extended);
    usage
}

fn count(request: &Value) -> i64 {
    match request["allocationMode"].str() {
        "ExactCount" => request["count"].as_i64().unwrap_or(0),
        "All" => ALL_DEVICES,
        _ => 0,
    }
}

/// The names of extended resources under which devices of a class count as well.
fn extended(name: &str, amount: &Quantity, classes: &DeviceClasses) -> Vec<(Cow<'static, str>, Quantity)> {
    let Some(class) = name.strip_suffix(BY_DEVICE_CLASS).filter(|c| !c.is_empty()) else { return Vec::new() };
    if amount.is_zero() {
        return Vec::new();
    }
    let explicit = classes.0.get(class).map(|resource| format!("requests.{resource}"));
    let names = [Some(format!("{IMPLICIT}{class}")), explicit];
    names.into_iter().flatten().map(|n| (Cow::Owned(n), amount.clone())).collect()
}
