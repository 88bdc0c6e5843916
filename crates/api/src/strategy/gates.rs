//! Fields whose feature gate is off in upstream's release: they are dropped unless the old object has one already.

use std::collections::BTreeSet;

use document::schema::Shape;
use document::{Kind, Type, Value};

/// Types with such fields, in order of their names (without `io.k8s.api.`).
const OFF: [(&str, &[&str]); 28] = [
    ("batch.v1.JobSpec", &["scheduling"]),
    ("coordination.v1.LeaseSpec", &["preferredHolder", "strategy"]),
    ("core.v1.ClusterTrustBundleProjection", &["user"]),
    ("core.v1.ConfigMapVolumeSource", &["defaultUser"]),
    ("core.v1.ContainerStatus", &["stopSignal"]),
    ("core.v1.DownwardAPIVolumeFile", &["user"]),
    ("core.v1.DownwardAPIVolumeSource", &["defaultUser"]),
    ("core.v1.EmptyDirVolumeSource", &["mode"]),
    ("core.v1.GRPCAction", &["mode"]),
    ("core.v1.HTTPGetAction", &["protocol"]),
    ("core.v1.KeyToPath", &["user"]),
    ("core.v1.Lifecycle", &["stopSignal"]),
    ("core.v1.NodeSpec", &["podPreemptionPolicy"]),
    ("core.v1.PersistentVolumeClaimStatus", &["healthStatus"]),
    ("core.v1.PodCertificateProjection", &["user"]),
    ("core.v1.PodSpec", &["evictionResponders", "schedulingGroup"]),
    ("core.v1.PodStatus", &["nodeAllocatableResourceClaimStatuses", "volumeHealth"]),
    ("core.v1.ProjectedVolumeSource", &["defaultUser"]),
    ("core.v1.SecretVolumeSource", &["defaultUser"]),
    ("core.v1.ServiceAccountTokenProjection", &["user"]),
    ("core.v1.VolumeMount", &["bindMountOptions"]),
    ("resource.v1.Device", &["nodeAllocatableResources"]),
    ("resource.v1.DeviceAttribute", &["bools", "ints", "strings", "versions"]),
    ("resource.v1.DeviceCounterConsumption", &["compatibilityGroups"]),
    ("resource.v1.DeviceSubRequest", &["derivedAttributes"]),
    ("resource.v1.ExactDeviceRequest", &["derivedAttributes"]),
    ("resource.v1.ResourceSliceSpec", &["partitionTypeAttribute", "skipNodeOperations"]),
    ("storage.v1.CSINodeStatus", &["storageHealth"]),
];

fn off(type_: &Type) -> &'static [&'static str] {
    let name = type_.name.strip_prefix("io.k8s.api.").unwrap_or_default();
    OFF.binary_search_by(|(n, _)| (*n).cmp(name)).map_or(&[], |at| OFF[at].1)
}

/// A field of a type.
type Place = (&'static str, &'static str);

pub(super) fn drop_fields(new: &mut Value, old: Option<&Value>, type_: &'static Type) {
    let mut used = BTreeSet::new();
    if let Some(old) = old {
        collect(old, type_, &mut used);
    }
    remove(new, type_, &used);
}

fn collect(value: &Value, type_: &'static Type, used: &mut BTreeSet<Place>) {
    let (Shape::Struct(_), Value::Map(map)) = (&type_.shape, value) else { return };
    used.extend(off(type_).iter().filter(|f| map.contains(f)).map(|f| (type_.name, *f)));
    for (name, member) in map.iter() {
        let Some(field) = type_.field(name) else { continue };
        match (field.kind, member) {
            (Kind::Ref(inner), _) => collect(member, inner, used),
            (Kind::List(Kind::Ref(inner)), Value::List(items)) => items.iter().for_each(|i| collect(i, inner, used)),
            _ => {}
        }
    }
}

fn remove(value: &mut Value, type_: &'static Type, used: &BTreeSet<Place>) {
    let (Shape::Struct(_), Value::Map(map)) = (&type_.shape, value) else { return };
    for field in off(type_).iter().filter(|f| !used.contains(&(type_.name, **f))) {
        map.remove(field);
    }
    for (name, member) in map.iter_mut() {
        let Some(field) = type_.field(name) else { continue };
        match (field.kind, member) {
            (Kind::Ref(inner), member) => {
                let said = !member.is_empty();
                remove(member, inner, used);
                if said && member.is_empty() && inner.name == "io.k8s.api.core.v1.Lifecycle" {
                    *member = Value::Null;
                }
            }
            (Kind::List(Kind::Ref(inner)), Value::List(items)) => {
                items.iter_mut().for_each(|i| remove(i, inner, used));
            }
            _ => {}
        }
    }
    if map.get("lifecycle").is_some_and(Value::is_null) {
        map.remove("lifecycle");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn fields_behind_closed_gates_go_unless_they_were_there() {
        assert!(OFF.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let pods = crate::find("", "v1", "pods").unwrap();
        let pod = || doc!({"spec": {"volumes": [{"name": "v", "emptyDir": {"mode": 511}}], "schedulingGroup": {}}});
        let mut new = pod();
        drop_fields(&mut new, None, pods.type_);
        assert_eq!(new, doc!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}));
        let mut new = doc!({"spec": {"containers": [{"lifecycle": {"stopSignal": "SIGINT"}}, {"lifecycle": {}}]}});
        drop_fields(&mut new, None, pods.type_);
        assert_eq!(new, doc!({"spec": {"containers": [{}, {"lifecycle": {}}]}}));
        let mut new = pod();
        drop_fields(&mut new, Some(&pod()), pods.type_);
        assert_eq!(new, pod());
    }
}
