//! `/exec/{namespace}/{pod}/{container}` as a websocket: one byte of channel before every message. SPDY is not spoken.
//!
//! Channels: 0 stdin, 1 stdout, 2 stderr, 3 the outcome as a Status, 4 terminal size; in v5 `255, n` closes channel n.

mod session;

use document::Value;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

use super::{
    Shared,
    respond::{self, Body},
    route,
};
use crate::{
    convert,
    runtime::{ContainerState, ExecSpec},
};

/// What we speak, best first.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

pub(super) async fn serve(
    shared: &Shared,
    namespace: &str,
    name: &str,
    uid: &str,
    container: &str,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let spec = spec(&route::query(request.uri().query().unwrap_or_default()));
    if spec.command.is_empty() {
        return respond::text(StatusCode::BAD_REQUEST, "you must specify at least 1 command for the container\n");
    }
    let pod = shared.pods.get(namespace, name).and_then(|o| convert::pod(&o).ok());
    let Some(pod) = pod.filter(|p| uid.is_empty() || p.metadata.uid == uid) else {
        return respond::text(StatusCode::NOT_FOUND, "pod does not exist");
    };
    let running = match shared.runtime.list().await {
        Ok(all) => all
            .containers
            .into_iter()
            .find(|c| c.pod.uid == pod.metadata.uid && c.name == container && c.state == ContainerState::Running),
        Err(error) => return respond::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let Some(running) = running else {
        return respond::text(StatusCode::INTERNAL_SERVER_ERROR, format!("container not found ({container:?})"));
    };
    // after the container: a client that falls back from websockets is told what is wrong, not what is not spoken
    let (protocol, key) = match handshake(request.headers()) {
        Ok(agreed) => agreed,
        Err((status, message)) => return respond::text(status, message),
    };
    let (runtime, upgrade) = (shared.runtime.clone(), hyper::upgrade::on(&mut request));
    tokio::spawn(async move {
        let Some(socket) = open(upgrade).await else { return };
        session::run(socket, protocol == PROTOCOLS[0], &*runtime, &running.id, &spec).await;
    });
    accept(protocol, &key)
}

fn spec(query: &[(String, String)]) -> ExecSpec {
    let yes = |name: &str| query.iter().any(|(n, v)| n == name && matches!(v.as_str(), "1" | "true"));
    ExecSpec {
        command: query.iter().filter(|(n, _)| n == "command").map(|(_, v)| v.clone()).collect(),
        tty: yes("tty"),
        stdin: yes("input") || yes("stdin"),
        stdout: yes("output") || yes("stdout"),
        stderr: (yes("error") || yes("stderr")) && !yes("tty"),
    }
}

/// The protocol agreed on and the client's key.
fn handshake(headers: &HeaderMap) -> Result<(&'static str, String), (StatusCode, String)> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let upgrade = text(header::UPGRADE);
    if !upgrade.eq_ignore_ascii_case("websocket") {
        let message = match upgrade {
            "" => "Upgrade request required\n".to_owned(),
            other => {
                format!("unable to upgrade: {other} is not implemented, use websockets ({})\n", PROTOCOLS.join(", "))
            }
        };
        return Err((StatusCode::BAD_REQUEST, message));
    }
    let offered: Vec<&str> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .collect();
    let agreed = PROTOCOLS.iter().find(|p| offered.contains(p)).ok_or_else(|| {
        let message =
            format!("unable to negotiate protocol: client supports {offered:?}, server accepts {PROTOCOLS:?}\n");
        (StatusCode::BAD_REQUEST, message)
    })?;
    let key = text(header::SEC_WEBSOCKET_KEY);
    if key.is_empty() || text(header::SEC_WEBSOCKET_VERSION) != "13" {
        return Err((StatusCode::BAD_REQUEST, "bad websocket handshake\n".into()));
    }
    Ok((agreed, key.to_owned()))
}

fn accept(protocol: &'static str, key: &str) -> Response<Body> {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    if let Ok(value) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, value);
    }
    response
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Clients send 32 KB at a time.
fn limits() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(1 << 20)).max_frame_size(Some(1 << 20))
}

async fn open(upgrade: OnUpgrade) -> Option<Socket> {
    match upgrade.await {
        Ok(raw) => Some(WebSocketStream::from_raw_socket(TokioIo::new(raw), Role::Server, Some(limits())).await),
        Err(error) => {
            tracing::debug!(%error, "an exec was not upgraded");
            None
        }
    }
}

/// The outcome of a command as the client reads it.
fn outcome(command: &[String], result: Result<i32, String>) -> Value {
    use document::doc;
    match result {
        Ok(0) => doc!({"metadata": {}, "status": "Success"}),
        Ok(code) => doc!({
            "metadata": {},
            "status": "Failure",
            "message": (format!("command terminated with non-zero exit code: error executing command [{}], exit code {code}", command.join(" "))),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": (code.to_string())}]}
        }),
        Err(message) => doc!({
            "metadata": {},
            "status": "Failure",
            "message": (format!("Internal error occurred: error executing command in container: {message}")),
            "reason": "InternalError",
            "details": {"causes": [{"message": (format!("error executing command in container: {message}"))}]},
            "code": 500
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_carry_the_exit_code() {
        let json = |v: &Value| document::json::to_string(v);
        assert_eq!(json(&outcome(&[], Ok(0))), r#"{"metadata":{},"status":"Success"}"#);
        let failed = json(&outcome(&["false".into()], Ok(3)));
        assert!(failed.contains(r#""details":{"causes":[{"reason":"ExitCode","message":"3"}]}"#), "{failed}");
    }

    #[test]
    fn only_websockets_with_a_known_protocol_are_taken() {
        let check = |pairs: &[(&'static str, &'static str)], want: Result<&str, StatusCode>| {
            let headers: HeaderMap =
                pairs.iter().map(|(n, v)| (header::HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
            let got = handshake(&headers);
            assert_eq!(got.map(|(p, _)| p).map_err(|(s, _)| s), want, "{pairs:?}");
        };
        let base = [("upgrade", "websocket"), ("sec-websocket-key", "x"), ("sec-websocket-version", "13")];
        let with = |p: &'static str| [base.as_slice(), &[("sec-websocket-protocol", p)]].concat();
        check(&with("v4.channel.k8s.io, v5.channel.k8s.io"), Ok("v5.channel.k8s.io"));
        check(&with("v4.channel.k8s.io"), Ok("v4.channel.k8s.io"));
        check(&with("channel.k8s.io"), Err(StatusCode::BAD_REQUEST));
        check(&[("upgrade", "SPDY/3.1")], Err(StatusCode::BAD_REQUEST));
        check(&[], Err(StatusCode::BAD_REQUEST));
    }
}
