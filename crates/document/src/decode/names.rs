//! Which kind a body says it is, and upstream's sentences about bodies that cannot be taken.

use crate::json::{Parser, SyntaxError};

/// The anonymous struct that upstream's serializer reads kind and apiVersion into.
const PROBE: &str =
    r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

/// `apiVersion` and `kind` of a JSON body, empty when missing. The error is upstream's, from `couldn't get` on.
pub fn identify(bytes: &[u8]) -> Result<(String, String), String> {
    probe(bytes).map_err(|e| format!("couldn't get version/kind; json parse error: {e}"))
}

fn probe(bytes: &[u8]) -> Result<(String, String), String> {
    let mut parser = Parser::new(bytes);
    let mut found = (String::new(), String::new());
    let mut mismatch = None;
    scan(&mut parser, &mut found, &mut mismatch).map_err(|e| e.0)?;
    match mismatch {
        Some(text) => Err(text),
        None => Ok(found),
    }
}

fn scan(
    parser: &mut Parser<'_>,
    found: &mut (String, String),
    mismatch: &mut Option<String>,
) -> Result<(), SyntaxError> {
    let first = parser.peek()?;
    if first == b'{' {
        let mut name = parser.object_start()?;
        while let Some(n) = name {
            member(parser, &n, found, mismatch)?;
            name = parser.object_next()?;
        }
    } else {
        parser.skip()?;
        if first != b'n' {
            *mismatch = Some(format!("json: cannot unmarshal {} into Go value of type {PROBE}", describe(first)));
        }
    }
    parser.end()
}

/// Go matches names whatever their case here.
fn member(
    parser: &mut Parser<'_>,
    name: &str,
    found: &mut (String, String),
    mismatch: &mut Option<String>,
) -> Result<(), SyntaxError> {
    let (slot, field) = if name.eq_ignore_ascii_case("apiVersion") {
        (&mut found.0, "apiVersion")
    } else if name.eq_ignore_ascii_case("kind") {
        (&mut found.1, "kind")
    } else {
        return parser.skip();
    };
    match parser.peek()? {
        b'"' => *slot = parser.string()?.into_owned(),
        b'n' => parser.skip()?,
        other => {
            parser.skip()?;
            mismatch.get_or_insert(format!(
                "json: cannot unmarshal {} into Go struct field .{field} of type string",
                describe(other)
            ));
        }
    }
    Ok(())
}

fn describe(first: u8) -> &'static str {
    match first {
        b'{' => "object",
        b'[' => "array",
        b'"' => "string",
        b't' | b'f' => "bool",
        _ => "number",
    }
}

/// `the object provided is unrecognized (must be of type K): …`.
pub fn unrecognized(kind: &str, error: &str, body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let part = &body[..body.len().min(SHOWN)];
    let shown = match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(part).into_owned(),
        Some(_) => part.iter().map(|b| format!("{b:02x}")).collect(),
    };
    let more = if body.len() > SHOWN { " ..." } else { "" };
    format!("the object provided is unrecognized (must be of type {kind}): {error} ({shown}{more})")
}

/// `K in version "v1" cannot be handled as a K2: …`.
pub fn not_handled(kind: &str, version: &str, as_kind: &str, error: &str) -> String {
    format!("{kind} in version {} cannot be handled as a {as_kind}: {error}", meta::goquote::quote(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_say_what_they_are() {
        assert_eq!(identify(br#"{"kind":"Pod","x":[{}],"apiVersion":"v1"}"#), Ok(("v1".into(), "Pod".into())));
        assert_eq!(identify(b"null"), Ok(Default::default()));
        let refused = |text: &str| identify(text.as_bytes()).expect_err("refused");
        assert_eq!(refused("{"), "couldn't get version/kind; json parse error: unexpected end of JSON input");
        assert!(refused("[]").ends_with(r#"cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#));
        assert!(
            refused(r#"{"kind":5}"#).ends_with("cannot unmarshal number into Go struct field .kind of type string")
        );
        assert_eq!(
            unrecognized("ConfigMap", "x", b"[]"),
            "the object provided is unrecognized (must be of type ConfigMap): x (5b5d)"
        );
        assert!(unrecognized("ConfigMap", "x", b"").ends_with("(<empty>)"));
    }
}
