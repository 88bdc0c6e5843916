//! Go's `%q`: how upstream's messages quote a string.

/// Quotes as Go's `strconv.Quote` does: printable characters stay, the rest is escaped.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            ' '..='~' => out.push(c),
            c if (c as u32) < 0x80 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
    out
}

/// An approximation of Go's `unicode.IsPrint` without its tables: controls, separators, format characters and
/// private or unassigned planes are not printable.
fn is_printable(c: char) -> bool {
    let n = c as u32;
    let format = matches!(n, 0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x180e | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff0..=0xfffb);
    let private = matches!(n, 0xe000..=0xf8ff | 0xf0000..) || (n & 0xfffe) == 0xfffe;
    !(c.is_control() || c.is_whitespace() || format || private)
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn quotes_as_go_does() {
        for (text, want) in
            [("a", r#""a""#), ("a\"b\\", r#""a\"b\\""#), ("\n\t\u{1}", r#""\n\t\x01""#), ("é\u{200b}", "\"é\\u200b\"")]
        {
            assert_eq!(quote(text), want);
        }
    }
}
