//! `cargo xtask kubectl`: the client that tests speak with, built from the Go module of upstream into the cache.
//!
//! The `kubectl` on somebody's path may be of any version; the tests compare its output letter for letter.

use crate::sh;
use anyhow::{Result, bail};
use std::path::PathBuf;

const VERSION: &str = "v1.37.2";

/// Builds it unless it is there, and prints its path.
pub(crate) fn run() -> Result<()> {
    println!("{}", path()?.display());
    Ok(())
}

/// The path of kubectl, which is built when it is not in the cache yet.
pub(crate) fn path() -> Result<PathBuf> {
    let built = sh::cache()?.join("kubectl-1.37.2");
    let works = |path: &PathBuf| {
        let version = sh::output(&mut sh::cmd(path, &["version", "--client"]));
        version.is_ok_and(|v| v.contains(&format!("Client Version: {VERSION}\n")))
    };
    if works(&built) {
        return Ok(built);
    }
    if !sh::has("go") {
        bail!("building kubectl {VERSION} needs Go 1.26: please install it");
    }
    let fresh = built.with_extension(format!("new-{}", std::process::id()));
    let out = fresh.to_string_lossy().into_owned();
    let mut build = sh::cmd("go", &["build", "-ldflags", &stamp(), "-o", &out, "."]);
    build.current_dir(sh::root().join("tests/e2e/kubectl"));
    sh::run(build.env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly -buildvcs=false"))?;
    std::fs::rename(&fresh, &built)?;
    if !works(&built) {
        bail!("{} was built but is not {VERSION}", built.display());
    }
    Ok(built)
}

fn stamp() -> String {
    let set = |name: &str, value: &str| format!(" -X k8s.io/component-base/version.{name}={value}");
    let version = set("gitVersion", VERSION) + &set("gitMajor", "1") + &set("gitMinor", "37");
    let origin =
        set("gitCommit", "lanyard") + &set("gitTreeState", "clean") + &set("buildDate", "2026-10-01T00:00:00Z");
    format!("-s -w{version}{origin}")
}
