//! Answers of the kubelet API: plain text, JSON, a stream.

use std::convert::Infallible;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

/// The body of every answer.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", Full::new(Bytes::from(text.into())).boxed_unsync())
}

pub(super) fn json(content: Vec<u8>) -> Response<Body> {
    with_type(StatusCode::OK, "application/json", Full::new(Bytes::from(content)).boxed_unsync())
}

/// A body that is sent as it comes; it ends when the senders are gone.
pub(super) fn stream(chunks: mpsc::Receiver<Vec<u8>>) -> Response<Body> {
    let frames = futures::stream::unfold(chunks, |mut chunks| async move {
        let chunk = chunks.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(chunk))), chunks))
    });
    with_type(StatusCode::OK, "text/plain", StreamBody::new(frames.boxed()).boxed_unsync())
}

fn with_type(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
