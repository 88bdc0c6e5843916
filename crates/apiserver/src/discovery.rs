//! Which groups, versions and resources there are, as JSON made once from the rows of `api`: the legacy documents, one
//! per group and version, and the aggregated ones with their ETags.

use std::collections::BTreeMap;

use api::{Group, ResourceType, Subresource};
use aws_lc_rs::digest::{SHA512, digest};
use bytes::Bytes;
use meta::status::push_json_string;

/// The content type of the aggregated form, as it is asked for and answered.
pub(crate) const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// All documents of discovery.
pub(crate) struct Discovery {
    /// By path without a trailing slash: `/api`, `/apis/apps/v1`, ….
    legacy: BTreeMap<String, Bytes>,
    api: Aggregated,
    apis: Aggregated,
}

/// An aggregated document and its ETag.
#[derive(Clone)]
pub(crate) struct Aggregated {
    pub body: Bytes,
    pub etag: String,
}

impl Discovery {
    /// `server_address` is what `/api` names as the server's address.
    pub(crate) fn new(server_address: &str) -> Self {
        let groups = api::group_versions();
        let mut legacy =
            BTreeMap::from([("/api".to_owned(), versions(server_address)), ("/apis".to_owned(), group_list(groups))]);
        for group in groups {
            if !group.name.is_empty() {
                legacy.insert(format!("/apis/{}", group.name), one_group(group));
            }
            for version in group.versions {
                legacy.insert(root_of(group.name, version), resource_list(group.name, version));
            }
        }
        let (core, named): (Vec<_>, Vec<_>) = groups.iter().partition(|g| g.name.is_empty());
        Discovery { legacy, api: aggregated(&core), apis: aggregated(&named) }
    }

    pub(crate) fn legacy(&self, path: &str) -> Option<&Bytes> {
        self.legacy.get(path)
    }

    /// The aggregated form of `/api` or `/apis`.
    pub(crate) fn aggregated(&self, path: &str) -> Option<&Aggregated> {
        match path {
            "/api" => Some(&self.api),
            "/apis" => Some(&self.apis),
            _ => None,
        }
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.legacy.keys().map(String::as_str)
    }
}

/// Where a version's resources begin: `/api/v1`, `/apis/apps/v1`.
pub(crate) fn root_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

fn rows(group: &str, version: &str) -> impl Iterator<Item = &'static ResourceType> {
    api::resources().iter().filter(move |r| r.group == group && r.version == version)
}

fn versions(server_address: &str) -> Bytes {
    let mut out = String::from(
        r#"{"kind":"APIVersions","versions":["v1"],"serverAddressByClientCIDRs":[{"clientCIDR":"0.0.0.0/0","serverAddress":"#,
    );
    push_json_string(&mut out, server_address);
    finish(out + "}]}")
}

fn group_list(groups: &[Group]) -> Bytes {
    let items: Vec<String> =
        groups.iter().filter(|g| !g.name.is_empty()).map(|g| format!("{{{}}}", group_members(g))).collect();
    finish(format!(r#"{{"kind":"APIGroupList","apiVersion":"v1","groups":[{}]}}"#, items.join(",")))
}

fn one_group(group: &Group) -> Bytes {
    finish(format!(r#"{{"kind":"APIGroup","apiVersion":"v1",{}}}"#, group_members(group)))
}

fn group_members(group: &Group) -> String {
    let of = |version: &str| format!(r#"{{"groupVersion":"{}/{version}","version":"{version}"}}"#, group.name);
    let all: Vec<String> = group.versions.iter().map(|v| of(v)).collect();
    let preferred = group.versions.first().map(|v| of(v)).unwrap_or_default();
    format!(r#""name":"{}","versions":[{}],"preferredVersion":{preferred}"#, group.name, all.join(","))
}

fn resource_list(group: &str, version: &str) -> Bytes {
    let api_version = if group.is_empty() { "" } else { r#""apiVersion":"v1","# };
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut items = Vec::new();
    for row in rows(group, version) {
        items.push(legacy_resource(row));
        items.extend(row.subresources.iter().map(|sub| legacy_subresource(row, sub)));
    }
    finish(format!(
        r#"{{"kind":"APIResourceList",{api_version}"groupVersion":"{group_version}","resources":[{}]}}"#,
        items.join(",")
    ))
}

fn legacy_resource(row: &ResourceType) -> String {
    let mut out = format!(
        r#"{{"name":"{}","singularName":"{}","namespaced":{},"kind":"{}","verbs":{}"#,
        row.plural,
        row.singular,
        row.namespaced,
        row.kind,
        list(row.verbs)
    );
    push_list(&mut out, "shortNames", row.short_names);
    push_list(&mut out, "categories", row.categories);
    if let Some(hash) = row.stored.map(|s| s.hash).filter(|h| !h.is_empty()) {
        out.push_str(&format!(r#","storageVersionHash":"{hash}""#));
    }
    out + "}"
}

fn legacy_subresource(row: &ResourceType, sub: &Subresource) -> String {
    let mut out =
        format!(r#"{{"name":"{}/{}","singularName":"","namespaced":{}"#, row.plural, sub.name, row.namespaced);
    if !sub.version.is_empty() {
        if !sub.group.is_empty() {
            out.push_str(&format!(r#","group":"{}""#, sub.group));
        }
        out.push_str(&format!(r#","version":"{}""#, sub.version));
    }
    out + &format!(r#","kind":"{}","verbs":{}}}"#, sub.kind, list(sub.verbs))
}

fn aggregated(groups: &[&Group]) -> Aggregated {
    let items: Vec<String> = groups.iter().map(|g| aggregated_group(g)).collect();
    let text = format!(
        r#"{{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{{}},"items":[{}]}}"#,
        items.join(",")
    );
    let body = finish(text);
    Aggregated { etag: format!("\"{}\"", hash(&body)), body }
}

fn aggregated_group(group: &Group) -> String {
    let metadata = if group.name.is_empty() { String::new() } else { format!(r#""name":"{}""#, group.name) };
    let versions: Vec<String> = group.versions.iter().map(|v| aggregated_version(group.name, v)).collect();
    format!(r#"{{"metadata":{{{metadata}}},"versions":[{}]}}"#, versions.join(","))
}

fn aggregated_version(group: &str, version: &str) -> String {
    let resources: Vec<String> = rows(group, version).map(aggregated_resource).collect();
    format!(r#"{{"version":"{version}","resources":[{}],"freshness":"Current"}}"#, resources.join(","))
}

fn aggregated_resource(row: &'static ResourceType) -> String {
    let mut out = format!(
        r#"{{"resource":"{}","responseKind":{},"scope":"{}","singularResource":"{}","verbs":{}"#,
        row.plural,
        response_kind("", "", row.kind),
        if row.namespaced { "Namespaced" } else { "Cluster" },
        row.singular,
        list(row.verbs)
    );
    push_list(&mut out, "shortNames", row.short_names);
    push_list(&mut out, "categories", row.categories);
    if !row.subresources.is_empty() {
        let of = |sub: &Subresource| {
            let kind = response_kind(sub.group, sub.version, sub.kind);
            format!(r#"{{"subresource":"{}","responseKind":{kind},"verbs":{}}}"#, sub.name, list(sub.verbs))
        };
        let subs: Vec<String> = row.subresources.iter().map(of).collect();
        out.push_str(&format!(r#","subresources":[{}]"#, subs.join(",")));
    }
    out + "}"
}

fn response_kind(group: &str, version: &str, kind: &str) -> String {
    format!(r#"{{"group":"{group}","version":"{version}","kind":"{kind}"}}"#)
}

fn list(items: &[&str]) -> String {
    let quoted: Vec<String> = items.iter().map(|i| format!("\"{i}\"")).collect();
    format!("[{}]", quoted.join(","))
}

fn push_list(out: &mut String, name: &str, items: &[&str]) {
    if !items.is_empty() {
        out.push_str(&format!(r#","{name}":{}"#, list(items)));
    }
}

fn finish(mut text: String) -> Bytes {
    text.push('\n');
    text.into()
}

/// SHA-512 in upper-case hexadecimal, as upstream names a document's content.
pub(crate) fn hash(bytes: &[u8]) -> String {
    digest(&SHA512, bytes).as_ref().iter().map(|b| format!("{b:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, ours: &[u8]) {
        let path = format!("{}/../../../shared/reference/upstream/discovery/{file}", env!("CARGO_MANIFEST_DIR"));
        let Ok(recorded) = std::fs::read(path) else { return };
        let recorded: serde_json::Value = serde_json::from_slice(&recorded).unwrap();
        let ours: serde_json::Value = serde_json::from_slice(ours).unwrap();
        assert_eq!(
            serde_json::to_string_pretty(&ours).unwrap(),
            serde_json::to_string_pretty(&recorded).unwrap(),
            "{file}"
        );
    }

    #[test]
    fn discovery_says_what_upstream_says() {
        let discovery = Discovery::new("127.0.0.1:7800");
        check("aggregated/api.json", &discovery.api.body);
        check("aggregated/apis.json", &discovery.apis.body);
        for path in discovery.paths() {
            let file = format!("legacy/{}.json", path.trim_start_matches('/').replace('/', "_"));
            check(&file, discovery.legacy(path).unwrap());
        }
    }
}
