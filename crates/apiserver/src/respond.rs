//! Answers on the wire: one encoded body with its headers. JSON is spliced from stored bytes by the callers; YAML and
//! protobuf are made from it here, so that every kind takes one path.

use std::collections::HashSet;
use std::io::Write as _;

use bytes::Bytes;
use document::{Type, Value, json};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, RETRY_AFTER, VARY, WARNING, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use meta::Status;

use crate::body::Body;
use crate::negotiate::{Encoding, Form};

pub(crate) type Reply = Response<Body>;

/// Bodies from this size on are compressed for clients that accept it.
pub(crate) const GZIP_FROM: usize = 128 * 1024;

/// A body whose content type is known, compressed when that is asked for and worth it.
pub(crate) fn bytes(code: u16, content_type: &'static str, body: impl Into<Bytes>, gzip: bool) -> Reply {
    let body = body.into();
    if !gzip || body.len() < GZIP_FROM {
        return plain(code, content_type, Body::full(body));
    }
    let mut reply = plain(code, content_type, Body::full(compress(&body)));
    mark_compressed(reply.headers_mut());
    reply
}

/// Headers of a compressed body.
pub(crate) fn mark_compressed(headers: &mut HeaderMap) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
}

/// A body as it is.
pub(crate) fn plain(code: u16, content_type: &'static str, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if !content_type.is_empty() {
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    reply
}

/// A text as Go's `http.Error` writes it.
pub(crate) fn text(code: u16, body: impl Into<Bytes>) -> Reply {
    let mut reply = plain(code, "text/plain; charset=utf-8", Body::full(body));
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// What paths outside of every group answer.
pub(crate) fn page_not_found() -> Reply {
    text(404, "404 page not found\n")
}

/// Encodes an answer that has been made as JSON. `type_` is its type, for protobuf.
///
/// # Errors
/// 406 when it cannot be written as protobuf.
pub(crate) fn encoded(code: u16, body: Vec<u8>, type_: Option<&'static Type>, form: Form) -> Result<Reply, Status> {
    Ok(bytes(code, form.encoding.content_type(), encode(body, type_, form)?, form.gzip))
}

/// The bytes of an answer in the form that is asked for.
///
/// # Errors
/// 406 when it cannot be written as protobuf, 500 when it is no JSON.
pub(crate) fn encode(mut body: Vec<u8>, type_: Option<&'static Type>, form: Form) -> Result<Vec<u8>, Status> {
    match form.encoding {
        Encoding::Json if form.pretty => Ok(json::pretty(&body)),
        Encoding::Json => {
            body.push(b'\n');
            Ok(body)
        }
        Encoding::Yaml => Ok(document::yaml::to_string(&parse(&body)?).into_bytes()),
        Encoding::Protobuf => protobuf(&parse(&body)?, type_.ok_or_else(no_protobuf)?).ok_or_else(no_protobuf),
    }
}

/// An object in its envelope.
pub(crate) fn protobuf(value: &Value, type_: &'static Type) -> Option<Vec<u8>> {
    let raw = document::proto::encode(value, type_).ok()?;
    Some(document::proto::wrap(value["apiVersion"].str(), value["kind"].str(), &raw))
}

/// The tree of a body that this server has made.
///
/// # Errors
/// 500: our own bytes are no JSON.
pub(crate) fn parse(body: &[u8]) -> Result<Value, Status> {
    json::parse(body).map_err(Status::internal)
}

/// 406: there is no message for this.
pub(crate) fn no_protobuf() -> Status {
    Status::not_acceptable("only the following media types are accepted: application/json, application/yaml")
}

/// A Status as the whole answer.
pub(crate) fn status(status: &Status, form: Form) -> Reply {
    let type_ = api::type_of_meta("Status");
    let json = || status.to_json().into_bytes();
    let mut reply = encoded(status.code, json(), type_, form)
        .unwrap_or_else(|_| bytes(status.code, Encoding::Json.content_type(), json(), false));
    let retry = status.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if retry > 0 {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry));
    }
    reply
}

pub(crate) fn compress(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // writing to a Vec cannot fail
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

/// What every answer carries.
pub(crate) fn finish(mut reply: Reply, audit_id: HeaderValue, warnings: &[String]) -> Reply {
    let headers = reply.headers_mut();
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    }
    headers.insert(HeaderName::from_static("audit-id"), audit_id);
    for warning in told(warnings) {
        if let Ok(value) = HeaderValue::from_bytes(warning_header(warning).as_bytes()) {
            headers.append(WARNING, value);
        }
    }
    reply
}

/// Characters of all warnings of an answer, and how many are left of each when they are more.
const WARNINGS: usize = 4 * 1024;
const WARNING_CUT: usize = 256;

/// The warnings that an answer carries: each once; when they are too long together, the beginnings of the first ones.
fn told(warnings: &[String]) -> Vec<&str> {
    let cut = |text: &str| text.char_indices().nth(WARNING_CUT).map_or(text.len(), |(at, _)| at);
    let (mut seen, mut told) = (HashSet::new(), Vec::new());
    let (mut written, mut cutting) = (0, false);
    for warning in warnings.iter().filter(|w| !w.is_empty()) {
        if cutting && written >= WARNINGS {
            break;
        }
        if !seen.insert(warning) {
            continue;
        }
        told.push(warning.as_str());
        written += warning.chars().count();
        if cutting || written > WARNINGS {
            cutting = true;
            told.iter_mut().for_each(|text| *text = &text[..cut(text)]);
            written = told.iter().map(|text| text.chars().count()).sum();
        }
    }
    told
}

/// `299 - "text"`, with quotes, backslashes and control characters made harmless.
fn warning_header(text: &str) -> String {
    let mut out = String::from("299 - \"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' | '\r' | '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_and_sent_once() {
        let reply = finish(
            page_not_found(),
            HeaderValue::from_static("id"),
            &["a \"b\"".into(), "a \"b\"".into(), "c\nd".into()],
        );
        let warnings: Vec<_> = reply.headers().get_all(WARNING).iter().collect();
        assert_eq!(warnings, [r#"299 - "a \"b\"""#, r#"299 - "c d""#]);
        assert_eq!(reply.headers()[CACHE_CONTROL], "no-cache, private");
    }

    #[test]
    fn warnings_are_cut_when_they_are_too_long_together() {
        let long = |n: usize| format!("{n:03}{}", "ä".repeat(1021));
        assert_eq!(told(&[long(0), long(1), String::new(), long(2), long(3)]), [long(0), long(1), long(2), long(3)]);
        let many: Vec<String> = (0..5).map(long).chain(["short".into()]).chain((5..40_000).map(long)).collect();
        let found = told(&many);
        assert_eq!((found.len(), found[5]), (17, "short"));
        assert!(found.iter().all(|w| *w == "short" || w.chars().count() == 256));
        assert_eq!(told(&vec!["same".to_owned(); 40_000]), ["same"]);
    }

    #[test]
    fn big_bodies_are_compressed_when_asked_for() {
        let big = vec![b'x'; GZIP_FROM];
        assert!(bytes(200, "application/json", big.clone(), true).headers().contains_key(CONTENT_ENCODING));
        assert!(!bytes(200, "application/json", big, false).headers().contains_key(CONTENT_ENCODING));
        assert!(!bytes(200, "application/json", vec![b'x'; 10], true).headers().contains_key(CONTENT_ENCODING));
    }
}
