//! `cargo xtask up`: installs what building and running Lanyard needs of the system, with a word, then runs `lanyard up`.

use crate::sh;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// Builds the release binary and becomes `lanyard up` with the given flags.
pub(crate) fn run(args: &[String]) -> Result<()> {
    if !sh::has("cc") || !sh::has("make") {
        sh::apt(&["build-essential"], "building SQLite, the cryptographic library and the allocator")?;
    }
    let binary = build(true)?;
    let mut up = std::process::Command::new(&binary);
    up.arg("up").args(args);
    Err(exec(&mut up)).with_context(|| format!("failed to start {}", binary.display()))
}

/// Builds `lanyard` and returns its path.
pub(crate) fn build(release: bool) -> Result<PathBuf> {
    let profile = if release { &["--release"][..] } else { &[] };
    sh::run(&mut sh::cargo(
        &[&["build", "--package", "lanyard", "--bin", "lanyard", "--locked"][..], profile].concat(),
    ))?;
    let binary = sh::target().join(if release { "release" } else { "debug" }).join("lanyard");
    if !binary.is_file() {
        bail!("cargo built no {}", binary.display());
    }
    Ok(binary)
}

/// Replaces this process, so that Ctrl-C and the exit code are the server's own.
fn exec(command: &mut std::process::Command) -> std::io::Error {
    use std::os::unix::process::CommandExt;
    command.exec()
}
