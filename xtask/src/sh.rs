//! Running other programs, and where things are. A command is shown before it runs, and a failure names it.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The repository's root: this clone, never another one, even when target folders are shared between clones.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    PathBuf::from(here).parent().map(PathBuf::from).unwrap_or_default()
}

/// A file or folder of the yardsticks that lie beside the clone, if they do.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let found = root().join("../shared").join(path);
    found.canonicalize().ok()
}

/// Where built tools and downloads are kept between runs: `~/.cache/lanyard`.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => {
            PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache")
        }
    };
    let dir = base.join("lanyard");
    std::fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
    Ok(dir)
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR").filter(|v| !v.is_empty()) {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// A command that starts in the repository's root.
pub(crate) fn cmd(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// The cargo that runs us.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = cmd(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args);
    // What cargo told us about ourselves must not reach the builds that we start.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs it with our standard streams; a failure is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    eprintln!("+ {line}");
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("failed to start {line}"))?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

/// What it prints, trimmed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = shown(command);
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("failed to start {line}"))?;
    if !out.status.success() {
        bail!("{line}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Whether it can be started and ends well; silent.
pub(crate) fn works(program: &str, args: &[&str]) -> bool {
    let quiet = cmd(program, args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|s| s.success())
}

/// Whether a program of that name is on the path.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Installs the Debian packages that are missing, and says so. `why` ends the sentence "… for".
pub(crate) fn apt(packages: &[&str], why: &str) -> Result<()> {
    if !has("dpkg-query") {
        bail!("{why} needs {}; this system has no apt, so please install them", packages.join(" "));
    }
    let missing: Vec<&str> = packages.iter().copied().filter(|p| !installed(p)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("installing {} for {why}", missing.join(" "));
    let sudo = if is_root() { &[][..] } else { &["sudo"][..] };
    let apt_get = |args: &[&str]| -> Result<()> {
        let line: Vec<&str> = [sudo, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"], args].concat();
        run(&mut cmd(line[0], &line[1..]))
    };
    let install = [&["install", "--no-install-recommends"][..], &missing].concat();
    if apt_get(&install).is_ok() {
        return Ok(());
    }
    apt_get(&["update"])?;
    apt_get(&install)
}

fn installed(package: &str) -> bool {
    let status = output(&mut cmd("dpkg-query", &["-W", "-f", "${Status}", package]));
    status.is_ok_and(|s| s == "install ok installed")
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    output(&mut cmd("id", &["-u"])).is_ok_and(|id| id == "0")
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
