//! What is acknowledged is on disk: twenty times killed in the middle of writes, nothing is lost.

use e2e::Server;
use e2e::cluster::TOKEN;
use e2e::https::Https;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const KILLS: usize = 20;
const WRITERS: usize = 4;

/// Creates ConfigMaps until it is told to stop or the server is gone; notes those that were acknowledged.
fn write(port: u16, ca: &Path, prefix: &str, stop: &AtomicBool, acknowledged: &Mutex<BTreeSet<String>>) {
    let Ok(mut https) = Https::connect(port, ca, TOKEN) else { return };
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("{prefix}-{number}");
        let body = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"value":"{name}"}}}}"#
        );
        match https.send("POST", "/api/v1/namespaces/default/configmaps", &body) {
            Ok((201, _)) => drop(acknowledged.lock().expect("no writer panics").insert(name)),
            Ok((status, body)) => panic!("{status}: {body}"),
            Err(_) => return,
        }
    }
}

#[test]
fn twenty_kills_amid_writes_lose_no_acknowledged_write() {
    let mut server = Server::start("durable");
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    for round in 0..KILLS {
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (port, ca, stop, acknowledged) = (server.port, server.ca(), stop.clone(), acknowledged.clone());
                std::thread::spawn(move || write(port, &ca, &format!("r{round}-w{writer}"), &stop, &acknowledged))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(60 + 17 * round as u64));
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().expect("writers only see 201 or the end of the connection");
        }
        server.again();
    }
    let mut https = Https::connect(server.port, &server.ca(), TOKEN).unwrap();
    let (status, body) = https.send("GET", "/api/v1/namespaces/default/configmaps", "").unwrap();
    assert_eq!(status, 200, "{body}");
    let list: serde_json::Value = serde_json::from_str(&body).unwrap();
    let items = list["items"].as_array().unwrap();
    let stored: BTreeSet<&str> = items.iter().filter_map(|i| i["metadata"]["name"].as_str()).collect();
    let acknowledged = acknowledged.lock().unwrap();
    let lost: Vec<&String> = acknowledged.iter().filter(|name| !stored.contains(name.as_str())).collect();
    assert!(lost.is_empty(), "lost {} of {}: {lost:?}", lost.len(), acknowledged.len());
    assert!(acknowledged.len() > KILLS, "hardly anything was written: {}", acknowledged.len());
    let wrong =
        items.iter().filter(|i| i["data"]["value"].is_string() && i["data"]["value"] != i["metadata"]["name"]).count();
    assert_eq!(wrong, 0, "what is stored is whole");

    // Revisions and identities go on where they were.
    let version = list["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse::<u64>().ok()).unwrap();
    let newest =
        items.iter().filter_map(|i| i["metadata"]["resourceVersion"].as_str()?.parse::<u64>().ok()).max().unwrap();
    assert!(version >= newest);
}
