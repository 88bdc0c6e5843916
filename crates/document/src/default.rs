//! Defaulting: an interpreter of the steps that crate `api` carries for each kind.

mod steps;

pub use steps::{Action, Condition, Literal, Operation, Path, Run, Segment, Special, Step, To, When};
