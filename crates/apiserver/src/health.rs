//! `/healthz`, `/livez`, `/readyz` and their single checks. A check that upstream has and that is part of this server's
//! start answers ok once the server is ready; `shutdown` fails as soon as the end has begun.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::StatusCode;
use meta::goquote::quote;
use registry::Query;

use crate::metrics::Metrics;

/// Which of the three a check belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    All,
    /// `/readyz` alone.
    Ready,
    /// `/healthz` and `/livez`.
    Alive,
}

/// Checks by the name under which upstream answers them, in its order.
const CHECKS: [(&str, At); 37] = [
    ("ping", At::All),
    ("log", At::All),
    ("loopback-serving-certificate", At::Alive),
    ("etcd", At::All),
    ("etcd-readiness", At::Ready),
    ("informer-sync", At::Ready),
    ("poststarthook/start-apiserver-admission-initializer", At::All),
    ("poststarthook/generic-apiserver-start-informers", At::All),
    ("poststarthook/priority-and-fairness-config-consumer", At::All),
    ("poststarthook/priority-and-fairness-filter", At::All),
    ("poststarthook/storage-object-count-tracker-hook", At::All),
    ("poststarthook/start-apiextensions-informers", At::All),
    ("poststarthook/start-apiextensions-controllers", At::All),
    ("poststarthook/crd-informer-synced", At::All),
    ("poststarthook/start-system-namespaces-controller", At::All),
    ("poststarthook/peer-endpoint-reconciler-controller", At::All),
    ("poststarthook/start-cluster-authentication-info-controller", At::All),
    ("poststarthook/start-kube-apiserver-identity-lease-controller", At::All),
    ("poststarthook/start-kube-apiserver-identity-lease-garbage-collector", At::All),
    ("poststarthook/storage-readiness", At::All),
    ("poststarthook/start-legacy-token-tracking-controller", At::All),
    ("poststarthook/start-service-ip-repair-controllers", At::All),
    ("poststarthook/rbac/bootstrap-roles", At::All),
    ("poststarthook/scheduling/bootstrap-system-priority-classes", At::All),
    ("poststarthook/priority-and-fairness-config-producer", At::All),
    ("poststarthook/bootstrap-controller", At::All),
    ("poststarthook/start-kubernetes-service-cidr-controller", At::All),
    ("poststarthook/start-kube-aggregator-informers", At::All),
    ("poststarthook/apiservice-status-local-available-controller", At::All),
    ("poststarthook/apiservice-status-remote-available-controller", At::All),
    ("poststarthook/apiservice-registration-controller", At::All),
    ("poststarthook/apiservice-discovery-controller", At::All),
    ("poststarthook/kube-apiserver-autoregistration", At::All),
    ("autoregister-completion", At::All),
    ("poststarthook/apiservice-openapi-controller", At::All),
    ("poststarthook/apiservice-openapiv3-controller", At::All),
    ("shutdown", At::Ready),
];

/// How far the server is.
#[derive(Default)]
pub(crate) struct Health {
    started: AtomicBool,
    ending: AtomicBool,
}

/// A text answer.
pub(crate) struct HealthAnswer {
    pub code: StatusCode,
    pub text: Bytes,
    /// Written by Go's `http.Error` or with its headers.
    pub nosniff: bool,
}

impl Health {
    pub(crate) fn start(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// The end has begun.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// `None` when there is no such path.
    pub(crate) fn answer(&self, path: &str, query: &Query, metrics: &Metrics) -> Option<HealthAnswer> {
        let (root, rest) = split(path)?;
        if path.len() == root.len() + 1 {
            return Some(self.all(root, query, metrics));
        }
        let check = checks(root).find(|c| *c == rest)?;
        Some(match self.passes(root, check) {
            true => HealthAnswer { code: StatusCode::OK, text: "ok".into(), nosniff: false },
            false => failed(format!("internal server error: {}\n", reason(check))),
        })
    }

    fn all(&self, root: &'static str, query: &Query, metrics: &Metrics) -> HealthAnswer {
        let excluded: BTreeSet<&str> = query.all("exclude").collect();
        let mut unknown = excluded.clone();
        let mut lines = String::new();
        let mut all_pass = true;
        for check in checks(root) {
            if excluded.contains(&check) {
                unknown.remove(check);
                lines.push_str(&format!("[+]{check} excluded: ok\n"));
                continue;
            }
            let passes = self.passes(root, check);
            metrics.checked(check, root, passes);
            all_pass &= passes;
            lines.push_str(&match passes {
                true => format!("[+]{check} ok\n"),
                false => format!("[-]{check} failed: reason withheld\n"),
            });
        }
        if !unknown.is_empty() {
            let names: Vec<String> = unknown.into_iter().map(quote).collect();
            let names = names.join(", ");
            lines.push_str(&format!("warn: some health checks cannot be excluded: no matches for {names}\n"));
        }
        if !all_pass {
            return failed(format!("{lines}{root} check failed\n"));
        }
        let text = if query.get("verbose").is_some() { format!("{lines}{root} check passed\n") } else { "ok".into() };
        HealthAnswer { code: StatusCode::OK, text: text.into(), nosniff: true }
    }

    /// Liveness does not depend on the end having begun.
    fn passes(&self, root: &str, check: &str) -> bool {
        match check {
            "informer-sync" => root != "readyz" || self.started.load(Ordering::Acquire),
            "shutdown" => !self.ending.load(Ordering::Acquire),
            _ => true,
        }
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
    let other = if root == "readyz" { At::Alive } else { At::Ready };
    CHECKS.iter().filter(move |(_, at)| *at != other).map(|(name, _)| *name)
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
        let code = |path: &str| health.answer(path, &Query::default(), &Metrics::default()).map(|a| a.code.as_u16());
        assert_eq!((code("/readyz"), code("/livez"), code("/readyz/etcd")), (Some(500), Some(200), Some(200)));
        health.start();
        assert_eq!((code("/readyz"), code("/readyz/nonsense"), code("/readyz/shutdown")), (Some(200), None, Some(200)));
        health.end();
        assert_eq!((code("/readyz"), code("/readyz/shutdown"), code("/livez")), (Some(500), Some(500), Some(200)));
        assert_eq!(code("/readyz/informer-sync"), Some(200));
    }

    #[test]
    fn verbose_lists_the_checks() {
        let health = Health::default();
        let answer = health
            .answer("/livez", &Query::parse("verbose&exclude=etcd&exclude=x&exclude=a"), &Metrics::default())
            .unwrap();
        let text = String::from_utf8(answer.text.to_vec()).unwrap();
        let begin = "[+]ping ok\n[+]log ok\n[+]loopback-serving-certificate ok\n[+]etcd excluded: ok\n";
        assert!(text.starts_with(begin), "{text}");
        let end = "no matches for \"a\", \"x\"\nlivez check passed\n";
        assert!(text.ends_with(end), "{text}");
    }
}
