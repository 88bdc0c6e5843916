//! The clients that the end-to-end tests run in pods: a kube-rs program, a client-go program, Python with the official
//! client and Ansible. Built or installed once, kept beside other builds and in the cache.

use crate::sh;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Where they are, as the tests are told.
pub(crate) struct Clients {
    /// A folder with `kube-rs-client` and `client-go`.
    pub(crate) programs: PathBuf,
    /// A virtual environment of the system's Python.
    pub(crate) python: PathBuf,
}

/// Builds and installs what is not there yet.
pub(crate) fn ready() -> Result<Clients> {
    let programs = programs()?;
    kube_rs(&programs)?;
    client_go()?;
    Ok(Clients { python: python()?, programs })
}

fn kube_rs(programs: &Path) -> Result<()> {
    let mut build = sh::cargo(&["build", "--quiet", "--locked"]);
    build.current_dir(sh::root().join("tests/e2e/clients/kube-rs"));
    sh::run(build.env("CARGO_TARGET_DIR", programs.join("target")))?;
    std::fs::copy(programs.join("target/debug/kube-rs-client"), programs.join("kube-rs-client"))?;
    Ok(())
}

/// The program of client-go and controller-runtime; its path.
pub(crate) fn client_go() -> Result<PathBuf> {
    let program = programs()?.join("client-go");
    let out = program.to_string_lossy().into_owned();
    let mut build = sh::cmd("go", &["build", "-o", &out, "."]);
    build.current_dir(sh::root().join("tests/e2e/clients/client-go"));
    sh::run(build.env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly -buildvcs=false"))?;
    Ok(program)
}

fn programs() -> Result<PathBuf> {
    let programs = sh::target().join("clients");
    std::fs::create_dir_all(&programs)?;
    Ok(programs)
}

/// The system's own Python, since pods see the host's /usr: not one that a version manager put elsewhere.
fn python() -> Result<PathBuf> {
    sh::apt(&["python3", "python3-venv"], "the Python clients of the tests")?;
    let wanted = sh::root().join("tests/e2e/clients/python/requirements.txt");
    let text = std::fs::read_to_string(&wanted).with_context(|| format!("failed to read {}", wanted.display()))?;
    let venv = sh::cache()?.join("clients-python");
    let stamp = venv.join("requirements.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == text) {
        return Ok(venv);
    }
    let (at, pip) = (venv.to_string_lossy().into_owned(), venv.join("bin/pip"));
    sh::run(&mut sh::cmd("/usr/bin/python3", &["-m", "venv", &at]))?;
    let list = wanted.to_string_lossy().into_owned();
    sh::run(&mut sh::cmd(pip, &["install", "--quiet", "--disable-pip-version-check", "-r", &list]))?;
    std::fs::write(stamp, text)?;
    Ok(venv)
}
