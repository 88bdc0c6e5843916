//! Names the platform as Go does, for `/version`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let arch = match std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => "amd64",
        Ok("aarch64") => "arm64",
        Ok("x86") => "386",
        _ => "unknown",
    };
    println!("cargo::rustc-env=LANYARD_ARCH={arch}");
}
