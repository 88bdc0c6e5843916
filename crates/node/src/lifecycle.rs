//! The life of a pod on this node: what it may ask (`refuse`), what to do next (`plan`), what is said about it
//! (`status`), all pure; `worker` performs it, one task per pod.

mod clock;
pub(crate) mod context;
pub(crate) mod lower;
pub mod plan;
pub mod pull;
pub mod refuse;
pub mod status;
pub(crate) mod worker;
