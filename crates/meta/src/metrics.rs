//! Counters and histograms that threads add to without meeting: each has a shard per group of threads, and only a scrape
//! looks at all of them. Not here: what is counted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Groups of threads; a thread stays in its own.
pub const SHARDS: usize = 8;

/// The shard of this thread.
pub fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static OWN: usize = NEXT.fetch_add(1, Relaxed) % SHARDS);
    OWN.with(|own| *own)
}

/// A number alone in its cache line.
#[derive(Default)]
#[repr(align(64))]
struct Padded(AtomicU64);

/// Only rises, except by [`Counter::reset`].
#[derive(Default)]
pub struct Counter([Padded; SHARDS]);

impl Counter {
    pub fn inc(&self) {
        self.add(1);
    }

    pub fn add(&self, n: u64) {
        self.0[shard()].0.fetch_add(n, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.iter().map(|p| p.0.load(Relaxed)).fold(0, u64::wrapping_add)
    }

    pub fn reset(&self) {
        self.0.iter().for_each(|p| p.0.store(0, Relaxed));
    }
}

/// Goes up and down; may be read while it does, so never below zero.
#[derive(Default)]
pub struct Gauge(Counter);

impl Gauge {
    pub fn inc(&self) {
        self.0.add(1);
    }

    pub fn dec(&self) {
        self.0.add(u64::MAX);
    }

    pub fn get(&self) -> u64 {
        let now = self.0.get();
        if now > u64::MAX / 2 { 0 } else { now }
    }
}

/// How many of what is measured lie below each bound. `N` is the number of bounds plus one, for what lies above all.
#[repr(align(64))]
pub struct Bins<const N: usize> {
    bins: [AtomicU64; N],
    /// In the unit of the observation: nanoseconds, bytes.
    sum: AtomicU64,
}

impl<const N: usize> std::fmt::Debug for Histogram<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Histogram")
    }
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Counter({})", self.get())
    }
}

impl<const N: usize> Default for Bins<N> {
    fn default() -> Self {
        Bins { bins: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }
}

impl<const N: usize> Bins<N> {
    /// `bounds` are inclusive and rise.
    pub fn observe(&self, bounds: &[u64], value: u64) {
        let at = bounds.partition_point(|bound| *bound < value).min(N - 1);
        self.bins[at].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// Adds what is here to `all`.
    pub fn read(&self, all: &mut Distribution) {
        all.bins.resize(N, 0);
        for (sum, bin) in all.bins.iter_mut().zip(&self.bins) {
            *sum += bin.load(Relaxed);
        }
        all.sum = all.sum.wrapping_add(self.sum.load(Relaxed));
    }

    pub fn reset(&self) {
        self.bins.iter().for_each(|bin| bin.store(0, Relaxed));
        self.sum.store(0, Relaxed);
    }
}

/// A histogram at one moment: not cumulative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    pub bins: Vec<u64>,
    pub sum: u64,
}

impl Distribution {
    pub fn count(&self) -> u64 {
        self.bins.iter().sum()
    }

    pub fn add(&mut self, other: &Distribution) {
        self.bins.resize(self.bins.len().max(other.bins.len()), 0);
        for (sum, bin) in self.bins.iter_mut().zip(&other.bins) {
            *sum += bin;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// Bins per shard.
pub struct Histogram<const N: usize> {
    bounds: &'static [u64],
    shards: [Bins<N>; SHARDS],
}

impl<const N: usize> Histogram<N> {
    /// `bounds` are inclusive and rise; there are `N - 1`.
    pub fn new(bounds: &'static [u64]) -> Self {
        Histogram { bounds, shards: std::array::from_fn(|_| Bins::default()) }
    }

    pub fn observe(&self, value: u64) {
        self.shards[shard()].observe(self.bounds, value);
    }

    /// Observes a time in nanoseconds.
    pub fn took(&self, time: Duration) {
        self.observe(nanos(time));
    }

    /// What all threads have added so far.
    pub fn read(&self) -> Distribution {
        let mut all = Distribution::default();
        self.shards.iter().for_each(|bins| bins.read(&mut all));
        all
    }

    pub fn reset(&self) {
        self.shards.iter().for_each(Bins::reset);
    }
}

/// A time in nanoseconds, the unit of histograms of times.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_add_is_seen_by_a_scrape() {
        let (counter, histogram) = (Counter::default(), Histogram::<3>::new(&[10, 20]));
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    counter.inc();
                    [10, 11, 21].into_iter().for_each(|value| histogram.observe(value));
                });
            }
        });
        assert_eq!(counter.get(), 20);
        assert_eq!(histogram.read(), Distribution { bins: vec![20, 20, 20], sum: 20 * 42 });
        counter.reset();
        assert_eq!(counter.get(), 0);
    }

    #[test]
    fn a_gauge_may_fall_on_another_thread_than_it_rose_on() {
        let gauge = Gauge::default();
        gauge.inc();
        std::thread::scope(|scope| {
            scope.spawn(|| gauge.dec());
        });
        assert_eq!(gauge.get(), 0);
    }
}
