//! kube-apiserver-serving-clustertrustbundle-publisher-controller: one ClusterTrustBundle of the signer
//! `kubernetes.io/kube-apiserver-serving` holds the authority of the API server; its name follows from its content, and
//! others of that signer go.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use client::{Api, Informer, Resource, Scope, WorkQueue};
use document::{Value, doc};

use crate::command::Command;
use crate::driver::{Outcome, Tasks, Work};
use crate::{Config, World};

const BUNDLES: Resource =
    Resource::new("certificates.k8s.io", "v1", "clustertrustbundles", "ClusterTrustBundle", false);
const SIGNER: &str = "kubernetes.io/kube-apiserver-serving";

struct Publisher {
    api: Api,
    root_ca: Arc<str>,
    bundles: Informer<()>,
}

pub(crate) fn start(tasks: &mut Tasks, config: &Config, world: &World) {
    let scope = Scope::all(BUNDLES).with_fields(format!("spec.signerName={SIGNER}"));
    let bundles = Informer::start(&world.reader, scope, |_| ());
    let queue = WorkQueue::new();
    let changed = queue.clone();
    bundles.on_change(move |_| changed.add(()));
    queue.add(());
    let publisher = Publisher { api: world.api.clone(), root_ca: config.root_ca.clone(), bundles };
    tasks.work(1, &queue, &Arc::new(publisher));
}

impl Work<()> for Publisher {
    const NAME: &'static str = "kube-apiserver-serving-clustertrustbundle-publisher-controller";

    async fn sync(&self, (): ()) -> Outcome {
        self.bundles.synced().await;
        let names: Vec<String> = self.bundles.list().iter().map(|known| known.key.name.to_string()).collect();
        let own = match self.api.get(&BUNDLES, "", &bundle_name(&self.root_ca)).await {
            Err(error) if error.is_not_found() => None,
            outcome => Some(outcome?),
        };
        for command in plan(&self.root_ca, own, &names) {
            command.perform(&self.api).await?;
        }
        Ok(None)
    }
}

fn bundle_name(root_ca: &str) -> String {
    let hash: String =
        digest(&SHA256, root_ca.as_bytes()).as_ref().iter().take(12).map(|b| format!("{b:02x}")).collect();
    format!("{}:{hash}", SIGNER.replace('/', ":"))
}

/// `own`: the bundle that there should be, when it is there. `names`: all of the signer.
fn plan(root_ca: &str, own: Option<Value>, names: &[String]) -> Vec<Command> {
    let name = bundle_name(root_ca);
    let mut commands = Vec::new();
    match own {
        Some(own) if own["spec"]["trustBundle"].str() == root_ca => {}
        Some(mut own) => {
            own.entry("spec").set("trustBundle", root_ca);
            commands.push(Command::Update { resource: BUNDLES, subresource: "", object: own });
        }
        None => commands.push(Command::Create {
            resource: BUNDLES,
            namespace: String::new(),
            object: doc!({
                "kind": "ClusterTrustBundle",
                "apiVersion": "certificates.k8s.io/v1",
                "metadata": {"name": (name.as_str())},
                "spec": {"signerName": SIGNER, "trustBundle": root_ca}
            }),
        }),
    }
    let others = names.iter().filter(|other| **other != name);
    commands.extend(others.map(|other| Command::Delete {
        resource: BUNDLES,
        namespace: String::new(),
        name: other.clone(),
        uid: String::new(),
        propagation: "Background",
    }));
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_is_named_by_its_content_and_others_go() {
        let name = bundle_name("ca");
        assert_eq!(name, "kubernetes.io:kube-apiserver-serving:6959097001d10501ac7d54c0");
        let planned = plan("ca", None, &["old".into()]);
        assert!(matches!(&planned[..], [Command::Create { .. }, Command::Delete { name, .. }] if name == "old"));
        let right = doc!({"spec": {"signerName": SIGNER, "trustBundle": "ca"}});
        assert_eq!(plan("ca", Some(right), std::slice::from_ref(&name)), []);
        let wrong = doc!({"spec": {"signerName": SIGNER, "trustBundle": "x"}});
        assert!(matches!(&plan("ca", Some(wrong), &[name])[..], [Command::Update { .. }]));
    }
}
