//! What is acknowledged is on disk: killed again and again in the middle of writes, and on a disk that fills up, nothing
//! is lost.

use e2e::Server;
use e2e::cluster::TOKEN;
use e2e::https::Https;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const WRITERS: usize = 4;
/// Objects of each writer.
const NAMES: usize = 25;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Kills; `LANYARD_E2E_KILLS` asks for more.
fn kills() -> usize {
    std::env::var("LANYARD_E2E_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(20)
}

/// A ConfigMap's value; none: it does not exist.
type Fate = Option<String>;

/// What a writer knows of its objects.
#[derive(Default)]
struct Writer {
    acknowledged: BTreeMap<String, Fate>,
    /// The request that had no answer.
    doubtful: Option<(String, Fate)>,
    count: usize,
    newest: u64,
}

impl Writer {
    /// Creates, updates and deletes its objects in turn until it is told to stop or the server is gone.
    fn write(&mut self, port: u16, ca: &Path, prefix: usize, stop: &AtomicBool) {
        let Ok(mut https) = Https::connect(port, ca, TOKEN) else { return };
        while !stop.load(Ordering::Relaxed) {
            self.count += 1;
            let name = format!("w{prefix}-{}", self.count % NAMES);
            let value = format!("{}", self.count);
            let body = format!(
                r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"value":"{value}"}}}}"#
            );
            let stands = self.acknowledged.get(&name).is_some_and(Option::is_some);
            let (method, path, fate) = match stands {
                false => ("POST", MAPS.to_owned(), Some(value)),
                true if self.count.is_multiple_of(3) => ("DELETE", format!("{MAPS}/{name}"), None),
                true => ("PUT", format!("{MAPS}/{name}"), Some(value)),
            };
            match https.send(method, &path, if method == "DELETE" { "" } else { &body }) {
                Ok((200 | 201, answer)) => {
                    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
                    let revision = answer["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok());
                    self.newest = self.newest.max(revision.unwrap_or_default());
                    self.acknowledged.insert(name, fate);
                }
                Ok((status, answer)) => panic!("{method} {path}: {status}: {answer}"),
                Err(_) => {
                    self.doubtful = Some((name, fate));
                    return;
                }
            }
        }
    }

    /// Every object is as it was acknowledged, or as the request without an answer wanted it.
    fn check(&mut self, stored: &BTreeMap<String, String>, prefix: usize) {
        let doubtful = self.doubtful.take();
        for number in 0..NAMES {
            let name = format!("w{prefix}-{number}");
            let found = stored.get(&name).cloned();
            let known = self.acknowledged.get(&name).cloned().flatten();
            let maybe = doubtful.as_ref().is_some_and(|(n, fate)| *n == name && *fate == found);
            assert!(found == known || maybe, "{name}: {known:?} was acknowledged, {found:?} is stored");
            self.acknowledged.insert(name, found);
        }
    }
}

/// The values of all ConfigMaps that the writers made, and the list's revision.
fn stored(server: &Server) -> (BTreeMap<String, String>, u64) {
    let mut https = Https::connect(server.port, &server.ca(), TOKEN).unwrap();
    let (status, body) = https.send("GET", MAPS, "").unwrap();
    assert_eq!(status, 200, "{body}");
    let list: serde_json::Value = serde_json::from_str(&body).unwrap();
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().unwrap().iter();
    let all = items.map(|i| (text(&i["metadata"]["name"]), text(&i["data"]["value"])));
    (all.collect(), text(&list["metadata"]["resourceVersion"]).parse().unwrap())
}

#[test]
fn kills_amid_writes_lose_no_acknowledged_write() {
    let mut server = Server::start("durable");
    let mut writers: Vec<Writer> = (0..WRITERS).map(|_| Writer::default()).collect();
    let (mut before, mut dice) = (0, 0x9e37_79b9_u64);
    for round in 0..kills() {
        let (port, ca, stop) = (server.port, server.ca(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for (prefix, writer) in writers.iter_mut().enumerate() {
                let (ca, stop) = (&ca, &stop);
                scope.spawn(move || writer.write(port, ca, prefix, stop));
            }
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_millis(20 + (dice >> 33) % 180));
            server.kill();
            stop.store(true, Ordering::Relaxed);
        });
        server.again();
        let (stored, revision) = stored(&server);
        for (prefix, writer) in writers.iter_mut().enumerate() {
            writer.check(&stored, prefix);
            assert!(revision >= writer.newest, "round {round}: revision {} was acknowledged", writer.newest);
        }
        assert!(revision >= before, "round {round}: revisions fall from {before} to {revision}");
        before = revision;
    }
    let count: usize = writers.iter().map(|w| w.count).sum();
    eprintln!("{} kills, {count} writes", kills());
    assert!(count > kills() * WRITERS, "hardly anything was written: {count}");
}

/// A file system of a few megabytes; gone with the test.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(folder: &Path) -> Option<Small> {
        std::fs::create_dir_all(folder).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs"]).arg(folder).status();
        mounted.is_ok_and(|s| s.success()).then(|| Small(folder.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn map(name: &str, size: usize) -> String {
    let value = "x".repeat(size);
    format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"value":"{value}"}}}}"#)
}

#[test]
fn a_full_disk_refuses_writes_with_a_status_and_goes_on_when_there_is_room() {
    let mut small = None;
    let mut server = Server::start_on("full", |data| small = Small::mount(data));
    let Some(small) = small else {
        eprintln!("SKIPPED: a small file system cannot be mounted (not root?)");
        return;
    };
    let ballast = small.0.join("ballast");
    std::fs::write(&ballast, vec![0; 6 << 20]).unwrap();
    let mut https = Https::connect(server.port, &server.ca(), TOKEN).unwrap();
    let mut acknowledged = Vec::new();
    let refusal = (0..60).find_map(|n| {
        let name = format!("big-{n}");
        match https.send("POST", MAPS, &map(&name, 900_000)).unwrap() {
            (201, _) => {
                acknowledged.push(name);
                None
            }
            refused => Some(refused),
        }
    });
    let (status, body) = refusal.expect("the disk fills up");
    let said: serde_json::Value = serde_json::from_str(&body).unwrap();
    // upstream, when etcd's space is exceeded, answers 500 without a reason
    assert_eq!((status, said["kind"].as_str(), said["code"].as_u64()), (500, Some("Status"), Some(500)), "{body}");
    assert!(said["message"].as_str().unwrap().starts_with("the store has no space left"), "{body}");
    let (status, _) = https.send("GET", &format!("{MAPS}/big-0"), "").unwrap();
    assert_eq!(status, 200, "reads go on");
    std::fs::remove_file(&ballast).unwrap();
    let (status, body) = https.send("POST", MAPS, &map("after", 900_000)).unwrap();
    assert_eq!(status, 201, "there is room again: {body}");
    acknowledged.push("after".into());
    server.kill();
    server.again();
    let (stored, _) = stored(&server);
    for name in &acknowledged {
        assert!(stored.get(name).is_some_and(|v| v.len() == 900_000), "{name} was acknowledged");
    }
}
