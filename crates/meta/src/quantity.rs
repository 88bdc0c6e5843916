//! Quantities: `100m`, `1.5Gi`, `1e3`. Parsing, upstream's canonical form, comparison and sums.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// An exact decimal amount with the suffix family it was written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// The value in units of 10^-9.
    pub nano: i128,
    pub format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    BinarySi,
    #[default]
    DecimalSi,
    DecimalExponent,
}

/// Why a text is no quantity, in upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    Format,
    Numeric,
    Suffix,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParseError::Format => {
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            }
            ParseError::Numeric => "unable to parse numeric part of quantity",
            ParseError::Suffix => "unable to parse quantity's suffix",
        })
    }
}

impl std::error::Error for ParseError {}

const NANO: i128 = 1_000_000_000;
/// Digits that upstream's fast path takes.
const FAST_DIGITS: i32 = 18;

/// A quantity's text, taken apart. `digits` is the number without sign, leading zeros and point.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

impl Quantity {
    pub fn new(value: i64, format: Format) -> Self {
        Quantity { nano: i128::from(value) * NANO, format }
    }

    pub fn from_milli(milli: i64, format: Format) -> Self {
        Quantity { nano: i128::from(milli) * (NANO / 1000), format }
    }

    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse(text).map(|(q, _)| q)
    }

    /// The text that upstream prints for a text it has read: itself when it looks canonical, else the canonical form.
    pub fn printed(text: &str) -> Result<Cow<'_, str>, ParseError> {
        let (quantity, kept) = parse(text)?;
        Ok(if kept { Cow::Borrowed(text) } else { Cow::Owned(quantity.to_string()) })
    }

    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }

    /// Whole units, rounded away from zero.
    pub fn value(&self) -> i64 {
        clamp(rounded(self.nano, NANO))
    }

    /// Thousandths, rounded away from zero.
    pub fn milli_value(&self) -> i64 {
        clamp(rounded(self.nano, NANO / 1000))
    }

    /// Rounded away from zero to multiples of 10^scale, scale from -9 to 0.
    pub fn round_up(&self, scale: i32) -> Self {
        let unit = power(10, (scale + 9).clamp(0, 18));
        Quantity { nano: rounded(self.nano, unit).saturating_mul(unit), format: self.format }
    }

    /// The sum, in this one's format (or the other's when this is zero).
    pub fn add(&self, other: &Self) -> Self {
        Quantity { nano: self.nano.saturating_add(other.nano), format: self.format_with(other) }
    }

    pub fn sub(&self, other: &Self) -> Self {
        Quantity { nano: self.nano.saturating_sub(other.nano), format: self.format_with(other) }
    }

    fn format_with(&self, other: &Self) -> Format {
        if self.is_zero() { other.format } else { self.format }
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.nano.cmp(&other.nano))
    }
}

/// The canonical form.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let small = self.nano.abs() < 1024 * NANO;
        match self.format {
            Format::BinarySi if !small && self.nano % NANO == 0 => write_binary(f, self.nano / NANO),
            Format::DecimalExponent => write_decimal(f, self.nano, true),
            _ => write_decimal(f, self.nano, false),
        }
    }
}

fn write_binary(f: &mut fmt::Formatter<'_>, mut value: i128) -> fmt::Result {
    let mut times = 0;
    while times < 6 && value % 1024 == 0 {
        value /= 1024;
        times += 1;
    }
    write!(f, "{value}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][times])
}

fn write_decimal(f: &mut fmt::Formatter<'_>, nano: i128, exponent_form: bool) -> fmt::Result {
    let (mut mantissa, mut exponent) = (nano, -9);
    while mantissa % 1000 == 0 && (exponent_form || exponent < 18) {
        mantissa /= 1000;
        exponent += 3;
    }
    write!(f, "{mantissa}")?;
    match exponent {
        0 => Ok(()),
        _ if exponent_form => write!(f, "e{exponent}"),
        _ => f.write_str(["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][((exponent + 9) / 3) as usize]),
    }
}

/// The quantity, and whether upstream prints the text as it was written.
fn parse(text: &str) -> Result<(Quantity, bool), ParseError> {
    if text.is_empty() {
        return Err(ParseError::Format);
    }
    if text == "0" {
        return Ok((Quantity { nano: 0, format: Format::DecimalSi }, true));
    }
    let parts = split(text)?;
    let (base, exponent, format) = suffix(parts.suffix).ok_or(ParseError::Suffix)?;
    let magnitude = magnitude(&parts, base, exponent, format);
    let kept = is_fast(&parts, exponent, format) && is_canonical(&parts, exponent, format);
    let format =
        if format == Format::BinarySi && magnitude < NANO && magnitude > 0 && !is_fast(&parts, exponent, format) {
            Format::DecimalSi
        } else {
            format
        };
    let nano = if parts.negative { -magnitude } else { magnitude };
    if parts.whole == "0"
        && parts.fraction.is_empty()
        && !text.bytes().any(|b| b.is_ascii_digit())
        && text.contains('.')
    {
        return Err(ParseError::Numeric);
    }
    Ok((Quantity { nano, format }, kept))
}

fn split(text: &str) -> Result<Parts<'_>, ParseError> {
    let (negative, rest) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let rest = rest.trim_start_matches('0');
    if rest.is_empty() {
        return Ok(Parts { negative, whole: "0", fraction: "", suffix: "" });
    }
    let digits = |t: &str| t.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = rest.split_at(digits(rest));
    let whole = if whole.is_empty() { "0" } else { whole };
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let letters = rest.bytes().take_while(|b| b"eEinumkKMGTP".contains(b)).count();
    let tail = &rest[letters..];
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if digits(tail) != tail.len() {
        return Err(ParseError::Format);
    }
    Ok(Parts { negative, whole, fraction, suffix: rest })
}

/// Base, exponent and family of a suffix.
fn suffix(text: &str) -> Option<(u32, i32, Format)> {
    const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if let Some(n) = DECIMAL.iter().position(|s| *s == text) {
        return Some((10, n as i32 * 3 - 9, Format::DecimalSi));
    }
    if let Some(n) = BINARY.iter().position(|s| *s == text) {
        return Some((2, (n as i32 + 1) * 10, Format::BinarySi));
    }
    let exponent = text.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((10, exponent, Format::DecimalExponent))
}

/// The absolute value in nano, rounded up.
fn magnitude(parts: &Parts<'_>, base: u32, exponent: i32, format: Format) -> i128 {
    let mut mantissa: i128 = 0;
    let mut dropped = 0;
    let mut inexact = false;
    for b in parts.whole.bytes().chain(parts.fraction.bytes()) {
        let next = mantissa.checked_mul(10).and_then(|m| m.checked_add(i128::from(b - b'0')));
        match next.filter(|m| *m < i128::MAX / 4 && dropped == 0) {
            Some(m) => mantissa = m,
            None => {
                dropped += 1;
                inexact |= b != b'0';
            }
        }
    }
    if base == 2 {
        mantissa = mantissa.saturating_mul(1 << exponent);
    }
    let scale = (9 + dropped - parts.fraction.len() as i32).saturating_add(if base == 10 { exponent } else { 0 });
    let nano = if scale >= 0 {
        mantissa.saturating_mul(power(10, scale))
    } else if scale < -38 {
        i128::from(mantissa != 0)
    } else {
        rounded(mantissa, power(10, scale.saturating_neg()))
    };
    let nano = nano.saturating_add(i128::from(inexact));
    if format == Format::BinarySi { nano.min(i128::from(i64::MAX) * NANO) } else { nano }
}

/// Whether upstream's 64-bit path takes it.
fn is_fast(parts: &Parts<'_>, exponent: i32, format: Format) -> bool {
    let (whole, fraction) = (parts.whole.len() as i32, parts.fraction.len() as i32);
    match format {
        Format::BinarySi => fraction == 0 && 15 - whole - (exponent as f32 * 3.0 / 10.0) as i32 > 0,
        _ => whole + fraction <= FAST_DIGITS && exponent.saturating_sub(fraction) >= -9,
    }
}

/// Whether upstream takes the text for canonical.
fn is_canonical(parts: &Parts<'_>, exponent: i32, format: Format) -> bool {
    match format {
        Format::BinarySi => parts.whole.parse::<i64>().is_ok_and(|v| v & 7 != 0),
        _ => {
            let ends_in_zeros =
                parts.whole.bytes().chain(parts.fraction.bytes()).rev().take_while(|b| *b == b'0').count();
            exponent.saturating_sub(parts.fraction.len() as i32) % 3 == 0
                && ends_in_zeros < 3
                && !parts.whole.starts_with('0')
        }
    }
}

fn power(base: i128, exponent: i32) -> i128 {
    u32::try_from(exponent).ok().and_then(|e| base.checked_pow(e)).unwrap_or(i128::MAX)
}

/// Divided and rounded away from zero.
fn rounded(value: i128, unit: i128) -> i128 {
    let whole = value / unit;
    if value % unit == 0 { whole } else { whole + value.signum() }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_print_as_upstream_prints_them() {
        for (text, want) in [
            ("0", "0"),
            ("1500m", "1500m"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000k", "1M"),
            ("1e3", "1e3"),
            ("0.5Gi", "512Mi"),
            ("010", "010"),
            ("+3", "+3"),
            ("2000m", "2"),
            ("4096Ki", "4Mi"),
            ("1000", "1k"),
            ("5000m", "5"),
            ("1.0", "1"),
            ("0.1", "100m"),
            ("128974848", "128974848"),
            ("100M", "100M"),
            ("1Ki", "1Ki"),
            ("0.1n", "1n"),
            ("0.5Ki", "512"),
            ("1000e0", "1e3"),
            ("-1.5", "-1500m"),
            ("12.345678901234", "12345678902n"),
            ("100Ei", "9223372036854775807"),
        ] {
            assert_eq!(Quantity::printed(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, want) in [
            ("", ParseError::Format),
            ("1GB", ParseError::Format),
            ("abc", ParseError::Format),
            ("1 Gi", ParseError::Format),
            ("1mm", ParseError::Suffix),
            ("1ei", ParseError::Suffix),
            ("1e3m", ParseError::Format),
            ("1.2.3", ParseError::Format),
            ("true", ParseError::Format),
        ] {
            assert_eq!(Quantity::parse(text), Err(want), "{text}");
        }
    }

    #[test]
    fn sums_and_values_round_away_from_zero() {
        let parse = |t: &str| Quantity::parse(t).expect(t);
        assert_eq!(parse("1").add(&parse("500m")).to_string(), "1500m");
        assert_eq!(parse("0").add(&parse("1Gi")).to_string(), "1Gi");
        assert_eq!(parse("1Gi").sub(&parse("512Mi")).to_string(), "512Mi");
        assert_eq!((parse("1001u").milli_value(), parse("1m").value(), parse("-1m").value()), (2, 1, -1));
        assert_eq!(parse("1500u").round_up(-3).to_string(), "2m");
        assert!(parse("1Gi") > parse("1G"));
    }
}
