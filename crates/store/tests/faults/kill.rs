//! A process that writes is killed at any moment, 200 times over the same file. What it said is acknowledged is there, a
//! transaction is there whole or not at all, and revisions go on rising.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use store::Precondition;

use crate::world::{Dice, Opened, hasty, put, remove};

const KILLS: usize = 200;
const WRITERS: usize = 4;
/// Objects of each writer.
const NAMES: usize = 10;
/// Where the child finds its store.
const FOLDER: &str = "LANYARD_TEST_KILL";

/// The last transaction of a writer: an object and what became of it. A companion write says the same.
#[derive(Clone, Debug, PartialEq)]
struct Last {
    name: String,
    text: Option<String>,
}

impl Last {
    fn companion(&self) -> String {
        format!("{}={}", self.name, self.text.as_deref().unwrap_or("-"))
    }

    fn parse(words: &[&str]) -> Option<Last> {
        let [name, text] = words else { return None };
        Some(Last { name: (*name).into(), text: (*text != "-").then(|| (*text).into()) })
    }
}

/// One writer of the child: says what it tries, and what was acknowledged.
#[allow(clippy::print_stdout)]
async fn write(opened: Arc<Opened>, writer: usize) {
    for n in 0.. {
        let name = format!("w{writer}-{}", n % NAMES);
        let stands = opened.text(&name).is_some();
        let text = (!stands || n % 3 > 0).then(|| format!("{n}-{}", "x".repeat(n * 37 % 1500)));
        let last = Last { name: name.clone(), text };
        let shown = last.text.as_deref().unwrap_or("-");
        println!("try {writer} {name} {shown}");
        let own = match &last.text {
            Some(text) => put(&name, text.as_bytes(), Precondition::Any),
            None => remove(&name, Precondition::Live),
        };
        let companion = put(&format!("usage-{writer}"), last.companion().as_bytes(), Precondition::Any);
        let committed = opened.write(vec![own, companion]).await.unwrap();
        println!("ack {writer} {name} {shown} {}", committed.revision);
    }
}

/// Not a test of its own: what the other one starts and kills.
#[test]
#[allow(clippy::print_stdout)]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (options, tidying) = hasty();
    let opened = Arc::new(Opened::new(Path::new(&folder), options, tidying).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    // libtest has begun a line if it runs in one thread
    println!();
    runtime.block_on(async {
        let writers: Vec<_> = (0..WRITERS).map(|n| tokio::spawn(write(opened.clone(), n))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

/// What is known from outside.
#[derive(Default)]
struct Known {
    objects: BTreeMap<String, Option<String>>,
    last: BTreeMap<usize, Last>,
    /// Tried, and not acknowledged.
    doubtful: BTreeMap<usize, Last>,
    revision: u64,
    acknowledged: usize,
}

impl Known {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let [what @ ("try" | "ack"), writer, rest @ ..] = words.as_slice() else { return };
        let (Ok(writer), Some(last)) = (writer.parse(), Last::parse(&rest[..rest.len().min(2)])) else { return };
        if *what == "try" {
            self.doubtful.insert(writer, last);
            return;
        }
        self.doubtful.remove(&writer);
        self.objects.insert(last.name.clone(), last.text.clone());
        self.last.insert(writer, last);
        self.revision = self.revision.max(rest[2].parse().unwrap());
        self.acknowledged += 1;
    }

    /// Compares with what is stored, and takes that over.
    fn check(&mut self, opened: &Opened, round: usize) {
        let revision = opened.store.revision().0;
        assert!(revision >= self.revision, "round {round}: {} was acknowledged, {revision} is stored", self.revision);
        self.revision = revision;
        for writer in 0..WRITERS {
            let companion = opened.text(&format!("usage-{writer}"));
            if let Some(doubtful) = self.doubtful.remove(&writer)
                && companion == Some(doubtful.companion())
            {
                self.objects.insert(doubtful.name.clone(), doubtful.text.clone());
                self.last.insert(writer, doubtful);
            }
            assert_eq!(companion, self.last.get(&writer).map(Last::companion), "round {round}: writer {writer}");
        }
        for (name, text) in &self.objects {
            assert!(opened.text(name) == *text, "round {round}: {name} is not what its writer's last transaction says");
        }
    }
}

#[test]
fn two_hundred_kills_lose_no_acknowledged_write() {
    let folder = tempfile::tempdir().unwrap();
    let (mut known, mut dice) = (Known::default(), Dice(11));
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["kill::child", "--exact", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let (heard, hear) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            // a line that was cut by the kill has no end
            let whole = |line: &Vec<u8>| line.ends_with(b"\n");
            let mut lines = lines;
            loop {
                let mut line = Vec::new();
                if lines.read_until(b'\n', &mut line).is_err() || !whole(&line) {
                    return;
                }
                let _ = heard.send(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        });
        // not before it writes, so that every kill counts
        let starts = std::time::Instant::now();
        while let Ok(line) = hear.recv_timeout(Duration::from_secs(60)) {
            known.hear(&line);
            if line.starts_with("ack ") {
                break;
            }
            assert!(starts.elapsed() < Duration::from_secs(60), "round {round}: the child does not write");
        }
        std::thread::sleep(Duration::from_micros(500 + dice.roll(40_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        hear.try_iter().for_each(|line| known.hear(&line));
        let opened = Opened::plain(folder.path()).unwrap();
        known.check(&opened, round);
        opened.store.close();
    }
    eprintln!("{KILLS} kills, {} acknowledged writes", known.acknowledged);
    assert!(known.acknowledged > KILLS, "hardly anything was written: {}", known.acknowledged);
}
