//! Request lines: `METHOD path?query`. What is read names exactly the segments that stood there, and a query that is
//! written again is the same query.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::Query;
use registry::query::DeleteOptions;

fn escape(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

fn query(text: &str) -> Query {
    let query = Query::parse(text);
    let again: Vec<String> = query.parameters.iter().map(|(n, v)| format!("{}={}", escape(n), escape(v))).collect();
    assert_eq!(Query::parse(&again.join("&")).parameters, query.parameters, "{text:?}");
    for watch in [false, true] {
        if let Ok(options) = query.list_options(watch) {
            assert_eq!(options.limit, query.number("limit").ok().flatten().unwrap_or(0));
        }
    }
    for (kind, apply) in [("CreateOptions", false), ("PatchOptions", true)] {
        if let Ok(options) = query.write_options(kind, apply, text) {
            assert!(options.manager.len() <= 128 && !options.manager.contains(char::is_control), "{options:?}");
        }
    }
    let _ = DeleteOptions::from(None, &query);
    query
}

fuzz_target!(|data: &str| {
    let (method, uri) = data.split_once(' ').unwrap_or(("GET", data));
    let Ok(method) = method.parse::<http::Method>() else { return };
    let (raw, text) = uri.split_once('?').unwrap_or((uri, ""));
    let query = query(text);
    let Some(path) = apiserver::path::decode(raw) else { return };
    assert_eq!(apiserver::path::decode(&escape(&path)).as_deref(), Some(path.as_str()));
    let route = apiserver::path::parse(&method, &path, &query);
    let a = &route.attributes;
    for part in [&a.namespace, &a.resource, &a.subresource, &a.name, &a.group, &a.version] {
        assert!(!part.contains('/'), "{part:?} of {path:?}");
    }
    if !a.is_resource {
        assert_eq!(a.path, path);
        assert!(a.resource.is_empty() && a.name.is_empty() && a.namespace.is_empty());
        return;
    }
    if route.broken {
        return;
    }
    let mut parts = if a.group.is_empty() { vec!["api", &a.version] } else { vec!["apis", &a.group, &a.version] };
    if route.legacy {
        parts.push(&a.verb);
    }
    if route.in_namespace {
        parts.extend(["namespaces", &a.namespace]);
    }
    parts.push(&a.resource);
    if route.named {
        parts.push(&a.name);
    }
    if !a.subresource.is_empty() {
        parts.push(&a.subresource);
    }
    parts.extend(route.rest.iter().map(String::as_str));
    assert_eq!(parts.join("/"), path.trim_matches('/'), "{route:?}");
});
