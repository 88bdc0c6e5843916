//! The chain of plugins in upstream's order, and which of them are on.

use meta::Status;

use crate::plugins;
use crate::{Plugin, Review};

/// Upstream's order of all plugins (`AllOrderedPlugins`), built here or not.
pub const ORDER: [&str; 37] = [
    "AlwaysAdmit",
    "NamespaceAutoProvision",
    "NamespaceLifecycle",
    "NamespaceExists",
    "LimitPodHardAntiAffinityTopology",
    "LimitRanger",
    "ServiceAccount",
    "NodeRestriction",
    "TaintNodesByCondition",
    "AlwaysPullImages",
    "ImagePolicyWebhook",
    "PodSecurity",
    "PodNodeSelector",
    "Priority",
    "DefaultTolerationSeconds",
    "PodTolerationRestriction",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "DefaultStorageClass",
    "StorageObjectInUseProtection",
    "PodGroupProtection",
    "OwnerReferencesPermissionEnforcement",
    "PersistentVolumeClaimResize",
    "RuntimeClass",
    "CertificateApproval",
    "CertificateSigning",
    "ClusterTrustBundleAttest",
    "CertificateSubjectRestriction",
    "DefaultIngressClass",
    "DenyServiceExternalIPs",
    "PodTopologyLabels",
    "NodeDeclaredFeatureValidator",
    "PodResizeValidator",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
];

/// The two that stand behind `ORDER`.
const LAST: [&str; 2] = ["ResourceQuota", "AlwaysDeny"];

/// Off unless asked for, as upstream.
const OFF: [&str; 14] = [
    "AlwaysAdmit",
    "AlwaysDeny",
    "AlwaysPullImages",
    "DenyServiceExternalIPs",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "ImagePolicyWebhook",
    "LimitPodHardAntiAffinityTopology",
    "NamespaceAutoProvision",
    "NamespaceExists",
    "NodeRestriction",
    "OwnerReferencesPermissionEnforcement",
    "PodNodeSelector",
    "PodTolerationRestriction",
];

/// What decides which plugins there are.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `--enable-admission-plugins`
    pub enabled: Vec<String>,
    /// `--disable-admission-plugins`
    pub disabled: Vec<String>,
    /// This process runs a node agent of ours. What only a node's network can enforce is then refused, since ours does
    /// not; other nodes bring their own network, as upstream's do.
    pub own_node: bool,
}

/// A wrong plugin flag, in upstream's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnknownPlugin {
    #[error("{flag}-admission-plugins plugin {name:?} is unknown")]
    Unknown { flag: &'static str, name: String },
    #[error("[{}] in enable-admission-plugins and disable-admission-plugins overlapped", names.join(" "))]
    Overlap { names: Vec<String> },
    #[error("admission plugin {0:?} is not built yet")]
    NotBuilt(String),
}

/// The plugins that are on, in order.
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
}

impl Chain {
    /// # Errors
    /// A name that upstream does not know, one in both lists, or one asked for that is not built here.
    pub fn new(config: &Config) -> Result<Self, UnknownPlugin> {
        check_flags(config)?;
        let on = |name: &str| {
            let is_in = |list: &[String]| list.iter().any(|n| n == name);
            !is_in(&config.disabled) && (is_in(&config.enabled) || !OFF.contains(&name))
        };
        let plugins = names().filter(|n| on(n)).filter_map(plugins::make);
        let mut plugins: Vec<Box<dyn Plugin>> = plugins.collect();
        plugins.push(Box::new(plugins::unenforced::Unenforced { own_node: config.own_node }));
        Ok(Chain { plugins })
    }

    /// Lets every plugin change the object.
    ///
    /// # Errors
    /// The first refusal.
    pub fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        self.plugins.iter().try_for_each(|p| p.mutate(review))
    }

    /// Lets every plugin judge the object.
    ///
    /// # Errors
    /// The first refusal.
    pub fn validate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        self.plugins.iter().try_for_each(|p| p.validate(review))
    }

    /// Names of the plugins that are on, in order.
    pub fn plugins(&self) -> Vec<&'static str> {
        self.plugins.iter().map(|p| p.name()).collect()
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    ORDER.into_iter().chain(LAST)
}

fn check_flags(config: &Config) -> Result<(), UnknownPlugin> {
    for (flag, list) in [("enable", &config.enabled), ("disable", &config.disabled)] {
        if let Some(name) = list.iter().find(|n| !names().any(|k| k == n.as_str())) {
            return Err(UnknownPlugin::Unknown { flag, name: name.clone() });
        }
    }
    let both: Vec<String> = config.enabled.iter().filter(|n| config.disabled.contains(n)).cloned().collect();
    if !both.is_empty() {
        return Err(UnknownPlugin::Overlap { names: both });
    }
    match config.enabled.iter().find(|n| OFF.contains(&n.as_str()) && plugins::make(n).is_none()) {
        Some(name) => Err(UnknownPlugin::NotBuilt(name.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(enabled: &[&str], disabled: &[&str]) -> Config {
        let own = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect();
        Config { enabled: own(enabled), disabled: own(disabled), own_node: false }
    }

    #[test]
    fn unknown_names_are_refused_in_upstreams_words() {
        let text = |e: &[&str], d: &[&str]| Chain::new(&config(e, d)).err().map(|e| e.to_string());
        assert_eq!(text(&["Nope"], &[]).as_deref(), Some(r#"enable-admission-plugins plugin "Nope" is unknown"#));
        assert_eq!(text(&[], &["Nope"]).as_deref(), Some(r#"disable-admission-plugins plugin "Nope" is unknown"#));
        let both = "[Priority] in enable-admission-plugins and disable-admission-plugins overlapped";
        assert_eq!(text(&["Priority"], &["Priority"]).as_deref(), Some(both));
        assert!(text(&["ImagePolicyWebhook"], &[]).is_some_and(|t| t.contains("not built")));
        assert_eq!(text(&["NodeRestriction"], &["ServiceAccount"]), None);
    }

    #[test]
    fn plugins_stand_in_upstreams_order() {
        let on = Chain::new(&config(&["NodeRestriction"], &[])).unwrap().plugins();
        let place = |name: &str| on.iter().position(|n| *n == name).unwrap();
        assert!(place("NamespaceLifecycle") < place("ServiceAccount"));
        assert!(place("ServiceAccount") < place("NodeRestriction"));
        assert!(!Chain::new(&config(&[], &[])).unwrap().plugins().contains(&"NodeRestriction"));
    }
}
