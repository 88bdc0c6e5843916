//! A watch's body: one JSON event a line.

use bytes::{Bytes, BytesMut};
use document::{Value, json};
use futures::{Stream, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use meta::{ResourceId, Revision, Status};

use crate::status::from_value;
use crate::{WatchEvent, object};

/// The longest line that is taken.
const LONGEST: usize = 16 << 20;

/// Ends when the server closes the watch, or after an error.
pub(crate) fn events(
    resource: ResourceId,
    body: Incoming,
) -> impl Stream<Item = Result<WatchEvent, Status>> + Send + 'static {
    let lines = Lines { body, buffer: BytesMut::new(), searched: 0, ended: false };
    stream::unfold((lines, resource, false), |(mut lines, resource, failed)| async move {
        if failed {
            return None;
        }
        let event = match lines.next().await? {
            Ok(line) => parse(&resource, &line),
            Err(error) => Err(error),
        };
        let failed = event.is_err();
        Some((event, (lines, resource, failed)))
    })
}

struct Lines {
    body: Incoming,
    buffer: BytesMut,
    /// No line ends before.
    searched: usize,
    ended: bool,
}

impl Lines {
    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        loop {
            if let Some(line) = self.take_line() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            if self.buffer.len() > LONGEST {
                self.ended = true;
                return Some(Err(Status::unclassified("an event of the watch is too long")));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.buffer.extend_from_slice(frame.data_ref().map_or(&[], |b| b)),
                Some(Err(error)) => {
                    self.ended = true;
                    return Some(Err(Status::unavailable(format!("the watch broke: {error}"))));
                }
                None => self.ended = true,
            }
        }
    }

    fn take_line(&mut self) -> Option<Bytes> {
        let end = self.buffer[self.searched..].iter().position(|b| *b == b'\n');
        match end {
            Some(n) => {
                let line = self.buffer.split_to(self.searched + n + 1).freeze();
                self.searched = 0;
                Some(line)
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }
}

fn parse(resource: &ResourceId, line: &[u8]) -> Result<WatchEvent, Status> {
    let broken = || Status::unclassified("an event of the watch cannot be read");
    let event = json::parse(line).map_err(|_| broken())?;
    let object = event.get("object").ok_or_else(broken)?;
    let sealed = |object: &Value| object::from_value(resource, object).ok_or_else(broken);
    match event["type"].str() {
        "ADDED" => Ok(WatchEvent::Added(sealed(object)?)),
        "MODIFIED" => Ok(WatchEvent::Modified(sealed(object)?)),
        "DELETED" => Ok(WatchEvent::Deleted(sealed(object)?)),
        "BOOKMARK" => {
            let revision = Revision::parse(object["metadata"]["resourceVersion"].str()).ok_or_else(broken)?;
            Ok(WatchEvent::Bookmark(revision))
        }
        "ERROR" => Err(from_value(500, object)),
        _ => Err(broken()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, want: Result<u64, u16>) {
        let event = parse(&ResourceId::new("", "pods"), line.as_bytes());
        assert_eq!(event.map(|e| e.revision().0).map_err(|e| e.code), want, "{line}");
    }

    #[test]
    fn lines_are_events() {
        check(r#"{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"x","resourceVersion":"7"}}}"#, Ok(7));
        check(r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"9"}}}"#, Ok(9));
        check(r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#, Err(410));
        check(r#"{"type":"?","object":{}}"#, Err(500));
        check("{", Err(500));
    }
}
