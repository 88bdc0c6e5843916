//! `WorkQueue`: keys that wait for a worker. A key waits at most once and is worked on by one worker at a time; what is
//! added meanwhile waits again afterwards. Failures are retried with exponential back-off.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Cheap to clone; all clones are one queue.
pub struct WorkQueue<K>(Arc<Inner<K>>);

struct Inner<K> {
    state: Mutex<State<K>>,
    changed: Notify,
    first: Duration,
    longest: Duration,
}

struct State<K> {
    ready: VecDeque<K>,
    /// In `ready`, or to be when its worker is done.
    waiting: HashSet<K>,
    working: HashSet<K>,
    delayed: BinaryHeap<Reverse<Delayed<K>>>,
    failures: HashMap<K, u32>,
    closed: bool,
}

struct Delayed<K> {
    at: Instant,
    key: K,
}

impl<K: Clone + Eq + Hash + Send + 'static> WorkQueue<K> {
    /// With upstream's back-off: 5 ms, doubled up to 1000 s.
    pub fn new() -> Self {
        WorkQueue::with_backoff(Duration::from_millis(5), Duration::from_secs(1000))
    }

    pub fn with_backoff(first: Duration, longest: Duration) -> Self {
        let state = State {
            ready: VecDeque::new(),
            waiting: HashSet::new(),
            working: HashSet::new(),
            delayed: BinaryHeap::new(),
            failures: HashMap::new(),
            closed: false,
        };
        WorkQueue(Arc::new(Inner { state: Mutex::new(state), changed: Notify::new(), first, longest }))
    }

    pub fn add(&self, key: K) {
        self.0.state.lock().add(key);
        self.0.changed.notify_one();
    }

    pub fn add_after(&self, key: K, delay: Duration) {
        let at = Instant::now() + delay;
        self.0.state.lock().delayed.push(Reverse(Delayed { at, key }));
        self.0.changed.notify_one();
    }

    /// Adds a key whose work failed, after its back-off.
    pub fn retry(&self, key: K) {
        let failures = {
            let mut state = self.0.state.lock();
            let count = state.failures.entry(key.clone()).or_default();
            *count += 1;
            *count - 1
        };
        let delay = self.0.first.saturating_mul(1 << failures.min(30)).min(self.0.longest);
        self.add_after(key, delay);
    }

    /// The key's work succeeded: the next failure starts at the shortest back-off.
    pub fn forget(&self, key: &K) {
        self.0.state.lock().failures.remove(key);
    }

    /// Waits for a key. `done` must follow. `None`: closed.
    pub async fn next(&self) -> Option<K> {
        loop {
            let changed = self.0.changed.notified();
            let wake = {
                let mut state = self.0.state.lock();
                if state.closed {
                    self.0.changed.notify_one();
                    return None;
                }
                state.release_delayed(Instant::now());
                if let Some(key) = state.take() {
                    if !state.ready.is_empty() || !state.delayed.is_empty() {
                        // for the next worker
                        self.0.changed.notify_one();
                    }
                    return Some(key);
                }
                state.delayed.peek().map(|d| d.0.at)
            };
            match wake {
                Some(at) => tokio::select! { () = changed => {}, () = sleep_until(at) => {} },
                None => changed.await,
            }
        }
    }

    /// The key's worker is done with it.
    pub fn done(&self, key: &K) {
        let mut state = self.0.state.lock();
        state.working.remove(key);
        if state.waiting.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.0.changed.notify_one();
        }
    }

    /// Ends all workers.
    pub fn close(&self) {
        self.0.state.lock().closed = true;
        self.0.changed.notify_waiters();
        self.0.changed.notify_one();
    }

    /// Works until the queue is closed: `Ok(None)` is success, `Ok(Some(delay))` asks to be called again, `Err` is
    /// logged and retried with back-off.
    pub async fn work<E, W, F>(&self, name: &'static str, mut work: W)
    where
        K: std::fmt::Debug,
        E: std::fmt::Display,
        W: FnMut(K) -> F,
        F: Future<Output = Result<Option<Duration>, E>>,
    {
        while let Some(key) = self.next().await {
            match work(key.clone()).await {
                Ok(again) => {
                    self.forget(&key);
                    if let Some(delay) = again {
                        self.add_after(key.clone(), delay);
                    }
                }
                Err(error) => {
                    tracing::debug!(controller = name, ?key, "failed, will retry: {error}");
                    self.retry(key.clone());
                }
            }
            self.done(&key);
        }
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn add(&mut self, key: K) {
        if self.waiting.insert(key.clone()) && !self.working.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn release_delayed(&mut self, now: Instant) {
        while self.delayed.peek().is_some_and(|d| d.0.at <= now) {
            if let Some(Reverse(delayed)) = self.delayed.pop() {
                self.add(delayed.key);
            }
        }
    }

    fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.waiting.remove(&key);
        self.working.insert(key.clone());
        Some(key)
    }
}

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        WorkQueue(self.0.clone())
    }
}

impl<K: Clone + Eq + Hash + Send + 'static> Default for WorkQueue<K> {
    fn default() -> Self {
        WorkQueue::new()
    }
}

impl<K> PartialEq for Delayed<K> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<K> Eq for Delayed<K> {}

impl<K> PartialOrd for Delayed<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Delayed<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_waits_once_and_again_when_added_during_its_work() {
        let queue = WorkQueue::new();
        queue.add(1);
        queue.add(1);
        queue.add(2);
        assert_eq!(queue.next().await, Some(1));
        queue.add(1);
        assert_eq!(queue.next().await, Some(2));
        assert!(tokio::time::timeout(Duration::from_millis(20), queue.next()).await.is_err());
        queue.done(&1);
        assert_eq!(queue.next().await, Some(1));
    }

    #[tokio::test]
    async fn failures_wait_twice_as_long_each_time() {
        let queue = WorkQueue::with_backoff(Duration::from_millis(10), Duration::from_millis(25));
        for least in [10, 20, 25] {
            let begin = Instant::now();
            queue.retry("x");
            let key = queue.next().await.unwrap();
            assert!(begin.elapsed() >= Duration::from_millis(least));
            queue.done(&key);
        }
        queue.forget(&"x");
        assert!(queue.0.state.lock().failures.is_empty());
    }

    #[tokio::test]
    async fn closing_ends_all_workers() {
        let queue: WorkQueue<u8> = WorkQueue::new();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.next().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.close();
        for worker in workers {
            assert_eq!(worker.await.unwrap(), None);
        }
    }
}
