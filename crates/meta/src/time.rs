//! Times as the API writes them: RFC 3339 in UTC, whole seconds (`Time`) or six digits (`MicroTime`).

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the clock was set forward by, in microseconds; tests alone do that.
static JUMP: AtomicI64 = AtomicI64::new(0);

/// The first and the last microsecond whose year has four digits.
const FIRST: i64 = -62_167_219_200_000_000;
const LAST: i64 = 253_402_300_799_999_999;

/// Seconds since 1970, printed as `2026-01-02T03:04:05Z`: upstream's `metav1.Time`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

/// Microseconds since 1970, printed with exactly six digits: upstream's `metav1.MicroTime`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MicroTime(pub i64);

impl Time {
    pub fn now() -> Self {
        Time(micros_now().div_euclid(1_000_000))
    }

    /// Reads any RFC 3339 time with an offset; fractions are cut, as upstream does.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Time(parse_micros(text)?.div_euclid(1_000_000)))
    }
}

impl MicroTime {
    pub fn now() -> Self {
        MicroTime(micros_now())
    }

    /// Reads RFC 3339 with exactly six fractional digits, as upstream demands.
    pub fn parse(text: &str) -> Option<Self> {
        let fraction = text.split_once('.')?.1;
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 6 { parse_micros(text).map(MicroTime) } else { None }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_seconds(f, self.0)?;
        f.write_str("Z")
    }
}

impl fmt::Display for MicroTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_seconds(f, self.0.div_euclid(1_000_000))?;
        write!(f, ".{:06}Z", self.0.rem_euclid(1_000_000))
    }
}

/// Sets the clock of this process, as an operator or NTP does to that of a machine: `now` of both types is so many
/// seconds off from here on. For tests of what a jump does.
pub fn jump(seconds: i64) {
    JUMP.store(seconds.saturating_mul(1_000_000), Ordering::Relaxed);
}

/// Between 1970 and 9999, whatever the machine's clock says: what lies outside cannot be written as the API writes it.
fn micros_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let real = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    real.saturating_add(JUMP.load(Ordering::Relaxed)).clamp(0, LAST)
}

/// Strict RFC 3339: `T` and an offset are needed, years have four digits, before and after the offset.
fn parse_micros(text: &str) -> Option<i64> {
    let (stamp, rest) = text.split_at_checked(19)?;
    let b = stamp.as_bytes();
    if !stamp.is_ascii() || [b[4], b[7], b[10], b[13], b[16]] != *b"--T::" {
        return None;
    }
    let part = |at: usize, length: usize, most: i64| number(&stamp[at..at + length]).filter(|n| *n <= most);
    let (year, month, day) = (part(0, 4, 9999)?, part(5, 2, 12)?, part(8, 2, 31)?);
    let days = days(year, month, day);
    if civil(days) != (year, month, day) {
        return None;
    }
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
        None => ("0", rest),
    };
    let micros = number(&format!("{:0<6.6}", Some(fraction).filter(|f| !f.is_empty())?))?;
    let seconds = days * 86_400 + part(11, 2, 23)? * 3600 + part(14, 2, 59)? * 60 + part(17, 2, 59)? - offset(zone)?;
    let micros = seconds * 1_000_000 + micros;
    (FIRST..=LAST).contains(&micros).then_some(micros)
}

fn number(digits: &str) -> Option<i64> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Seconds east of Greenwich: `Z` or `+01:00`.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, rest) = zone.strip_prefix('+').map(|r| (1, r)).or_else(|| zone.strip_prefix('-').map(|r| (-1, r)))?;
    let (hours, minutes) = rest.split_once(':').filter(|(h, m)| h.len() == 2 && m.len() == 2)?;
    let (hours, minutes) = (number(hours).filter(|h| *h <= 24)?, number(minutes).filter(|m| *m <= 60)?);
    Some(sign * (hours * 3600 + minutes * 60))
}

fn write_seconds(f: &mut fmt::Formatter<'_>, seconds: i64) -> fmt::Result {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Days since 1970-01-01 to a Gregorian date: years are counted from March, in eras of 400.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let doe = shifted.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

/// The reverse of `civil`; for a month or day that is none, the days of another date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, yoe) = (year.div_euclid(400), year.rem_euclid(400));
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_to_seconds_in_utc() {
        for (text, want) in [
            ("2026-11-24T07:51:12Z", Some("2026-11-24T07:51:12Z")),
            ("2026-11-24T07:51:12.999+02:00", Some("2026-11-24T05:51:12Z")),
            ("2024-02-29T23:59:59Z", Some("2024-02-29T23:59:59Z")),
            ("9999-12-31T23:59:59Z", Some("9999-12-31T23:59:59Z")),
            ("0000-01-01T00:00:00Z", Some("0000-01-01T00:00:00Z")),
            ("9999-12-31T23:59:59-01:00", None),
            ("2026-02-29T00:00:00Z", None),
            ("2026-00-01T00:00:00Z", None),
            ("2026-01-01T24:00:00Z", None),
            ("2026-01-01T00:00:60Z", None),
            ("2026-01-01T00:00:00.Z", None),
            ("2026-01-01T00:00:00+0100", None),
            ("2026-01-01T00:00:00z", None),
            ("2026-01-01T00:00:0\u{fc}Z", None),
            ("2026-11-24 07:51:12Z", None),
            ("2026-11-24", None),
        ] {
            assert_eq!(Time::parse(text).map(|t| t.to_string()).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn a_clock_that_is_set_anywhere_tells_a_time_that_can_be_read_again() {
        for seconds in [0, 86_400 * 3650, -86_400 * 3650, i64::MIN, i64::MAX] {
            jump(seconds);
            let now = Time::now();
            assert_eq!(Time::parse(&now.to_string()), Some(now), "{seconds}");
            let now = MicroTime::now();
            assert_eq!(MicroTime::parse(&now.to_string()), Some(now), "{seconds}");
        }
        jump(0);
    }

    #[test]
    fn micro_times_need_six_digits() {
        assert_eq!(
            MicroTime::parse("2026-11-24T07:51:12.000123Z").map(|t| t.to_string()).as_deref(),
            Some("2026-11-24T07:51:12.000123Z")
        );
        assert_eq!(MicroTime::parse("2026-11-24T07:51:12Z"), None);
        assert_eq!(MicroTime::parse("2026-11-24T07:51:12.123Z"), None);
    }
}
