//! Licences and origins of everything that is linked: what `deny.toml` says, held by `cargo deny` where it is installed
//! and by the few lines here where it is not (compiling it costs more than compiling Lanyard).

use crate::sh;
use anyhow::{Context, Result, bail};
use serde_json::Value;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// Dependencies that only other platforms have are nothing of ours.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Packages that carry their licence as a file only, and what we read there.
const READ: &[(&str, &str)] = &[("rust-criu", "MIT")];

/// Fails with every package whose licence or origin deny.toml does not allow.
pub(crate) fn run() -> Result<()> {
    if sh::works("cargo", &["deny", "--version"]) {
        return sh::run(&mut sh::cargo(&["deny", "--offline", "check", "bans", "licenses", "sources"]));
    }
    let policy = std::fs::read_to_string(sh::root().join("deny.toml")).context("failed to read deny.toml")?;
    let metadata =
        sh::output(&mut sh::cargo(&["metadata", "--format-version", "1", "--locked", "--filter-platform", PLATFORM]))?;
    let wrong = violations(&serde_json::from_str(&metadata)?, &strings(&policy, "allow"));
    if wrong.is_empty() {
        println!("licences: as deny.toml says (cargo-deny is not installed: bans were not checked)");
        return Ok(());
    }
    bail!("not allowed by deny.toml:\n  {}", wrong.join("\n  "))
}

fn violations(metadata: &Value, allowed: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let read = READ.iter().find(|(krate, _)| *krate == name).map_or("none", |(_, licence)| licence);
        let licence = package["license"].as_str().unwrap_or(read);
        let ours = package["source"].is_null();
        if !ours && package["source"] != REGISTRY {
            wrong.push(format!("{name} comes from {}", package["source"]));
        }
        if !satisfied(licence, allowed) {
            wrong.push(format!("{name} has the licence {licence}"));
        }
    }
    wrong
}

/// Whether an SPDX expression can be satisfied with the allowed licences. `AND` binds tighter than `OR` or `/`.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "+");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let holds = either(&words, &mut at, allowed);
    holds && at == words.len()
}

fn either(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut holds = both(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        holds |= both(words, at, allowed);
    }
    holds
}

fn both(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut holds = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        holds &= one(words, at, allowed);
    }
    holds
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word != "(" {
        let (licence, exception) = word.split_once('+').unwrap_or((word, ""));
        let with = format!("{licence} WITH {exception}");
        return allowed.iter().any(|a| a == licence || !exception.is_empty() && *a == with);
    }
    let holds = either(words, at, allowed);
    *at += 1;
    holds
}

/// The strings of the array `name = [ … ]` in a TOML text: the one form that deny.toml uses.
fn strings(toml: &str, name: &str) -> Vec<String> {
    let start = toml.lines().position(|l| l.trim_start().starts_with(&format!("{name} = [")));
    let rest: Vec<&str> = toml.lines().skip(start.unwrap_or(usize::MAX)).collect();
    let text = rest.join("\n");
    let body = text.split_once('[').and_then(|(_, b)| b.split_once(']')).map(|(b, _)| b).unwrap_or_default();
    body.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, fine: bool) {
        let allowed = strings("[licenses]\nallow = [\n  \"MIT\", \"Apache-2.0\",\n  \"ISC\"]\n", "allow");
        assert_eq!(satisfied(expression, &allowed), fine, "{expression}");
    }

    #[test]
    fn expressions_are_satisfied_by_allowed_licences() {
        check("MIT", true);
        check("MIT OR GPL-3.0-only", true);
        check("GPL-3.0-only", false);
        check("MIT/Apache-2.0", true);
        check("MIT AND GPL-3.0-only", false);
        check("ISC AND (Apache-2.0 OR OpenSSL)", true);
        check("Apache-2.0 WITH LLVM-exception OR OpenSSL", true);
        check("(MIT OR Apache-2.0) AND Unicode-3.0", false);
        check("none", false);
        check("ISC+", true);
    }
}
