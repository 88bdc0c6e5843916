//! Runs loops: workers that take keys from a queue, and their end.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use client::WorkQueue;
use meta::Status;
use tokio::task::JoinSet;

/// `Some`: look again after a while.
pub(crate) type Outcome = Result<Option<Duration>, Status>;

/// What a loop does for one key.
pub(crate) trait Work<K>: Send + Sync + 'static {
    const NAME: &'static str;

    fn sync(&self, key: K) -> impl Future<Output = Outcome> + Send;
}

/// Everything that runs.
#[derive(Default)]
pub(crate) struct Tasks(JoinSet<()>);

impl Tasks {
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }

    /// Starts workers on a queue.
    pub(crate) fn work<K, W>(&mut self, count: usize, queue: &WorkQueue<K>, work: &Arc<W>)
    where
        K: Clone + Debug + Eq + Hash + Send + 'static,
        W: Work<K>,
    {
        for _ in 0..count {
            let (queue, work) = (queue.clone(), work.clone());
            self.spawn(async move { take_all(&queue, &*work).await });
        }
    }

    pub(crate) async fn stop(mut self) {
        self.0.shutdown().await;
    }
}

async fn take_all<K: Clone + Debug + Eq + Hash + Send + 'static, W: Work<K>>(queue: &WorkQueue<K>, work: &W) {
    while let Some(key) = queue.next().await {
        match work.sync(key.clone()).await {
            Ok(again) => {
                queue.forget(&key);
                if let Some(delay) = again {
                    queue.add_after(key.clone(), delay);
                }
            }
            Err(error) => {
                tracing::debug!(controller = W::NAME, ?key, "failed, will retry: {}", error.message);
                queue.retry(key.clone());
            }
        }
        queue.done(&key);
    }
}
