//! A `lanyard server` that knows the same users, keys and flags as the upstream that the yardsticks were recorded from.

use crate::sh;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running server and its folder; both end with the value.
pub(crate) struct Server {
    /// Holds `pki`, `target.json`, `data` and `server.log`.
    pub(crate) dir: PathBuf,
    child: Option<Child>,
}

/// A new folder with upstream's users and keys, and `target.json` for a server on a free port, which is returned.
pub(crate) fn prepare(name: &str) -> Result<(PathBuf, u16)> {
    let up = sh::shared("upstream/up").context("../shared/upstream/up is not there")?;
    sh::apt(&["openssl"], "making certificates")?;
    let dir = std::env::temp_dir().join(format!("lanyard-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let port = free_port()?;
    let (at, number) = (dir.to_string_lossy().into_owned(), port.to_string());
    sh::run(Command::new("bash").arg(up).args(["--pki-only", &at, &number]))?;
    Ok((dir, port))
}

/// The flags of upstream's run, as ours has them.
pub(crate) fn flags(dir: &Path, port: u16) -> Vec<String> {
    let pki = |name: &str| dir.join("pki").join(name).to_string_lossy().into_owned();
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let pairs = [
        ("--data-dir", dir.join("data").to_string_lossy().into_owned()),
        ("--bind-address", "127.0.0.1".into()),
        ("--advertise-address", "127.0.0.1".into()),
        ("--secure-port", port.to_string()),
        ("--service-cluster-ip-range", "10.0.0.0/24".into()),
        ("--tls-cert-file", pki("server.crt")),
        ("--tls-private-key-file", pki("server.key")),
        ("--client-ca-file", pki("ca.crt")),
        ("--token-auth-file", pki("tokens.csv")),
        ("--service-account-key-file", pki("sa.pub")),
        ("--service-account-signing-key-file", pki("sa.key")),
        ("--service-account-issuer", issuer.into()),
        ("--api-audiences", issuer.into()),
        ("--authorization-mode", "Node,RBAC".into()),
        ("--enable-admission-plugins", "NodeRestriction".into()),
        ("--requestheader-client-ca-file", pki("ca.crt")),
        ("--requestheader-allowed-names", "front-proxy".into()),
        ("--requestheader-username-headers", "X-Remote-User".into()),
        ("--requestheader-group-headers", "X-Remote-Group".into()),
        ("--requestheader-extra-headers-prefix", "X-Remote-Extra-".into()),
        ("--endpoint-reconciler-type", "none".into()),
        ("--root-ca-file", pki("ca.crt")),
        ("--cluster-signing-cert-file", pki("ca.crt")),
        ("--cluster-signing-key-file", pki("ca.key")),
        ("--controllers", "*,bootstrap-signer-controller,token-cleaner-controller".into()),
    ];
    let switches = ["--scheduler=false", "--enable-bootstrap-token-auth=true", "--allow-privileged=true"];
    let named = pairs.into_iter().map(|(name, value)| format!("{name}={value}"));
    named.chain(switches.map(str::to_owned)).collect()
}

impl Server {
    /// Starts it and waits for its line `ready: …`.
    pub(crate) fn start(binary: &Path, dir: PathBuf, port: u16) -> Result<Self> {
        let log = dir.join("server.log");
        let mut command = Command::new(binary);
        command.arg("server").args(flags(&dir, port)).stdin(Stdio::null());
        let child = command.stdout(Stdio::piped()).stderr(File::create(&log)?).spawn();
        let mut child = child.with_context(|| format!("failed to start {}", binary.display()))?;
        let lines = child.stdout.take().context("its standard output was not piped")?;
        let mut server = Self { dir, child: Some(child) };
        if !ready(lines) {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            server.stop();
            bail!("lanyard server did not become ready; its log ends:\n{}", tail(&said, 20));
        }
        Ok(server)
    }

    /// Whether it still runs.
    pub(crate) fn lives(&mut self) -> bool {
        self.child.as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(None)))
    }

    /// Resident memory, in KiB.
    pub(crate) fn rss_kib(&self) -> Result<u64> {
        let id = self.child.as_ref().context("it was stopped")?.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("/proc has no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = sh::output(Command::new("kill").arg(child.id().to_string()));
        let end = Instant::now() + Duration::from_secs(5);
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Reads until the line `ready: …`; false when the stream ends or time runs out. What follows is read and dropped.
fn ready(lines: impl std::io::Read + Send + 'static) -> bool {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(lines).lines().map_while(Result::ok) {
            if line.starts_with("ready:") {
                let _ = tell.send(());
            }
        }
    });
    told.recv_timeout(READY_WITHIN).is_ok()
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
