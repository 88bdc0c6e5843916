//! PersistentVolumes and claims are bound to each other.
//!
//! Not here: provisioning, deletion and recycling of what is behind a volume, growing, attaching.

mod binder;
mod matching;

pub(crate) use binder::start as start_binder;
