//! May it look like this? Admission: plugins change (`mutate`) and judge (`validate`) what a request wants to write,
//! in upstream's order. Synchronous functions of one view. Not here: field validation (`api::validation`).

pub mod chain;
pub mod plugins;
pub mod review;
#[cfg(test)]
mod tests;
pub mod world;

pub use chain::{Chain, Config, UnknownPlugin};
pub use review::{Operation, Review};
pub use world::World;

use meta::Status;

/// One admission plugin. Both steps default to "has nothing to say".
pub trait Plugin: Send + Sync {
    /// Upstream's name, as flags and errors spell it.
    fn name(&self) -> &'static str;

    /// Changes `review.object`.
    ///
    /// # Errors
    /// The refusal, as it is answered.
    fn mutate(&self, _review: &mut Review<'_>) -> Result<(), Status> {
        Ok(())
    }

    /// Judges the finished object. May add warnings and read preconditions, not change the object.
    ///
    /// # Errors
    /// The refusal, as it is answered.
    fn validate(&self, _review: &mut Review<'_>) -> Result<(), Status> {
        Ok(())
    }
}
