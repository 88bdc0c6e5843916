//! What a plain scalar stands for, by YAML 1.1 as go-yaml has it.

use crate::Value;

/// The value of a plain scalar.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) || is_timestamp(text) {
        return Value::from(text);
    }
    number(&text.replace('_', "")).unwrap_or_else(|| Value::from(text))
}

/// Whether a text would not be read back as itself when written plain.
pub(super) fn is_ambiguous(text: &str) -> bool {
    !matches!(resolve(text), Value::String(_)) || is_timestamp(text) || is_base_60(text)
}

fn number(plain: &str) -> Option<Value> {
    if let Some(n) = integer(plain) {
        return Some(match i64::try_from(n) {
            Ok(n) => Value::Int(n),
            Err(_) => Value::Float(n as f64),
        });
    }
    if !is_float(plain) {
        return None;
    }
    let x: f64 = plain.parse().ok().filter(|x: &f64| x.is_finite())?;
    // upstream passes through JSON: a whole number becomes an integer
    let mut text = Vec::new();
    crate::json::push_float(x, &mut text);
    crate::json::parse(&text).ok()
}

/// Go's `ParseInt` with base 0: `0x`, `0b`, `0o` and a leading zero for octal; 64 bits, signed or not.
fn integer(plain: &str) -> Option<i128> {
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let n = i128::from_str_radix(digits, radix).ok()?;
    let n = if negative { -n } else { n };
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&n).then_some(n)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((m, e)) => (m, Some(e.strip_prefix(['-', '+']).unwrap_or(e))),
        None => (text, None),
    };
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    mantissa_ok && exponent.is_none_or(|e| !e.is_empty() && digits(e))
}

/// Dates and times are texts here, but must be quoted when written.
fn is_timestamp(text: &str) -> bool {
    let number = |t: &str, max: usize| !t.is_empty() && t.len() <= max && t.bytes().all(|b| b.is_ascii_digit());
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else { return false };
    if year.len() != 4 || !number(year, 4) || !number(month, 2) {
        return false;
    }
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (day, time) = rest.split_at(end);
    if !number(day, 2) {
        return false;
    }
    if time.is_empty() {
        return true;
    }
    let zoned = time.starts_with(['T', 't']);
    let Some(clock) = time.strip_prefix(['T', 't', ' ']) else { return false };
    let end = clock.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.').unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(end);
    let clock: Vec<&str> = clock.split(':').collect();
    let zone_ok = if zoned { zone == "Z" || zone.starts_with(['+', '-']) } else { zone.is_empty() };
    clock.len() == 3
        && clock[..2].iter().all(|p| number(p, 2))
        && clock[2].starts_with(|c: char| c.is_ascii_digit())
        && zone_ok
}

/// `1:30`: older parsers read it as a number.
fn is_base_60(text: &str) -> bool {
    let mut parts = text.strip_prefix(['-', '+']).unwrap_or(text).split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let last = rest.len().saturating_sub(1);
    first.starts_with(|c: char| c.is_ascii_digit())
        && first.bytes().all(|b| b.is_ascii_digit() || b == b'_')
        && !rest.is_empty()
        && rest.iter().enumerate().all(|(n, part)| {
            let part = if n == last { part.split_once('.').map_or(*part, |(whole, _)| whole) } else { part };
            matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9'])
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_read_by_yaml_1_1() {
        for (text, want) in [
            ("y", Value::Bool(true)),
            ("Off", Value::Bool(false)),
            ("yEs", Value::from("yEs")),
            ("~", Value::Null),
            ("012", Value::Int(10)),
            ("08", Value::Int(8)),
            ("0x1F", Value::Int(31)),
            ("0b11", Value::Int(3)),
            ("-0o7", Value::Int(-7)),
            ("1_000", Value::Int(1000)),
            ("+3", Value::Int(3)),
            ("1.0", Value::Int(1)),
            ("1e3", Value::Int(1000)),
            ("1.5", Value::Float(1.5)),
            (".5", Value::Float(0.5)),
            ("1.2.3", Value::from("1.2.3")),
            ("2026-01-02", Value::from("2026-01-02")),
            ("1:30", Value::from("1:30")),
            ("100m", Value::from("100m")),
            ("-", Value::from("-")),
        ] {
            assert_eq!(resolve(text), want, "{text}");
        }
    }

    #[test]
    fn texts_that_would_read_otherwise_are_ambiguous() {
        for text in ["on", "1", "", "null", "2026-01-02T03:04:05Z", "1:30", "1e3"] {
            assert!(is_ambiguous(text), "{text}");
        }
        for text in ["a", "1.2.3", "v1", "10.0.0.1", "sha256:12", "5m", "a:b"] {
            assert!(!is_ambiguous(text), "{text}");
        }
    }
}
