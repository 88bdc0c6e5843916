//! What `/resize` may change: cpu and memory of containers that stay where they are, and never the QoS class.

use document::Value;
use meta::field::Path;

use super::MIRROR;
use crate::strategy::qos_class;
use crate::validation::check::{Check, each, same};

const ONLY: &str = "only cpu and memory resources are mutable";

pub(super) fn resize(check: &mut Check, new: &Value, old: &Value) {
    if old["metadata"]["annotations"].get(MIRROR).is_some() {
        check.errors.clear();
        return check.forbidden(&Path::from("[]"), "static pods cannot be resized");
    }
    let path = Path::root("spec");
    let class = qos_class(&new["spec"]);
    if old["status"]["qosClass"].str() != class {
        let shown = new["status"]["qosClass"].str();
        check.invalid(&path, shown, "Pod QOS Class may not change as a result of resizing");
    }
    if !in_order(check, &new["spec"], &old["spec"], &path) {
        return;
    }
    for list in ["initContainers", "containers"] {
        for (n, (at, now)) in each(&new["spec"][list], &path.child(list)).enumerate() {
            removed(check, &now["resources"], &old["spec"][list][n]["resources"], &at.child("resources"));
        }
    }
    others(check, &new["spec"], &old["spec"], &path);
}

/// Containers are neither added nor removed nor renamed. False when they are.
fn in_order(check: &mut Check, new: &Value, old: &Value, path: &Path) -> bool {
    let before = check.errors.len();
    for list in ["containers", "initContainers"] {
        let at = path.child(list);
        if new[list].items().len() != old[list].items().len() {
            check.forbidden(&at, &format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (n, (at, now)) in each(&new[list], &at).enumerate() {
            if now["name"] != old[list][n]["name"] {
                check.forbidden(&at.child("name"), &format!("{list} may not be renamed or reordered on resize"));
            }
        }
    }
    check.errors.len() == before
}

fn removed(check: &mut Check, new: &Value, old: &Value, path: &Path) {
    for (part, what) in [("requests", "resource requests"), ("limits", "resource limits")] {
        if old[part].members().any(|(name, _)| new[part].get(name).is_none()) {
            check.forbidden(&path.child(part), &format!("{what} cannot be removed"));
        }
    }
}

/// Resources other than cpu and memory.
fn others(check: &mut Check, new: &Value, old: &Value, path: &Path) {
    for (n, now) in new["containers"].items().iter().enumerate() {
        if changes_others(now, &old["containers"][n]) {
            check.forbidden(path, ONLY);
        }
    }
    for (n, now) in new["initContainers"].items().iter().enumerate() {
        if changes_others(now, &old["initContainers"][n]) {
            let at = path.child("initContainers").index(n);
            check.forbidden(&at, "only cpu and memory resources for init or sidecar containers are mutable");
        }
    }
}

fn changes_others(new: &Value, old: &Value) -> bool {
    let rest = |container: &Value| {
        let mut resources = container["resources"].clone();
        for part in ["requests", "limits"] {
            for name in ["cpu", "memory"] {
                let _ = resources.get_mut(part).and_then(|p| p.remove(name));
            }
            if resources[part].is_empty() {
                resources.remove(part);
            }
        }
        resources
    };
    let (now, before) = (rest(new), rest(old));
    ["requests", "limits", "claims"].iter().any(|part| !same(&now[*part], &before[*part]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn only_cpu_and_memory_change_and_the_class_stays() {
        let pod = |resources: Value, class: &str| doc!({"metadata": {}, "status": {"qosClass": class}, "spec": {"containers": [{"name": "c", "resources": (resources)}]}});
        let old = pod(doc!({"requests": {"cpu": "1"}}), "Burstable");
        let said = |new: Value| {
            let mut check = Check::default();
            resize(&mut check, &pod(new, "Burstable"), &old);
            check.errors.iter().map(|e| e.to_string()).collect::<Vec<_>>()
        };
        assert!(said(doc!({"requests": {"cpu": "2"}})).is_empty());
        assert_eq!(
            said(doc!({"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}})),
            ["spec: Forbidden: only cpu and memory resources are mutable"]
        );
        assert_eq!(
            said(doc!({})),
            [
                "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing",
                "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"
            ]
        );
    }
}
