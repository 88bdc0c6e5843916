//! serviceaccount-controller: every namespace that is not on its way out has a ServiceAccount `default`.

use std::sync::Arc;

use client::{Api, Informer, NAMESPACES, SERVICE_ACCOUNTS, Scope, WorkQueue};
use document::doc;

use crate::command::Command;
use crate::driver::{Outcome, Tasks, Work};
use crate::{Config, World};

const NAME: &str = "default";

struct ServiceAccounts {
    api: Api,
    /// Is it on its way out?
    namespaces: Informer<bool>,
    accounts: Informer<()>,
}

pub(crate) fn start(tasks: &mut Tasks, _: &Config, world: &World) {
    let namespaces = Informer::start(&world.reader, Scope::all(NAMESPACES), |o| o.deletion.is_some());
    let scope = Scope::all(SERVICE_ACCOUNTS).with_fields(format!("metadata.name={NAME}"));
    let accounts = Informer::start(&world.reader, scope, |_| ());
    let queue = WorkQueue::new();
    let added = queue.clone();
    namespaces.on_change(move |change| added.add(change.key.name.to_string()));
    let lost = queue.clone();
    accounts.on_change(move |change| {
        if change.new.is_none() {
            lost.add(change.key.namespace.to_string());
        }
    });
    tasks.work(2, &queue, &Arc::new(ServiceAccounts { api: world.api.clone(), namespaces, accounts }));
}

impl Work<String> for ServiceAccounts {
    const NAME: &'static str = "serviceaccount-controller";

    async fn sync(&self, namespace: String) -> Outcome {
        self.accounts.synced().await;
        let terminating = self.namespaces.get("", &namespace).map(|known| known.facts);
        let exists = self.accounts.get(&namespace, NAME).is_some();
        if let Some(command) = plan(&namespace, terminating, exists) {
            command.perform(&self.api).await?;
        }
        Ok(None)
    }
}

/// `terminating` is `None` when there is no such namespace.
fn plan(namespace: &str, terminating: Option<bool>, exists: bool) -> Option<Command> {
    let wanted = terminating == Some(false) && !exists;
    wanted.then(|| Command::Create {
        resource: SERVICE_ACCOUNTS,
        namespace: namespace.to_owned(),
        object: doc!({
            "kind": "ServiceAccount",
            "apiVersion": "v1",
            "metadata": {"name": NAME, "namespace": namespace}
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_living_namespace_without_one_gets_one() {
        for (terminating, exists, want) in
            [(Some(false), false, true), (Some(false), true, false), (Some(true), false, false), (None, false, false)]
        {
            assert_eq!(plan("n", terminating, exists).is_some(), want);
        }
    }
}
