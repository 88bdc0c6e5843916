//! The stream under a connection, cheaper where a connection with a watch spends its time: what is written in one piece is
//! sent as one, and a reader that waits is not asked again until something came.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP stream. `send` costs the kernel less than `writev`, which TLS always asks for.
pub(crate) struct Socket(pub(crate) TcpStream);

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match bufs {
            [buf] => Pin::new(&mut self.0).poll_write(cx, buf),
            bufs => Pin::new(&mut self.0).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A stream of which a waiting reader asks nothing until it is woken: a connection is polled for every event that it
/// sends, and would look each time, through all layers, whether a request has come. Nothing else may read the stream: the
/// waker that it knows is the one of here.
pub(crate) struct Patient<S> {
    stream: S,
    /// Nothing was there to be read, and the waker was left with the stream.
    waits: bool,
    came: Arc<Came>,
    waker: Waker,
}

#[derive(Default)]
struct Came {
    came: AtomicBool,
    reader: AtomicWaker,
}

impl Wake for Came {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.came.store(true, Ordering::Release);
        self.reader.wake();
    }
}

impl<S> Patient<S> {
    pub(crate) fn new(stream: S) -> Self {
        let came = Arc::<Came>::default();
        Patient { stream, waits: false, waker: came.clone().into(), came }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // before the look, so that what comes after it wakes this reader
        this.came.reader.register(cx.waker());
        if this.waits && !this.came.came.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        this.came.came.swap(false, Ordering::AcqRel);
        let result = Pin::new(&mut this.stream).poll_read(&mut Context::from_waker(&this.waker), buf);
        this.waits = result.is_pending();
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::net::TcpListener;

    use super::*;

    /// Counts how often it is read.
    struct Counted(DuplexStream, Arc<AtomicUsize>);

    impl AsyncRead for Counted {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Polls a read of one byte on behalf of a task.
    fn read(patient: &mut Patient<Counted>, task: &Arc<Woken>) -> Option<u8> {
        let waker = Waker::from(task.clone());
        let mut byte = [0];
        let mut buf = ReadBuf::new(&mut byte);
        match Pin::new(patient).poll_read(&mut Context::from_waker(&waker), &mut buf) {
            Poll::Ready(result) => result.map(|()| buf.filled()[0]).ok(),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn a_reader_that_waits_does_not_ask_until_something_came() {
        let (stream, mut peer) = duplex(16);
        let reads = Arc::<AtomicUsize>::default();
        let mut patient = Patient::new(Counted(stream, reads.clone()));
        let tasks: [Arc<Woken>; 2] = Default::default();
        // the second task takes over from the first
        for task in [&tasks[0], &tasks[0], &tasks[1]] {
            assert_eq!(read(&mut patient, task), None);
        }
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        peer.write_all(b"ab").await.unwrap();
        assert_eq!(tasks.each_ref().map(|t| t.0.load(Ordering::Relaxed)), [0, 1]);
        // what is left is read without another wake
        assert_eq!([0; 3].map(|_| read(&mut patient, &tasks[1])), [Some(b'a'), Some(b'b'), None]);
        assert_eq!(reads.load(Ordering::Relaxed), 4);
        drop(peer);
        assert_eq!(tasks[1].0.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn pieces_arrive_in_order_one_or_several_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, peer) = tokio::join!(listener.accept(), peer);
        let mut socket = Socket(accepted.unwrap().0);
        for bufs in [&[IoSlice::new(b"one ")][..], &[IoSlice::new(b"two "), IoSlice::new(b"three")]] {
            let length = bufs.iter().map(|b| b.len()).sum::<usize>();
            assert_eq!(socket.write_vectored(bufs).await.unwrap(), length);
        }
        socket.shutdown().await.unwrap();
        let mut all = String::new();
        peer.unwrap().read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "one two three");
    }
}
