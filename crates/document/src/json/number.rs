//! Numbers: integers that fit are `i64`, everything else a float; floats print as Go's `encoding/json` does.

use crate::Value;

pub fn push_int(n: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Go's format: plain digits from 1e-6 up to 1e21, an exponent beyond; `e-09` loses its zero. Not finite: null.
pub fn push_float(x: f64, out: &mut Vec<u8>) {
    if !x.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    let magnitude = x.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{x:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        out.extend_from_slice(mantissa.as_bytes());
        out.push(b'e');
        if !exponent.starts_with('-') {
            out.push(b'+');
        }
        out.extend_from_slice(exponent.as_bytes());
        return;
    }
    out.extend_from_slice(format!("{x}").as_bytes());
}

/// A number token as upstream's decoder has it in an `interface{}`; `None` beyond the range of a float.
pub(crate) fn value(token: &str) -> Option<Value> {
    if let Ok(n) = token.parse::<i64>()
        && token != "-0"
    {
        return Some(Value::Int(n));
    }
    match token.parse::<f64>() {
        Ok(x) if x.is_finite() => Some(Value::Float(x)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_go_prints_them() {
        for (x, want) in [
            (1.0, "1"),
            (0.5, "0.5"),
            (-0.0, "-0"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e300, "1.5e+300"),
        ] {
            let mut out = Vec::new();
            push_float(x, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), want);
        }
    }
}
