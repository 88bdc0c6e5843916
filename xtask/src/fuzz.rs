//! `cargo xtask fuzz`: what strangers send, by the million (`fuzz/`). Each target starts from the small corpus in
//! `fuzz/seeds` and keeps what it finds in `fuzz/corpus`, which is not committed.

use crate::sh;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Targets, and the dictionary of each.
const TARGETS: &[(&str, &str)] = &[
    ("path", "http"),
    ("selectors", ""),
    ("continue_token", ""),
    ("jwt", "token"),
    ("x509", ""),
    ("csr", ""),
    ("json", "json"),
    ("yaml", "yaml"),
    ("protobuf", ""),
    ("patch", "json"),
    ("apply", "json"),
    ("object", ""),
];

/// What one input may be and cost: bytes, seconds, megabytes.
const LIMITS: [&str; 3] = ["-max_len=4096", "-timeout=5", "-rss_limit_mb=1024"];

/// `[TARGET…] [--time 600s]`; all targets without a name, 60 s each without a time.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let (mut seconds, mut wanted) = (60, Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--time" => {
                let time = args.next().context("--time needs a number of seconds")?;
                seconds = time.trim_end_matches('s').parse::<u32>().context("--time needs a number of seconds")?;
            }
            name => wanted.push(*TARGETS.iter().find(|(t, _)| *t == name).with_context(|| unknown(name))?),
        }
    }
    if !sh::works("cargo", &["fuzz", "--version"]) {
        eprintln!("installing cargo-fuzz");
        sh::run(&mut sh::cargo(&["install", "cargo-fuzz", "--locked"]))?;
    }
    let targets = if wanted.is_empty() { TARGETS } else { &wanted };
    let failed: Vec<&str> =
        targets.iter().filter(|(name, words)| fuzz(name, words, seconds).is_err()).map(|(name, _)| *name).collect();
    match failed.is_empty() {
        true => Ok(()),
        false => bail!("failed: {}; the inputs are in fuzz/artifacts", failed.join(", ")),
    }
}

fn unknown(name: &str) -> String {
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    format!("{name} is no target; there are {}", names.join(", "))
}

fn fuzz(name: &str, words: &str, seconds: u32) -> Result<()> {
    let root = sh::root();
    let shown = |path: &Path| path.display().to_string();
    let corpus = root.join("fuzz/corpus").join(name);
    std::fs::create_dir_all(&corpus).with_context(|| format!("failed to create {}", corpus.display()))?;
    let (corpus, seeds) = (shown(&corpus), shown(&root.join("fuzz/seeds").join(name)));
    let time = format!("-max_total_time={seconds}");
    let dictionary = format!("-dict={}", shown(&root.join(format!("fuzz/dictionaries/{words}.dict"))));
    let mut args = vec!["fuzz", "run", name];
    // only this one needs the server around it
    if name == "path" {
        args.extend(["--features", "http-server"]);
    }
    args.extend([&*corpus, &seeds, "--", &time, "-print_final_stats=1"]);
    args.extend(LIMITS);
    if !words.is_empty() {
        args.push(&dictionary);
    }
    // the sanitizers are there on stable, but need to be asked for
    sh::run(sh::cargo(&args).env("RUSTC_BOOTSTRAP", "1"))
}
