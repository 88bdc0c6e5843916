//! Watches on the wire: one frame per event, as JSON lines or length-delimited protobuf, whole, as Table rows or as
//! metadata. A watch ends at its timeout, when it falls off the history, or with the server.

use std::time::Duration;

use bytes::Bytes;
use document::{Object, proto};
use futures::FutureExt;
use meta::{Revision, Status};
use registry::Watch;
use store::{Event, EventKind, Watcher};
use tokio::time::{Instant, Interval, sleep_until};

use crate::body::Body;
use crate::negotiate::Encoding;
use crate::resource::Call;
use crate::respond::{self, Reply};
use crate::shape::Maker;

const PIECE: usize = 64 * 1024;
const BOOKMARKS: Duration = Duration::from_secs(60);

/// Answers a watch that the registry has begun, or says in the stream that its revision is gone.
pub(crate) fn answer(call: &Call<'_>, maker: Maker, begun: Result<Watch, Status>) -> Reply {
    let content_type = maker.form.encoding.stream_content_type();
    let watch = match begun {
        Ok(watch) => watch,
        Err(status) if status.is_expired() => {
            return respond::plain(200, content_type, Body::full(Frames { maker, columns_sent: false }.error(&status)));
        }
        Err(status) => return call.head.refuse(&status),
    };
    let timeout = watch.timeout.unwrap_or_else(|| spread(call.handler.config.min_watch_timeout));
    let stream = Stream {
        frames: Frames { maker: maker.with_row(watch.resource), columns_sent: false },
        initial: watch.initial.into_iter(),
        initial_end: watch.initial_end,
        watcher: watch.watcher,
        bookmarks: watch.bookmarks.then(|| interval(BOOKMARKS)),
        deadline: Instant::now() + timeout,
    };
    let ended = Box::pin(call.handler.ended());
    let pieces = futures::stream::unfold((stream, ended), |(mut stream, mut ended)| async move {
        let piece = tokio::select! {
            biased;
            () = &mut ended => return None,
            piece = stream.next() => piece?,
        };
        Some((piece, (stream, ended)))
    });
    respond::plain(200, content_type, Body::pieces(pieces))
}

/// Between the time and twice the time, so that watches do not end all at once.
fn spread(least: Duration) -> Duration {
    let random = u64::from_le_bytes(meta::random::bytes::<8>());
    least + Duration::from_millis(random % (least.as_millis().max(1) as u64))
}

fn interval(period: Duration) -> Interval {
    tokio::time::interval_at(Instant::now() + period, period)
}

struct Stream {
    frames: Frames,
    initial: std::vec::IntoIter<std::sync::Arc<Object>>,
    /// The end of `initial` is still to be said, by a bookmark of this revision.
    initial_end: Option<Revision>,
    watcher: Watcher,
    bookmarks: Option<Interval>,
    deadline: Instant,
}

impl Stream {
    /// The next bytes: what is ready, up to a piece. `None`: the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        for object in self.initial.by_ref() {
            self.frames.push(EventKind::Added, &object, &mut out);
            if out.len() >= PIECE {
                return Some(out.into());
            }
        }
        if let Some(revision) = self.initial_end.take() {
            self.frames.bookmark(revision, true, &mut out);
        }
        if !out.is_empty() {
            return Some(out.into());
        }
        let event = tokio::select! {
            biased;
            event = self.watcher.next() => event?,
            () = sleep_until(self.deadline) => return None,
            () = tick(&mut self.bookmarks) => {
                self.frames.bookmark(self.watcher.revision(), false, &mut out);
                return Some(out.into());
            }
        };
        self.frames.event(&event, &mut out);
        while out.len() < PIECE {
            // what is there already goes along
            match self.watcher.next().now_or_never() {
                Some(Some(event)) => self.frames.event(&event, &mut out),
                _ => break,
            }
        }
        Some(out.into())
    }
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Writes frames; remembers that a Table's columns have been said.
struct Frames {
    maker: Maker,
    columns_sent: bool,
}

impl Frames {
    fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        self.push(event.kind, &event.object, out);
    }

    fn push(&mut self, kind: EventKind, object: &Object, out: &mut Vec<u8>) {
        let name = match kind {
            EventKind::Added => "ADDED",
            EventKind::Modified => "MODIFIED",
            EventKind::Deleted => "DELETED",
        };
        let mut body = Vec::with_capacity(object.bytes.len() + 128);
        self.maker.push_object(object, !self.columns_sent, &mut body);
        self.columns_sent = true;
        self.frame(name, body, out);
    }

    fn bookmark(&mut self, revision: Revision, initial_end: bool, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        self.maker.push_bookmark(&revision.to_string(), initial_end, &mut body);
        self.frame("BOOKMARK", body, out);
    }

    fn error(&self, status: &Status) -> Vec<u8> {
        let mut out = Vec::new();
        let body = status.to_json().into_bytes();
        match self.maker.form.encoding {
            Encoding::Protobuf => push_protobuf("ERROR", &protobuf(&body, api::type_of_meta("Status")), &mut out),
            _ => push_line("ERROR", &body, &mut out),
        }
        out
    }

    fn frame(&self, name: &str, body: Vec<u8>, out: &mut Vec<u8>) {
        match self.maker.form.encoding {
            Encoding::Protobuf => push_protobuf(name, &protobuf(&body, self.maker.answer_type()), out),
            _ => push_line(name, &body, out),
        }
    }
}

fn push_line(name: &str, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(body);
    out.extend_from_slice(b"}\n");
}

/// The object with its envelope; empty when it cannot be written, which the tables rule out for what they serve.
fn protobuf(body: &[u8], type_: Option<&'static document::Type>) -> Vec<u8> {
    let encoded = respond::parse(body).ok().zip(type_).and_then(|(value, type_)| respond::protobuf(&value, type_));
    encoded.unwrap_or_default()
}

fn push_protobuf(name: &str, object: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&proto::frame(&proto::watch_event(name, object)));
}
