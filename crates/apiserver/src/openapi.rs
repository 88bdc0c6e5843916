//! `/openapi/v3` and `/openapi/v2`. A document is made when it is first asked for and kept compressed; a hash in the
//! query makes the answer cacheable for ever, and another hash leads to the current one.

use std::io::Read as _;
use std::sync::OnceLock;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, EXPIRES, HeaderName, IF_NONE_MATCH, LOCATION, VARY};
use http::{HeaderMap, HeaderValue};

use crate::body::Body;
use crate::handler::Head;
use crate::negotiate;
use crate::respond::{self, Reply};

const JSON: &str = "application/json";
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `path` without a slash at its end. `None`: there is no such document.
pub(crate) fn answer(head: &Head, path: &str) -> Option<Reply> {
    match path {
        "/openapi/v3" => Some(index(head)),
        "/openapi/v2" => Some(v2(head)),
        _ => {
            let path = path.strip_prefix("/openapi/v3/")?;
            let hash = hash(api::openapi::fingerprint(path)?);
            Some(v3(head, path, &hash))
        }
    }
}

fn hash(fingerprint: u128) -> String {
    format!("{fingerprint:032X}")
}

fn index(head: &Head) -> Reply {
    let mut out = String::from("{\"paths\":{");
    for (n, path) in api::openapi::paths().enumerate() {
        let hash = api::openapi::fingerprint(path).map(hash).unwrap_or_default();
        let comma = if n == 0 { "" } else { "," };
        out.push_str(&format!(r#"{comma}"{path}":{{"serverRelativeURL":"/openapi/v3/{path}?hash={hash}"}}"#));
    }
    out.push_str("}}");
    let etag = hash(api::openapi::paths().filter_map(api::openapi::fingerprint).fold(0, |a, b| a.rotate_left(1) ^ b));
    if !accepts(head, &[JSON]) {
        return not_acceptable();
    }
    // upstream names the type for GET alone
    let content_type = if head.method == http::Method::GET { JSON } else { "text/plain; charset=utf-8" };
    tagged(head, &etag, || respond::bytes(200, content_type, out, accepts_gzip(head)))
}

fn v3(head: &Head, path: &str, hash: &str) -> Reply {
    let asked = head.query.get("hash").filter(|h| !h.is_empty());
    if let Some(other) = asked.filter(|h| *h != hash) {
        tracing::debug!(other, "an older OpenAPI document was asked for");
        let mut reply = respond::plain(301, "", Body::empty());
        insert(reply.headers_mut(), LOCATION, &format!("/openapi/v3/{path}?hash={hash}"));
        return reply;
    }
    if !accepts(head, &[JSON]) {
        return not_acceptable();
    }
    let mut reply = tagged(head, hash, || match compressed(path) {
        Some(document) => deliver(head, JSON, document),
        None => respond::text(500, "the document cannot be made\n"),
    });
    if asked.is_some() {
        insert(reply.headers_mut(), CACHE_CONTROL, "public, immutable");
        insert(reply.headers_mut(), EXPIRES, &a_year_from_now());
    }
    reply
}

fn v2(head: &Head) -> Reply {
    static AS_JSON: OnceLock<Option<Bytes>> = OnceLock::new();
    static AS_PROTOBUF: OnceLock<Option<Bytes>> = OnceLock::new();
    let gz = |document: Option<Vec<u8>>| document.map(|d| Bytes::from(respond::compress(&d)));
    let (content_type, document) = if accepts(head, &[JSON]) {
        (JSON, AS_JSON.get_or_init(|| gz(api::openapi::v2())))
    } else if accepts(head, &[V2_PROTOBUF, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"]) {
        (V2_PROTOBUF, AS_PROTOBUF.get_or_init(|| gz(api::openapi::v2_protobuf())))
    } else {
        return not_acceptable();
    };
    tagged(head, &hash(api::openapi::v2_fingerprint()), || match document {
        Some(document) => deliver(head, content_type, document.clone()),
        None => respond::text(500, "the document cannot be made\n"),
    })
}

/// Documents that have been asked for, compressed.
fn compressed(path: &str) -> Option<Bytes> {
    type Slot = (&'static str, OnceLock<Option<Bytes>>);
    static MADE: OnceLock<Vec<Slot>> = OnceLock::new();
    let all = MADE.get_or_init(|| api::openapi::paths().map(|p| (p, OnceLock::new())).collect());
    let (_, slot) = all.iter().find(|(p, _)| *p == path)?;
    slot.get_or_init(|| api::openapi::v3(path).map(|d| Bytes::from(respond::compress(&d)))).clone()
}

fn deliver(head: &Head, content_type: &'static str, compressed: Bytes) -> Reply {
    if accepts_gzip(head) {
        let mut reply = respond::plain(200, content_type, Body::full(compressed));
        insert(reply.headers_mut(), CONTENT_ENCODING, "gzip");
        insert(reply.headers_mut(), VARY, "Accept-Encoding, Accept");
        return reply;
    }
    let mut plain = Vec::new();
    match flate2::read::GzDecoder::new(&compressed[..]).read_to_end(&mut plain) {
        Ok(_) => respond::plain(200, content_type, Body::full(plain)),
        Err(_) => respond::text(500, "the document cannot be read\n"),
    }
}

fn tagged(head: &Head, hash: &str, make: impl FnOnce() -> Reply) -> Reply {
    let etag = format!("\"{hash}\"");
    let known =
        negotiate::header(&head.headers, &IF_NONE_MATCH).split(',').any(|t| t.trim().trim_start_matches("W/") == etag);
    let mut reply = if known { respond::plain(304, "", Body::empty()) } else { make() };
    insert(reply.headers_mut(), ETAG, &etag);
    reply
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn accepts(head: &Head, wanted: &[&str]) -> bool {
    let accept = negotiate::header(&head.headers, &http::header::ACCEPT);
    let fits = |part: &str| {
        let media = part.split(';').next().unwrap_or_default().trim();
        wanted.contains(&media) || (wanted.contains(&JSON) && matches!(media, "*/*" | "application/*"))
    };
    (accept.is_empty() && wanted.contains(&JSON)) || accept.split(',').any(fits)
}

fn accepts_gzip(head: &Head) -> bool {
    negotiate::header(&head.headers, &http::header::ACCEPT_ENCODING)
        .split(',')
        .any(|t| t.split(';').next().unwrap_or_default().trim() == "gzip")
}

fn not_acceptable() -> Reply {
    respond::plain(406, "", Body::empty())
}

/// As HTTP writes dates.
fn a_year_from_now() -> String {
    let at = meta::Time(meta::Time::now().0 + 365 * 86_400);
    http_date(at)
}

fn http_date(time: meta::Time) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = time.to_string();
    let weekday = usize::try_from(time.0.div_euclid(86_400).rem_euclid(7)).unwrap_or(0);
    let month = text.get(5..7).and_then(|m| m.parse::<usize>().ok()).unwrap_or(1);
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    format!("{}, {} {} {} {} GMT", DAYS[weekday % 7], part(8, 10), MONTHS[(month + 11) % 12], part(0, 4), part(11, 19))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_http_writes_them() {
        assert_eq!(http_date(meta::Time(784_111_777)), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
