//! docs/quickstart.md is run as it stands: every block is a script, and where a line starts with `$ ` what follows it is
//! what the command says.

use e2e::Cluster;
use e2e::image::{Image, Packing};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const PAGE: &str = include_str!("../../../docs/quickstart.md");

fn program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Columns of blanks and ages are not compared.
fn normal(text: &str) -> Vec<String> {
    let age = |w: &str| w.ends_with(['s', 'm']) && w.starts_with(|c: char| c.is_ascii_digit());
    let words = |l: &str| l.split_whitespace().map(|w| if age(w) { "AGE" } else { w }).collect::<Vec<_>>().join(" ");
    let lines = text.lines().map(words).filter(|l| !l.is_empty());
    lines.filter(|l| !l.starts_with("command terminated with exit code")).collect()
}

/// A block as pairs: what is run, and what it must say, if the page tells.
fn steps(block: &str) -> Vec<(String, Option<String>)> {
    if !block.starts_with("$ ") {
        return vec![(block.to_owned(), None)];
    }
    let each = format!("\n{block}");
    let parts = each.split("\n$ ").skip(1);
    parts.map(|part| part.split_once('\n').unwrap_or((part, ""))).map(|(c, o)| (c.into(), Some(o.into()))).collect()
}

#[test]
fn the_quick_start_happens_as_it_is_written() {
    let Some(mut cluster) = Cluster::up("quickstart") else { return };
    let home = cluster.machine.home.clone();
    let bin = home.join("bin");
    std::fs::create_dir(&bin).unwrap();
    let lanyard = format!("#!/bin/sh\nexec {} \"$@\" --data-dir {}\n", e2e::lanyard().display(), cluster.dir.display());
    program(&bin.join("lanyard"), &lanyard);
    program(&bin.join("kubectl"), &format!("#!/bin/sh\nexec {} \"$@\"\n", e2e::kubectl().display()));
    program(&bin.join("cargo"), &format!("#!/bin/sh\necho {}\n", e2e::kubectl().display()));
    Image::busybox("busybox:1").docker_archive(&home.join("busybox.tar"), Packing::Gzip);

    let blocks: Vec<&str> = PAGE.split("```\n").skip(1).step_by(2).collect();
    assert!(blocks.len() > 8, "the page has blocks");
    for block in blocks.into_iter().filter(|b| !b.contains("cargo run")) {
        if block.contains("lanyard down") {
            assert_eq!(cluster.interrupt(), 0);
        }
        for (script, says) in steps(block) {
            let done = cluster.machine.sh(&format!("set -e; export PATH={}:$PATH\n{script}", bin.display()));
            match says {
                Some(says) => assert_eq!(normal(&format!("{}{}", done.stdout, done.stderr)), normal(&says), "{script}"),
                None => drop(done.ok()),
            }
        }
    }
    assert!(!cluster.dir.exists());
}
