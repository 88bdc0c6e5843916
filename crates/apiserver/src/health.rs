//! `/healthz`, `/livez`, `/readyz` and their single checks. A check that upstream has and that is part of this server's
//! start answers ok once the server is ready; `shutdown` fails as soon as the end has begun.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::StatusCode;
use registry::Query;

/// Checks by the name under which upstream answers them.
const COMMON: [&str; 33] = [
    "ping",
    "log",
    "etcd",
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/storage-object-count-tracker-hook",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-kube-apiserver-identity-lease-controller",
    "poststarthook/start-kube-apiserver-identity-lease-garbage-collector",
    "poststarthook/start-legacy-token-tracking-controller",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
    "poststarthook/peer-endpoint-reconciler-controller",
    "poststarthook/storage-readiness",
];
const READY: [&str; 3] = ["etcd-readiness", "informer-sync", "shutdown"];
const ALIVE: [&str; 1] = ["loopback-serving-certificate"];

/// Whether the server may be sent requests.
#[derive(Default)]
pub(crate) struct Health {
    ready: AtomicBool,
}

/// A text answer.
pub(crate) struct HealthAnswer {
    pub code: StatusCode,
    pub text: Bytes,
    /// Written by Go's `http.Error` or with its headers.
    pub nosniff: bool,
}

impl Health {
    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// `None` when there is no such path.
    pub(crate) fn answer(&self, path: &str, query: &Query) -> Option<HealthAnswer> {
        let (root, rest) = split(path)?;
        if rest.is_empty() {
            return Some(self.all(root, query));
        }
        let check = checks(root).find(|c| *c == rest)?;
        Some(match self.passes(root, check) {
            true => HealthAnswer { code: StatusCode::OK, text: "ok".into(), nosniff: false },
            false => failed(format!("internal server error: {}\n", reason(check))),
        })
    }

    fn all(&self, root: &'static str, query: &Query) -> HealthAnswer {
        let excluded: Vec<&str> = query.all("exclude").collect();
        let mut lines = String::new();
        let mut all_pass = true;
        for check in checks(root) {
            if excluded.contains(&check) {
                lines.push_str(&format!("[+]{check} excluded: ok\n"));
            } else if self.passes(root, check) {
                lines.push_str(&format!("[+]{check} ok\n"));
            } else {
                all_pass = false;
                lines.push_str(&format!("[-]{check} failed: reason withheld\n"));
            }
        }
        if !all_pass {
            return failed(format!("{lines}{root} check failed\n"));
        }
        let text = if query.get("verbose").is_some() { format!("{lines}{root} check passed\n") } else { "ok".into() };
        HealthAnswer { code: StatusCode::OK, text: text.into(), nosniff: true }
    }

    /// Liveness does not depend on the end having begun.
    fn passes(&self, root: &str, check: &str) -> bool {
        root != "readyz" || self.is_ready() || !matches!(check, "shutdown" | "informer-sync")
    }
}

fn reason(check: &str) -> &'static str {
    if check == "shutdown" { "process is shutting down" } else { "not started yet" }
}

fn failed(text: String) -> HealthAnswer {
    HealthAnswer { code: StatusCode::INTERNAL_SERVER_ERROR, text: text.into(), nosniff: true }
}

/// Whether this is a health check's path.
pub(crate) fn is_check(path: &str) -> bool {
    split(path).is_some()
}

fn split(path: &str) -> Option<(&'static str, &str)> {
    ["healthz", "livez", "readyz"].into_iter().find_map(|root| {
        let rest = path.strip_prefix('/')?.strip_prefix(root)?;
        if rest.is_empty() { Some((root, "")) } else { rest.strip_prefix('/').map(|r| (root, r)) }
    })
}

fn checks(root: &str) -> impl Iterator<Item = &'static str> + use<> {
    let more: &'static [&'static str] = if root == "readyz" { &READY } else { &ALIVE };
    COMMON.iter().chain(more).copied()
}

/// Every path that answers here, for the index.
pub(crate) fn paths() -> impl Iterator<Item = String> {
    ["healthz", "livez", "readyz"]
        .into_iter()
        .flat_map(|root| std::iter::once(format!("/{root}")).chain(checks(root).map(move |c| format!("/{root}/{c}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_fails_first_and_liveness_goes_on() {
        let health = Health::default();
        let code = |path: &str| health.answer(path, &Query::default()).map(|a| a.code.as_u16());
        assert_eq!((code("/readyz"), code("/livez"), code("/readyz/etcd")), (Some(500), Some(200), Some(200)));
        health.set_ready(true);
        assert_eq!((code("/readyz"), code("/readyz/nonsense"), code("/readyz/shutdown")), (Some(200), None, Some(200)));
    }

    #[test]
    fn verbose_lists_the_checks() {
        let health = Health::default();
        let answer = health.answer("/livez", &Query::parse("verbose&exclude=etcd")).unwrap();
        let text = String::from_utf8(answer.text.to_vec()).unwrap();
        assert!(text.starts_with("[+]ping ok\n[+]log ok\n[+]etcd excluded: ok\n"), "{text}");
        assert!(text.ends_with("livez check passed\n"));
    }
}
