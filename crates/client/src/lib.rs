//! A client of the API: one `Api` in process and over HTTP, informers that keep facts, a work queue with back-off, an
//! event recorder. Knows resources by name only; decides nothing.

pub mod api;
pub mod events;
#[cfg(test)]
mod fake;
pub mod http;
pub mod informer;
pub mod object;
pub mod queue;
mod resource;
mod status;

pub use api::{Answer, Api, Call, ListOptions, ListResult, PatchKind, Transport, Verb, WatchEvent, WatchStream};
pub use events::Recorder;
pub use informer::{Change, Informer, Scope};
pub use queue::WorkQueue;
pub use resource::*;
pub use status::status_from;
