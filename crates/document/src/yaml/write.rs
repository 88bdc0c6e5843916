//! Writing: block style, two spaces, keys in go-yaml's natural order, lists at the column of their key.

use std::cmp::Ordering;

use super::style::{Style, push_escaped, style};
use crate::{Map, Value};

pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// Appends one document, with a line break at the end.
pub fn write(value: &Value, out: &mut String) {
    match value {
        Value::Map(m) if !m.is_empty() => map(m, 0, out),
        Value::List(l) if !l.is_empty() => list(l, 0, out),
        _ => {
            scalar(value, 0, out);
            out.push('\n');
        }
    }
}

/// Members at a column; the first one stands where the writer is.
fn map(m: &Map, column: usize, out: &mut String) {
    let mut members: Vec<(&str, &Value)> = m.iter().collect();
    members.sort_by(|a, b| natural(a.0, b.0));
    for (n, (name, value)) in members.into_iter().enumerate() {
        if n > 0 {
            indent(column, out);
        }
        text(name, 0, true, out);
        out.push(':');
        match value {
            Value::Map(m) if !m.is_empty() => {
                out.push('\n');
                indent(column + 2, out);
                map(m, column + 2, out);
            }
            Value::List(l) if !l.is_empty() => {
                out.push('\n');
                indent(column, out);
                list(l, column, out);
            }
            _ => {
                out.push(' ');
                scalar(value, column + 2, out);
                out.push('\n');
            }
        }
    }
}

fn list(l: &[Value], column: usize, out: &mut String) {
    for (n, item) in l.iter().enumerate() {
        if n > 0 {
            indent(column, out);
        }
        out.push_str("- ");
        match item {
            Value::Map(m) if !m.is_empty() => map(m, column + 2, out),
            Value::List(l) if !l.is_empty() => list(l, column + 2, out),
            _ => {
                scalar(item, column + 2, out);
                out.push('\n');
            }
        }
    }
}

fn indent(column: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', column));
}

fn scalar(value: &Value, column: usize, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) => out.push_str(itoa::Buffer::new().format(*n)),
        Value::Float(x) => out.push_str(&float(*x)),
        Value::String(s) => text(s, column, false, out),
        Value::List(_) => out.push_str("[]"),
        Value::Map(_) => out.push_str("{}"),
    }
}

/// Go's shortest form with an exponent of two digits from 1e21 on.
fn float(x: f64) -> String {
    let magnitude = x.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{x:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{x}")
}

fn text(s: &str, column: usize, is_key: bool, out: &mut String) {
    match style(s, is_key) {
        Style::Literal => literal(s, column, out),
        style if is_key => push_quoted(s, style, out),
        style => folded(s, style, column, out),
    }
}

fn push_quoted(s: &str, style: Style, out: &mut String) {
    match style {
        Style::Single => {
            out.push('\'');
            out.push_str(&s.replace('\'', "''"));
            out.push('\'');
        }
        Style::Double => {
            out.push('"');
            push_escaped(s, out);
            out.push('"');
        }
        _ => out.push_str(s),
    }
}

/// Lines are broken at the first single space beyond this column.
const WIDTH: usize = 80;

/// A value, with the line breaks that go-yaml puts into long ones.
fn folded(s: &str, style: Style, column: usize, out: &mut String) {
    let line = out.rfind('\n').map_or(0, |n| n + 1);
    let mut at = out[line..].chars().count();
    if at + s.len() <= WIDTH {
        return push_quoted(s, style, out);
    }
    let quote = match style {
        Style::Single => "'",
        Style::Double => "\"",
        _ => "",
    };
    out.push_str(quote);
    at += quote.len();
    let mut spaces = false;
    let mut chars = s.char_indices().peekable();
    while let Some((n, c)) = chars.next() {
        let next = chars.peek().map(|(_, c)| *c);
        let inner = style == Style::Plain || (n > 0 && next.is_some());
        let foldable = c == ' ' && !spaces && at > WIDTH && inner;
        if foldable && (style == Style::Double || next != Some(' ')) {
            out.push('\n');
            indent(column, out);
            at = column;
            if next == Some(' ') {
                out.push('\\');
                at += 1;
            }
        } else {
            let before = out.len();
            match style {
                Style::Double => push_escaped(c.encode_utf8(&mut [0; 4]), out),
                Style::Single if c == '\'' => out.push_str("''"),
                _ => out.push(c),
            }
            at += out[before..].chars().count();
        }
        spaces = c == ' ';
    }
    out.push_str(quote);
}

/// A block scalar; the writer adds the last line break.
fn literal(s: &str, column: usize, out: &mut String) {
    out.push('|');
    if s.starts_with([' ', '\n']) {
        out.push('2');
    }
    let stripped = s.strip_suffix('\n');
    match stripped {
        None => out.push('-'),
        Some(rest) if rest.is_empty() || rest.ends_with('\n') => out.push('+'),
        Some(_) => {}
    }
    for line in stripped.unwrap_or(s).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(column.max(2), out);
            out.push_str(line);
        }
    }
}

/// go-yaml's order of keys: digits by their number, letters after everything else.
fn natural(a: &str, b: &str) -> Ordering {
    let (x, y): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut digits = false;
    for n in 0..x.len().min(y.len()) {
        if x[n] == y[n] {
            digits = x[n].is_numeric();
            continue;
        }
        return match (x[n].is_alphabetic(), y[n].is_alphabetic()) {
            (true, true) => x[n].cmp(&y[n]),
            (xl, false) if xl => {
                if digits {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            (_, true) => {
                if digits {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            _ => numbers(&x, &y, n),
        };
    }
    x.len().cmp(&y.len())
}

fn numbers(x: &[char], y: &[char], n: usize) -> Ordering {
    let leading =
        (x[n] == '0' || y[n] == '0') && x[..n].iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0');
    let read = |t: &[char]| {
        let digits: String = t[n..].iter().take_while(|c| c.is_ascii_digit()).collect();
        let prefix = if leading { "1" } else { "" };
        (format!("{prefix}{digits}").parse::<u128>().unwrap_or_default(), digits.len())
    };
    let ((a, a_len), (b, b_len)) = (read(x), read(y));
    a.cmp(&b).then(a_len.cmp(&b_len)).then(x[n].cmp(&y[n]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc;

    #[test]
    fn documents_are_written_as_go_yaml_writes_them() {
        let value = doc!({"kind": "A", "apiVersion": "v1", "metadata": {"name": "on", "labels": {}, "time": "2026-01-02T03:04:05Z"},
            "list": [{"b": 1, "a": [1, "2"]}, [], "x: y", null], "text": "a\nb\n", "open": "a\nb", "keep": "a\n\n", "tab": "a\tb",
            "k10": 1, "k9": 2, "lead": " x", "quote": "'q'", "f": 1.5, "true": "", "hash": "a #b", "lit": "  a\nb\n"});
        let want = "apiVersion: v1\nf: 1.5\nhash: 'a #b'\nk9: 2\nk10: 1\nkeep: |+\n  a\n\nkind: A\nlead: ' x'\nlist:\n- a:\n  - 1\n  - \"2\"\n  b: 1\n- []\n- 'x: y'\n- null\nlit: |2\n    a\n  b\nmetadata:\n  labels: {}\n  name: \"on\"\n  time: \"2026-01-02T03:04:05Z\"\nopen: |-\n  a\n  b\nquote: '''q'''\ntab: \"a\\tb\"\ntext: |\n  a\n  b\n\"true\": \"\"\n";
        assert_eq!(to_string(&value), want);
        assert_eq!(super::super::parse(want.as_bytes()).expect("YAML").value, value);
    }
}
