//! `lanyard-shim`: the single-threaded parent of one container, and the process that runs an exec.
//!
//! It owns the container's output, log file and exit code and outlives the agent that started it. What it is told and
//! what it answers is `contract`. It never reads the API and holds no credential.
//!
//! - `lanyard-shim run DIR` prints `started pid=N` or `failed "why"` and goes on in the background.
//! - `lanyard-shim exec FD` takes its orders on that socket.

#[allow(unreachable_pub, reason = "the agent includes the same file")]
mod contract;
mod control;
mod devices;
mod errors;
mod exec;
mod log;
mod process;
mod run;
mod seccomp;
mod start;

use std::{path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    // SAFETY: the name is a string that ends with NUL.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"lanyard-shim".as_ptr()) };
    let mut args = std::env::args_os().skip(1);
    let command = args.next().unwrap_or_default();
    match (command.to_str(), args.next()) {
        (Some("run"), Some(folder)) => run::run(PathBuf::from(folder)),
        (Some("exec"), Some(fd)) => exec::exec(&fd),
        _ => {
            eprintln!("usage: lanyard-shim run DIR | exec FD (version {})", contract::VERSION);
            ExitCode::from(2)
        }
    }
}
