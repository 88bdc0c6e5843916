//! Notices when the machine's clock is set: the wall clock then moved by something else than the steady one. Moments that
//! were written down before mean nothing any more.

use std::time::{Duration, Instant, SystemTime};

/// Clocks are corrected by less than this all the time.
const CORRECTION: Duration = Duration::from_secs(30);

/// Both clocks as they were looked at last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    wall: SystemTime,
    steady: Instant,
}

impl Clocks {
    pub(super) fn now() -> Self {
        Clocks { wall: SystemTime::now(), steady: Instant::now() }
    }

    /// Whether the wall clock was set between then and `later`.
    pub(super) fn was_set(&self, later: &Clocks) -> bool {
        let steady = later.steady.saturating_duration_since(self.steady);
        match later.wall.duration_since(self.wall) {
            Ok(wall) => wall.abs_diff(steady) > CORRECTION,
            Err(back) => back.duration().saturating_add(steady) > CORRECTION,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_was_set_when_it_moved_by_something_else_than_time() {
        let before = Clocks::now();
        let check = |wall: i64, steady: u64, want: bool| {
            let distance = Duration::from_secs(wall.unsigned_abs());
            let wall = if wall < 0 { before.wall - distance } else { before.wall + distance };
            let later = Clocks { wall, steady: before.steady + Duration::from_secs(steady) };
            assert_eq!(before.was_set(&later), want, "{wall:?} {steady}");
        };
        check(0, 0, false);
        check(3600, 3600, false);
        check(3620, 3600, false);
        check(-10, 5, false);
        check(86_400 * 3650, 60, true);
        check(-86_400 * 3650, 60, true);
        check(0, 3600, true);
    }
}
