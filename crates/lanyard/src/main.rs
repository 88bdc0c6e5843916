//! The `lanyard` binary: flags and wiring, no logic.
fn main() {}
