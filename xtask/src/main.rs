//! `cargo xtask`: everything about this repository that is not the product. One file per command.
//!
//! It is compiled before anything else, so it depends on as little as it can; nothing of it is shipped.

// A task runner talks to its caller on standard output.
#![allow(clippy::print_stdout)]

mod bench;
mod clients;
mod compatibility;
mod fidelity;
mod fuzz;
mod generate;
mod imports;
mod kubectl;
mod licences;
mod serve;
mod sh;
mod test;
mod up;
mod verify;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  up [FLAGS]        installs what `lanyard up` needs of the system (with a word), builds it and runs it
  test [FILTER]     everything: what `verify` checks, unit tests, end-to-end tests; installs what they need
  verify            formatting, lints, import directions, licences; writes nothing
  fix               formats, and applies the lints' own suggestions
  imports           which crate imports which, against the table of the design
  fidelity [AREA|CASE] [-v] [--raise] [--target FILE]
                    plays upstream's recorded cases against `lanyard server`; compares with fidelity.floor
  bench [--peer]    measures start, memory and load; writes docs/performance.md
  fuzz [TARGET…] [--time 60s]
                    what strangers send, by the million (fuzz/); installs cargo-fuzz
  generate          makes the type tables from the upstream reference
  kubectl           builds kubectl 1.37 into the cache and prints its path";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let done = match args.first().map(String::as_str) {
        Some("up") => up::run(rest),
        Some("test") => test::run(rest),
        Some("verify") => verify::run(),
        Some("fix") => verify::fix(),
        Some("imports") => imports::run(),
        Some("fidelity") => fidelity::run(rest),
        Some("bench") => bench::run(rest),
        Some("fuzz") => fuzz::run(rest),
        Some("generate") => generate::run(rest),
        Some("kubectl") => kubectl::run(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: {e:#}");
            ExitCode::FAILURE
        }
    }
}
