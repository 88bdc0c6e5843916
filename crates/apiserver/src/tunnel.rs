//! Logs, exec, attach and port-forward of pods: the request goes on to the kubelet of the pod's node, its answer comes
//! back as it is. Exec and its like upgrade both connections and then copy bytes; what they mean is the kubelet's.

use std::sync::Arc;

use bytes::Bytes;
use document::Value;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyDataStream, BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use meta::{Attributes, GroupResource, Key, ResourceId, Status};
use parking_lot::Mutex;
use registry::Query;

use crate::body::Body;
use crate::kubelet::{Endpoint, Kubelets};
use crate::resource::Call;
use crate::respond::{self, Reply};

/// Subprotocol that carries a bearer token; it ends at this server.
const BEARER: &str = "base64url.bearer.authorization.k8s.io.";

/// # Errors
/// What is not there, not valid or not built.
pub(crate) async fn answer(call: &Call<'_>, extensions: http::Extensions) -> Result<Reply, Status> {
    let a = call.passage.attributes();
    match (a.resource.as_str(), a.subresource.as_str()) {
        ("pods", "log") => log(call).await,
        ("pods", "exec" | "attach" | "portforward") => stream(call, extensions).await,
        ("services", "proxy") => Err(service(call)),
        (resource, subresource) => Err(Status::not_implemented(format!("{resource}/{subresource} is not built yet"))),
    }
}

/// A Service without ready endpoints cannot be reached, whether it is there or not; one that has some is not proxied yet.
fn service(call: &Call<'_>) -> Status {
    let a = call.passage.attributes();
    let Some(name) = service_name(&a.name) else {
        return Status::bad_request(format!("invalid service request {}", meta::goquote::quote(&a.name)));
    };
    let slices = ResourceId::new("discovery.k8s.io", "endpointslices");
    let view = call.handler.registry.store().view();
    let ready = view.list(&slices, Some(&a.namespace)).any(|slice| {
        // only a slice of this Service is decoded
        slice.labels.get("kubernetes.io/service-name").is_some_and(|of| of == name)
            && slice.document("EndpointSlice", "discovery.k8s.io/v1")["endpoints"]
                .items()
                .iter()
                .any(|e| e["conditions"]["ready"].as_bool() != Some(false))
    });
    match ready {
        true => Status::not_implemented("services/proxy is not built yet"),
        false => Status::unavailable(format!("no endpoints available for service {}", meta::goquote::quote(name))),
    }
}

/// Of `name`, `name:port` or `scheme:name:port`. `None`: it is none of them.
fn service_name(id: &str) -> Option<&str> {
    let parts: Vec<&str> = id.split(':').collect();
    let name = match *parts.as_slice() {
        [name] | [name, _] | ["" | "http" | "https", name, _] => name,
        _ => return None,
    };
    (!name.is_empty()).then_some(name)
}

/// Where a pod's request goes.
struct Target {
    namespace: String,
    name: String,
    container: String,
    /// Empty: not scheduled.
    node: String,
}

impl Target {
    fn find(call: &Call<'_>, needs_container: bool) -> Result<Target, Status> {
        let a = call.passage.attributes();
        let missing = || Status::not_found(&GroupResource::new("", "pods"), &a.name);
        let id = call.row.resource_id().ok_or_else(missing)?;
        let pod = call.handler.registry.store().view().get(&Key::new(id, &a.namespace, &a.name)).ok_or_else(missing)?;
        let pod = api::stored::read(call.row, &pod);
        let container = if needs_container { container(&pod, &call.head.query)? } else { String::new() };
        Ok(Target {
            namespace: a.namespace.clone(),
            name: a.name.clone(),
            container,
            node: pod["spec"]["nodeName"].str().to_owned(),
        })
    }

    /// `/containerLogs/ns/pod/container?…`
    fn uri(&self, call: &str, query: &[(String, String)]) -> String {
        let mut path = format!("/{call}/{}/{}", escape(&self.namespace), escape(&self.name));
        if !self.container.is_empty() {
            path.push('/');
            path.push_str(&escape(&self.container));
        }
        for (n, (name, value)) in query.iter().enumerate() {
            path.push(if n == 0 { '?' } else { '&' });
            path.push_str(&format!("{}={}", escape(name), escape(value)));
        }
        path
    }
}

/// The container that is named, or the only one.
fn container(pod: &Value, query: &Query) -> Result<String, Status> {
    let spec = &pod["spec"];
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let names: Vec<&str> = lists.iter().flat_map(|l| spec[*l].items()).map(|c| c["name"].str()).collect();
    let pod_name = pod["metadata"]["name"].str();
    match query.get("container").unwrap_or_default() {
        "" => match spec["containers"].items() {
            [only] => Ok(only["name"].str().to_owned()),
            [] => Err(Status::bad_request(format!("a container name must be specified for pod {pod_name}"))),
            _ => Err(Status::bad_request(format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                names.join(" ")
            ))),
        },
        name if names.contains(&name) => Ok(name.to_owned()),
        name => Err(Status::bad_request(format!("container {name} is not valid for pod {pod_name}"))),
    }
}

fn reach<'a>(call: &'a Call<'_>, node: &str) -> Result<(&'a Kubelets, Endpoint), Status> {
    let kubelets =
        call.handler.kubelet.as_ref().ok_or_else(|| Status::unavailable("this server has no way to reach kubelets"))?;
    let view = call.handler.registry.store().view();
    let endpoint =
        Endpoint::of_node(&view, node).ok_or_else(|| Status::not_found(&GroupResource::new("", "nodes"), node))?;
    Ok((kubelets, endpoint))
}

async fn log(call: &Call<'_>) -> Result<Reply, Status> {
    let query = log_query(&call.head.query, &call.passage.attributes().name)?;
    let target = Target::find(call, true)?;
    if target.node.is_empty() {
        return Ok(respond::plain(204, "", Body::empty()));
    }
    let (kubelets, endpoint) = reach(call, &target.node)?;
    let uri = target.uri("containerLogs", &query);
    let request = request(&endpoint, &uri, HeaderMap::new())?;
    let answer = kubelets.send(&endpoint, request).await.map_err(|error| {
        Status::unclassified(format!(
            "Get \"https://{}{uri}\": dial tcp {}: {error}",
            endpoint.authority(),
            endpoint.authority()
        ))
    })?;
    if !answer.status().is_success() {
        return Err(refused(call, answer).await);
    }
    let ended = call.handler.ended();
    let pieces = pieces(answer.into_body()).take_until(Box::pin(ended));
    Ok(respond::plain(200, "text/plain", Body::pieces(pieces)))
}

/// What the kubelet understands of PodLogOptions.
fn log_query(query: &Query, pod: &str) -> Result<Vec<(String, String)>, Status> {
    let mut out = Vec::new();
    let mut errors = Vec::new();
    for flag in ["follow", "previous", "timestamps"] {
        if query.flag(flag) == Some(true) {
            out.push((flag.to_owned(), "true".to_owned()));
        }
    }
    for name in ["tailLines", "limitBytes", "sinceSeconds"] {
        if let Some(n) = query.number(name)? {
            let least = if name == "tailLines" { 0 } else { 1 };
            if n < least {
                let why = if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
                errors.push(meta::field::Error::invalid(&meta::field::Path::from(name), n, why));
            }
            out.push((name.to_owned(), n.to_string()));
        }
    }
    for name in ["sinceTime", "stream"] {
        if let Some(value) = query.get(name).filter(|v| !v.is_empty()) {
            out.push((name.to_owned(), value.to_owned()));
        }
    }
    if errors.is_empty() {
        Ok(out)
    } else {
        Err(Status::invalid(&meta::GroupKind::new("", "PodLogOptions"), pod, errors))
    }
}

/// A refusal of the kubelet as upstream hands it on.
async fn refused(call: &Call<'_>, answer: Response<Incoming>) -> Status {
    const MOST: usize = 64 * 1024;
    let code = answer.status().as_u16();
    let mut text = Vec::new();
    let mut body = answer.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        text.extend_from_slice(frame.data_ref().map_or(&[], |d| &d[..]));
        if text.len() > MOST {
            break;
        }
    }
    text.truncate(MOST);
    let text = String::from_utf8_lossy(&text).into_owned();
    let a = call.passage.attributes();
    match code {
        500 => Status::internal(text),
        400 => Status::bad_request(text),
        404 => {
            let details = meta::status::Details { name: a.name.clone(), kind: "pods/log".into(), ..Default::default() };
            Status::new(
                404,
                "NotFound",
                format!("the server could not find the requested resource ( pods/log {})", a.name),
                Some(details),
            )
        }
        _ => Status::new(code, "", text, Some(meta::status::Details::default())),
    }
}

async fn stream(call: &Call<'_>, mut extensions: http::Extensions) -> Result<Reply, Status> {
    let a = call.passage.attributes();
    may_create(call, a)?;
    let subresource = a.subresource.as_str();
    let target = Target::find(call, subresource != "portforward")?;
    if target.node.is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", a.name)));
    }
    let ours = extensions.remove::<OnUpgrade>().filter(|_| call.head.headers.contains_key(UPGRADE));
    let ours = ours.ok_or_else(|| Status::bad_request("Upgrade request required"))?;
    let (kubelets, endpoint) = reach(call, &target.node)?;
    let path = if subresource == "portforward" { "portForward" } else { subresource };
    let uri = target.uri(path, &stream_query(subresource, &call.head.query));
    let request = request(&endpoint, &uri, upgrade_headers(&call.head.headers))?;
    let answer = kubelets.send(&endpoint, request).await.map_err(|error| {
        Status::unclassified(format!("error dialing backend: dial tcp {}: {error}", endpoint.authority()))
    })?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(passed_on(answer));
    }
    Ok(joined(ours, answer))
}

/// A websocket begins with GET, but what it does needs the right to create.
fn may_create(call: &Call<'_>, a: &Attributes) -> Result<(), Status> {
    if a.verb == "create" {
        return Ok(());
    }
    let decision = call.passage.ask(Attributes { verb: "create".into(), ..a.clone() });
    match decision.is_allowed() {
        true => Ok(()),
        false => Err(Status::forbidden(&GroupResource::new(&a.group, &a.resource), &a.name, &decision.reason)),
    }
}

fn stream_query(subresource: &str, query: &Query) -> Vec<(String, String)> {
    if subresource == "portforward" {
        let ports: Vec<&str> = query.all("ports").collect();
        return if ports.is_empty() { Vec::new() } else { vec![("port".to_owned(), ports.join(","))] };
    }
    let tty = query.flag("tty") == Some(true);
    let flags = [
        ("input", query.flag("stdin") == Some(true)),
        ("output", query.flag("stdout").unwrap_or(true)),
        ("error", query.flag("stderr").unwrap_or(true) && !tty),
        ("tty", tty),
    ];
    let mut out: Vec<(String, String)> =
        flags.iter().filter(|(_, on)| *on).map(|(n, _)| ((*n).to_owned(), "1".to_owned())).collect();
    out.extend(query.all("command").map(|c| ("command".to_owned(), c.to_owned())));
    out
}

fn request(endpoint: &Endpoint, uri: &str, headers: HeaderMap) -> Result<Request<Empty<Bytes>>, Status> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri.parse().map_err(Status::internal)?;
    *request.headers_mut() = headers;
    request.headers_mut().insert(HOST, HeaderValue::from_str(&endpoint.authority()).map_err(Status::internal)?);
    Ok(request)
}

/// Only what makes the upgrade: never the credentials.
fn upgrade_headers(from: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in from {
        let wanted = *name == CONNECTION
            || *name == UPGRADE
            || name.as_str().starts_with("sec-websocket-")
            || name.as_str().starts_with("x-stream-");
        if *name == SEC_WEBSOCKET_PROTOCOL {
            let protocols = value.to_str().unwrap_or_default().split(',').map(str::trim);
            let kept: Vec<&str> = protocols.filter(|p| !p.is_empty() && !p.starts_with(BEARER)).collect();
            if let (false, Ok(value)) = (kept.is_empty(), HeaderValue::from_str(&kept.join(", "))) {
                out.append(SEC_WEBSOCKET_PROTOCOL, value);
            }
        } else if wanted {
            out.append(name.clone(), value.clone());
        }
    }
    out
}

/// Bytes that pass both ways between two upgraded connections. Goes with the answer to whoever keeps account of it.
#[derive(Clone)]
pub(crate) struct Tunnel(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

impl Tunnel {
    fn new(passing: impl Future<Output = ()> + Send + 'static) -> Self {
        Tunnel(Arc::new(Mutex::new(Some(Box::pin(passing)))))
    }

    /// The work itself, once.
    pub(crate) fn take(self) -> Option<BoxFuture<'static, ()>> {
        self.0.lock().take()
    }
}

/// Joins the two upgraded connections: bytes pass until one ends.
fn joined(ours: OnUpgrade, mut answer: Response<Incoming>) -> Reply {
    let headers = answer.headers().clone();
    let theirs = hyper::upgrade::on(&mut answer);
    let mut reply = respond::plain(101, "", Body::empty());
    reply.extensions_mut().insert(Tunnel::new(async move {
        let (client, kubelet) = match tokio::try_join!(ours, theirs) {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "a stream could not be upgraded"),
        };
        let (mut client, mut kubelet) = (TokioIo::new(client), TokioIo::new(kubelet));
        if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut kubelet).await {
            tracing::debug!(%error, "a stream ended with an error");
        }
    }));
    for (name, value) in &headers {
        if *name == CONNECTION || *name == UPGRADE || is_stream_header(name) {
            reply.headers_mut().append(name.clone(), value.clone());
        }
    }
    reply
}

fn is_stream_header(name: &HeaderName) -> bool {
    name.as_str().starts_with("sec-websocket-") || name.as_str().starts_with("x-stream-")
}

/// An answer that is no upgrade goes back as it came.
fn passed_on(answer: Response<Incoming>) -> Reply {
    let (parts, body) = answer.into_parts();
    let mut reply = respond::plain(parts.status.as_u16(), "", Body::pieces(pieces(body)));
    if let Some(kind) = parts.headers.get(CONTENT_TYPE) {
        reply.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    reply
}

/// A body's pieces up to its end or first error.
fn pieces(body: Incoming) -> impl futures::Stream<Item = Bytes> + Send {
    BodyDataStream::new(body)
        .take_while(|piece| std::future::ready(piece.is_ok()))
        .filter_map(|piece| std::future::ready(piece.ok()))
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use document::doc;

    use super::*;

    #[test]
    fn the_container_is_named_or_the_only_one() {
        let one = doc!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}});
        let two = doc!({"metadata": {"name": "p"}, "spec": {"initContainers": [{"name": "i"}], "containers": [{"name": "c"}, {"name": "c2"}]}});
        let check = |pod: &Value, query: &str| container(pod, &Query::parse(query)).map_err(|s| s.message);
        assert_eq!(check(&one, "").as_deref(), Ok("a"));
        assert_eq!(check(&two, "container=i").as_deref(), Ok("i"));
        assert_eq!(
            check(&two, ""),
            Err("a container name must be specified for pod p, choose one of: [i c c2]".into())
        );
        assert_eq!(check(&one, "container=zz"), Err("container zz is not valid for pod p".into()));
    }

    #[test]
    fn a_service_is_named_alone_with_its_port_or_with_scheme_and_port() {
        for (id, want) in [
            ("a", Some("a")),
            ("a:80", Some("a")),
            ("http:a:web", Some("a")),
            (":a:", Some("a")),
            ("ftp:a:80", None),
            ("a:b:c:d", None),
            (":80", None),
            ("https::80", None),
        ] {
            assert_eq!(service_name(id), want, "{id}");
        }
    }

    #[test]
    fn credentials_stay_here() {
        let mut from = HeaderMap::new();
        from.insert(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        from.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.abc"),
        );
        let out = upgrade_headers(&from);
        assert_eq!(out.len(), 1);
        assert_eq!(out[SEC_WEBSOCKET_PROTOCOL], "v5.channel.k8s.io");
    }

    #[test]
    fn commands_are_escaped() {
        let query = Query::parse("command=sh&command=-c&command=a%20%26&stdin=true&tty=true");
        let target = Target { namespace: "n".into(), name: "p".into(), container: "c".into(), node: String::new() };
        assert_eq!(
            target.uri("exec", &stream_query("exec", &query)),
            "/exec/n/p/c?input=1&output=1&tty=1&command=sh&command=-c&command=a%20%26"
        );
    }
}
