//! The node agent: a client of the API server with an identity of its own (`system:node:<name>`), which runs the pods
//! that are bound to its node. `Agent::run` is the whole of it; how the server or the agent is started is not known here.
//!
//! `lifecycle` decides and performs what a pod needs; `volumes`, `env`, `security` and `resources` lower a pod into the
//! terms of `runtime` (the port to whatever runs containers), `image` and `network`; `server` is the kubelet's HTTPS API.

pub mod agent;
pub mod backoff;
pub mod cgroup;
mod convert;
pub mod env;
pub mod fake;
pub mod host;
pub mod image;
pub mod lifecycle;
pub mod logs;
pub mod network;
mod objects;
pub mod pod;
mod registration;
pub mod resources;
pub mod runtime;
pub mod security;
pub mod server;
pub mod sources;
pub mod taints;
pub mod volumes;

pub use agent::{Agent, AgentError, Config};
