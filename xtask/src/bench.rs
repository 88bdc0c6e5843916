//! `cargo xtask bench [--peer] [--rounds 1] [--duration 3s] [SCENARIO]...`: start time and memory of a release build, and
//! the load generator that lies beside the clone (`../shared/bench`); writes the figures into docs/performance.md.
//!
//! With `--peer`, upstream with etcd (every commit on disk) is measured side by side in the same run: only the ratio of
//! the two says anything on a machine that does other things too.

use crate::serve::{self, Server};
use crate::{sh, up};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const STARTS: usize = 10;
const BEGIN: &str = "<!-- written by `cargo xtask bench` from here -->";
const END: &str = "<!-- to here -->";
const METRICS: &str = "rate,p50_ms,p99_ms,server_cpu_us,rss_mib,ready_ms";
const SUITE: &[&str] = &[
    "start -wipe",
    "memory -wipe -restart -idle 5s",
    "create -kind configmap -clients 1",
    "create -kind configmap -clients 64",
    "create -kind pod -clients 64",
    "get -clients 64",
    "get -clients 64 -auth token",
    "update -clients 64",
    "update -clients 64 -contend",
    "patch -clients 64 -type merge",
    "patch -clients 64 -type apply",
    "review -kind self",
    "token",
    "mixed",
    "watch -watchers 1000",
    "list -what all",
    "list -what selector",
    "list -what namespace",
    "list -what all -gzip",
    "list -what all -encoding protobuf",
    "memory -pods -idle 5s",
    "rbac -bindings 0",
    "rbac -bindings 10000",
    "memory -pods -restart -idle 5s",
    "start",
];

/// Measures and writes.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let peer = args.iter().any(|a| a == "--peer");
    let mut rest = args.iter().filter(|a| *a != "--peer");
    let (mut duration, mut rounds, mut suite) = ("3s".to_owned(), "1".to_owned(), Vec::new());
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--duration" => duration = rest.next().context("--duration needs a value")?.clone(),
            "--rounds" => rounds = rest.next().context("--rounds needs a value")?.clone(),
            flag if flag.starts_with("--") => {
                bail!("usage: cargo xtask bench [--peer] [--rounds 1] [--duration 3s] [SCENARIO]...")
            }
            scenario => suite.push(scenario.to_owned()),
        }
    }
    if suite.is_empty() {
        suite = SUITE.iter().map(|&s| s.to_owned()).collect();
    }
    let binary = up::build(true)?;
    let mut figures = own(&binary)?;
    match sh::shared("bench") {
        None => eprintln!("../shared/bench is not there: only start and memory were measured"),
        Some(bench) => figures += &load(&bench, &binary, peer, [&rounds, &duration], &suite)?,
    }
    println!("{figures}");
    write(&figures)
}

/// Start on an empty folder, as its user sees it, and memory at rest.
fn own(binary: &Path) -> Result<String> {
    let mut starts = Vec::new();
    let mut rss = 0;
    for round in 0..STARTS {
        let (dir, port) = serve::prepare("bench")?;
        let begin = Instant::now();
        let server = Server::start(binary, dir, port)?;
        starts.push(begin.elapsed());
        if round + 1 == STARTS {
            std::thread::sleep(Duration::from_secs(3));
            rss = server.rss_kib()?;
        }
    }
    starts.sort();
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    let (least, median, most) = (ms(starts[0]), ms(starts[STARTS / 2]), ms(starts[STARTS - 1]));
    let size = std::fs::metadata(binary)?.len() >> 20;
    Ok(format!(
        "Measured on {}.\n\n| what | figure |\n| --- | --- |\n\
         | start of `lanyard server` on an empty folder, exec to `ready:` | {median:.0} ms ({least:.0}–{most:.0}, {STARTS} starts) |\n\
         | memory at rest after it (RSS) | {:.1} MiB |\n| size of the binary | {size} MiB |\n\n",
        machine(),
        rss as f64 / 1024.0
    ))
}

fn load(bench: &Path, binary: &Path, peer: bool, [rounds, duration]: [&str; 2], suite: &[String]) -> Result<String> {
    let kubeload = sh::cache()?.join("kubeload");
    let out = kubeload.to_string_lossy().into_owned();
    sh::run(Command::new("go").args(["build", "-buildvcs=false", "-o", &out, "."]).current_dir(bench))?;
    let (dir, port) = serve::prepare("load")?;
    let target = target(&dir, port, binary)?;
    let results = dir.join("results.jsonl");
    let (peer_dir, peer_port) = if peer { serve::prepare("peer")? } else { (PathBuf::new(), 0) };
    let mut compare = Command::new(&kubeload);
    compare.arg("compare");
    if peer {
        let (at, number) = (peer_dir.to_string_lossy().into_owned(), peer_port.to_string());
        sh::run(Command::new(bench.join("peer")).args([&at, &number, "etcd"]))?;
        compare.arg("-a").arg(peer_dir.join("target.json")).arg("-b").arg(&target);
    } else {
        compare.arg("-a").arg(&target);
    }
    compare.args(["-rounds", rounds, "-duration", duration, "-out"]).arg(&results).args(suite);
    let started = sh::run(Command::new("sh").arg("-c").arg(start_line(&dir, port, binary)).current_dir(&dir));
    let done = started.and_then(|()| sh::run(&mut compare));
    let _ = sh::run(Command::new("sh").arg("-c").arg("kill $(cat server.pid)").current_dir(&dir));
    if peer {
        let _ = sh::run(Command::new(bench.join("../upstream/down")).arg(&peer_dir));
        let _ = std::fs::remove_dir_all(&peer_dir);
    }
    if let Err(e) = done {
        eprintln!("the load generator found fault: {e:#}");
    }
    let table = sh::output(Command::new(&kubeload).args(["report", "-only", METRICS]).arg(&results))?;
    let _ = std::fs::remove_dir_all(&dir);
    let beside = if peer { ", beside kube-apiserver v1.37.2 with etcd (fsync)" } else { "" };
    let rounds = if rounds == "1" { String::new() } else { format!(", the median of {rounds} rounds") };
    Ok(format!("Load, {duration} a scenario{beside}{rounds}:\n\n{table}\n"))
}

/// Starts the server in the background and returns when it is ready.
fn start_line(dir: &Path, port: u16, binary: &Path) -> String {
    let flags = serve::flags(dir, port).iter().map(|f| format!("'{f}'")).collect::<Vec<_>>().join(" ");
    format!(
        "'{}' server {flags} >server.out 2>server.log & echo $! >server.pid; \
         for i in $(seq 1000); do grep -q ^ready: server.out && exit 0; sleep 0.01; done; tail -5 server.log; exit 1",
        binary.display()
    )
}

fn target(dir: &Path, port: u16, binary: &Path) -> Result<PathBuf> {
    let user = serde_json::json!({"cert": "pki/admin.crt", "key": "pki/admin.key"});
    let target = serde_json::json!({
        "name": "lanyard", "server": format!("https://127.0.0.1:{port}"), "ca": "pki/ca.crt", "users": {"admin": user},
        "bench": {"pidfiles": ["server.pid"], "data": ["data"], "start": start_line(dir, port, binary), "wipe": "rm -rf data"},
    });
    let path = dir.join("target.json");
    std::fs::write(&path, target.to_string())?;
    Ok(path)
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|(_, m)| m.to_owned()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "{cores} cores of {}, load average {load} at the end",
        model.unwrap_or_else(|| "an unknown processor".into())
    )
}

/// Replaces what is between the marks in docs/performance.md.
fn write(figures: &str) -> Result<()> {
    let path = sh::root().join("docs/performance.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let parts = text.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let (head, rest) = parts.with_context(|| format!("{} has no marks for the figures", path.display()))?;
    std::fs::write(&path, format!("{head}{BEGIN}\n\n{figures}{END}{rest}"))?;
    println!("written into {}", path.display());
    Ok(())
}
