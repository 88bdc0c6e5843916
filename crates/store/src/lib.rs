//! Objects by revision, in memory; a `Log` makes them durable. Commit, view, watch, observe. Knows no Kubernetes kind
//! and decides nothing: who may write is settled before a transaction is sealed.
//!
//! Truth is a `View`: per resource a persistent ordered set of objects, so that a view is one pointer, stays readable as
//! long as it is held and never blocks a writer. One thread commits (`commit`); what is shown is on disk.

mod commit;
mod history;
pub mod log;
mod observer;
mod replay;
mod shelf;
mod store;
#[cfg(test)]
mod tests;
pub mod transaction;
mod view;
mod watch;

pub use log::{Log, LogError, OpenError, Record};
pub use observer::{Change, Observer, Slot};
pub use store::{CommitError, Committed, Options, Reseal, Store, Unreadable, Writer};
pub use transaction::{Effect, Precondition, Sealed, Transaction, Write};
pub use view::View;
pub use watch::{Compacted, Event, EventKind, Filter, Watcher};
