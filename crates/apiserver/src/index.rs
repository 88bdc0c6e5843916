//! Everything that is no resource: the index, discovery, version, health, metrics, OpenAPI, issuer discovery. After
//! authorization, like everything else.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method};
use meta::Status;
use meta::status::push_json_string;

use crate::body::Body;
use crate::discovery::{AGGREGATED, Aggregated};
use crate::handler::{Handler, Head};
use crate::metrics::Metrics;
use crate::negotiate::{self, DiscoveryForm, Form, Offer};
use crate::respond::{self, Reply};
use crate::{health, openapi, zpages};

/// Answers a request whose path names no resource.
pub(crate) fn answer(handler: &Handler, head: &Head) -> Reply {
    let path = head.route.attributes.path.as_str();
    match path {
        "/metrics" => return metrics(handler, head, Metrics::reset, crate::metrics::text),
        "/metrics/slis" => return metrics(handler, head, Metrics::reset_slis, |handler| handler.metrics.slis()),
        "/flagz" => return zpages::flagz(handler, head),
        "/statusz" => return zpages::statusz(handler, head),
        _ => {}
    }
    let bare = path.trim_end_matches('/');
    match bare {
        "" | "/index.html" => root(handler, head),
        "/version" => only_get(head, |head| json(head, version(&handler.config.version))),
        "/api" | "/apis" => discovery_root(handler, head, bare),
        "/openid/v1/jwks" => only_get(head, |head| keys(handler, head)),
        "/.well-known/openid-configuration" => only_get(head, |head| issuer(handler, head)),
        _ => other(handler, head, path, bare),
    }
}

fn other(handler: &Handler, head: &Head, path: &str, bare: &str) -> Reply {
    if let Some(answer) = handler.health.answer(path, &head.query, &handler.metrics) {
        let mut reply = respond::plain(answer.code.as_u16(), "text/plain; charset=utf-8", Body::full(answer.text));
        if answer.nosniff {
            reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        return reply;
    }
    if path.starts_with("/openapi/") {
        let missing = || match path.starts_with("/openapi/v3/") {
            true => respond::plain(404, "", Body::empty()),
            false => respond::page_not_found(),
        };
        return openapi::answer(head, bare).unwrap_or_else(missing);
    }
    if let Some(document) = handler.discovery.legacy(bare) {
        // a group is upstream's aggregator's, which does not look at the method
        let is_group = bare.strip_prefix("/apis/").is_some_and(|group| !group.contains('/'));
        return if is_group { legacy(head, document) } else { only_get(head, |head| legacy(head, document)) };
    }
    let known_group = path.starts_with("/api/")
        || path.starts_with("/version/")
        || path.strip_prefix("/apis/").is_some_and(|rest| {
            let group = rest.split('/').next().unwrap_or_default();
            api::group_versions().iter().any(|g| g.name == group && !group.is_empty())
        });
    if known_group { head.refuse(&Status::no_such_resource()) } else { respond::page_not_found() }
}

fn only_get(head: &Head, answer: impl FnOnce(&Head) -> Reply) -> Reply {
    if head.method == Method::GET { answer(head) } else { head.refuse(&Status::method_not_allowed()) }
}

/// A document that is made as JSON only.
fn json(head: &Head, body: String) -> Reply {
    // upstream indents these whatever is asked
    let form = Form { encoding: negotiate::Encoding::Json, pretty: true, ..Form::of_error(&head.headers, &head.query) };
    let made = Offer::JsonOnly.check(&head.headers).and_then(|()| respond::encoded(200, body.into_bytes(), None, form));
    made.unwrap_or_else(|status| head.refuse(&status))
}

fn discovery_root(handler: &Handler, head: &Head, path: &str) -> Reply {
    // `/apis` is upstream's aggregator's, which does not look at the method
    if path == "/api" {
        if head.method != Method::GET {
            return head.refuse(&Status::method_not_allowed());
        }
        if let Err(status) = Offer::Object.check(&head.headers) {
            return head.refuse(&status);
        }
    }
    match negotiate::discovery(&head.headers) {
        Ok(DiscoveryForm::Aggregated) => match handler.discovery.aggregated(path) {
            Some(document) => aggregated(head, document),
            None => respond::page_not_found(),
        },
        Ok(DiscoveryForm::Legacy) => match handler.discovery.legacy(path) {
            Some(document) => legacy(head, document),
            None => respond::page_not_found(),
        },
        Err(status) => head.refuse(&status),
    }
}

fn aggregated(head: &Head, document: &Aggregated) -> Reply {
    let known = negotiate::header(&head.headers, &IF_NONE_MATCH)
        .split(',')
        .any(|tag| tag.trim().trim_start_matches("W/") == document.etag);
    let form = Form::of_error(&head.headers, &head.query);
    let mut reply = match known {
        true => respond::plain(304, "", Body::empty()),
        false => respond::bytes(200, AGGREGATED, document.body.clone(), form.gzip),
    };
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    headers.append(VARY, HeaderValue::from_static("Accept"));
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        headers.insert(ETAG, etag);
    }
    reply
}

/// A legacy document in the encoding that is asked for. Without its newline it is a JSON body like others.
fn legacy(head: &Head, document: &Bytes) -> Reply {
    let body = document.strip_suffix(b"\n").unwrap_or(document).to_vec();
    let made = Form::of_object(&head.headers, &head.query).and_then(|form| {
        if form.shape != negotiate::Shape::Whole {
            return Err(Status::not_acceptable(
                "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
            ));
        }
        let kind = kind_of(&body);
        respond::encoded(200, body, api::type_of_meta(&kind), form)
    });
    made.unwrap_or_else(|status| head.refuse(&status))
}

/// The kind of a document that begins with it.
fn kind_of(body: &[u8]) -> String {
    let text = std::str::from_utf8(body).unwrap_or_default();
    text.strip_prefix("{\"kind\":\"").and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
}

fn version(own: &str) -> String {
    let mut out = String::from(
        r#"{"major":"1","minor":"37","emulationMajor":"1","emulationMinor":"37","minCompatibilityMajor":"1","minCompatibilityMinor":"36","gitVersion":"#,
    );
    push_json_string(&mut out, &format!("v1.37.2+lanyard.{own}"));
    out.push_str(r#","gitCommit":"#);
    push_json_string(&mut out, option_env!("LANYARD_COMMIT").unwrap_or("unknown"));
    out.push_str(r#","gitTreeState":"clean","buildDate":"1970-01-01T00:00:00Z","goVersion":"none","compiler":"rustc","platform":"#);
    push_json_string(&mut out, concat!("linux/", env!("LANYARD_ARCH")));
    out + "}"
}

/// Counters as text; DELETE begins anew.
fn metrics(handler: &Handler, head: &Head, reset: fn(&Metrics), text: fn(&Handler) -> String) -> Reply {
    if head.method == Method::DELETE {
        reset(&handler.metrics);
        return respond::plain(200, "text/plain; charset=utf-8", Body::full("metrics reset\n"));
    }
    let text = text(handler).into_bytes();
    let mut reply = match negotiate::takes_gzip(&head.headers) {
        true => {
            let mut reply = respond::plain(200, "", Body::full(respond::compress(&text)));
            reply.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            reply
        }
        false => respond::plain(200, "", Body::full(text)),
    };
    let escaping = negotiate::metrics_escaping(&head.headers);
    let kind = format!("text/plain; version=0.0.4; charset=utf-8; escaping={escaping}");
    if let Ok(kind) = HeaderValue::from_str(&kind) {
        reply.headers_mut().insert(CONTENT_TYPE, kind);
    }
    if let Some(start) = crate::metrics::start_time() {
        let name = HeaderName::from_static("process-start-time-unix");
        reply.headers_mut().insert(name, HeaderValue::from(start as i64));
    }
    reply
}

/// Every path that is served besides objects, in order.
pub(crate) fn paths(handler: &Handler) -> Vec<String> {
    let mut paths: Vec<String> = handler.discovery.paths().map(str::to_owned).collect();
    paths.extend(health::paths());
    let fixed = [
        "/.well-known/openid-configuration",
        "/apis/",
        "/flagz",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/statusz",
        "/version",
    ];
    paths.extend(fixed.map(str::to_owned));
    paths.sort();
    paths
}

fn root(handler: &Handler, head: &Head) -> Reply {
    let paths = paths(handler);
    let mut body = String::from("{\"paths\":[");
    for (n, path) in paths.iter().enumerate() {
        body.push_str(if n == 0 { "" } else { "," });
        push_json_string(&mut body, path);
    }
    body.push_str("]}");
    // upstream indents this one always
    let form = Form { pretty: true, ..Form::of_error(&head.headers, &head.query) };
    respond::encoded(200, body.into_bytes(), None, Form { encoding: negotiate::Encoding::Json, ..form })
        .unwrap_or_else(|s| head.refuse(&s))
}

fn issuer(handler: &Handler, head: &Head) -> Reply {
    if let Err(status) = Offer::JsonOnly.check(&head.headers) {
        return head.refuse(&status);
    }
    cacheable(respond::plain(200, "application/json", Body::full(handler.issuer.read().configuration.clone())))
}

fn keys(handler: &Handler, head: &Head) -> Reply {
    const TYPE: &str = "application/jwk-set+json";
    let accept = negotiate::header(&head.headers, &http::header::ACCEPT);
    let fits = |part: &str| matches!(part.split(';').next().unwrap_or_default().trim(), "*/*" | TYPE);
    if !accept.is_empty() && !accept.split(',').any(fits) {
        return head.refuse(&negotiate::no_representation(&[TYPE]));
    }
    cacheable(respond::plain(200, TYPE, Body::full(handler.issuer.read().keys.clone())))
}

fn cacheable(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_has_upstreams_members() {
        let text = version("0.1.0");
        let value = document::json::parse(text.as_bytes()).unwrap();
        assert_eq!(value["gitVersion"].str(), "v1.37.2+lanyard.0.1.0");
        assert_eq!(value.members().count(), 13);
    }
}
