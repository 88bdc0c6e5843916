//! `cargo xtask test`: everything that says whether the tree is good, in the order of what fails fastest. It installs what
//! the tests need, goes on after a failure, and ends with the list of what failed.

use crate::{clients, kubectl, sh, up, verify};
use anyhow::{Result, bail};
use std::time::Instant;

/// Debian packages that the end-to-end tests use: images are made of busybox, pulled from docker-registry, and everything
/// runs in network namespaces made by iproute2 and util-linux.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "docker-registry",
    "skopeo",
    "iproute2",
    "openssl",
    "util-linux",
    "bsdutils",
    "procps",
    "python3",
];

/// With a filter, only tests whose name contains it are run, and no checks.
pub(crate) fn run(args: &[String]) -> Result<()> {
    sh::apt(PACKAGES, "the tests")?;
    let filter: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut failed = Vec::new();
    let mut step = |name: &'static str, done: &dyn Fn() -> Result<()>| {
        let start = Instant::now();
        if let Err(e) = done() {
            eprintln!("{name}: {e:#}");
            failed.push(name);
        }
        eprintln!("== {name}: {} s", start.elapsed().as_secs());
    };
    if filter.is_empty() {
        step("verify", &verify::run);
    }
    step("unit tests", &|| unit(&filter));
    if filter.is_empty() {
        step("protobuf beside client-go", &protobuf);
    }
    step("end-to-end tests", &|| end_to_end(&filter));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn unit(filter: &[&str]) -> Result<()> {
    let all = ["test", "--workspace", "--exclude", "e2e", "--locked", "--no-fail-fast", "--"];
    sh::run(&mut sh::cargo(&[&all[..], filter].concat()))
}

/// Our codec beside client-go's: objects of all kinds that it writes as JSON and as protobuf, and the recorded ones.
fn protobuf() -> Result<()> {
    let pairs = sh::target().join("clients/pairs");
    let _ = std::fs::remove_dir_all(&pairs);
    let recorded = ["kinds", "machinery", "controllers"].map(|area| sh::shared(&format!("fidelity/cases/{area}")));
    let mut make = sh::cmd(clients::client_go()?, &["pairs"]);
    sh::run(make.arg(&pairs).args(recorded.into_iter().flatten()))?;
    let mut test = sh::cargo(&["test", "--package", "lanyard-api", "--test", "proto", "--locked"]);
    sh::run(test.env("LANYARD_PROTO_DIR", pairs))
}

/// Each test is a cluster of its own; two at once are what two cores bear.
fn end_to_end(filter: &[&str]) -> Result<()> {
    let binary = up::build(false)?;
    let kubectl = kubectl::path()?;
    let clients = clients::ready()?;
    let all = ["test", "--package", "e2e", "--locked", "--no-fail-fast", "--", "--test-threads=2"];
    let mut test = sh::cargo(&[&all[..], filter].concat());
    test.env("RUST_BACKTRACE", "0").env("LANYARD_BIN", binary).env("LANYARD_KUBECTL", kubectl);
    sh::run(test.env("LANYARD_E2E_PROGRAMS", clients.programs).env("LANYARD_E2E_PYTHON", clients.python))
}
