//! The kubelet API over real TLS, with a runtime in memory.

use std::sync::Arc;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use super::*;
use crate::agent::tests::{Machine, POD};

struct Pki {
    ca: String,
    server: (String, String),
    client: (String, String),
}

fn pki() -> Pki {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "ca");
    let ca = params.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(params, ca_key);
    let leaf = |name: &str, hosts: Vec<String>| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, "system:masters");
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    Pki { server: leaf("system:node:node", vec!["localhost".into()]), client: leaf("admin", Vec::new()), ca }
}

fn connector(pki: &Pki, certified: bool) -> tokio_rustls::TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if certified {
        let chain = vec![CertificateDer::from_pem_slice(pki.client.0.as_bytes()).unwrap()];
        builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(pki.client.1.as_bytes()).unwrap()).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    tokio_rustls::TlsConnector::from(Arc::new(config))
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

struct Served {
    machine: Machine,
    pki: Pki,
    address: SocketAddr,
}

async fn serve_one() -> Served {
    let pki = pki();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let config = Config {
        address,
        certificate: pki.server.0.clone().into(),
        key: pki.server.1.clone().into(),
        client_ca: pki.ca.clone().into(),
    };
    let machine = Machine::with_server(Some(config));
    machine.apply("p", POD);
    machine.phase("p", "Running").await;
    Served { machine, pki, address }
}

impl Served {
    async fn connect(&self, certified: bool) -> Tls {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        connector(&self.pki, certified).connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
    }

    async fn get(&self, certified: bool, token: &str, path: &str) -> (StatusCode, String) {
        let io = TokioIo::new(self.connect(certified).await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::get(path).header("host", "localhost");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Runs a command over a websocket; answers all messages, `channel:text`.
    async fn exec(&self, query: &str, protocol: &str, send: Vec<Vec<u8>>) -> Vec<String> {
        let mut request = format!("wss://localhost/exec/ns/p/c?{query}").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
        let stream = self.connect(true).await;
        let (mut socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], protocol);
        for message in send {
            // the command may have ended already
            let _ = socket.send(Message::Binary(message.into())).await;
        }
        let mut got = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Binary(data) => got.push(format!("{}:{}", data[0], String::from_utf8_lossy(&data[1..]))),
                // kubectl takes any other close for a failure
                Message::Close(frame) => assert_eq!(u16::from(frame.unwrap().code), 1000),
                _ => {}
            }
        }
        got
    }
}

#[tokio::test]
async fn every_request_is_authenticated_and_authorized() {
    let served = serve_one().await;
    for (certified, token, path, status, text) in [
        (false, "", "/healthz", StatusCode::UNAUTHORIZED, "Unauthorized"),
        (false, "bad", "/healthz", StatusCode::UNAUTHORIZED, "Unauthorized"),
        (
            false,
            "other",
            "/pods",
            StatusCode::FORBIDDEN,
            "Forbidden (user=somebody, verb=get, resource=nodes, subresource(s)=[pods proxy])\n",
        ),
        (false, "good", "/healthz", StatusCode::OK, "ok"),
        (true, "", "/healthz", StatusCode::OK, "ok"),
        (true, "", "/x", StatusCode::NOT_FOUND, "404 page not found\n"),
        (true, "", "/configz", StatusCode::NOT_IMPLEMENTED, "this node does not implement /configz yet\n"),
        (true, "", "/containerLogs/ns/q/c", StatusCode::NOT_FOUND, "pod \"q\" not found\n"),
        (true, "", "/containerLogs/ns/p/d", StatusCode::NOT_FOUND, "container \"d\" not found in pod \"p\""),
        (
            true,
            "",
            "/containerLogs/ns/p/c?previous=true",
            StatusCode::BAD_REQUEST,
            "previous terminated container \"c\" in pod \"p\" not found",
        ),
        (true, "", "/exec/ns/p/c?command=x", StatusCode::BAD_REQUEST, "Upgrade request required\n"),
    ] {
        let got = served.get(certified, token, path).await;
        assert_eq!(got, (status, text.to_owned()), "{path} {token}");
    }
    let (_, pods) = served.get(true, "", "/pods").await;
    assert!(pods.starts_with(r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"#), "{pods}");
}

#[tokio::test]
async fn logs_are_read_from_the_containers_file() {
    let served = serve_one().await;
    let path = crate::logs::file(&served.machine.dir.path().join("logs/ns_p_uid-p"), "c", 0);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "2026-01-02T03:04:05Z stdout F one\n2026-01-02T03:04:06Z stderr F two\n").unwrap();
    let got = served.get(true, "", "/containerLogs/ns/p/c?tailLines=1&timestamps=true").await;
    assert_eq!(got, (StatusCode::OK, "2026-01-02T03:04:06Z two\n".to_owned()));
    served.machine.runtime.exit("c", 0);
    let got = served.get(true, "", "/containerLogs/ns/p/c?follow=true&previous=false").await;
    assert_eq!(got.0, StatusCode::OK);
}

#[tokio::test]
async fn exec_carries_output_and_exit_code() {
    let served = serve_one().await;
    let query = "command=say&command=hello&command=7&output=1&error=1&input=1";
    let got = served.exec(query, "v5.channel.k8s.io", vec![b"\x00input".to_vec(), vec![255, 0]]).await;
    assert_eq!(got[..2], ["1:".to_owned(), "1:say hello 7\n".to_owned()]);
    assert!(
        got[2].starts_with("3:") && got[2].contains(r#""causes":[{"reason":"ExitCode","message":"7"}]"#),
        "{got:?}"
    );
    let got = served
        .exec("command=true&output=1&tty=1", "v4.channel.k8s.io", vec![b"\x04{\"Width\":80,\"Height\":24}".to_vec()])
        .await;
    assert_eq!(got.last().unwrap(), r#"3:{"metadata":{},"status":"Success"}"#);
}
