//! How many requests are worked on at once: upstream's two bounds, reading and writing. Long-running ones (watch, exec,
//! logs that follow) are not counted; they are bounded by connections and streams.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;

use crate::handler::Head;

/// Counters with bounds.
pub(crate) struct InFlight {
    reading: Bound,
    writing: Bound,
}

struct Bound {
    now: AtomicUsize,
    /// 0: no bound.
    most: usize,
    /// The most at once since the last tick, and before it.
    peak: AtomicUsize,
    last_peak: AtomicUsize,
}

/// Gives its place back when dropped.
pub(crate) struct Slot<'a>(Option<&'a Bound>);

impl InFlight {
    pub(crate) fn new(reading: usize, writing: usize) -> Self {
        InFlight { reading: Bound::new(reading), writing: Bound::new(writing) }
    }

    /// `None` at the bound. Health checks always get in.
    pub(crate) fn enter(&self, head: &Head) -> Option<Slot<'_>> {
        match self.bound(head) {
            Some(bound) => bound.enter().then_some(Slot(Some(bound))),
            None => Some(Slot(None)),
        }
    }

    fn bound(&self, head: &Head) -> Option<&Bound> {
        if is_long_running(head) || crate::health::is_check(&head.route.attributes.path) {
            return None;
        }
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        Some(if reads { &self.reading } else { &self.writing })
    }

    /// Requests that are worked on now, long-running ones aside.
    pub(crate) fn busy(&self) -> usize {
        self.reading.now.load(Ordering::Acquire) + self.writing.now.load(Ordering::Acquire)
    }

    /// Begins a new second for [`InFlight::peaks`].
    pub(crate) fn tick(&self) {
        for bound in [&self.reading, &self.writing] {
            let peak = bound.peak.swap(bound.now.load(Ordering::Relaxed), Ordering::Relaxed);
            bound.last_peak.store(peak, Ordering::Relaxed);
        }
    }

    /// The most reading and writing requests at once in the last second.
    pub(crate) fn peaks(&self) -> (usize, usize) {
        (self.reading.last_peak.load(Ordering::Relaxed), self.writing.last_peak.load(Ordering::Relaxed))
    }
}

impl Bound {
    fn new(most: usize) -> Self {
        Bound { now: AtomicUsize::new(0), most, peak: AtomicUsize::new(0), last_peak: AtomicUsize::new(0) }
    }

    fn enter(&self) -> bool {
        let now = self.now.fetch_add(1, Ordering::AcqRel) + 1;
        if self.most > 0 && now > self.most {
            self.now.fetch_sub(1, Ordering::AcqRel);
            return false;
        }
        // almost never a new peak: reading costs less than writing
        if now > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(now, Ordering::Relaxed);
        }
        true
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Some(bound) = self.0 {
            bound.now.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Watches and tunnels.
pub(crate) fn is_long_running(head: &Head) -> bool {
    let a = &head.route.attributes;
    a.is_resource
        && (matches!(a.verb.as_str(), "watch" | "proxy")
            || matches!(a.subresource.as_str(), "attach" | "exec" | "log" | "portforward" | "proxy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_bound_and_remembers_its_peak() {
        let limits = InFlight::new(2, 0);
        assert!(limits.reading.enter() && limits.reading.enter());
        assert!(!limits.reading.enter());
        assert_eq!(limits.busy(), 2);
        drop(Slot(Some(&limits.reading)));
        assert!(limits.reading.enter());
        (0..5).for_each(|_| assert!(limits.writing.enter(), "no bound"));
        limits.tick();
        assert_eq!(limits.peaks(), (2, 5));
    }
}
