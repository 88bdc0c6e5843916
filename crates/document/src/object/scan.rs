//! One pass over sealed bytes: marks, and a tree of only those parts that an `Object` repeats.

use crate::Value;
use crate::json::{Parser, SyntaxError};
use crate::value::Members;

pub(super) struct Scanned {
    /// Splice, start and end of metadata.
    pub(super) marks: Option<(u32, u32, u32)>,
    pub(super) value: Value,
}

/// Members of metadata that an `Object` repeats.
const METADATA: [&str; 5] = ["uid", "labels", "ownerReferences", "deletionTimestamp", "finalizers"];

pub(super) fn scan(bytes: &[u8], selectable: &[&str]) -> Result<Scanned, SyntaxError> {
    let mut parser = Parser::inside(bytes);
    let mut members = Members::default();
    let mut marks = None;
    let wanted: Vec<&str> = selectable.iter().flat_map(|f| super::facts::sources(f)).collect();
    let mut name = parser.first_member()?;
    while let Some(n) = name {
        if n == "metadata" {
            let start = parser.position();
            let (value, splice) = metadata(&mut parser)?;
            marks = splice.map(|s| (s as u32, start as u32, parser.position() as u32));
            members.put("metadata", value);
        } else if let Some(value) = wanted_part(&mut parser, &n, &wanted)? {
            members.put(n.into_owned(), value);
        }
        name = parser.object_next()?;
    }
    parser.end()?;
    Ok(Scanned { marks, value: Value::Map(members.into_map()) })
}

fn metadata(parser: &mut Parser<'_>) -> Result<(Value, Option<usize>), SyntaxError> {
    let mut members = Members::default();
    let mut names = Vec::new();
    if parser.peek()? != b'{' {
        parser.skip()?;
        return Ok((Value::Null, None));
    }
    let mut name = parser.object_start()?;
    while let Some(n) = name {
        let at = parser.key_position();
        if METADATA.contains(&&*n) {
            members.put(n.clone().into_owned(), parser.value()?);
        } else {
            parser.skip()?;
        }
        names.push((n, at));
        name = parser.object_next()?;
    }
    let splice = super::seal::splice(names.iter().map(|(n, at)| (&**n, *at)));
    Ok((Value::Map(members.into_map()), splice))
}

/// The parts of the member `name` that the dotted paths ask for.
fn wanted_part(parser: &mut Parser<'_>, name: &str, wanted: &[&str]) -> Result<Option<Value>, SyntaxError> {
    let below: Vec<&str> = wanted.iter().filter_map(|w| w.strip_prefix(name)?.strip_prefix('.')).collect();
    if wanted.contains(&name) {
        return parser.value().map(Some);
    }
    if below.is_empty() || parser.peek()? != b'{' {
        return parser.skip().map(|()| None);
    }
    let mut members = Members::default();
    let mut member = parser.object_start()?;
    while let Some(n) = member {
        if let Some(value) = wanted_part(parser, &n, &below)? {
            members.put(n.into_owned(), value);
        }
        member = parser.object_next()?;
    }
    Ok(Some(Value::Map(members.into_map())))
}
