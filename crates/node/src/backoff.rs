//! Exponential back-off per key, as upstream's flowcontrol: 10 s doubling to 5 min, forgotten after twice the maximum.
//! Time is handed in, so that tests need none.

use std::{collections::HashMap, time::Duration, time::SystemTime};

/// First delay.
pub const INITIAL: Duration = Duration::from_secs(10);
/// Longest delay.
pub const MAXIMUM: Duration = Duration::from_secs(300);

/// Delays by key.
#[derive(Debug, Default)]
pub struct Backoff {
    entries: HashMap<String, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    delay: Duration,
    updated: SystemTime,
}

impl Backoff {
    /// The current delay; zero when there is none.
    pub fn delay(&self, key: &str) -> Duration {
        self.entries.get(key).map_or(Duration::ZERO, |e| e.delay)
    }

    /// Notes a failure at that time: the delay doubles, or starts anew after a long success.
    pub fn next(&mut self, key: &str, at: SystemTime) {
        let fresh = Entry { delay: INITIAL, updated: at };
        match self.entries.get_mut(key) {
            Some(entry) if !expired(entry, at) => {
                entry.delay = (entry.delay * 2).min(MAXIMUM);
                entry.updated = at;
            }
            _ => {
                self.entries.insert(key.to_owned(), fresh);
            }
        }
    }

    /// When it may be tried again, counted from `since` (a container's end); `None` is now. A `since` that has not
    /// happened yet is of a clock that was set back: it would be waited for until the clock is there again.
    pub fn until(&self, key: &str, since: SystemTime, now: SystemTime) -> Option<SystemTime> {
        let entry = self.entries.get(key)?;
        if expired(entry, since) || since > now {
            return None;
        }
        let until = since + entry.delay;
        (until > now).then_some(until)
    }

    /// When it may be tried again, counted from the last failure noted.
    pub fn until_from_update(&self, key: &str, now: SystemTime) -> Option<SystemTime> {
        let entry = self.entries.get(key)?;
        self.until(key, entry.updated, now)
    }

    /// Forgets a key.
    pub fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

/// Something that failed longer ago than twice the longest delay counts as new.
fn expired(entry: &Entry, at: SystemTime) -> bool {
    at.duration_since(entry.updated).is_ok_and(|age| age > 2 * MAXIMUM)
}

/// A duration as Go prints it: `10s`, `1m20s`, `5m0s`.
pub fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

/// Milliseconds as Go prints a truncated duration: `812ms`, `1.234s`, `1m2.5s`.
pub fn go_millis(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return if millis == 0 { "0s".into() } else { format!("{millis}ms") };
    }
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let mut seconds = format!("{}.{:03}", rest / 1000, rest % 1000);
    while seconds.ends_with('0') {
        seconds.pop();
    }
    let seconds = seconds.trim_end_matches('.').to_owned() + "s";
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, m) => format!("{m}m{seconds}"),
        (h, m) => format!("{h}h{m}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_five_minutes_and_start_anew_after_ten() {
        let mut backoff = Backoff::default();
        let mut now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        for want in [10, 20, 40, 80, 160, 300, 300] {
            backoff.next("k", now);
            assert_eq!(backoff.delay("k"), Duration::from_secs(want));
            assert_eq!(backoff.until("k", now, now), Some(now + Duration::from_secs(want)));
            now += Duration::from_secs(want);
            assert_eq!(backoff.until_from_update("k", now), None);
        }
        backoff.next("k", now + Duration::from_secs(601));
        assert_eq!(backoff.delay("k"), INITIAL);
    }

    #[test]
    fn nothing_waits_for_a_clock_that_was_set_back() {
        let mut backoff = Backoff::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        backoff.next("k", now);
        let earlier = now - Duration::from_secs(86_400 * 3650);
        assert_eq!(backoff.until("k", now, earlier), None);
        assert_eq!(backoff.until_from_update("k", earlier), None);
    }

    #[test]
    fn durations_print_as_in_go() {
        for (seconds, want) in [(10, "10s"), (80, "1m20s"), (300, "5m0s"), (3600, "1h0m0s")] {
            assert_eq!(go_duration(Duration::from_secs(seconds)), want);
        }
        for (millis, want) in [(0, "0s"), (812, "812ms"), (1230, "1.23s"), (60_000, "1m0s"), (62_500, "1m2.5s")] {
            assert_eq!(go_millis(Duration::from_millis(millis)), want);
        }
    }
}
