//! What an object keeps beside its bytes once somebody asked: its message in protobuf. All of them together stay within a
//! budget; what finds no room is made anew each time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Bytes that all objects of the process together may keep.
const BUDGET: usize = 24 << 20;

static HELD: AtomicUsize = AtomicUsize::new(0);

/// Filled once, at first use. A clone starts empty, for it may become another revision.
#[derive(Debug, Default)]
pub struct Memo(OnceLock<Box<Bytes>>);

impl Memo {
    /// What is kept, or what `make` says, which is kept when there is room.
    ///
    /// # Errors
    /// Those of `make`; nothing is kept then.
    pub fn get<E>(&self, make: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        if let Some(kept) = self.0.get() {
            return Ok((**kept).clone());
        }
        let made = make()?;
        let size = made.len();
        let room = HELD.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(size).filter(|sum| *sum <= BUDGET)
        });
        if room.is_ok() && self.0.set(Box::new(made.clone())).is_err() {
            // somebody else was faster
            HELD.fetch_sub(size, Ordering::Relaxed);
        }
        Ok(made)
    }
}

impl Drop for Memo {
    fn drop(&mut self) {
        if let Some(kept) = self.0.get() {
            HELD.fetch_sub(kept.len(), Ordering::Relaxed);
        }
    }
}

impl Clone for Memo {
    fn clone(&self) -> Self {
        Memo::default()
    }
}

impl PartialEq for Memo {
    /// What is kept follows from the object: two objects are equal without it.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Memo {}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &'static str) -> Result<Bytes, ()> {
        Ok(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn what_was_made_once_is_kept_and_a_clone_starts_empty() {
        let memo = Memo::default();
        assert!(memo.get(|| Err(())).is_err(), "a failure is not kept");
        assert_eq!(memo.get(|| made("first")), made("first"));
        assert_eq!(memo.get(|| made("second")), made("first"));
        assert_eq!(memo.clone().get(|| made("third")), made("third"));
    }

    #[test]
    fn what_finds_no_room_is_made_anew() {
        let memo = Memo::default();
        let large = |fill| Ok::<_, ()>(Bytes::from(vec![fill; BUDGET + 1]));
        assert_eq!(memo.get(|| large(1)).map(|b| b[0]), Ok(1));
        assert_eq!(memo.get(|| large(2)).map(|b| b[0]), Ok(2));
    }
}
