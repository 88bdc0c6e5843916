//! Ends that long-lived tasks wait for, at no cost while they do not come: a connection or a watch is woken for each event,
//! and must not ask locks each time whether it is to end.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use futures::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::task::{Unconstrained, unconstrained};

/// A future that is polled only when something says that it may be ready, or when another task waits for it than before.
pub(crate) struct Rarely<F> {
    /// Outside of tokio's budget: one that was sent away for lack of it would not have noted whom to wake.
    future: Unconstrained<F>,
    /// Whom the future wakes.
    waker: Option<Waker>,
}

impl<F: Future + Unpin> Rarely<F> {
    pub(crate) fn new(future: F) -> Self {
        Rarely { future: unconstrained(future), waker: None }
    }

    /// `may_be_ready` must be true whenever the future is.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, may_be_ready: impl FnOnce() -> bool) -> Poll<F::Output> {
        let waits = self.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker()));
        if waits && !may_be_ready() {
            return Poll::Pending;
        }
        self.waker = Some(cx.waker().clone());
        let output = ready!(Pin::new(&mut self.future).poll(cx));
        self.waker = None;
        Poll::Ready(output)
    }
}

/// Completes when the server's end has begun.
pub(crate) struct Ended {
    /// Knows without a lock whether something was said.
    said: Option<watch::Receiver<bool>>,
    future: Rarely<BoxFuture<'static, ()>>,
}

impl Ended {
    /// `None`: a server that does not end.
    pub(crate) fn new(shutdown: Option<watch::Receiver<bool>>) -> Self {
        let waited = shutdown.clone();
        let future = async move {
            match waited {
                Some(mut shutdown) => {
                    let _ = shutdown.wait_for(|ended| *ended).await;
                }
                None => std::future::pending().await,
            }
        };
        Ended { said: shutdown, future: Rarely::new(Box::pin(future)) }
    }
}

impl Future for Ended {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Ended { said, future } = &mut *self;
        future.poll(cx, || said.as_ref().is_some_and(|s| s.has_changed().unwrap_or(true)))
    }
}

/// Something that happens once and is waited for by one task.
#[derive(Default)]
pub(crate) struct Flag {
    raised: AtomicBool,
    notify: Notify,
}

impl Flag {
    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Completes when it has been raised.
    pub(crate) fn raised(&self) -> impl Future<Output = ()> + '_ {
        let mut future = Rarely::new(Box::pin(self.notify.notified()));
        std::future::poll_fn(move |cx| future.poll(cx, || self.raised.load(Ordering::Acquire)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_future_that_cannot_be_ready_is_left_alone() {
        let polls = AtomicUsize::new(0);
        let mut rarely = Rarely::new(std::future::poll_fn(|_| {
            polls.fetch_add(1, Ordering::Relaxed);
            Poll::<()>::Pending
        }));
        let mut polled = |waker: &Waker, may_be_ready| {
            assert!(rarely.poll(&mut Context::from_waker(waker), || may_be_ready).is_pending());
            polls.load(Ordering::Relaxed)
        };
        let (one, other) = (Waker::from(Arc::<Count>::default()), Waker::from(Arc::<Count>::default()));
        assert_eq!([polled(&one, false), polled(&one, false), polled(&one, true)], [1, 1, 2]);
        assert_eq!([polled(&other, false), polled(&other, false)], [3, 3]);
    }

    #[test]
    fn ends_wake_whoever_waited_last() {
        let (send, receive) = watch::channel(false);
        let flag = Flag::default();
        let mut ended = Ended::new(Some(receive));
        let mut raised = Box::pin(flag.raised());
        let counts: [Arc<Count>; 2] = Default::default();
        // the second task takes over from the first
        for count in counts.iter().chain([&counts[1]]) {
            let waker = Waker::from(count.clone());
            let mut cx = Context::from_waker(&waker);
            assert!(Pin::new(&mut ended).poll(&mut cx).is_pending());
            assert!(raised.as_mut().poll(&mut cx).is_pending());
        }
        flag.raise();
        send.send_replace(true);
        assert_eq!(counts.each_ref().map(|c| c.0.load(Ordering::Relaxed)), [0, 2]);
        let waker = Waker::from(counts[1].clone());
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut ended).poll(&mut cx).is_ready());
        assert!(raised.as_mut().poll(&mut cx).is_ready());
    }

    #[tokio::test]
    async fn an_end_that_came_before_is_seen() {
        let (send, receive) = watch::channel(false);
        send.send_replace(true);
        Ended::new(Some(receive)).await;
        let flag = Flag::default();
        flag.raise();
        flag.raised().await;
    }
}
