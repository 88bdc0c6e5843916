//! From a request to its handler, after authentication and authorization.

use std::sync::Arc;

use document::object::Head;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use meta::UserInfo;

use super::{
    Shared, auth, exec, logs,
    respond::{self, Body},
};

/// Answers one request.
pub(super) async fn handle(
    shared: Arc<Shared>,
    certified: Option<Arc<UserInfo>>,
    request: Request<Incoming>,
) -> Response<Body> {
    if let Err(refusal) = admit(&shared, certified, &request).await {
        return refusal;
    }
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["healthz"] => respond::text(StatusCode::OK, "ok"),
        ["pods"] if request.method() == Method::GET => pods(&shared),
        ["containerLogs", namespace, pod, container] if request.method() == Method::GET => {
            logs::serve(&shared, namespace, pod, container, request.uri().query().unwrap_or_default()).await
        }
        ["exec", namespace, pod, container] => exec::serve(&shared, namespace, pod, "", container, request).await,
        ["exec", namespace, pod, uid, container] => exec::serve(&shared, namespace, pod, uid, container, request).await,
        ["attach" | "portForward" | "run" | "checkpoint" | "stats" | "metrics" | "configz" | "logs", ..] => {
            respond::text(StatusCode::NOT_IMPLEMENTED, format!("this node does not implement /{} yet\n", parts[0]))
        }
        _ => respond::text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

/// `Err` is the answer of a request that may not pass.
async fn admit(
    shared: &Shared,
    certified: Option<Arc<UserInfo>>,
    request: &Request<Incoming>,
) -> Result<(), Response<Body>> {
    let failed = |error: meta::Status| {
        tracing::warn!("failed to ask the API server about a request: {}", error.message);
        respond::text(StatusCode::INTERNAL_SERVER_ERROR, format!("Authorization error: {}\n", error.message))
    };
    let user = match certified {
        Some(user) => user,
        None => match auth::user_of_token(&shared.api, request.headers()).await {
            Ok(Some(user)) => Arc::new(user),
            Ok(None) => return Err(respond::text(StatusCode::UNAUTHORIZED, "Unauthorized")),
            Err(error) => return Err(failed(error)),
        },
    };
    let (verb, subresources) = auth::attributes(request.method(), request.uri().path());
    match auth::allowed(&shared.api, &shared.node, &user, verb, &subresources).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            let list = subresources.join(" ");
            let text =
                format!("Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{list}])\n", user.name);
            Err(respond::text(StatusCode::FORBIDDEN, text))
        }
        Err(error) => Err(failed(error)),
    }
}

fn pods(shared: &Shared) -> Response<Body> {
    let mut out = br#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":["#.to_vec();
    for (n, pod) in shared.pods.list().iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        pod.write_json(Head::Item, &mut out);
    }
    out.extend_from_slice(b"]}\n");
    respond::json(out)
}

/// A query's members, decoded.
pub(super) fn query(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|p| !p.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_in_order() {
        let want = [("command", "sh"), ("command", "a b/c+"), ("tty", "1"), ("x", "%z")];
        let got = query("command=sh&command=a+b%2Fc%2B&tty=1&x=%z");
        assert_eq!(got.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>(), want);
    }
}
