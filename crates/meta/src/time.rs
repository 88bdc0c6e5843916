//! Times as the API writes them: RFC 3339 in UTC, whole seconds (`Time`) or six digits (`MicroTime`).

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

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

fn micros_now() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}

/// Strict RFC 3339: `T` and an offset are needed, years have four digits.
fn parse_micros(text: &str) -> Option<i64> {
    let b = text.as_bytes();
    let shape = b.len() >= 20 && b[4] == b'-' && b[7] == b'-' && b[10] == b'T' && b[13] == b':' && b[16] == b':';
    if !shape || !text.is_ascii() {
        return None;
    }
    let stamp: jiff::Timestamp = text.parse().ok()?;
    Some(stamp.as_microsecond())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_to_seconds_in_utc() {
        for (text, want) in [
            ("2026-11-24T07:51:12Z", Some("2026-11-24T07:51:12Z")),
            ("2026-11-24T07:51:12.999+02:00", Some("2026-11-24T05:51:12Z")),
            ("2024-02-29T23:59:59Z", Some("2024-02-29T23:59:59Z")),
            ("2026-11-24 07:51:12Z", None),
            ("2026-11-24", None),
        ] {
            assert_eq!(Time::parse(text).map(|t| t.to_string()).as_deref(), want, "{text}");
        }
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
