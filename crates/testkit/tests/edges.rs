//! The edges of the server, seen from a connection: metrics, deadlines, health, the order of its end; and the token Secrets
//! of those who ask for the old habit.

use std::sync::Arc;
use std::time::Duration;

use client::{Resource, SERVICE_ACCOUNTS};
use document::{Value, doc};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use testkit::{Builder, Cluster};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

const SECRETS: Resource = Resource::new("", "v1", "secrets", "Secret", true);

async fn cluster() -> Cluster {
    Builder::default().start().await.expect("the cluster starts")
}

/// One request as the administrator on a connection of its own: the whole answer as text. `None`: nobody answers.
async fn ask(cluster: &Cluster, method: &str, target: &str, headers: &str) -> Option<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(cluster.authority().as_bytes()).expect("our own certificates"))
        .expect("our own certificates");
    let (certificate, key) = cluster.admin_identity();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("our own certificates")];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("our own certificates");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("our own certificates")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("our own certificates");
    let url = cluster.url();
    let socket = tokio::net::TcpStream::connect(url.trim_start_matches("https://")).await.ok()?;
    let name = ServerName::try_from("127.0.0.1").expect("our own certificates");
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.ok()?;
    let request = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    // the end without a goodbye of TLS is an end, too
    let _ = stream.read_to_end(&mut answer).await;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

async fn code(cluster: &Cluster, target: &str) -> u16 {
    let answer = ask(cluster, "GET", target, "").await.expect("the server answers");
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code")
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_under_upstreams_names() {
    let cluster = cluster().await;
    for target in ["/api/v1/namespaces/default", "/api/v1/namespaces/none", "/api/v1/nodes", "/readyz"] {
        ask(&cluster, "GET", target, "").await.unwrap();
    }
    let text = ask(&cluster, "GET", "/metrics", "").await.unwrap();
    let of = |resource: &str, scope: &str, verb: &str| {
        format!(
            "component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"{resource}\",scope=\"{scope}\",subresource=\"\",verb=\"{verb}\",version=\"v1\""
        )
    };
    for line in [
        format!("apiserver_request_total{{code=\"200\",{}}} 1", of("namespaces", "resource", "GET")),
        format!("apiserver_request_total{{code=\"404\",{}}} 1", of("namespaces", "resource", "GET")),
        format!("apiserver_request_total{{code=\"200\",{}}} 1", of("nodes", "cluster", "LIST")),
        format!("apiserver_request_duration_seconds_count{{{}}} 2", of("namespaces", "resource", "GET")),
        "apiserver_resource_objects{group=\"\",resource=\"nodes\"} 0".to_owned(),
        "authenticated_user_requests{username=\"other\"} 5".to_owned(),
        "authorization_attempts_total{result=\"allowed\"} 5".to_owned(),
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    let slis = ask(&cluster, "GET", "/metrics/slis", "").await.unwrap();
    assert!(
        slis.contains("kubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"readyz\"} 1\n"),
        "{slis}"
    );
    assert!(ask(&cluster, "DELETE", "/metrics", "").await.unwrap().ends_with("metrics reset\n"));
    let text = ask(&cluster, "GET", "/metrics", "").await.unwrap();
    assert!(!text.contains("resource=\"namespaces\",scope"), "{text}");
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_shorten_the_time_of_its_request() {
    let cluster = cluster().await;
    let late = ask(&cluster, "GET", "/api/v1/nodes?timeout=1ns", "").await.unwrap();
    assert!(late.starts_with("HTTP/1.1 504 ") && late.contains("text/plain; charset=utf-8"), "{late}");
    let body = r#"{"metadata":{},"status":"Failure","message":"Timeout: request did not complete within the allotted timeout","reason":"Timeout","details":{},"code":504}"#;
    assert!(late.trim_end().ends_with(body), "{late}");
    let wrong = ask(&cluster, "GET", "/healthz?timeout=x", "").await.unwrap();
    assert!(
        wrong.contains(r#"invalid timeout specified in the request URL - time: invalid duration \"x\""#),
        "{wrong}"
    );
    for fine in ["timeout=0", "timeout=-1s", "timeout=1h", "timeout="] {
        assert_eq!(code(&cluster, &format!("/api/v1/nodes?{fine}")).await, 200, "{fine}");
    }
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_keeps_the_name_that_its_sender_gave_it() {
    let cluster = cluster().await;
    let answer = ask(&cluster, "GET", "/version", &format!("Audit-ID: {}\r\n", "x".repeat(80))).await.unwrap();
    assert!(answer.contains(&format!("audit-id: {}\r\n", "x".repeat(64))), "{answer}");
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_readiness_fails_while_requests_are_still_answered() {
    let cluster = Builder::default().shutdown_delay(Duration::from_secs(2)).start().await.expect("the cluster starts");
    let watching = async {
        let target = "/api/v1/namespaces?watch=true&resourceVersion=0";
        ask(&cluster, "GET", target, "").await.expect("the watch begins")
    };
    let ending = async {
        assert_eq!(code(&cluster, "/readyz").await, 200);
        cluster.begin_shutdown();
        while code(&cluster, "/readyz").await != 500 {}
        assert_eq!((code(&cluster, "/livez").await, code(&cluster, "/api/v1/nodes").await), (200, 200));
    };
    let (watched, ()) = tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(watching, ending) })
        .await
        .expect("the watch ends with the server");
    assert!(watched.starts_with("HTTP/1.1 200 ") && watched.ends_with("0\r\n\r\n"), "a clean end: {watched}");
    assert_eq!(ask(&cluster, "GET", "/livez", "").await, None, "nobody listens any more");
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_does_not_delay_the_end() {
    let cluster = cluster().await;
    let silent = tokio::net::TcpStream::connect(cluster.url().trim_start_matches("https://")).await.unwrap();
    // connections are accepted in order: when this one is answered, the silent one is waited for
    assert_eq!(code(&cluster, "/livez").await, 200);
    tokio::time::timeout(Duration::from_secs(5), cluster.close()).await.expect("the server ends");
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_habit_gives_every_account_a_secret_that_goes_with_it() {
    let cluster = Builder::default().controllers().token_secrets().start().await.expect("the cluster starts");
    let api = cluster.admin();
    let body = doc!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    api.create(&SERVICE_ACCOUNTS, "default", body).await.unwrap();
    let listed = |account: Value| account["secrets"][0]["name"].str().to_owned();
    let name = until(async || {
        let name = listed(api.get(&SERVICE_ACCOUNTS, "default", "robot").await.unwrap());
        (!name.is_empty()).then_some(name)
    })
    .await;
    assert!(name.starts_with("robot-token-") && name.len() == "robot-token-".len() + 5, "{name}");
    let secret = api.get(&SECRETS, "default", &name).await.unwrap();
    assert_eq!(secret["type"].str(), "kubernetes.io/service-account-token");
    assert_eq!(secret["metadata"]["annotations"]["kubernetes.io/service-account.name"].str(), "robot");
    for part in ["token", "namespace", "ca.crt"] {
        assert!(!secret["data"][part].str().is_empty(), "{part}");
    }
    // one that is deleted is made anew, under another name
    api.delete(&SECRETS, "default", &name, Value::Null).await.unwrap();
    let next = until(async || {
        let next = listed(api.get(&SERVICE_ACCOUNTS, "default", "robot").await.unwrap());
        (!next.is_empty() && next != name).then_some(next)
    })
    .await;
    api.delete(&SERVICE_ACCOUNTS, "default", "robot", Value::Null).await.unwrap();
    until(async || api.get(&SECRETS, "default", &next).await.is_err_and(|e| e.is_not_found()).then_some(())).await;
    cluster.close().await;
}

/// Asks until there is an answer; a test that waits for ever fails.
async fn until<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("it happens")
}
