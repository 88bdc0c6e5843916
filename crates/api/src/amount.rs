//! Quantities inside documents: their value in units of 10^-9, for comparing and adding.

use document::Value;

/// The value of a quantity; `None` when it is absent or no quantity.
pub(crate) fn nano(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => parse(text),
        Value::Int(n) => i128::from(*n).checked_mul(1_000_000_000),
        _ => None,
    }
}

fn parse(text: &str) -> Option<i128> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.is_empty() || number == "." || fraction.contains('.') {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (factor, exponent) = scale(suffix)?;
    let shift = 9 + exponent - i32::try_from(fraction.len()).ok()?;
    let scaled = digits.checked_mul(factor)?;
    let power = 10_i128.checked_pow(shift.unsigned_abs())?;
    let nano = if shift >= 0 {
        scaled.checked_mul(power)?
    } else {
        scaled.div_euclid(power) + i128::from(scaled % power != 0)
    };
    Some(if negative { -nano } else { nano })
}

fn scale(suffix: &str) -> Option<(i128, i32)> {
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().position(|s| *s == suffix);
    if let Some(n) = binary {
        return Some((1_i128 << (10 * (n + 1)), 0));
    }
    let decimal = match suffix {
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "" => 0,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        _ => suffix.strip_prefix(['e', 'E'])?.parse().ok().filter(|e| (-30..=30).contains(e))?,
    };
    Some((1, decimal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_compared_exactly() {
        let n = |t: &str| parse(t);
        assert_eq!(n("1000m"), n("1"));
        assert_eq!(n("1Gi"), n("1024Mi"));
        assert_eq!(n("1e3"), n("1k"));
        assert_eq!(n("0.5"), n("500m"));
        assert_eq!(n("-1"), Some(-1_000_000_000));
        assert_eq!(n("x"), None);
        assert_eq!(n(""), None);
    }
}
