//! The story of the first issue, from outside: every test has a cluster of its own, and speaks with real clients.

// All of this is test code.
#![allow(clippy::unwrap_used)]

mod clients;
mod deletion;
mod durability;
mod identity;
mod images;
mod kubectl;
mod quickstart;
mod up;
mod wrong;
