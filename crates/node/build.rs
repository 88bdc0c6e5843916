//! Builds the shim with a nested cargo call and hands it to the crate as a file to embed.
//!
//! The nested call has a target folder of its own (cargo's lock on ours is held while this runs), which
//! `LANYARD_SHIM_TARGET` may name. `LANYARD_SKIP_SHIM=1` embeds nothing: enough for check and clippy, not for pods.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    let root = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../..");
    println!("cargo::rerun-if-changed={}", root.join("crates/shim").display());
    println!("cargo::rerun-if-changed={}", root.join("Cargo.lock").display());
    println!("cargo::rerun-if-env-changed=LANYARD_SHIM_TARGET");
    println!("cargo::rerun-if-env-changed=LANYARD_SKIP_SHIM");
    let out = PathBuf::from(variable("OUT_DIR"));
    let shim = out.join("lanyard-shim");
    if env::var_os("LANYARD_SKIP_SHIM").is_some_and(|value| value == "1") || env::var_os("CLIPPY_ARGS").is_some() {
        fs::write(&shim, []).expect("OUT_DIR is writable");
    } else {
        let built = build(&root, &out);
        // OUT_DIR's copy changes only with its content, so that the crate is not compiled again for nothing
        let bytes = fs::read(&built).expect("cargo has just built it");
        if fs::read(&shim).ok().as_deref() != Some(&bytes) {
            fs::write(&shim, bytes).expect("OUT_DIR is writable");
        }
    }
    println!("cargo::rustc-env=LANYARD_SHIM={}", shim.display());
}

fn build(root: &Path, out: &Path) -> PathBuf {
    let target = env::var_os("LANYARD_SHIM_TARGET").map_or_else(|| out.join("shim-target"), PathBuf::from);
    let triple = variable("TARGET");
    let mut cargo = Command::new(variable("CARGO"));
    cargo.current_dir(root).args(["build", "--package", "lanyard-shim", "--profile", "shim"]);
    cargo.arg("--target-dir").arg(&target);
    let mut built = target;
    if triple != variable("HOST") {
        cargo.args(["--target", &triple]);
        built.push(triple);
    }
    for (name, _) in env::vars_os() {
        // what the outer cargo says about this crate must not reach the other build
        let text = name.to_string_lossy().into_owned();
        let ours = ["CARGO_PKG_", "CARGO_FEATURE_", "CARGO_CFG_", "CARGO_MANIFEST_", "CARGO_PRIMARY_", "DEP_"];
        let exact = [
            "CARGO_TARGET_DIR",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTFLAGS",
            "OUT_DIR",
            "TARGET",
            "HOST",
            "PROFILE",
            "OPT_LEVEL",
            "DEBUG",
            "NUM_JOBS",
            "CARGO_MAKEFLAGS",
            "MAKEFLAGS",
        ];
        if ours.iter().any(|prefix| text.starts_with(prefix)) || exact.contains(&text.as_str()) {
            cargo.env_remove(name);
        }
    }
    let status = cargo.status().expect("cargo runs, since it runs this");
    assert!(status.success(), "the shim could not be built: {status}");
    built.join("shim/lanyard-shim")
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}
