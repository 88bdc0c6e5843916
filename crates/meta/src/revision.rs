//! A point in the history of the store: upstream's resourceVersion as a number.

use std::fmt;

/// The store's global, strictly rising revision. `Revision(0)` is "before everything" and never written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// Parses the decimal form that clients send; `None` when it is not a plain unsigned number.
    pub fn parse(text: &str) -> Option<Revision> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok().map(Revision)).flatten()
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
