//! `cargo xtask imports`: which crate may import which. The table is the design's (ARCHITECTURE.md, code map); a new
//! edge is an event, and is told there.

use crate::sh;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;

/// Crate, and what it may import of ours besides what those may import in turn.
///
/// Two edges are not in the first design: `admission` asks `authz` (NodeRestriction shares the node graph's names), and
/// `client` reads `api`'s tables (to know a resource's scope and encoding).
const TABLE: &[(&str, &[&str])] = &[
    ("meta", &[]),
    ("document", &["meta"]),
    ("api", &["document"]),
    ("store", &["document"]),
    ("authn", &["api", "store"]),
    ("authz", &["api", "store"]),
    ("admission", &["api", "store", "authz"]),
    ("issuer", &["meta"]),
    ("gate", &["authn", "authz", "admission"]),
    ("registry", &["gate", "issuer"]),
    ("client", &["api"]),
    ("access", &["authz"]),
    ("apiserver", &["registry", "access", "client"]),
    ("controllers", &["client"]),
    ("scheduler", &["client"]),
    ("node", &["client"]),
    ("shim", &[]),
    ("lanyard", &["apiserver", "controllers", "scheduler", "node"]),
    ("testkit", &["apiserver", "controllers", "scheduler"]),
    ("e2e", &[]),
    ("xtask", &[]),
];

/// Foreign crates that only some of ours may import, since they are large, or since only one place may do what they do.
const RESERVED: &[(&str, &[&str])] = &[
    ("libcontainer", &["shim"]),
    ("rusqlite", &["store"]),
    ("clap", &["lanyard", "shim"]),
    ("kube", &["e2e"]),
    ("k8s-openapi", &["e2e", "api"]),
    ("rcgen", &["issuer", "node", "testkit", "lanyard"]),
    ("rtnetlink", &["node"]),
    ("oci-client", &["node"]),
    ("axum", &[]),
    ("tonic", &[]),
    ("reqwest", &[]),
    ("openssl", &[]),
    ("ring", &[]),
];

/// Fails with every edge that the table does not have.
pub(crate) fn run() -> Result<()> {
    let metadata = sh::output(&mut sh::cargo(&["metadata", "--no-deps", "--format-version", "1", "--offline"]))?;
    let wrong = violations(&serde_json::from_str(&metadata)?)?;
    if wrong.is_empty() {
        println!("imports: as the table says");
        return Ok(());
    }
    bail!("imports that the table in xtask/src/imports.rs does not have:\n  {}", wrong.join("\n  "))
}

fn violations(metadata: &Value) -> Result<Vec<String>> {
    let allowed = closure();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().context("cargo metadata has no packages")? {
        let name = short(package["name"].as_str().unwrap_or_default());
        let Some(may) = allowed.get(name) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = short(dependency["name"].as_str().unwrap_or_default());
            let testing = dependency["kind"] == "dev";
            let ours = allowed.contains_key(to);
            let reserved = RESERVED.iter().find(|(krate, _)| *krate == to).is_some_and(|(_, by)| !by.contains(&name));
            let fine = if ours {
                may.contains(&to) || testing && (to == "testkit" || to == name)
            } else {
                !reserved || testing
            };
            if !fine {
                wrong.push(format!("{name} imports {to}"));
            }
        }
    }
    Ok(wrong)
}

/// The table with everything that is imported through others.
fn closure() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, direct) in TABLE {
        let mut reach = direct.to_vec();
        for through in *direct {
            reach.extend(all.get(through).into_iter().flatten());
        }
        reach.sort_unstable();
        reach.dedup();
        all.insert(name, reach);
    }
    all
}

/// A package's name as the table has it.
fn short(package: &str) -> &str {
    package.strip_prefix("lanyard-").unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(name: &str, dependency: &str, kind: Option<&str>, fine: bool) {
        let metadata = json!({"packages": [{"name": name, "dependencies": [{"name": dependency, "kind": kind}]}]});
        assert_eq!(violations(&metadata).unwrap().is_empty(), fine, "{name} → {dependency} ({kind:?})");
    }

    #[test]
    fn only_edges_of_the_table_pass() {
        check("lanyard-registry", "lanyard-gate", None, true);
        check("lanyard-registry", "lanyard-meta", None, true);
        check("lanyard-authn", "lanyard-issuer", None, false);
        check("lanyard-node", "lanyard-store", None, false);
        check("lanyard-meta", "lanyard-document", None, false);
        check("lanyard", "lanyard-shim", None, false);
        check("lanyard-testkit", "lanyard-node", None, false);
        check("lanyard-unheard-of", "serde_json", None, false);
    }

    #[test]
    fn reserved_crates_are_held_to_their_places() {
        check("lanyard-shim", "libcontainer", None, true);
        check("lanyard-node", "libcontainer", None, false);
        check("lanyard-apiserver", "kube", None, false);
        check("lanyard-apiserver", "kube", Some("dev"), true);
    }

    #[test]
    fn tests_may_use_the_testkit() {
        check("lanyard-authz", "lanyard-testkit", Some("dev"), true);
        check("lanyard-authz", "lanyard-testkit", None, false);
    }
}
