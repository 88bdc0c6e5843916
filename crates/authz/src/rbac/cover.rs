//! Whether held rules cover wanted ones, and how what is missing is printed: upstream's cover test and texts.

use std::collections::BTreeSet;

use meta::goquote::quote;

use super::policy::{Rule, url_matches};

/// The parts of `wanted` (one verb × one resource × one name each) that no single held rule covers.
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    wanted.iter().flat_map(break_down).filter(|atom| !held.iter().any(|rule| covers(rule, atom))).collect()
}

/// Group × resource × verb × name, and URL × verb.
pub fn break_down(rule: &Rule) -> Vec<Rule> {
    let one = |s: &String| vec![s.clone()];
    let mut atoms = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let atom =
                    Rule { api_groups: one(group), resources: one(resource), verbs: one(verb), ..Rule::default() };
                if rule.resource_names.is_empty() {
                    atoms.push(atom);
                } else {
                    atoms.extend(
                        rule.resource_names.iter().map(|name| Rule { resource_names: one(name), ..atom.clone() }),
                    );
                }
            }
        }
    }
    for url in &rule.non_resource_urls {
        for verb in &rule.verbs {
            atoms.push(Rule { non_resource_urls: one(url), verbs: one(verb), ..Rule::default() });
        }
    }
    atoms
}

fn covers(owner: &Rule, atom: &Rule) -> bool {
    let names = owner.resource_names.is_empty()
        || (!atom.resource_names.is_empty() && atom.resource_names.iter().all(|n| owner.resource_names.contains(n)));
    names
        && all(&owner.verbs, &atom.verbs)
        && all(&owner.api_groups, &atom.api_groups)
        && atom.resources.iter().all(|r| resource_covered(&owner.resources, r))
        && atom.non_resource_urls.iter().all(|url| owner.non_resource_urls.iter().any(|o| url_matches(o, url)))
}

fn all(set: &[String], wanted: &[String]) -> bool {
    wanted.iter().all(|w| set.iter().any(|s| s == "*" || s == w))
}

fn resource_covered(set: &[String], resource: &str) -> bool {
    set.iter().any(|s| {
        s == "*" || s == resource || resource.split_once('/').is_some_and(|(_, sub)| s.strip_prefix("*/") == Some(sub))
    })
}

/// Rules of a single resource and group, and of one name or none, merged over their verbs (kept as they come).
fn compact(atoms: Vec<Rule>) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    let simple = |r: &Rule| {
        r.resource_names.len() <= 1
            && r.non_resource_urls.is_empty()
            && r.api_groups.len() == 1
            && r.resources.len() == 1
    };
    for atom in atoms {
        let alike = |r: &Rule| {
            r.api_groups == atom.api_groups && r.resources == atom.resources && r.resource_names == atom.resource_names
        };
        match out.iter_mut().find(|r| simple(r) && simple(&atom) && alike(r)) {
            Some(rule) => rule.verbs.extend(atom.verbs),
            None => out.push(atom),
        }
    }
    out
}

/// `["a" "b"]`, as Go prints a list of strings with `%q`.
pub fn quoted_list(list: &[String]) -> String {
    let items: Vec<String> = list.iter().map(|s| quote(s)).collect();
    format!("[{}]", items.join(" "))
}

fn print(rule: &Rule) -> String {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let shown: Vec<String> = parts
        .iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(name, list)| format!("{name}:{}", quoted_list(list)))
        .collect();
    format!("{{{}}}", shown.join(", "))
}

/// One line for each missing right, sorted and each once.
pub fn lines(missing: Vec<Rule>) -> String {
    let lines: BTreeSet<String> = compact(missing).iter().map(print).collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}
