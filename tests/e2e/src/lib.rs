//! What the end-to-end tests stand on: a machine of its own for every cluster, the cluster, images, HTTPS by hand.
//!
//! The tests know Lanyard as a user does: its binary, its files, its API. They import nothing of it. `cargo xtask test`
//! builds the binary and kubectl and says where they are (`LANYARD_BIN`, `LANYARD_KUBECTL`).

// Tests tell what they skip.
#![allow(clippy::print_stdout)]

pub mod cluster;
pub mod https;
pub mod image;
pub mod machine;

pub use cluster::{Cluster, Server};
pub use machine::{Machine, Output};

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The binary under test.
///
/// # Panics
/// When neither `LANYARD_BIN` nor a built binary beside the test is there.
pub fn lanyard() -> PathBuf {
    tool("LANYARD_BIN", "lanyard")
}

/// kubectl 1.37, of no other version.
///
/// # Panics
/// When neither `LANYARD_KUBECTL` nor the cache has it.
pub fn kubectl() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let built = std::env::var_os("LANYARD_KUBECTL").map_or_else(|| cache.join("lanyard/kubectl-1.37.2"), PathBuf::from);
    assert!(built.is_file(), "{} is not there: run `cargo xtask kubectl`", built.display());
    built
}

/// Tries until it gives something; panics with the last reason when time is up.
///
/// # Panics
/// When `within` has passed.
#[track_caller]
pub fn eventually<T>(within: Duration, what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + within;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(reason) if Instant::now() > end => panic!("not within {within:?}: {what}; last: {reason}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn tool(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    // target/debug/deps/e2e-… → target/debug/lanyard
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join(name)));
    beside.filter(|p| p.is_file()).unwrap_or_else(|| panic!("{variable} is not set, and no built {name} was found"))
}
