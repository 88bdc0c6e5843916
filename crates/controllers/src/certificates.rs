//! The three loops of CertificateSigningRequests: approve those of nodes whose users may have that, sign what is approved
//! for upstream's own signers, remove what is old. Beside them the cleaner of pods' requests and the trust bundle.

mod approver;
mod cleaner;
pub(crate) mod pod_request_cleaner;
mod request;
mod signer;
pub(crate) mod trust_bundle;

use std::sync::Arc;

use client::{Api, Informer, Resource, Scope, WorkQueue};
use document::Value;

use crate::driver::{Tasks, Work};
use crate::{Config, World};

pub use signer::{CertificateToSign, SignCertificate};

const REQUESTS: Resource =
    Resource::new("certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", false);

pub(crate) fn start_approver(tasks: &mut Tasks, _: &Config, world: &World) {
    start(tasks, world, approver::Approver { api: world.api.clone() });
}

pub(crate) fn start_signer(tasks: &mut Tasks, config: &Config, world: &World) {
    if let Some(sign) = config.sign_certificate.clone() {
        start(
            tasks,
            world,
            signer::Signer { api: world.api.clone(), sign, signers: config.certificate_signers.clone() },
        );
    }
}

pub(crate) fn start_cleaner(tasks: &mut Tasks, _: &Config, world: &World) {
    start(tasks, world, cleaner::Cleaner { api: world.api.clone() });
}

/// Every request comes to `work` when it is new or changes.
fn start<W: Work<String>>(tasks: &mut Tasks, world: &World, work: W) {
    let requests = Informer::start(&world.reader, Scope::all(REQUESTS), |_| ());
    let queue = WorkQueue::new();
    let changed = queue.clone();
    requests.on_change(move |change| changed.add(change.key.name.to_string()));
    tasks.spawn(async move {
        // the informer lives as long as the loops
        let _requests = requests;
        std::future::pending::<()>().await;
    });
    tasks.work(1, &queue, &Arc::new(work));
}

/// The request as it is now; `None`: gone.
async fn find(api: &Api, name: &str) -> Result<Option<Value>, meta::Status> {
    match api.get(&REQUESTS, "", name).await {
        Err(error) if error.is_not_found() => Ok(None),
        outcome => outcome.map(Some),
    }
}

fn has(request: &Value, condition: &str) -> bool {
    let list = &request["status"]["conditions"];
    list.items().iter().any(|c| c["type"].str() == condition)
}

fn is_signed(request: &Value) -> bool {
    !request["status"]["certificate"].is_empty()
}

fn add_condition(request: &mut Value, type_: &str, reason: &str, message: &str) {
    let condition = document::doc!({"type": type_, "status": "True", "reason": reason, "message": message});
    request.entry("status").entry("conditions").make_list().push(condition);
}
