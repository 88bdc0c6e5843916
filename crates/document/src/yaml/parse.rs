//! Reading: from parser events to a tree.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::resolve::resolve;
use crate::value::Members;
use crate::{Map, Value};

/// How deep a document may nest: as deep as JSON.
const MAX_DEPTH: usize = crate::json::TREE_DEPTH;
/// What aliases may add to a document, in nodes; a long text counts as several.
const MAX_ALIASED: usize = 100_000;
/// What may be kept for aliases: anchors within anchors are kept several times.
const MAX_ANCHORED: usize = 2_000_000;

/// A document, and what strict reading finds.
#[derive(Debug)]
pub struct Parsed {
    pub value: Value,
    /// One text for all keys that stand twice in a mapping, in upstream's words; empty when there is none.
    pub duplicates: String,
}

/// Printed as upstream prints it: `yaml: line 4: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    #[error("yaml: {0}")]
    Text(String),
    /// JSON has no such number, and upstream reads YAML by way of JSON.
    #[error("json: unsupported value: {0}")]
    Number(&'static str),
}

type Result<T> = std::result::Result<T, YamlError>;

/// Reads the first document; an empty text is null. Keys are sorted.
pub fn parse(bytes: &[u8]) -> Result<Parsed> {
    let text = String::from_utf8_lossy(bytes);
    let mut reader = Reader {
        parser: Parser::new_from_str(&text),
        text: &text,
        anchors: HashMap::new(),
        aliased: 0,
        anchored: 0,
        depth: 0,
        duplicates: Vec::new(),
    };
    let value = reader.document()?;
    let duplicates = match reader.duplicates.is_empty() {
        true => String::new(),
        false => format!("yaml: unmarshal errors:\n{}", reader.duplicates.join("\n")),
    };
    Ok(Parsed { value, duplicates })
}

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    text: &'t str,
    anchors: HashMap<usize, Value>,
    aliased: usize,
    anchored: usize,
    depth: usize,
    duplicates: Vec<String>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span)> {
        loop {
            match self.parser.next_event() {
                Some(Ok((event, span))) if is_content(&event) => return Ok((event, span)),
                // comments and the like
                Some(Ok(_)) => {}
                Some(Err(e)) => return Err(explain(&e, self.text)),
                None => return Ok((Event::StreamEnd, Span::default())),
            }
        }
    }

    fn document(&mut self) -> Result<Value> {
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(..), _) => {}
                (Event::StreamEnd | Event::DocumentEnd, _) => return Ok(Value::Null),
                (event, _) => return finite(self.node(event)?),
            }
        }
    }

    fn node(&mut self, event: Event<'t>) -> Result<Value> {
        if self.depth >= MAX_DEPTH {
            return Err(YamlError::Text("exceeded max depth".into()));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref())?, anchor),
            Event::SequenceStart(_, anchor, _) => {
                self.depth += 1;
                let list = self.sequence()?;
                self.depth -= 1;
                (list, anchor)
            }
            Event::MappingStart(_, anchor, _) => {
                self.depth += 1;
                let map = self.mapping()?;
                self.depth -= 1;
                (map, anchor)
            }
            Event::Alias(id) => return self.alias(id),
            _ => return Ok(Value::Null),
        };
        if anchor != 0 {
            self.anchored += weight(&value);
            if self.anchored > MAX_ANCHORED {
                return Err(YamlError::Text("document contains excessive aliasing".into()));
            }
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn alias(&mut self, id: usize) -> Result<Value> {
        let Some(value) = self.anchors.get(&id) else {
            return Err(YamlError::Text("anchor contains itself".into()));
        };
        self.aliased += weight(value);
        if self.aliased > MAX_ALIASED {
            return Err(YamlError::Text("document contains excessive aliasing".into()));
        }
        if self.depth + depth(value) > MAX_DEPTH {
            return Err(YamlError::Text("exceeded max depth".into()));
        }
        Ok(value.clone())
    }

    fn sequence(&mut self) -> Result<Value> {
        let mut items = Vec::new();
        loop {
            match self.next()?.0 {
                Event::SequenceEnd | Event::StreamEnd => return Ok(Value::List(items)),
                event => items.push(finite(self.node(event)?)?),
            }
        }
    }

    fn mapping(&mut self) -> Result<Value> {
        let mut members = Members::default();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                break;
            }
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = self.node(event)?;
            let event = self.next()?.0;
            let value = finite(self.node(event)?)?;
            if is_merge {
                merge(&mut members, value)?;
                continue;
            }
            let key = key_text(&key)?;
            if members.contains(&key) {
                let quoted = meta::goquote::quote(&key);
                self.duplicates.push(format!("  line {}: key {quoted} already set in map", span.start.line()));
            }
            members.put(key, value);
        }
        let mut map = members.into_map();
        map.sort();
        Ok(Value::Map(map))
    }
}

fn is_content(event: &Event<'_>) -> bool {
    matches!(
        event,
        Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::Alias(_)
            | Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::SequenceEnd
            | Event::MappingStart(..)
            | Event::MappingEnd
    )
}

/// Members of the source, as if they stood here; of a list the first one counts.
fn merge(members: &mut Members, source: Value) -> Result<()> {
    let sources = match source {
        Value::List(list) => list,
        one => vec![one],
    };
    for source in sources.into_iter().rev() {
        let Value::Map(map) = source else {
            return Err(YamlError::Text("map merge requires map or sequence of maps as the value".into()));
        };
        for (name, value) in Map::into_members(map) {
            members.put(name, value);
        }
    }
    Ok(())
}

/// Nodes of a value; a text counts once more for every 64 bytes.
fn weight(value: &Value) -> usize {
    match value {
        Value::List(l) => 1 + l.iter().map(weight).sum::<usize>(),
        Value::Map(m) => 1 + m.values().map(weight).sum::<usize>(),
        Value::String(text) => 1 + text.len() / 64,
        _ => 1,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::List(l) => 1 + l.iter().map(depth).max().unwrap_or_default(),
        Value::Map(m) => 1 + m.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value> {
    let suffix = tag.and_then(|tag| tag.suffix_in_namespace("tag:yaml.org,2002:"));
    Ok(match suffix.as_deref() {
        Some("str") => Value::from(text),
        Some("binary") => {
            let bytes = crate::decode::decode_base64(text)
                .map_err(|_| YamlError::Text("!!binary value contains invalid base64 data".into()))?;
            Value::from(String::from_utf8_lossy(&bytes).into_owned())
        }
        Some(wanted @ ("int" | "float" | "bool" | "null")) => {
            let value = resolve(text);
            let found = tag_of(&value);
            if found != wanted && (found, wanted) != ("int", "float") {
                return Err(YamlError::Text(format!("cannot decode !!{found} `{text}` as a !!{wanted}")));
            }
            value
        }
        _ if style == ScalarStyle::Plain => resolve(text),
        _ => Value::from(text),
    })
}

/// The core tag of a scalar.
fn tag_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float",
        _ => "str",
    }
}

fn finite(value: Value) -> Result<Value> {
    match value {
        Value::Float(x) if x.is_nan() => Err(YamlError::Number("NaN")),
        Value::Float(x) if x.is_infinite() => Err(YamlError::Number(if x > 0.0 { "+Inf" } else { "-Inf" })),
        value => Ok(value),
    }
}

/// Keys become texts, as in JSON.
fn key_text(key: &Value) -> Result<String> {
    Ok(match key {
        Value::String(s) => s.clone(),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Float(x) if x.is_nan() => ".nan".into(),
        Value::Float(x) if x.is_infinite() => if *x > 0.0 { ".inf" } else { "-.inf" }.into(),
        Value::Float(x) => {
            let mut text = Vec::new();
            crate::json::push_float(*x, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        }
        Value::Null => return Err(YamlError::Text("did not find expected key".into())),
        other => return Err(YamlError::Text(format!("invalid map key: {}", crate::apply::go_syntax(other)))),
    })
}

/// Complaints of libyaml's scanner: it names no line when it is the first.
const OF_SCANNER: [&str; 3] = [
    "mapping values are not allowed in this context",
    "found character that cannot start any token",
    "block sequence entries are not allowed in this context",
];

/// The name of an alias in this line, counted from 1.
fn alias_in(text: &str, line: usize) -> &str {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let name = line.split_once('*').map_or("", |(_, rest)| rest);
    name.split(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_'))).next().unwrap_or_default()
}

/// The parser's complaint in libyaml's words.
fn explain(error: &ScanError, text: &str) -> YamlError {
    let info = error.info();
    if info.contains("unknown anchor") {
        return YamlError::Text(format!("unknown anchor '{}' referenced", alias_in(text, error.marker().line())));
    }
    if info.contains("unclosed quote") {
        let line = text.bytes().filter(|b| *b == b'\n').count() + 1;
        let place = if line > 1 { format!("line {line}: ") } else { String::new() };
        return YamlError::Text(format!("{place}found unexpected end of stream"));
    }
    let problem = match info.split_once(", ") {
        Some((context, problem)) if context.starts_with("while ") => problem,
        _ => &info,
    };
    let line = error.marker().line();
    if problem.starts_with("mismatched bracket") {
        // libyaml's parser counts lines from zero, and does not name the first
        let place = if line > 1 { format!("line {}: ", line - 1) } else { String::new() };
        return YamlError::Text(format!("{place}did not find expected node content"));
    }
    if problem == "simple key expected ':'" {
        return YamlError::Text(format!("line {}: could not find expected ':'", line + 1));
    }
    let problem = match problem {
        p if p.starts_with("unexpected character") || p.contains("tab") => {
            "found character that cannot start any token"
        }
        "expected ',' or ']'" | "unclosed bracket '['" | "unexpected EOF while parsing a flow sequence" => {
            "did not find expected ',' or ']'"
        }
        "unclosed bracket '{'" | "unexpected EOF while parsing a flow mapping" => "did not find expected ',' or '}'",
        "unexpected EOF while parsing a block mapping" => "did not find expected key",
        "unexpected EOF while parsing a block sequence" => "did not find expected '-' indicator",
        p => p,
    };
    if error.marker().line() == 1 && OF_SCANNER.contains(&problem) {
        return YamlError::Text(problem.to_owned());
    }
    YamlError::Text(format!("line {}: {problem}", error.marker().line()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc;

    #[track_caller]
    fn check(text: &str, want: Value) {
        let parsed = parse(text.as_bytes()).expect("YAML");
        assert_eq!(parsed.value, want, "{text}");
        assert_eq!(parsed.duplicates, "");
    }

    #[track_caller]
    fn refused(text: &str, want: &str) {
        assert_eq!(parse(text.as_bytes()).expect_err("refused").to_string(), want, "{text}");
    }

    #[test]
    fn documents_are_read() {
        check("", Value::Null);
        check("# c\n---\na: on\n---\nb: 1\n", doc!({"a": true}));
        check(
            "y: \"quoted\"\ntext: |\n  two\n  lines\n1: x\n",
            doc!({"true": "quoted", "text": "two\nlines\n", "1": "x"}),
        );
        check(
            "l: &l {x: z}\na:\n  <<: *l\n  more: yes please\n",
            doc!({"l": {"x": "z"}, "a": {"x": "z", "more": "yes please"}}),
        );
        check("- !!str 1\n- '2'\n- 010\n- {a: null, b: [1, ~]}\n", doc!(["1", "2", 8, {"a": null, "b": [1, null]}]));
        check(r#"{"kind": "A", "n": 1.5}"#, doc!({"kind": "A", "n": 1.5}));
    }

    #[test]
    fn duplicate_keys_are_reported_and_the_last_one_counts() {
        let parsed = parse(b"a: 1\nm:\n  name: e\n  name: f\n").expect("YAML");
        assert_eq!(parsed.value, doc!({"a": 1, "m": {"name": "f"}}));
        assert_eq!(parsed.duplicates, "yaml: unmarshal errors:\n  line 4: key \"name\" already set in map");
    }

    #[test]
    fn broken_texts_are_refused_in_upstream_s_words() {
        refused("a: [b", "yaml: line 1: did not find expected ',' or ']'");
        refused("a: {b", "yaml: line 1: did not find expected ',' or '}'");
        refused("a: 1\nb:\n\tc: 2\n", "yaml: line 3: found character that cannot start any token");
        for (text, shown) in [(".inf", "+Inf"), ("-.inf", "-Inf"), (".nan", "NaN")] {
            let why = format!("json: unsupported value: {shown}");
            refused(text, &why);
            refused(&format!("a: [{text}]"), &why);
            refused(&format!("a: {{b: {text}}}"), &why);
        }
        check(".inf: 1", doc!({".inf": 1}));
        refused(": : :", "yaml: did not find expected key");
    }

    #[test]
    fn aliases_cannot_blow_up_a_document() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..9 {
            let refs = vec![format!("*a{}", n - 1); 10].join(", ");
            text.push_str(&format!("a{n}: &a{n} [{refs}]\n"));
        }
        assert!(parse(text.as_bytes()).is_err());
    }
}
