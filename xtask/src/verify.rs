//! `cargo xtask verify` checks and never writes; `cargo xtask fix` writes what can be fixed by machine.

use crate::{compatibility, imports, licences, sh};
use anyhow::{Result, bail};

type Check = (&'static str, fn() -> Result<()>);

/// Every check, even after one has failed; an error names those that did.
pub(crate) fn run() -> Result<()> {
    let checks: [Check; 5] = [
        ("formatting", format),
        ("imports", imports::run),
        ("licences", licences::run),
        ("compatibility", compatibility::run),
        ("lints", lints),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        if let Err(e) = check() {
            eprintln!("{name}: {e:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Formats, and applies the suggestions of the lints that have one.
pub(crate) fn fix() -> Result<()> {
    let lints = ["clippy", "--fix", "--allow-dirty", "--allow-staged", "--workspace", "--all-targets"];
    sh::run(&mut sh::cargo(&lints))?;
    sh::run(&mut sh::cargo(&["fmt", "--all"]))
}

fn format() -> Result<()> {
    sh::run(&mut sh::cargo(&["fmt", "--all", "--check"]))
}

fn lints() -> Result<()> {
    sh::run(&mut sh::cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}
