//! What the router knows: which paths exist below a group and version and which methods they take. Everything here
//! comes after authorization and before the handler, in the router's order: path, method, body type, Accept.

use api::ResourceType;
use http::Method;
use meta::Status;

use crate::path::Route;

/// What is to be done with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// Exec, attach, port-forward, proxy: whatever the method.
    Connect,
}

/// The router finds no handler.
#[derive(Debug, PartialEq)]
pub(crate) enum NoRoute {
    /// Outside of every group: a text, not a Status.
    Page,
    Status(Box<Status>),
}

const COLLECTION: [&str; 4] = ["create", "deletecollection", "list", "watch"];
const CONNECT: [&str; 4] = ["attach", "exec", "portforward", "proxy"];

/// # Errors
/// Upstream's 404s and 405s.
pub(crate) fn resolve(route: &Route, method: &Method) -> Result<(&'static ResourceType, Action), NoRoute> {
    let a = &route.attributes;
    if !api::group_versions().iter().any(|g| g.name == a.group) {
        return Err(NoRoute::Page);
    }
    let missing = || NoRoute::Status(Box::new(Status::no_such_resource()));
    let row = api::find(&a.group, &a.version, &a.resource).filter(|_| !route.broken).ok_or_else(missing)?;
    let connects = CONNECT.contains(&a.subresource.as_str());
    if !route.rest.is_empty() && a.subresource != "proxy" {
        return Err(missing());
    }
    if row.namespaced != route.in_namespace && (route.named || route.in_namespace) {
        return Err(missing());
    }
    let verbs: Vec<&str> = if !a.subresource.is_empty() {
        row.subresource(&a.subresource).ok_or_else(missing)?.verbs.to_vec()
    } else {
        row.verbs.iter().copied().filter(|v| COLLECTION.contains(v) != route.named).collect()
    };
    let across_namespaces = row.namespaced && !route.in_namespace;
    let verbs: Vec<&str> = verbs.into_iter().filter(|v| !across_namespaces || matches!(*v, "list" | "watch")).collect();
    if verbs.is_empty() || (route.legacy && (a.verb != "watch" || !row.allows("watch"))) {
        return Err(missing());
    }
    let refused = || NoRoute::Status(Box::new(Status::method_not_allowed()));
    if connects {
        return if verbs.contains(&connect_verb(method)) { Ok((row, Action::Connect)) } else { Err(refused()) };
    }
    if *method == Method::HEAD || !(verbs.contains(&a.verb.as_str()) || (route.legacy && a.verb == "watch")) {
        return Err(refused());
    }
    action(&a.verb).map(|action| (row, action)).ok_or_else(refused)
}

fn connect_verb(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" | "HEAD" | "OPTIONS" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

fn action(verb: &str) -> Option<Action> {
    Some(match verb {
        "get" => Action::Get,
        "list" => Action::List,
        "watch" => Action::Watch,
        "create" => Action::Create,
        "update" => Action::Update,
        "patch" => Action::Patch,
        "delete" => Action::Delete,
        "deletecollection" => Action::DeleteCollection,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path;
    use registry::Query;

    fn check(method: &str, uri: &str, want: u16) {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let method: Method = method.parse().unwrap();
        let route = path::parse(&method, path, &Query::parse(query));
        let got = match resolve(&route, &method) {
            Ok(_) => 200,
            Err(NoRoute::Page) => 0,
            Err(NoRoute::Status(status)) => status.code,
        };
        assert_eq!(got, want, "{method} {uri}");
    }

    #[test]
    fn paths_and_methods_exist_as_upstreams_router_has_them() {
        check("GET", "/api/v1/namespaces/n/configmaps", 200);
        check("PUT", "/api/v1/namespaces/n/configmaps", 405);
        check("POST", "/api/v1/namespaces/n/configmaps/a", 405);
        check("POST", "/api/v1/configmaps", 405);
        check("DELETE", "/api/v1/configmaps", 405);
        check("DELETE", "/api/v1/namespaces", 405);
        check("GET", "/api/v1/namespaces/n/bindings", 405);
        check("GET", "/apis/authentication.k8s.io/v1/tokenreviews", 405);
        check("GET", "/apis/authentication.k8s.io/v1/tokenreviews/x", 404);
        check("DELETE", "/api/v1/namespaces/n/configmaps/a/status", 404);
        check("GET", "/api/v1/namespaces/n/pods/x/eviction", 405);
        check("TRACE", "/api/v1/namespaces/n/configmaps", 405);
        check("HEAD", "/api/v1/namespaces/n", 405);
        check("GET", "/api/v1/namespaces/n", 200);
        check("PUT", "/api/v1/namespaces/n/finalize", 200);
        check("GET", "/api/v1/nothings", 404);
        check("GET", "/apis/nothing.example.com/v1/things", 0);
        check("GET", "/apis/apps/v7/deployments", 404);
        check("GET", "/api/v1/namespaces/n/nodes", 404);
        check("GET", "/api/v1/pods/x", 404);
        check("GET", "/api/v1/namespaces/n/secrets/", 200);
        check("GET", "/api/v1//namespaces", 404);
        check("GET", "/api/v1/watch/pods", 200);
        check("GET", "/api/v1/proxy/nodes/x", 404);
        check("GET", "/api/v1/namespaces/n/secrets?fieldSelector=metadata.name%3Dx", 200);
        check("GET", "/api/v1/namespaces/n/services/s/proxy/a/b", 200);
        check("POST", "/api/v1/namespaces/n/pods/p/exec", 200);
    }
}
