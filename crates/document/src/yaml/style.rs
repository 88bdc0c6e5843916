//! How a text may be written: libyaml's analysis of a scalar.

use super::resolve::is_ambiguous;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// The style in which go-yaml writes a text outside flow collections.
pub(super) fn style(text: &str, is_key: bool) -> Style {
    let allowed = analyze(text);
    let multiline = text.contains('\n');
    if multiline && !is_key {
        return if allowed.literal { Style::Literal } else { Style::Double };
    }
    if multiline || is_ambiguous(text) || !allowed.single {
        return Style::Double;
    }
    if allowed.plain { Style::Plain } else { Style::Single }
}

struct Allowed {
    plain: bool,
    single: bool,
    literal: bool,
}

fn analyze(text: &str) -> Allowed {
    let chars: Vec<char> = text.chars().collect();
    let is_break = |c: char| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut block_indicators = text.starts_with("---") || text.starts_with("...");
    let (mut special, mut space_break, mut break_space, mut breaks) = (false, false, false, false);
    let (mut previous_space, mut previous_break) = (false, false);
    for (n, &c) in chars.iter().enumerate() {
        let next_blank = chars.get(n + 1).is_none_or(|&c| c == ' ' || c == '\t' || is_break(c));
        let after_blank = n == 0 || matches!(chars[n - 1], ' ' | '\t') || is_break(chars[n - 1]);
        block_indicators |= match c {
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`'
                if n == 0 =>
            {
                true
            }
            '?' | ':' | '-' if n == 0 => next_blank,
            ':' => next_blank,
            '#' => after_blank,
            _ => false,
        };
        special |= !is_printable(c);
        if c == ' ' {
            break_space |= previous_break;
            (previous_space, previous_break) = (true, false);
        } else if is_break(c) {
            breaks = true;
            space_break |= previous_space;
            (previous_space, previous_break) = (false, true);
        } else {
            (previous_space, previous_break) = (false, false);
        }
    }
    let blank = |c: Option<&char>| c.is_some_and(|&c| c == ' ' || is_break(c));
    let (first, last) = (chars.first(), chars.last());
    let framed = blank(first) || blank(last);
    let all = !space_break && !special;
    Allowed {
        plain: all && !framed && !break_space && !breaks && !block_indicators && !text.is_empty(),
        single: all && !break_space,
        literal: all && last != Some(&' '),
    }
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}

/// Appends what stands between double quotes.
pub(super) fn push_escaped(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x100 => out.push_str(&format!("\\x{:02X}", c as u32)),
            c if (c as u32) < 0x1_0000 => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push_str(&format!("\\U{:08X}", c as u32)),
        }
    }
}
