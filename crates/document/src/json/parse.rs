//! A pull parser with the error texts of Go's `encoding/json`; `parse` builds a tree with it, `decode` follows a type.

use std::borrow::Cow;

use crate::Value;
use crate::value::Members;

/// How deep a text may nest, as upstream's.
const MAX_DEPTH: usize = 10_000;
/// How deep a tree is built: less than upstream, since a tree is built, walked and dropped by recursion.
pub const TREE_DEPTH: usize = 500;

/// What is wrong with the text, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SyntaxError(pub String);

type Result<T> = std::result::Result<T, SyntaxError>;

/// Reads a whole text. Of members with equal names the last one counts.
pub fn parse(bytes: &[u8]) -> Result<Value> {
    let mut parser = Parser::new(bytes);
    let value = parser.value()?;
    parser.end()?;
    Ok(value)
}

/// Where it stands in the text.
pub struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    /// Where the last member name starts.
    key_at: usize,
}

impl<'a> Parser<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Parser { bytes, at: 0, depth: 0, key_at: 0 }
    }

    /// A text that starts after the `{` of an object; [`Parser::first_member`] comes first.
    pub fn inside(bytes: &'a [u8]) -> Self {
        Parser { bytes, at: 0, depth: 1, key_at: 0 }
    }

    /// Where the name that was taken last starts (its quote).
    pub fn key_position(&self) -> usize {
        self.key_at
    }

    /// The first byte of the next value.
    pub fn peek(&mut self) -> Result<u8> {
        self.space();
        match self.bytes.get(self.at) {
            Some(&b) if matches!(b, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => Ok(b),
            _ => Err(self.invalid("looking for beginning of value")),
        }
    }

    /// Nothing but space may follow.
    pub fn end(&mut self) -> Result<()> {
        self.space();
        if self.at < self.bytes.len() { Err(self.invalid("after top-level value")) } else { Ok(()) }
    }

    /// Where the next value starts, for [`Parser::since`].
    pub fn position(&mut self) -> usize {
        self.space();
        self.at
    }

    /// The text from a position to here.
    pub fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    /// Takes `{` and, when there is a member, its name: `None` for an empty object.
    pub fn object_start(&mut self) -> Result<Option<Cow<'a, str>>> {
        self.open()?;
        self.first_member()
    }

    /// After `{`: the first name.
    pub fn first_member(&mut self) -> Result<Option<Cow<'a, str>>> {
        self.space();
        match self.bytes.get(self.at) {
            Some(b'}') => {
                self.close();
                Ok(None)
            }
            Some(b'"') => self.key().map(Some),
            _ => Err(self.invalid("looking for beginning of object key string")),
        }
    }

    /// After a member: the next name, or `None` at `}`.
    pub fn object_next(&mut self) -> Result<Option<Cow<'a, str>>> {
        self.space();
        match self.bytes.get(self.at) {
            Some(b',') => {
                self.at += 1;
                self.space();
                match self.bytes.get(self.at) {
                    Some(b'"') => self.key().map(Some),
                    _ => Err(self.invalid("looking for beginning of object key string")),
                }
            }
            Some(b'}') => {
                self.close();
                Ok(None)
            }
            _ => Err(self.invalid("after object key:value pair")),
        }
    }

    /// Takes `[`; false for an empty list.
    pub fn list_start(&mut self) -> Result<bool> {
        self.open()?;
        self.space();
        if self.bytes.get(self.at) == Some(&b']') {
            self.close();
            return Ok(false);
        }
        Ok(true)
    }

    /// After an item: whether another follows.
    pub fn list_next(&mut self) -> Result<bool> {
        self.space();
        match self.bytes.get(self.at) {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(b']') => {
                self.close();
                Ok(false)
            }
            _ => Err(self.invalid("after array element")),
        }
    }

    /// Any value as a tree.
    pub fn value(&mut self) -> Result<Value> {
        if self.depth >= TREE_DEPTH {
            return Err(SyntaxError("exceeded max depth".into()));
        }
        match self.peek()? {
            b'{' => self.object(),
            b'[' => {
                let mut items = Vec::new();
                let mut more = self.list_start()?;
                while more {
                    items.push(self.value()?);
                    more = self.list_next()?;
                }
                Ok(Value::List(items))
            }
            b'"' => Ok(Value::String(self.string()?.into_owned())),
            b't' | b'f' => Ok(Value::Bool(self.boolean()?)),
            b'n' => self.null().map(|()| Value::Null),
            _ => {
                let token = self.number()?;
                super::number::value(token).ok_or_else(|| {
                    SyntaxError(format!("json: cannot unmarshal number {token} into Go value of type float64"))
                })
            }
        }
    }

    fn object(&mut self) -> Result<Value> {
        let mut members = Members::default();
        let mut name = self.object_start()?;
        while let Some(n) = name {
            let value = self.value()?;
            members.put(n.into_owned(), value);
            name = self.object_next()?;
        }
        Ok(Value::Map(members.into_map()))
    }

    /// Passes over a value, checking its syntax. No recursion.
    pub fn skip(&mut self) -> Result<()> {
        let mut open: Vec<bool> = Vec::new();
        loop {
            let mut done = match self.peek()? {
                b'{' => match self.object_start()? {
                    Some(_) => {
                        open.push(true);
                        false
                    }
                    None => true,
                },
                b'[' => {
                    let more = self.list_start()?;
                    if more {
                        open.push(false);
                    }
                    !more
                }
                b'"' => self.skip_string().map(|()| true)?,
                b't' | b'f' => self.boolean().map(|_| true)?,
                b'n' => self.null().map(|()| true)?,
                _ => self.number().map(|_| true)?,
            };
            while done {
                let more = match open.last() {
                    None => return Ok(()),
                    Some(true) => self.object_next()?.is_some(),
                    Some(false) => self.list_next()?,
                };
                if !more {
                    open.pop();
                }
                done = !more;
            }
        }
    }

    pub fn null(&mut self) -> Result<()> {
        self.literal("null")
    }

    pub fn boolean(&mut self) -> Result<bool> {
        let truth = self.bytes.get(self.at) == Some(&b't');
        self.literal(if truth { "true" } else { "false" }).map(|()| truth)
    }

    /// The text of a number.
    pub fn number(&mut self) -> Result<&'a str> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.invalid("in numeric literal")),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.needed_digits("after decimal point in numeric literal")?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.needed_digits("in exponent of numeric literal")?;
        }
        // digits, sign, point and exponent only
        Ok(std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default())
    }

    fn needed_digits(&mut self, context: &str) -> Result<()> {
        if !self.byte().is_some_and(|b| b.is_ascii_digit()) {
            return Err(self.invalid(context));
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while self.byte().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// A string, borrowed when it needs no change. Invalid UTF-8 becomes U+FFFD, byte by byte, as in Go.
    pub fn string(&mut self) -> Result<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        let end = self.plain_end()?;
        if self.bytes[end] == b'"' {
            self.at = end + 1;
            return Ok(text(&self.bytes[start..end]));
        }
        let mut out = text(&self.bytes[start..end]).into_owned();
        loop {
            if self.bytes[self.at] == b'"' {
                self.at += 1;
                return Ok(Cow::Owned(out));
            }
            self.escape(&mut out)?;
            let from = self.at;
            let to = self.plain_end()?;
            out.push_str(&text(&self.bytes[from..to]));
        }
    }

    /// Moves to the next quote or backslash.
    fn plain_end(&mut self) -> Result<usize> {
        let rest = &self.bytes[self.at..];
        let plain = rest.iter().position(|b| ENDS[usize::from(*b)]).unwrap_or(rest.len());
        self.at += plain;
        match rest.get(plain) {
            Some(b'"' | b'\\') => Ok(self.at),
            _ => Err(self.invalid("in string literal")),
        }
    }

    /// Passes over a string; its characters are checked, not decoded.
    fn skip_string(&mut self) -> Result<()> {
        self.at += 1;
        loop {
            let end = self.plain_end()?;
            if self.bytes[end] == b'"' {
                self.at = end + 1;
                return Ok(());
            }
            self.escape(&mut String::new())?;
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<()> {
        self.at += 1;
        let c = match self.byte() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                out.push(self.unicode()?);
                return Ok(());
            }
            _ => return Err(self.invalid("in string escape code")),
        };
        self.at += 1;
        out.push(c);
        Ok(())
    }

    /// After `\u`: one character, a surrogate pair taken together; a lone surrogate is U+FFFD.
    fn unicode(&mut self) -> Result<char> {
        let high = self.hex()?;
        if !(0xd800..0xdc00).contains(&high) || self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
            return Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let before = self.at;
        self.at += 2;
        let low = self.hex()?;
        if (0xdc00..0xe000).contains(&low) {
            let c = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            return Ok(char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        self.at = before;
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self) -> Result<u32> {
        let mut n = 0;
        for _ in 0..4 {
            match self.byte().and_then(|b| (b as char).to_digit(16)) {
                Some(d) => n = n * 16 + d,
                None => return Err(self.invalid("in \\u hexadecimal character escape")),
            }
            self.at += 1;
        }
        Ok(n)
    }

    fn key(&mut self) -> Result<Cow<'a, str>> {
        self.key_at = self.at;
        let name = self.string()?;
        self.space();
        if self.byte() != Some(b':') {
            return Err(self.invalid("after object key"));
        }
        self.at += 1;
        Ok(name)
    }

    fn literal(&mut self, word: &str) -> Result<()> {
        for (n, want) in word.bytes().enumerate() {
            if self.byte() != Some(want) {
                debug_assert!(n > 0, "the first byte was looked at");
                return Err(self.invalid(&format!("in literal {word} (expecting '{}')", want as char)));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn open(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.invalid("exceeded max depth"));
        }
        self.at += 1;
        Ok(())
    }

    fn close(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    fn invalid(&self, context: &str) -> SyntaxError {
        match self.bytes.get(self.at) {
            None => SyntaxError("unexpected end of JSON input".into()),
            Some(&b) => SyntaxError(format!("invalid character {} {context}", quoted(b))),
        }
    }
}

/// Bytes that end a run of plain characters in a string: quote, backslash, controls.
static ENDS: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 0x20 {
        table[b] = true;
        b += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// A byte as Go's scanner quotes it: read as Latin-1.
fn quoted(b: u8) -> String {
    match b {
        b'\'' => r"'\''".into(),
        b'"' => "'\"'".into(),
        _ => {
            let text = meta::goquote::quote(&char::from(b).to_string());
            format!("'{}'", &text[1..text.len() - 1])
        }
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(s) => Cow::Borrowed(s),
        Err(_) => {
            let mut out = String::with_capacity(bytes.len());
            for chunk in bytes.utf8_chunks() {
                out.push_str(chunk.valid());
                out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
            }
            Cow::Owned(out)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc;

    #[track_caller]
    fn refused(text: &str, want: &str) {
        assert_eq!(parse(text.as_bytes()).expect_err("refused").0, want, "{text}");
        let mut skipper = Parser::new(text.as_bytes());
        assert_eq!(skipper.skip().and_then(|()| skipper.end()).expect_err("refused").0, want, "skip {text}");
    }

    #[test]
    fn texts_that_are_not_json_are_refused_in_go_s_words() {
        refused("", "unexpected end of JSON input");
        refused("{", "unexpected end of JSON input");
        refused("{\"a\":1,}", "invalid character '}' looking for beginning of object key string");
        refused("{\"a\" 1}", "invalid character '1' after object key");
        refused("{\"a\":1 2}", "invalid character '2' after object key:value pair");
        refused("[1 2]", "invalid character '2' after array element");
        refused("{} {}", "invalid character '{' after top-level value");
        refused("01", "invalid character '1' after top-level value");
        refused("-", "unexpected end of JSON input");
        refused("1.x", "invalid character 'x' after decimal point in numeric literal");
        refused("1e", "unexpected end of JSON input");
        refused("nul", "unexpected end of JSON input");
        refused("nulx", "invalid character 'x' in literal null (expecting 'l')");
        refused("\"\n\"", "invalid character '\\n' in string literal");
        refused("\"\\x\"", "invalid character 'x' in string escape code");
        refused("\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape");
        refused("'a'", "invalid character '\\'' looking for beginning of value");
    }

    #[test]
    fn texts_are_read() {
        let value = parse(br#" {"a": [1, -2.5, 1e3, true, null], "b": "\ud83d\ude80\ud800x\/\u00e9", "a": {}} "#);
        assert_eq!(value, Ok(doc!({"a": {}, "b": "🚀\u{fffd}x/é"})));
        assert_eq!(parse(b"\"\xe2\x82x\""), Ok(Value::from("\u{fffd}\u{fffd}x")));
        assert_eq!(parse(b"9223372036854775808"), Ok(Value::Float(9223372036854775808.0)));
    }

    #[test]
    fn deep_texts_are_refused() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(parse(deep(TREE_DEPTH).as_bytes()).is_ok());
        assert!(parse(deep(TREE_DEPTH + 1).as_bytes()).is_err());
        assert!(Parser::new(deep(10_000).as_bytes()).skip().is_ok());
        assert_eq!(
            Parser::new(deep(10_001).as_bytes()).skip(),
            Err(SyntaxError("invalid character '[' exceeded max depth".into()))
        );
    }
}
