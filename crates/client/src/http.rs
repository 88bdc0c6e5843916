//! `HttpTransport`: the API over TLS, as a node or any other process outside the server uses it. One HTTP/2 connection
//! for everything, made again when it breaks; HTTP/1.1, one connection a request, where the server has no HTTP/2.

mod connection;
mod frames;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use document::{Value, json};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use meta::{Revision, Status};

use crate::http::connection::Connector;
use crate::{Answer, Call, ListOptions, ListResult, Resource, Transport, Verb, WatchStream, object, status_from};

/// How the client says who it is. Never printed.
#[derive(Clone)]
pub enum Credentials {
    /// PEM: the chain, leaf first, and its key.
    Certificate {
        chain: Vec<u8>,
        key: Vec<u8>,
    },
    Token(String),
    /// Read again when a minute old.
    TokenFile(PathBuf),
    None,
}

/// Why a transport could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} is not an https URL")]
    Url(String),
    #[error("failed to read the server's certificate authority: {0}")]
    Authority(String),
    #[error("failed to use the client certificate: {0}")]
    Certificate(String),
}

/// Cheap to clone.
#[derive(Clone)]
pub struct HttpTransport(Arc<Connector>);

const CALL_TIMEOUT: Duration = Duration::from_secs(60);

impl HttpTransport {
    /// `server` is `https://host:port`; only certificates of `ca_pem` are trusted.
    pub fn new(server: &str, ca_pem: &[u8], credentials: Credentials) -> Result<Self, Error> {
        Ok(HttpTransport(Arc::new(Connector::new(server, ca_pem, credentials)?)))
    }

    /// Any request; an answer of 400 and above is an `Err`.
    pub async fn request(
        &self,
        method: Method,
        path_and_query: &str,
        content_type: Option<&'static str>,
        body: Bytes,
    ) -> Result<Response<Incoming>, Status> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        if let Some(content_type) = content_type {
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let response = self.0.send(request, path_and_query).await?;
        if response.status() < StatusCode::BAD_REQUEST {
            return Ok(response);
        }
        let code = response.status().as_u16();
        Err(status_from(code, &collect(response).await.unwrap_or_default()))
    }

    async fn value(&self, call: Call) -> Result<Value, Status> {
        let (method, content_type) = method_of(call.verb);
        let path = path_of(&call);
        let body = call.body.as_ref().map(json::to_vec).unwrap_or_default();
        let response = self.request(method, &path, content_type, body.into()).await?;
        parse(&collect(response).await?)
    }

    async fn items(&self, resource: Resource, path: String) -> Result<ListResult, Status> {
        let response = self.request(Method::GET, &path, None, Bytes::new()).await?;
        let list = parse(&collect(response).await?)?;
        let revision = Revision::parse(list["metadata"]["resourceVersion"].str()).unwrap_or_default();
        let id = resource.id();
        let items = list["items"].items().iter().filter_map(|item| object::from_value(&id, item)).collect();
        Ok(ListResult { revision, items })
    }

    async fn events(&self, resource: Resource, path: String) -> Result<WatchStream, Status> {
        let response = self.request(Method::GET, &path, None, Bytes::new()).await?;
        Ok(frames::events(resource.id(), response.into_body()).boxed())
    }
}

impl Transport for HttpTransport {
    fn call(&self, call: Call) -> Answer {
        let this = self.clone();
        async move { within(CALL_TIMEOUT, this.value(call)).await }.boxed()
    }

    fn list(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        options: &ListOptions,
    ) -> BoxFuture<'static, Result<ListResult, Status>> {
        let this = self.clone();
        let path = collection(resource, namespace, options, &[]);
        let resource = resource.clone();
        async move { within(CALL_TIMEOUT, this.items(resource, path)).await }.boxed()
    }

    fn watch(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        options: &ListOptions,
        from: Revision,
    ) -> BoxFuture<'static, Result<WatchStream, Status>> {
        let this = self.clone();
        let from = from.to_string();
        let more = [("watch", "true"), ("resourceVersion", &*from), ("allowWatchBookmarks", "true")];
        let path = collection(resource, namespace, options, &more);
        let resource = resource.clone();
        async move { within(CALL_TIMEOUT, this.events(resource, path)).await }.boxed()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

impl std::fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpTransport")
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Status::unavailable("the server did not answer in time")),
    }
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, Status> {
    let body = response.into_body().collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|e| Status::unavailable(format!("the connection broke: {e}")))
}

fn parse(body: &[u8]) -> Result<Value, Status> {
    json::parse(body).map_err(|_| Status::unclassified("the server's answer is not JSON"))
}

fn method_of(verb: Verb) -> (Method, Option<&'static str>) {
    match verb {
        Verb::Get | Verb::List => (Method::GET, None),
        Verb::Create => (Method::POST, Some("application/json")),
        Verb::Update => (Method::PUT, Some("application/json")),
        Verb::Patch(kind) => (Method::PATCH, Some(kind.content_type())),
        Verb::Delete | Verb::DeleteCollection => (Method::DELETE, Some("application/json")),
    }
}

fn path_of(call: &Call) -> String {
    let path = call.resource.path(&call.namespace, &call.name, call.subresource);
    let pairs: Vec<_> = call.query.iter().map(|(name, value)| (&**name, &**value)).collect();
    with_query(path, &pairs)
}

fn collection(resource: &Resource, namespace: Option<&str>, options: &ListOptions, more: &[(&str, &str)]) -> String {
    let selectors = [("labelSelector", &*options.labels), ("fieldSelector", &*options.fields)];
    let pairs: Vec<_> = selectors.into_iter().filter(|(_, v)| !v.is_empty()).chain(more.iter().copied()).collect();
    with_query(resource.path(namespace.unwrap_or_default(), "", ""), &pairs)
}

fn with_query(mut path: String, pairs: &[(&str, &str)]) -> String {
    for (n, (name, value)) in pairs.iter().enumerate() {
        path.push(if n == 0 { '?' } else { '&' });
        path.push_str(name);
        path.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => path.push(byte.into()),
                _ => path.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    path
}
