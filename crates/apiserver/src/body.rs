//! What leaves the server: nothing, one piece, or pieces as they are made (lists, watches, logs).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use futures::stream::BoxStream;
use http_body::{Frame, SizeHint};

use crate::handler::Tail;

/// The body of one response.
pub(crate) enum Body {
    Full(Option<Bytes>),
    /// With what is to be counted at its end.
    Pieces(BoxStream<'static, Bytes>, Option<Box<Tail>>),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Body::Full(None)
    }

    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Body::Full((!bytes.is_empty()).then_some(bytes))
    }

    /// Pieces leave one by one; the end of the stream is the end of the body.
    pub(crate) fn pieces(stream: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Body::Pieces(Box::pin(stream), None)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Body::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Body::Pieces(stream, tail) => stream.as_mut().poll_next(cx).map(|next| {
                if let (Some(tail), Some(piece)) = (tail, &next) {
                    tail.size += piece.len() as u64;
                }
                next.map(|b| Ok(Frame::data(b)))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Body::Pieces(..) => SizeHint::default(),
        }
    }
}
