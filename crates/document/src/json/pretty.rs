//! The `pretty` filter: Go's `json.Indent` with two spaces, on valid compact JSON.

/// Indents; strings are copied, empty lists and maps stay closed.
pub fn pretty(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + json.len() / 2);
    let mut depth = 0;
    let mut at = 0;
    while at < json.len() {
        let b = json[at];
        match b {
            b'"' => {
                let end = string_end(json, at);
                out.extend_from_slice(&json[at..end]);
                at = end;
                continue;
            }
            b'{' | b'[' => {
                out.push(b);
                if matches!(json.get(at + 1), Some(b'}' | b']')) {
                    out.push(json[at + 1]);
                    at += 2;
                    continue;
                }
                depth += 1;
                newline(depth, &mut out);
            }
            b'}' | b']' => {
                depth = usize::saturating_sub(depth, 1);
                newline(depth, &mut out);
                out.push(b);
            }
            b',' => {
                out.push(b);
                newline(depth, &mut out);
            }
            b':' => out.extend_from_slice(b": "),
            b' ' | b'\n' | b'\r' | b'\t' => {}
            _ => out.push(b),
        }
        at += 1;
    }
    out
}

fn newline(depth: usize, out: &mut Vec<u8>) {
    out.push(b'\n');
    out.resize(out.len() + 2 * depth, b' ');
}

/// After the closing quote of the string that starts at `at`.
fn string_end(json: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(n) = memchr::memchr2(b'"', b'\\', &json[end.min(json.len())..]) {
        end += n;
        if json[end] == b'"' {
            return end + 1;
        }
        end += 2;
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_as_go_does() {
        let text = pretty(br#"{"a":[1,{"b":"x,{\"}"}],"c":{},"d":[]}"#);
        let want = "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x,{\\\"}\"\n    }\n  ],\n  \"c\": {},\n  \"d\": []\n}";
        assert_eq!(String::from_utf8_lossy(&text), want);
    }
}
