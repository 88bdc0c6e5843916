//! Tokens from TokenRequest. Good while the account and the bound object exist and their deletionTimestamp has not passed
//! (a pod's is the end of its grace period); refused from the next request on. A minute of leeway holds for clocks only.

use std::sync::Arc;

use document::Object;
use meta::goquote::quote;
use meta::{Key, ResourceId, Time};
use store::View;

use super::jwt::{Claims, Reference};
use super::{TokenUses, user};
use crate::chain::{Authenticated, Refusal};

/// Clocks may differ so much (exp, nbf, iat).
const LEEWAY: i64 = 60;

pub(super) fn validate(claims: &Claims, view: &View, now: Time, uses: &TokenUses) -> Result<Authenticated, Refusal> {
    check_times(claims, now)?;
    let kubernetes = &claims.kubernetes;
    let (namespace, account) = (kubernetes.namespace.as_str(), &kubernetes.serviceaccount);
    check_account(view, namespace, account, now)?;
    if let Some(secret) = &kubernetes.secret {
        check_bound(view, "secrets", namespace, secret, now, "secret UID", "secret ref")?;
    }
    if let Some(pod) = &kubernetes.pod {
        check_bound(view, "pods", namespace, pod, now, "pod UID", "pod ref")?;
    } else if let Some(node) = &kubernetes.node {
        check_bound(view, "nodes", "", node, now, "node UID", "node ref")?;
    }
    let none = Reference::default();
    let pod = kubernetes.pod.as_ref().unwrap_or(&none);
    let node = kubernetes.node.as_ref().unwrap_or(&none);
    let id = if claims.jti.is_empty() { String::new() } else { format!("JTI={}", claims.jti) };
    let extra = [
        ("pod-name", pod.name.as_str()),
        ("pod-uid", &pod.uid),
        ("node-name", &node.name),
        ("node-uid", &node.uid),
        ("credential-id", &id),
    ];
    let mut found = Authenticated::new(user(namespace, &account.name, &account.uid, &extra));
    match kubernetes.warnafter.filter(|after| *after != 0) {
        Some(after) if now.0 > after => {
            uses.stale.inc();
            let text =
                format!("subject: {}, seconds after warning threshold: {}", claims.sub, now.0.saturating_sub(after));
            found.annotations.push(("authentication.k8s.io/stale-token", text));
        }
        Some(_) => uses.valid.inc(),
        None => {}
    }
    Ok(found)
}

fn check_times(claims: &Claims, now: Time) -> Result<(), Refusal> {
    let refuse = |text| Err(Refusal::new(text));
    if claims.nbf.is_some_and(|t| now.0 + LEEWAY < t) {
        return refuse("service account token is not valid yet");
    }
    if claims.exp.is_some_and(|t| now.0 - LEEWAY > t) {
        return refuse("service account token has expired");
    }
    if claims.iat.is_some_and(|t| now.0 + LEEWAY < t) {
        return refuse("service account token is issued in the future");
    }
    Ok(())
}

fn check_account(view: &View, namespace: &str, account: &Reference, now: Time) -> Result<(), Refusal> {
    let Some(object) = get(view, "serviceaccounts", namespace, &account.name) else {
        return Err(Refusal::new(format!("serviceaccounts {} not found", quote(&account.name))));
    };
    if *object.uid != *account.uid {
        return Err(Refusal::new(format!(
            "service account UID ({}) does not match claim ({})",
            object.uid, account.uid
        )));
    }
    if is_gone(&object, now) {
        return Err(Refusal::new(format!("service account {namespace}/{} has been deleted", account.name)));
    }
    Ok(())
}

fn check_bound(
    view: &View,
    resource: &str,
    namespace: &str,
    bound: &Reference,
    now: Time,
    what: &str,
    claim: &str,
) -> Result<(), Refusal> {
    let Some(object) = get(view, resource, namespace, &bound.name) else {
        return Err(Refusal::new("service account token has been invalidated"));
    };
    if *object.uid != *bound.uid {
        return Err(Refusal::new(format!(
            "{what} ({}) does not match service account {claim} claim ({})",
            object.uid, bound.uid
        )));
    }
    if is_gone(&object, now) {
        return Err(Refusal::new("service account token has been invalidated"));
    }
    Ok(())
}

fn get(view: &View, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
    view.get(&Key::new(ResourceId::from_text(resource), namespace, name))
}

fn is_gone(object: &Object, now: Time) -> bool {
    object.deletion.is_some_and(|at| at <= now)
}
