//! Watches on the wire: one frame per event, as JSON lines or length-delimited protobuf, whole, as Table rows or as
//! metadata. A watch ends at its timeout, when it falls off the history, or with the server.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use document::Object;
use meta::{Revision, Status};
use registry::Watch;
use store::{Event, EventKind, Watcher};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::body::Body;
use crate::ending::{Ended, Rarely};
use crate::frames::{self, Recent};
use crate::metrics::Events;
use crate::negotiate::Shape;
use crate::resource::Call;
use crate::respond::{self, Reply};
use crate::shape::Maker;

const PIECE: usize = 64 * 1024;
/// A client may ask for more than a clock can count.
const LONGEST: Duration = Duration::from_secs(30 * 365 * 86_400);
const BOOKMARKS: Duration = Duration::from_secs(60);

/// Answers a watch that the registry has begun, or says in the stream that its revision is gone.
pub(crate) fn answer(call: &Call<'_>, maker: Maker, begun: Result<Watch, Status>) -> Reply {
    let content_type = maker.form.encoding.stream_content_type();
    let watch = match begun {
        Ok(watch) => watch,
        // a version that is gone, or that does not come while the initial events wait for it
        Err(status) if status.is_expired() || status.code == 504 => {
            return respond::plain(200, content_type, Body::full(frames::error(&maker, &status)));
        }
        Err(status) => return call.head.refuse(&status),
    };
    if matches!(maker.form.shape, Shape::PartialList { .. }) {
        // upstream cannot make a list of an event, and ends the stream without a word
        return respond::plain(200, content_type, Body::empty());
    }
    let timeout = watch.timeout.unwrap_or_else(|| spread(call.handler.config.min_watch_timeout));
    let stream = Stream {
        maker: maker.with_row(watch.resource),
        columns_sent: false,
        recent: call.handler.recent.clone(),
        events: call.handler.metrics.events(call.row.group, call.row.version, call.row.plural),
        initial: watch.initial.into_iter(),
        initial_end: watch.initial_end,
        watcher: watch.watcher,
        beside: Beside::new(call.handler.ended(), Instant::now() + timeout.min(LONGEST), watch.bookmarks),
    };
    let pieces = futures::stream::unfold(stream, |mut stream| async move { Some((stream.next().await?, stream)) });
    respond::plain(200, content_type, Body::pieces(pieces))
}

/// Between the time and twice the time, so that watches do not end all at once.
fn spread(least: Duration) -> Duration {
    let random = u64::from_le_bytes(meta::random::bytes::<8>());
    least + Duration::from_millis(random % (least.as_millis().max(1) as u64))
}

struct Stream {
    maker: Maker,
    /// A Table's columns have been said.
    columns_sent: bool,
    recent: Arc<Recent>,
    /// Where what is sent is counted.
    events: Arc<Events>,
    initial: std::vec::IntoIter<Arc<Object>>,
    /// The end of `initial` is still to be said, by a bookmark of this revision.
    initial_end: Option<Revision>,
    watcher: Watcher,
    beside: Beside,
}

/// What else a watch waits for.
struct Beside {
    ended: Ended,
    deadline: Instant,
    /// When the next bookmark is due.
    bookmark: Option<Instant>,
    /// Runs out at the earlier of the two.
    timer: Rarely<Pin<Box<Sleep>>>,
}

enum Due {
    End,
    Bookmark,
}

impl Beside {
    fn new(ended: Ended, deadline: Instant, bookmarks: bool) -> Self {
        let bookmark = bookmarks.then(|| Instant::now() + BOOKMARKS);
        Beside { ended, deadline, bookmark, timer: Self::timer(deadline, bookmark) }
    }

    fn timer(deadline: Instant, bookmark: Option<Instant>) -> Rarely<Pin<Box<Sleep>>> {
        Rarely::new(Box::pin(sleep_until(bookmark.map_or(deadline, |b| b.min(deadline)))))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        if Pin::new(&mut self.ended).poll(cx).is_ready() {
            return Poll::Ready(Due::End);
        }
        let next = self.bookmark.map_or(self.deadline, |b| b.min(self.deadline));
        // a timer counts milliseconds
        ready!(self.timer.poll(cx, || Instant::now() + Duration::from_millis(1) >= next));
        if next == self.deadline {
            return Poll::Ready(Due::End);
        }
        self.bookmark = Some(Instant::now() + BOOKMARKS);
        self.timer = Self::timer(self.deadline, self.bookmark);
        Poll::Ready(Due::Bookmark)
    }
}

impl Stream {
    /// The next bytes: what is ready, up to a piece. `None`: the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(piece) = self.beginning() {
            return Some(piece);
        }
        let event = {
            let mut next = pin!(self.watcher.next());
            // first, so that a watch that always has an event ends, too
            let step = poll_fn(|cx| match self.beside.poll(cx) {
                Poll::Ready(due) => Poll::Ready(Err(due)),
                Poll::Pending => next.as_mut().poll(cx).map(Ok),
            });
            step.await
        };
        let event = match event {
            Ok(event) => event?,
            Err(Due::End) => return None,
            Err(Due::Bookmark) => {
                let bookmark = frames::bookmark(&self.maker, self.watcher.revision(), false);
                self.events.observe(bookmark.len() as u64);
                return Some(bookmark.into());
            }
        };
        let first = self.frame(&event);
        // what is there already goes along
        let mut more = Vec::new();
        while first.len() + more.len() < PIECE {
            let Some(event) = self.watcher.try_next() else { break };
            if more.is_empty() {
                more.extend_from_slice(&first);
            }
            let next = self.frame(&event);
            more.extend_from_slice(&next);
        }
        Some(if more.is_empty() { first } else { more.into() })
    }

    /// A piece of what was there when the watch began, and the bookmark behind it.
    fn beginning(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        for object in self.initial.by_ref() {
            let before = out.len();
            frames::push(&self.maker, EventKind::Added, &object, !self.columns_sent, &mut out);
            self.events.observe((out.len() - before) as u64);
            self.columns_sent = true;
            if out.len() >= PIECE {
                return Some(out.into());
            }
        }
        if let Some(revision) = self.initial_end.take() {
            let bookmark = frames::bookmark(&self.maker, revision, true);
            self.events.observe(bookmark.len() as u64);
            out.extend(bookmark);
        }
        (!out.is_empty()).then(|| out.into())
    }

    fn frame(&mut self, event: &Event) -> Bytes {
        let columns = !std::mem::replace(&mut self.columns_sent, true);
        let frame = self.recent.frame(&self.maker, event, columns);
        self.events.observe(frame.len() as u64);
        frame
    }
}
