//! `--controllers`: `*` is all that are on by default, `name` turns one on, `-name` off; the first that names it counts.

/// Controllers of upstream that are off unless named; none of them is built yet.
const OFF_BY_DEFAULT: &[&str] = &["bootstrap-signer-controller", "token-cleaner-controller"];

/// All names that upstream's flag takes; those that are not built do nothing.
const UPSTREAM: &[&str] = &[
    "bootstrap-signer-controller",
    "certificatesigningrequest-approving-controller",
    "certificatesigningrequest-cleaner-controller",
    "certificatesigningrequest-signing-controller",
    "cloud-node-lifecycle-controller",
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "daemonset-controller",
    "deployment-controller",
    "device-taint-eviction-controller",
    "disruption-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "endpointslice-mirroring-controller",
    "ephemeral-volume-controller",
    "garbage-collector-controller",
    "horizontal-pod-autoscaler-controller",
    "job-controller",
    "kube-apiserver-serving-clustertrustbundle-publisher-controller",
    "legacy-serviceaccount-token-cleaner-controller",
    "namespace-controller",
    "node-ipam-controller",
    "node-lifecycle-controller",
    "node-route-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-expander-controller",
    "persistentvolume-protection-controller",
    "persistentvolumeclaim-protection-controller",
    "pod-garbage-collector-controller",
    "podcertificaterequest-cleaner-controller",
    "replicaset-controller",
    "replicationcontroller-controller",
    "resourceclaim-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "selinux-warning-controller",
    "service-cidr-controller",
    "service-lb-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "statefulset-controller",
    "storage-version-migrator-controller",
    "storageversion-garbage-collector-controller",
    "taint-eviction-controller",
    "token-cleaner-controller",
    "ttl-after-finished-controller",
    "ttl-controller",
    "validatingadmissionpolicy-status-controller",
    "volumeattributesclass-protection-controller",
];

/// What the flag says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection(Vec<String>);

/// A name that upstream does not know either.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not in the list of known controllers")]
pub struct UnknownController(pub String);

impl Selection {
    /// Takes the flag's items.
    pub fn parse(items: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, UnknownController> {
        let mut selection = Vec::new();
        for item in items.into_iter().flat_map(|i| i.as_ref().split(',').map(str::to_owned).collect::<Vec<_>>()) {
            let name = item.strip_prefix('-').unwrap_or(&item);
            if name != "*" && !UPSTREAM.contains(&name) {
                return Err(UnknownController(item));
            }
            selection.push(item);
        }
        Ok(Selection(selection))
    }

    pub fn is_enabled(&self, name: &str) -> bool {
        for item in &self.0 {
            if item == name {
                return true;
            }
            if item.strip_prefix('-') == Some(name) {
                return false;
            }
        }
        self.0.iter().any(|item| item == "*") && !OFF_BY_DEFAULT.contains(&name)
    }
}

impl Default for Selection {
    /// `*`
    fn default() -> Self {
        Selection(vec!["*".into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flag: &[&str], name: &str, want: bool) {
        assert_eq!(Selection::parse(flag).unwrap().is_enabled(name), want, "{flag:?} {name}");
    }

    #[test]
    fn the_flag_is_read_as_upstream_reads_it() {
        check(&["*"], "namespace-controller", true);
        check(&["*", "-namespace-controller"], "namespace-controller", false);
        check(&["*,-namespace-controller"], "serviceaccount-controller", true);
        check(&["namespace-controller"], "serviceaccount-controller", false);
        check(&["*"], "token-cleaner-controller", false);
        check(&["*", "token-cleaner-controller"], "token-cleaner-controller", true);
        assert!(Selection::parse(["nope"]).is_err());
    }

    #[test]
    fn every_controller_here_is_one_of_upstream() {
        assert!(crate::names().all(|name| UPSTREAM.contains(&name)));
    }
}
