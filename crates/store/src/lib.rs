//! Objects by revision, in memory; a `Log` makes them durable. Commit, view, watch, observe. Knows no Kubernetes kind
//! and decides nothing: who may write is settled before a transaction is sealed.

pub mod transaction;

pub use transaction::{Effect, Precondition, Sealed, Transaction, Write};
