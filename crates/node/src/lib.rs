//! node

pub mod cgroup;
pub mod image;
pub mod network;
pub mod runtime;
