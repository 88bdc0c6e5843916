//! `--allow-privileged=false`: privileged containers are refused wherever a pod is described, in upstream's words.

use api::ResourceType;
use document::Value;
use meta::field::{Error, Path};

/// What is wrong with a new or changed object when privileged containers are not allowed.
pub(crate) fn errors(row: &ResourceType, object: &Value) -> Vec<Error> {
    let Some(names) = pod_spec(row) else { return Vec::new() };
    let mut path = Path::nil();
    let mut spec = object;
    for name in names {
        path = path.child(name);
        spec = &spec[*name];
    }
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| spec[list].items().iter().enumerate().map(move |(n, c)| (list, n, c)))
        .filter(|(_, _, c)| c["securityContext"]["privileged"].is_true())
        .map(|(list, n, _)| {
            let at = path.child(list).index(n).child("securityContext").child("privileged");
            Error::forbidden(&at, "disallowed by cluster policy")
        })
        .collect()
}

/// Where a kind keeps its pod spec.
fn pod_spec(row: &ResourceType) -> Option<&'static [&'static str]> {
    match (row.group, row.kind) {
        ("", "Pod") => Some(&["spec"]),
        ("", "PodTemplate") => Some(&["template", "spec"]),
        ("batch", "CronJob") => Some(&["spec", "jobTemplate", "spec", "template", "spec"]),
        ("", "ReplicationController")
        | ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet")
        | ("batch", "Job") => Some(&["spec", "template", "spec"]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    #[test]
    fn a_privileged_container_is_found_in_pods_and_templates() {
        let spec = doc!({"containers": [{"name": "a"}, {"name": "b", "securityContext": {"privileged": true}}]});
        for (group, plural, object, want) in [
            ("", "pods", doc!({"spec": (spec.clone())}), "spec.containers[1].securityContext.privileged"),
            (
                "apps",
                "deployments",
                doc!({"spec": {"template": {"spec": (spec.clone())}}}),
                "spec.template.spec.containers[1].securityContext.privileged",
            ),
        ] {
            let row = api::find(group, "v1", plural).expect("a built-in");
            let found = errors(row, &object);
            assert_eq!(found.iter().map(|e| e.path.to_string()).collect::<Vec<_>>(), [want]);
        }
    }
}
