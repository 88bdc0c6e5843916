//! Who asks, and may they: delegated to the API server, with upstream's fine-grained rules.

use client::{Api, SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS};
use document::{Value, doc};
use http::{HeaderMap, Method, header};
use meta::{Status, UserInfo};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The user that a client certificate names: CN, and its groups: O. The chain was verified by TLS.
pub(super) fn user_of_certificate(certificate: &CertificateDer<'_>) -> Option<UserInfo> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().last()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok().map(String::from));
    let mut groups: Vec<String> = groups.collect();
    groups.push(meta::user::AUTHENTICATED.into());
    (!name.is_empty()).then(|| UserInfo::new(name, groups))
}

/// The user of a bearer token, as the API server sees it; `None`: it does not know it.
pub(super) async fn user_of_token(api: &Api, headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let header = headers.get(header::AUTHORIZATION).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let token = match header.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => token.trim(),
        _ => return Ok(None),
    };
    let review = doc!({
        "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "spec": {"token": token}
    });
    let answer = api.create(&TOKEN_REVIEWS, "", review).await?;
    let status = &answer["status"];
    if !status["authenticated"].is_true() {
        return Ok(None);
    }
    let user = &status["user"];
    let texts = |v: &Value| v.items().iter().map(|i| i.str().to_owned()).collect::<Vec<_>>();
    Ok(Some(UserInfo {
        name: user["username"].str().to_owned(),
        uid: user["uid"].str().to_owned(),
        groups: texts(&user["groups"]),
        extra: user["extra"].members().map(|(k, v)| (k.to_owned(), texts(v))).collect(),
    }))
}

/// Verb and subresources of `nodes` of which one must be allowed.
pub(super) fn attributes(method: &Method, path: &str) -> (&'static str, Vec<&'static str>) {
    let verb = match *method {
        Method::POST => "create",
        Method::GET => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    };
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    // a websocket comes as GET, but what runs in a container is made, not read
    let verb = if matches!(first, "exec" | "run" | "attach" | "portForward") { "create" } else { verb };
    let subresources = match first {
        "pods" | "runningpods" | "allocatedPods" => vec!["pods", "proxy"],
        "healthz" => vec!["healthz", "proxy"],
        "configz" => vec!["configz", "proxy"],
        "stats" => vec!["stats"],
        "metrics" => vec!["metrics"],
        "logs" => vec!["log"],
        "checkpoint" => vec!["checkpoint"],
        "statusz" => vec!["statusz"],
        "flagz" => vec!["configz"],
        _ => vec!["proxy"],
    };
    (verb, subresources)
}

/// Whether the API server allows one of the subresources.
pub(super) async fn allowed(
    api: &Api,
    node: &str,
    user: &UserInfo,
    verb: &str,
    subresources: &[&'static str],
) -> Result<bool, Status> {
    for subresource in subresources {
        let answer = api.create(&SUBJECT_ACCESS_REVIEWS, "", review(node, user, verb, subresource)).await?;
        if answer["status"]["allowed"].is_true() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn review(node: &str, user: &UserInfo, verb: &str, subresource: &str) -> Value {
    let mut spec = doc!({
        "resourceAttributes": {
            "verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource, "name": node
        },
        "user": (&user.name),
        "groups": (Value::list(user.groups.iter().cloned()))
    });
    if !user.uid.is_empty() {
        spec.set("uid", &user.uid);
    }
    if !user.extra.is_empty() {
        let extra = user.extra.iter().map(|(k, v)| (k.clone(), Value::list(v.iter().cloned())));
        spec.set("extra", Value::of(extra));
    }
    doc!({"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": spec})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_subresources_of_the_node() {
        for (method, path, want) in [
            (Method::GET, "/exec/ns/p/c", ("create", vec!["proxy"])),
            (Method::POST, "/exec/ns/p/c", ("create", vec!["proxy"])),
            (Method::GET, "/containerLogs/ns/p/c", ("get", vec!["proxy"])),
            (Method::GET, "/pods", ("get", vec!["pods", "proxy"])),
            (Method::GET, "/healthz/x", ("get", vec!["healthz", "proxy"])),
            (Method::GET, "/logs/", ("get", vec!["log"])),
            (Method::GET, "/podsx", ("get", vec!["proxy"])),
        ] {
            assert_eq!(attributes(&method, path), want, "{path}");
        }
    }
}
