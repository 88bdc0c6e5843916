//! The grammar of Kubernetes paths, by hand: method, path and query become `Attributes`. Says nothing about whether the
//! resource exists. Upstream's RequestInfo rules; a legacy `/watch/` or `/proxy/` segment is a verb.

use meta::{Attributes, fields, labels};

use registry::Query;

/// What was asked, and what routing needs besides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    pub attributes: Attributes,
    /// Path segments after the subresource (`proxy/…`).
    pub rest: Vec<String>,
    /// The verb stood in the path (`/api/v1/watch/pods`).
    pub legacy: bool,
    /// A namespace stood in the path.
    pub in_namespace: bool,
    /// An object's name stood in the path (not only in a field selector).
    pub named: bool,
    /// An empty or unexpected segment: no route will match.
    pub broken: bool,
}

/// Decodes `%xx`; `None` when the escape is broken or the text is not UTF-8.
pub fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let hex = text.get(at + 1..at + 3)?;
            out.push(u8::from_str_radix(hex, 16).ok().filter(|_| hex.bytes().all(|b| b.is_ascii_hexdigit()))?);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

/// Reads one request line. `path` is decoded.
pub fn parse(method: &http::Method, path: &str, params: &Query) -> Route {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => resource(method, path, "", version, rest, params),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => resource(method, path, group, version, rest, params),
        _ => Route { attributes: Attributes::path(&method.as_str().to_ascii_lowercase(), path), ..Default::default() },
    }
}

fn resource(method: &http::Method, path: &str, group: &str, version: &str, rest: &[&str], params: &Query) -> Route {
    let mut route = Route { broken: path.contains("//"), ..Default::default() };
    let mut a = Attributes { path: path.into(), ..Attributes::resource(verb_of(method), group, version, "", "", "") };
    let mut parts = rest;
    if let ["watch" | "proxy", more @ ..] = parts
        && !more.is_empty()
    {
        (a.verb, parts, route.legacy) = (parts[0].to_owned(), more, true);
    }
    if let ["namespaces", namespace, more @ ..] = parts {
        a.namespace = (*namespace).to_owned();
        if more.first().is_some_and(|sub| !matches!(*sub, "status" | "finalize")) {
            (parts, route.in_namespace) = (more, true);
        }
    }
    a.resource = parts.first().copied().unwrap_or_default().to_owned();
    route.named = parts.get(1).is_some_and(|name| !name.is_empty());
    a.name = parts.get(1).copied().unwrap_or_default().to_owned();
    if !route.legacy {
        a.subresource = parts.get(2).copied().unwrap_or_default().to_owned();
    }
    route.rest = parts.iter().skip(if route.legacy { 2 } else { 3 }).map(|s| (*s).to_owned()).collect();
    collection_verb(&mut a, params);
    if matches!(a.verb.as_str(), "list" | "watch" | "deletecollection") {
        a.label_selector =
            params.get("labelSelector").and_then(|s| labels::Selector::parse(s).ok()).filter(|s| !s.is_everything());
        a.field_selector = field_selector(params);
    }
    route.attributes = a;
    route
}

fn verb_of(method: &http::Method) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "GET" | "HEAD" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

/// Without a name GET lists or watches, and DELETE deletes the collection. `metadata.name=x` names the object for
/// list and watch, so that a rule with resourceNames fits.
fn collection_verb(a: &mut Attributes, params: &Query) {
    if !a.name.is_empty() {
        return;
    }
    if a.verb == "delete" {
        a.verb = "deletecollection".into();
    } else if a.verb == "get" {
        a.verb = if params.wants_watch() { "watch" } else { "list" }.into();
        if let Some(name) = field_selector(params).as_ref().and_then(|s| s.requires("metadata.name"))
            && is_path_segment(name)
        {
            a.name = name.to_owned();
        }
    }
}

fn field_selector(params: &Query) -> Option<fields::Selector> {
    params.get("fieldSelector").and_then(|s| fields::Selector::parse(s).ok()).filter(|s| !s.is_everything())
}

fn is_path_segment(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `verb group/version resource/subresource namespace name` or `verb path`.
    fn check(method: &str, uri: &str, want: &str) {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let route = parse(&method.parse().unwrap(), &decode(path).unwrap(), &Query::parse(query));
        let a = route.attributes;
        let got = if a.is_resource {
            format!("{} {}/{} {}/{} {} {}", a.verb, a.group, a.version, a.resource, a.subresource, a.namespace, a.name)
        } else {
            format!("{} {}", a.verb, a.path)
        };
        assert_eq!(got, want, "{method} {uri}");
    }

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        check("GET", "/api/v1/pods", "list /v1 pods/  ");
        check("GET", "/api/v1/pods?watch=true", "watch /v1 pods/  ");
        check("GET", "/api/v1/pods?watch", "watch /v1 pods/  ");
        check("GET", "/api/v1/pods?watch=0", "list /v1 pods/  ");
        check("GET", "/api/v1/namespaces/n/pods/p?watch=true", "get /v1 pods/ n p");
        check("GET", "/api/v1/namespaces/n/pods/p/log", "get /v1 pods/log n p");
        check("GET", "/api/v1/namespaces/n", "get /v1 namespaces/ n n");
        check("PUT", "/api/v1/namespaces/n/finalize", "update /v1 namespaces/finalize n n");
        check("DELETE", "/apis/apps/v1/namespaces/n/deployments", "deletecollection apps/v1 deployments/ n ");
        check("GET", "/api/v1/namespaces/n/secrets?fieldSelector=metadata.name%3Dx", "list /v1 secrets/ n x");
        check(
            "DELETE",
            "/api/v1/namespaces/n/secrets?fieldSelector=metadata.name%3Dx",
            "deletecollection /v1 secrets/ n ",
        );
        check("GET", "/api/v1/watch/namespaces/n/pods", "watch /v1 pods/ n ");
        check("OPTIONS", "/api/v1/pods", " /v1 pods/  ");
        check("HEAD", "/api/v1/namespaces/n/pods/p", "get /v1 pods/ n p");
        check("GET", "/apis/apps/v1", "get /apis/apps/v1");
        check("GET", "/api/v1", "get /api/v1");
        check("POST", "/healthz", "post /healthz");
        check("GET", "/api/v1/namespaces/n%2Fx/pods", "get /v1 x/ n pods");
    }

    #[test]
    fn broken_escapes_are_no_path() {
        assert_eq!(decode("/a%2"), None);
        assert_eq!(decode("/a%zz"), None);
        assert_eq!(decode("/a%ff"), None);
        assert_eq!(decode("/a%20b").as_deref(), Some("/a b"));
    }
}
