//! What is left of a request's body when its answer is already known. On HTTP/1 it stands between the answer and the next
//! request: read, the connection can be used again; not read, it must be closed, and a client that has not noticed yet
//! loses its next request.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::EXPECT;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

/// What Go's server reads of a body that its handler has not read.
const MOST: usize = 256 << 10;
/// What is on its way comes within this time.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads a body to its end; false when there is too much of it, or when the client waits to be asked for it.
pub(crate) async fn read(body: &mut Incoming, headers: &HeaderMap) -> bool {
    if body.is_end_stream() {
        return true;
    }
    if headers.contains_key(EXPECT) || body.size_hint().lower() > MOST as u64 {
        return false;
    }
    tokio::time::timeout(PATIENCE, drain(body, MOST)).await.unwrap_or(false)
}

/// Reads on, at most about so many bytes; whether that was all.
pub(crate) async fn drain(body: &mut Incoming, most: usize) -> bool {
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        seen += frame.data_ref().map_or(0, Bytes::len);
        if seen > most {
            return false;
        }
    }
    true
}
