//! A log that keeps nothing: for tests and `--storage memory`.

use super::{Garbage, Log, LogError, Record, Replayed};

#[derive(Debug, Default)]
pub struct Null;

impl Log for Null {
    fn replay(&mut self, _: &mut dyn FnMut(Record)) -> Result<Replayed, LogError> {
        Ok(Replayed::default())
    }

    fn append(&mut self, _: &[Record]) -> Result<(), LogError> {
        Ok(())
    }

    fn compact(&mut self, _: Garbage) {}
}
