//! root-ca-certificate-publisher-controller: every namespace has a ConfigMap `kube-root-ca.crt` with the certificate
//! authority of the API server; changed by others it is put back.

use std::sync::Arc;

use client::{Api, CONFIG_MAPS, Informer, NAMESPACES, Scope, WorkQueue};
use document::{Value, doc};

use crate::command::Command;
use crate::driver::{Outcome, Tasks, Work};
use crate::{Config, World};

const NAME: &str = "kube-root-ca.crt";
const ANNOTATION: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

struct Publisher {
    api: Api,
    root_ca: Arc<str>,
    /// Is it on its way out?
    namespaces: Informer<bool>,
    /// The whole object when it is not as it should be.
    config_maps: Informer<Option<Value>>,
}

pub(crate) fn start(tasks: &mut Tasks, config: &Config, world: &World) {
    let namespaces = Informer::start(&world.reader, Scope::all(NAMESPACES), |o| o.deletion.is_some());
    let scope = Scope::all(CONFIG_MAPS).with_fields(format!("metadata.name={NAME}"));
    let root_ca = config.root_ca.clone();
    let config_maps = Informer::start(&world.reader, scope, move |o| {
        let object = client::object::value(o, &CONFIG_MAPS);
        (!is_right(&object, &root_ca)).then_some(object)
    });
    let queue = WorkQueue::new();
    let added = queue.clone();
    namespaces.on_change(move |change| added.add(change.key.name.to_string()));
    let touched = queue.clone();
    config_maps.on_change(move |change| {
        if change.new.as_ref().is_none_or(|known| known.facts.is_some()) {
            touched.add(change.key.namespace.to_string());
        }
    });
    let publisher = Publisher { api: world.api.clone(), root_ca: config.root_ca.clone(), namespaces, config_maps };
    tasks.work(2, &queue, &Arc::new(publisher));
}

impl Work<String> for Publisher {
    const NAME: &'static str = "root-ca-certificate-publisher-controller";

    async fn sync(&self, namespace: String) -> Outcome {
        self.config_maps.synced().await;
        let terminating = self.namespaces.get("", &namespace).map(|known| known.facts);
        let found = self.config_maps.get(&namespace, NAME);
        let current = found.as_ref().map(|known| known.facts.as_ref());
        if let Some(command) = plan(&namespace, terminating, current, &self.root_ca) {
            command.perform(&self.api).await?;
        }
        Ok(None)
    }
}

/// `current`: `None` there is none, `Some(None)` it is right, `Some(Some(_))` it is wrong.
fn plan(namespace: &str, terminating: Option<bool>, current: Option<Option<&Value>>, root_ca: &str) -> Option<Command> {
    if terminating != Some(false) {
        return None;
    }
    let data = doc!({"ca.crt": root_ca});
    match current {
        Some(None) => None,
        None => Some(Command::Create {
            resource: CONFIG_MAPS,
            namespace: namespace.to_owned(),
            object: doc!({
                "kind": "ConfigMap",
                "apiVersion": "v1",
                "metadata": {"name": NAME, "namespace": namespace, "annotations": {ANNOTATION: DESCRIPTION}},
                "data": data
            }),
        }),
        Some(Some(wrong)) => {
            let mut object = wrong.clone();
            object.set("data", data);
            *object.at_mut(["metadata", "annotations", ANNOTATION]) = DESCRIPTION.into();
            Some(Command::Update { resource: CONFIG_MAPS, subresource: "", object })
        }
    }
}

fn is_right(object: &Value, root_ca: &str) -> bool {
    object["data"] == doc!({"ca.crt": root_ca}) && object["metadata"]["annotations"][ANNOTATION].str() == DESCRIPTION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_changed_is_put_back_and_what_they_added_elsewhere_stays() {
        let wrong = doc!({"metadata": {"name": NAME, "resourceVersion": "7", "annotations": {"a": "b"}}, "data": {"ca.crt": "x", "y": "z"}});
        assert!(!is_right(&wrong, "ca"));
        let Some(Command::Update { object, .. }) = plan("n", Some(false), Some(Some(&wrong)), "ca") else {
            panic!("an update is due")
        };
        assert!(is_right(&object, "ca"));
        assert_eq!(object["metadata"]["annotations"]["a"].str(), "b");
        assert_eq!(object["metadata"]["resourceVersion"].str(), "7");
    }

    #[test]
    fn it_is_made_once_and_not_in_a_namespace_on_its_way_out() {
        let Some(Command::Create { object, .. }) = plan("n", Some(false), None, "ca") else {
            panic!("a creation is due")
        };
        assert!(is_right(&object, "ca"));
        assert_eq!(plan("n", Some(false), Some(None), "ca"), None);
        assert_eq!(plan("n", Some(true), None, "ca"), None);
        assert_eq!(plan("n", None, None, "ca"), None);
    }
}
