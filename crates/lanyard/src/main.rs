//! The `lanyard` binary: flags and wiring, no logic.

mod cluster;
mod commands;
mod flags;
mod kubeconfig;
mod logging;
mod server;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let command = flags::Command::parse();
    match commands::run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // one sentence for people; causes follow after colons
            eprintln!("lanyard: {error:#}");
            ExitCode::FAILURE
        }
    }
}
