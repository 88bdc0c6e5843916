//! `cargo xtask verify` checks and never writes; `cargo xtask fix` writes what can be fixed by machine.

use crate::{compatibility, imports, licences, sh};
use anyhow::{Result, bail};

type Check = (&'static str, fn() -> Result<()>);

/// Every check, even after one has failed; an error names those that did.
pub(crate) fn run() -> Result<()> {
    let checks: [Check; 6] = [
        ("formatting", format),
        ("imports", imports::run),
        ("licences", licences::run),
        ("compatibility", compatibility::run),
        ("lints", lints),
        ("fuzz targets", fuzz_targets),
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
    sh::run(&mut sh::cargo(&["fmt", "--all"]))?;
    sh::run(&mut sh::cargo(&["fmt", FUZZ[0], FUZZ[1]]))
}

/// A workspace of its own.
const FUZZ: [&str; 2] = ["--manifest-path", "fuzz/Cargo.toml"];

fn format() -> Result<()> {
    sh::run(&mut sh::cargo(&["fmt", "--all", "--check"]))?;
    sh::run(&mut sh::cargo(&["fmt", FUZZ[0], FUZZ[1], "--check"]))
}

fn lints() -> Result<()> {
    sh::run(&mut sh::cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

/// They follow what they call; running them takes longer than a check may (`cargo xtask fuzz`).
fn fuzz_targets() -> Result<()> {
    sh::apt(&["g++"], "libFuzzer")?;
    sh::run(&mut sh::cargo(&["check", FUZZ[0], FUZZ[1], "--bins", "--all-features", "--locked"]))
}
