//! The unified diff that upstream's errors end with when a part may not change: two objects of its internal types as
//! indented JSON, three lines around each change.

use document::Value;

use super::internal::shown_as;

const CONTEXT: usize = 3;
/// Beyond so many comparisons the whole middle counts as changed.
const MOST: usize = 1 << 20;

/// What changed between two values of the named type.
pub(super) fn diff(old: &Value, new: &Value, type_name: &str) -> String {
    let (old, new) = (indent(&shown_as(old, type_name).0), indent(&shown_as(new, type_name).0));
    unified(&old.lines().collect::<Vec<_>>(), &new.lines().collect::<Vec<_>>())
}

/// Compact JSON as Go's MarshalIndent writes it, one space a level.
fn indent(compact: &str) -> String {
    let mut out = String::with_capacity(compact.len() * 2);
    let (mut level, mut quoted, mut escaped) = (0_usize, false, false);
    let mut letters = compact.chars().peekable();
    let line = |out: &mut String, level: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', level));
    };
    while let Some(c) = letters.next() {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                if let Some(end) = letters.next_if(|n| matches!(n, '}' | ']')) {
                    out.push(end);
                } else {
                    level += 1;
                    line(&mut out, level);
                }
            }
            '}' | ']' => {
                level = level.saturating_sub(1);
                line(&mut out, level);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, level);
            }
            ':' => out.push_str(": "),
            _ => {
                quoted = c == '"';
                out.push(c);
            }
        }
    }
    out
}

/// A line of the old text, of the new one, or of both.
#[derive(Clone, Copy)]
enum Line<'a> {
    Same(&'a str),
    Old(&'a str),
    New(&'a str),
}

fn unified(old: &[&str], new: &[&str]) -> String {
    let lines = compare(old, new);
    let changes: Vec<usize> = (0..lines.len()).filter(|n| !matches!(lines[*n], Line::Same(_))).collect();
    let mut out = String::new();
    let mut at = 0;
    while at < changes.len() {
        let mut last = at;
        while last + 1 < changes.len() && changes[last + 1] - changes[last] <= 2 * CONTEXT + 1 {
            last += 1;
        }
        let from = changes[at].saturating_sub(CONTEXT);
        let to = (changes[last] + CONTEXT + 1).min(lines.len());
        hunk(&lines, from, to, &mut out);
        at = last + 1;
    }
    out
}

fn hunk(lines: &[Line<'_>], from: usize, to: usize, out: &mut String) {
    let olds = |part: &[Line<'_>]| part.iter().filter(|l| !matches!(l, Line::New(_))).count();
    let news = |part: &[Line<'_>]| part.iter().filter(|l| !matches!(l, Line::Old(_))).count();
    let (before, part) = (&lines[..from], &lines[from..to]);
    let old = range(olds(before), olds(part));
    let new = range(news(before), news(part));
    out.push_str(&format!("@@ -{old} +{new} @@\n"));
    for line in part {
        let (mark, text) = match line {
            Line::Same(text) => (' ', text),
            Line::Old(text) => ('-', text),
            Line::New(text) => ('+', text),
        };
        out.push(mark);
        out.push_str(text);
        out.push('\n');
    }
}

fn range(before: usize, count: usize) -> String {
    match count {
        0 => format!("{before},0"),
        1 => format!("{}", before + 1),
        _ => format!("{},{count}", before + 1),
    }
}

fn compare<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let mut lines: Vec<Line<'a>> = old[..head].iter().map(|l| Line::Same(l)).collect();
    middle(&old[head..old.len() - tail], &new[head..new.len() - tail], &mut lines);
    lines.extend(old[old.len() - tail..].iter().map(|l| Line::Same(l)));
    lines
}

/// The longest common subsequence decides what stays.
fn middle<'a>(old: &[&'a str], new: &[&'a str], lines: &mut Vec<Line<'a>>) {
    let width = new.len() + 1;
    let (mut a, mut b) = (0, 0);
    if old.len().saturating_mul(new.len()) <= MOST {
        let mut longest = vec![0_u32; (old.len() + 1) * width];
        for i in (0..old.len()).rev() {
            for j in (0..new.len()).rev() {
                longest[i * width + j] = if old[i] == new[j] {
                    longest[(i + 1) * width + j + 1] + 1
                } else {
                    longest[(i + 1) * width + j].max(longest[i * width + j + 1])
                };
            }
        }
        while a < old.len() && b < new.len() {
            if old[a] == new[b] {
                lines.push(Line::Same(old[a]));
                (a, b) = (a + 1, b + 1);
            } else if longest[(a + 1) * width + b] >= longest[a * width + b + 1] {
                lines.push(Line::Old(old[a]));
                a += 1;
            } else {
                lines.push(Line::New(new[b]));
                b += 1;
            }
        }
    }
    lines.extend(old[a..].iter().map(|l| Line::Old(l)));
    lines.extend(new[b..].iter().map(|l| Line::New(l)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_three_lines_around_a_change() {
        let old: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let mut new = old.clone();
        new[10] = "x".into();
        new.push("end".into());
        let text = |lines: &[String]| lines.to_vec();
        let (old, new) = (text(&old), text(&new));
        let shown = unified(
            &old.iter().map(String::as_str).collect::<Vec<_>>(),
            &new.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        assert_eq!(
            shown,
            "@@ -8,7 +8,7 @@\n 7\n 8\n 9\n-10\n+x\n 11\n 12\n 13\n@@ -18,3 +18,4 @@\n 17\n 18\n 19\n+end\n"
        );
    }

    #[test]
    fn json_is_indented_as_go_does() {
        assert_eq!(
            indent(r#"{"a":{},"b":[1,"x,{\"y"],"c":null}"#),
            "{\n \"a\": {},\n \"b\": [\n  1,\n  \"x,{\\\"y\"\n ],\n \"c\": null\n}"
        );
    }
}
