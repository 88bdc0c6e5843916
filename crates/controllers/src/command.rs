//! What a plan wants done. Performing is forgiving where the goal is reached already: something to be created exists,
//! something to be deleted is gone.

use client::{Api, Call, PatchKind, Resource, Verb};
use document::{Value, doc};
use meta::Status;

/// One request of a loop.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    Create {
        resource: Resource,
        namespace: String,
        object: Value,
    },
    /// Holds the resourceVersion that the plan was made for.
    Update {
        resource: Resource,
        subresource: &'static str,
        object: Value,
    },
    MergePatch {
        resource: Resource,
        namespace: String,
        name: String,
        patch: Value,
    },
    Delete {
        resource: Resource,
        namespace: String,
        name: String,
        /// Empty: whichever has the name.
        uid: String,
        propagation: &'static str,
    },
    /// Only if it is still this revision.
    DeleteUnchanged {
        resource: Resource,
        namespace: String,
        name: String,
        revision: String,
    },
}

impl Command {
    /// # Errors
    /// Whatever calls for another plan; a lost race too.
    pub(crate) async fn perform(self, api: &Api) -> Result<(), Status> {
        match self {
            Command::Create { resource, namespace, object } => {
                forgive(api.create(&resource, &namespace, object).await, |e| e.is_already_exists() || is_terminating(e))
            }
            Command::Update { resource, subresource, object } => {
                forgive(api.update_subresource(&resource, subresource, object).await, Status::is_not_found)
            }
            Command::MergePatch { resource, namespace, name, patch } => {
                let patched = api.patch(&resource, &namespace, &name, "", PatchKind::Merge, patch).await;
                forgive(patched, Status::is_not_found)
            }
            Command::Delete { resource, namespace, name, uid, propagation } => {
                let mut options = doc!({"propagationPolicy": propagation});
                if !uid.is_empty() {
                    options.set("preconditions", doc!({"uid": uid}));
                }
                delete(api, &resource, &namespace, &name, options).await
            }
            Command::DeleteUnchanged { resource, namespace, name, revision } => {
                let options = doc!({"preconditions": {"resourceVersion": revision}});
                delete(api, &resource, &namespace, &name, options).await
            }
        }
    }
}

async fn delete(api: &Api, resource: &Resource, namespace: &str, name: &str, wanted: Value) -> Result<(), Status> {
    let mut options = doc!({"kind": "DeleteOptions", "apiVersion": "v1"});
    for (member, value) in wanted.members() {
        options.set(member.to_owned(), value.clone());
    }
    let call = Call { body: Some(options), ..Call::new(Verb::Delete, resource, namespace, name) };
    // a conflict: another object has the name now, or it has changed
    forgive(api.call(call).await, |e| e.is_not_found() || e.is_conflict())
}

/// The namespace is on its way out: nothing more is to be made in it.
pub(crate) fn is_terminating(error: &Status) -> bool {
    let causes = error.details.iter().flat_map(|d| &d.causes);
    error.code == 403 && causes.into_iter().any(|c| c.reason == "NamespaceTerminating")
}

fn forgive(outcome: Result<Value, Status>, reached: impl Fn(&Status) -> bool) -> Result<(), Status> {
    match outcome {
        Err(error) if !reached(&error) => Err(error),
        _ => Ok(()),
    }
}
