//! RFC 3339 times in canonical form, with the error texts of Go's `time.Parse`.

use meta::{MicroTime, Time};

/// Whole seconds in UTC.
pub fn canonical_time(text: &str) -> Result<String, String> {
    match Time::parse(text) {
        Some(t) => Ok(t.to_string()),
        None => Err(explain(text, false)),
    }
}

/// Six digits in UTC.
pub fn canonical_micro_time(text: &str) -> Result<String, String> {
    match MicroTime::parse(text) {
        Some(t) => Ok(t.to_string()),
        None => Err(explain(text, true)),
    }
}

/// Element of the layout, and its form: digits, or the text itself.
const ELEMENTS: [(&str, Form); 11] = [
    ("2006", Form::Digits(4)),
    ("-", Form::Literal),
    ("01", Form::Digits(2)),
    ("-", Form::Literal),
    ("02", Form::Digits(2)),
    ("T", Form::Literal),
    ("15", Form::Digits(2)),
    (":", Form::Literal),
    ("04", Form::Digits(2)),
    (":", Form::Literal),
    ("05", Form::Digits(2)),
];

enum Form {
    Digits(usize),
    Literal,
}

/// What Go says of a text that is no time.
fn explain(text: &str, micro: bool) -> String {
    let layout = if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
    let quote = meta::goquote::quote;
    let start = format!("parsing time {} as \"{layout}\"", quote(text));
    let cannot = |rest: &str, element: &str| format!("{start}: cannot parse {} as \"{element}\"", quote(rest));
    let mut rest = text;
    let mut numbers = Vec::new();
    for (element, form) in &ELEMENTS {
        match form {
            Form::Literal => match rest.strip_prefix(element) {
                Some(r) => rest = r,
                None => return cannot(rest, element),
            },
            Form::Digits(n) => match rest.get(..*n).filter(|d| d.bytes().all(|b| b.is_ascii_digit())) {
                Some(d) => {
                    numbers.push(d.parse::<u32>().unwrap_or_default());
                    rest = &rest[*n..];
                }
                None => return cannot(rest, element),
            },
        }
        let out_of_range = match (numbers.len(), *element) {
            (2, "01") => !(1..=12).contains(&numbers[1]),
            (4, "15") => numbers[3] > 23,
            (5, "04") => numbers[4] > 59,
            (6, "05") => numbers[5] > 59,
            _ => false,
        };
        if out_of_range {
            let name = match *element {
                "01" => "month",
                "15" => "hour",
                "04" => "minute",
                _ => "second",
            };
            return format!("{start}: {name} out of range");
        }
    }
    let fraction = rest.strip_prefix('.').map_or(0, |r| r.bytes().take_while(u8::is_ascii_digit).count());
    if micro && fraction != 6 {
        return cannot(rest, ".000000");
    }
    let zone = if fraction > 0 { &rest[fraction + 1..] } else { rest };
    let offset = zone.as_bytes();
    let is_offset =
        matches!(offset, [b'+' | b'-', a, b, b':', c, d, ..] if [a, b, c, d].iter().all(|x| x.is_ascii_digit()));
    let extra = match (zone.strip_prefix('Z'), is_offset) {
        (Some(extra), _) => extra,
        (None, true) => &zone[6..],
        (None, false) => return cannot(zone, "Z07:00"),
    };
    if !extra.is_empty() {
        return format!("{start}: extra text: {}", quote(extra));
    }
    format!("{start}: day out of range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_no_times_are_explained_as_go_does() {
        for (text, want) in [
            ("yesterday", "cannot parse \"yesterday\" as \"2006\""),
            ("2026-13-01T00:00:00Z", "month out of range"),
            ("2026-02-30T00:00:00Z", "day out of range"),
            ("2026-02-03 00:00:00Z", "cannot parse \" 00:00:00Z\" as \"T\""),
            ("2026-02-03T00:00:00", "cannot parse \"\" as \"Z07:00\""),
            ("2026-02-03T00:00:00Zx", "extra text: \"x\""),
        ] {
            let start = format!("parsing time \"{text}\" as \"2006-01-02T15:04:05Z07:00\": ");
            assert_eq!(canonical_time(text), Err(start + want), "{text}");
        }
        let text = "2026-02-03T00:00:00Z";
        let want = format!(
            "parsing time \"{text}\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"Z\" as \".000000\""
        );
        assert_eq!(canonical_micro_time(text), Err(want));
    }
}
