//! What a pod's files and variables are made of: ConfigMaps, Secrets, tokens. Fetched by the worker before it is
//! needed, so that what uses it is pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::pod::{Container, Pod, ServiceAccountToken};

/// Objects by name; a missing entry does not exist. Not `Debug`: it holds secrets.
#[derive(Default, Clone)]
pub struct Sources {
    pub config_maps: BTreeMap<String, ConfigMap>,
    pub secrets: BTreeMap<String, Secret>,
    pub tokens: HashMap<ServiceAccountToken, String>,
}

#[derive(Default, Clone)]
pub struct ConfigMap {
    pub data: BTreeMap<String, String>,
    pub binary: BTreeMap<String, Vec<u8>>,
}

#[derive(Default, Clone)]
pub struct Secret {
    pub kind: String,
    pub data: BTreeMap<String, Vec<u8>>,
}

/// Names of what is needed.
#[derive(Default)]
pub struct Wanted {
    pub config_maps: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
    pub tokens: HashSet<ServiceAccountToken>,
}

impl Wanted {
    /// What the environment of one container needs.
    pub fn of_env(container: &Container) -> Self {
        let mut wanted = Wanted::default();
        for from in &container.env_from {
            wanted.config_maps.extend(from.config_map_ref.iter().map(|r| r.name.clone()));
            wanted.secrets.extend(from.secret_ref.iter().map(|r| r.name.clone()));
        }
        for source in container.env.iter().filter_map(|e| e.value_from.as_ref()) {
            wanted.config_maps.extend(source.config_map_key_ref.iter().map(|r| r.name.clone()));
            wanted.secrets.extend(source.secret_key_ref.iter().map(|r| r.name.clone()));
        }
        wanted
    }

    /// What pulling the pod's images needs.
    pub fn of_pulls(pod: &Pod) -> Self {
        let secrets = pod.spec.image_pull_secrets.iter().map(|r| r.name.clone()).filter(|n| !n.is_empty()).collect();
        Wanted { secrets, ..Default::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.config_maps.is_empty() && self.secrets.is_empty() && self.tokens.is_empty()
    }
}
