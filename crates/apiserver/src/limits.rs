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
    most: usize,
}

/// Gives its place back when dropped.
pub(crate) struct Slot<'a>(Option<&'a Bound>);

impl InFlight {
    pub(crate) fn new(reading: usize, writing: usize) -> Self {
        let bound = |most| Bound { now: AtomicUsize::new(0), most };
        InFlight { reading: bound(reading), writing: bound(writing) }
    }

    /// `None` at the bound. Health checks always get in.
    pub(crate) fn enter(&self, head: &Head) -> Option<Slot<'_>> {
        if is_long_running(head) || crate::health::is_check(&head.route.attributes.path) {
            return Some(Slot(None));
        }
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        let bound = if reads { &self.reading } else { &self.writing };
        if bound.now.fetch_add(1, Ordering::AcqRel) >= bound.most {
            bound.now.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Slot(Some(bound)))
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
        && (a.verb == "watch" || matches!(a.subresource.as_str(), "attach" | "exec" | "log" | "portforward" | "proxy"))
}
