//! The `lanyard` binary: flags and wiring, no logic.

mod cluster;
mod commands;
mod files;
mod flags;
mod kubeconfig;
mod logging;
mod reload;
mod server;
mod signing;

use std::process::ExitCode;

/// A write makes and drops some thousand small values: with the C library's allocator that is a third of its time, and
/// what a burst of load took is not given back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let command = flags::Command::from_command_line();
    match commands::run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // one sentence for people; causes follow after colons
            eprintln!("lanyard: {error:#}");
            ExitCode::FAILURE
        }
    }
}
