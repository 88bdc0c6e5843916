//! What a request is counted under: upstream's verb, scope and names for it. Only what has a handler is counted as a
//! request; what is refused before is counted elsewhere.

use api::ResourceType;
use http::Method;
use http::header::CONTENT_TYPE;

use crate::handler::Head;
use crate::metrics::Labels;
use crate::negotiate::header;
use crate::route::Action;

const COMPONENT: &str = "apiserver";

/// Labels, and whether the size of the answer counts.
#[derive(Clone, Copy)]
pub(crate) struct Counted {
    pub labels: Labels<'static>,
    pub sized: bool,
}

/// A request of a resource for which there is a route.
pub(crate) fn resource(head: &Head, row: &'static ResourceType, action: Action) -> Counted {
    let a = &head.route.attributes;
    let scope = match (head.route.named || head.method == Method::POST, row.namespaced && head.route.in_namespace) {
        (true, _) => "resource",
        (false, true) => "namespace",
        (false, false) => "cluster",
    };
    let labels = Labels {
        verb: verb(head, scope, &a.subresource),
        dry_run: dry_run(head),
        group: row.group,
        version: row.version,
        resource: row.plural,
        subresource: row.subresource(&a.subresource).map_or("", |s| s.name),
        scope,
        component: COMPONENT,
    };
    Counted { labels, sized: matches!(action, Action::Get | Action::List) }
}

/// A path that is no resource, if upstream counts it.
pub(crate) fn path(head: &Head) -> Option<Counted> {
    let (resource, subresource, component) = match head.route.attributes.path.as_str() {
        "/healthz" => ("", "/healthz", ""),
        "/livez" => ("", "/livez", ""),
        "/readyz" => ("", "/readyz", ""),
        "/api" => ("", "api", COMPONENT),
        "/apis" | "/apis/" => ("", "apis", COMPONENT),
        "/flagz" => ("flagz", "", COMPONENT),
        "/statusz" => ("statusz", "", COMPONENT),
        path if path.starts_with("/openapi/v3") => ("", "openapi/v3", ""),
        _ => return None,
    };
    let labels = Labels {
        verb: verb(head, "", ""),
        dry_run: dry_run(head),
        group: "",
        version: "",
        resource,
        subresource,
        scope: "",
        component,
    };
    Some(Counted { labels, sized: true })
}

/// Hands the labels of a request that gets no further to `take`.
pub(crate) fn refused(head: &Head, take: impl FnOnce(&Labels<'_>)) {
    let a = &head.route.attributes;
    let row = api::find(&a.group, &a.version, &a.resource).filter(|_| a.is_resource);
    let scope = match (head.route.named || a.verb == "create", a.namespace.is_empty()) {
        (true, _) => "resource",
        (false, false) => "namespace",
        (false, true) if a.is_resource => "cluster",
        _ => "",
    };
    take(&Labels {
        verb: verb(head, scope, &a.subresource),
        dry_run: dry_run(head),
        group: row.map_or("", |r| r.group),
        version: row.map_or("", |r| r.version),
        resource: row.map_or("", |r| r.plural),
        subresource: row.and_then(|r| r.subresource(&a.subresource)).map_or("", |s| s.name),
        scope,
        component: COMPONENT,
    });
}

/// The method, with lists, watches, applies and connects told apart.
fn verb(head: &Head, scope: &str, subresource: &str) -> &'static str {
    if matches!(subresource, "log" | "exec" | "portforward" | "attach" | "proxy") {
        return "CONNECT";
    }
    match head.method.as_str() {
        "GET" if head.query.wants_watch() => "WATCH",
        "GET" | "HEAD" if scope != "resource" && !scope.is_empty() => "LIST",
        "GET" | "HEAD" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" if header(&head.headers, &CONTENT_TYPE) == "application/apply-patch+yaml" => "APPLY",
        "PATCH" => "PATCH",
        _ => "other",
    }
}

fn dry_run(head: &Head) -> &'static str {
    let mut wanted = head.query.all("dryRun").peekable();
    match (wanted.peek().is_some(), wanted.all(|v| v == "All")) {
        (false, _) => "",
        (true, true) => "All",
        (true, false) => "invalid",
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use registry::Query;

    use super::*;
    use crate::{path as grammar, route};

    fn check(method: &str, uri: &str, content_type: &str, want: &str) {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let (method, query) = (method.parse().unwrap(), Query::parse(query));
        let route = grammar::parse(&method, path, &query);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        let head = Head { method, headers, query, route };
        let counted = match head.route.attributes.is_resource {
            true => route::resolve(&head.route, &head.method).ok().map(|(row, action)| resource(&head, row, action)),
            false => super::path(&head),
        };
        let shown = counted.map(|Counted { labels: l, sized }| {
            let sized = if sized { " sized" } else { "" };
            format!(
                "{} {}/{}/{}/{} {} {}{sized}",
                l.verb, l.group, l.version, l.resource, l.subresource, l.scope, l.dry_run
            )
        });
        assert_eq!(shown.as_deref().unwrap_or("-"), want, "{method} {uri}", method = head.method);
    }

    #[test]
    fn requests_are_counted_under_upstreams_names() {
        check("GET", "/api/v1/namespaces/n/pods/p", "", "GET /v1/pods/ resource  sized");
        check("GET", "/api/v1/namespaces/n/pods", "", "LIST /v1/pods/ namespace  sized");
        check("GET", "/api/v1/pods?watch=1", "", "WATCH /v1/pods/ cluster ");
        check("GET", "/api/v1/nodes", "", "LIST /v1/nodes/ cluster  sized");
        check("POST", "/api/v1/namespaces/n/pods?dryRun=All", "", "POST /v1/pods/ resource All");
        check("POST", "/api/v1/namespaces/n/pods?dryRun=x", "", "POST /v1/pods/ resource invalid");
        check("DELETE", "/apis/apps/v1/namespaces/n/deployments", "", "DELETE apps/v1/deployments/ namespace ");
        check("PATCH", "/api/v1/namespaces/n/pods/p", "application/apply-patch+yaml", "APPLY /v1/pods/ resource ");
        check("PATCH", "/api/v1/namespaces/n/pods/p/status", "", "PATCH /v1/pods/status resource ");
        check("GET", "/api/v1/namespaces/n/pods/p/log", "", "CONNECT /v1/pods/log resource  sized");
        check("GET", "/readyz", "", "GET ////readyz   sized");
        check("GET", "/readyz/ping", "", "-");
        check("GET", "/apis", "", "GET ///apis   sized");
        check("GET", "/nothing", "", "-");
    }
}
