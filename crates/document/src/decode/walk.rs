//! The walk along a type: what Go's decoder does with a struct, with its errors and its strictness.

use super::source::{Next, Source};
use super::{DecodeError, Decoded, MAX_PROBLEMS, Problem, scalar};
use crate::json::{SyntaxError, TREE_DEPTH};
use crate::schema::{Kind, Shape};
use crate::value::{Members, same_name};
use crate::{Field, Map, Type, Value};

type Result<T> = std::result::Result<T, SyntaxError>;

#[derive(Default)]
pub(super) struct Walk {
    path: Vec<Step>,
    /// The struct that holds the innermost field.
    owner: Option<&'static Type>,
    problems: Vec<Problem>,
    /// Above zero: inside a value that upstream decodes on its own, without strictness.
    silent: usize,
    /// A mismatch after which Go goes on; the first is reported.
    saved: Option<String>,
    /// A failure that ends Go's decoding; it wins.
    fatal: Option<String>,
    /// Mismatches in the words of upstream's conversion from trees.
    restoring: bool,
    depth: usize,
}

enum Step {
    Field(&'static str),
    Key(String),
    Index(usize),
}

impl Walk {
    pub(super) fn restoring() -> Self {
        Walk { restoring: true, ..Walk::default() }
    }

    pub(super) fn root<S: Source>(&mut self, source: &mut S, type_: &'static Type) -> Result<Value> {
        self.of_type(source, type_)
    }

    pub(super) fn finish(self, value: Value) -> std::result::Result<Decoded, DecodeError> {
        match self.fatal.or(self.saved) {
            Some(text) => Err(DecodeError::Mismatch(text)),
            None => Ok(Decoded { value, problems: self.problems }),
        }
    }

    fn of_type<S: Source>(&mut self, source: &mut S, type_: &'static Type) -> Result<Value> {
        match type_.shape {
            Shape::Struct(fields) => self.structure(source, type_, fields),
            Shape::Alias(kind) => self.kind(source, &kind),
        }
    }

    /// Any value, with a look at its duplicate members.
    pub(super) fn any<S: Source>(&mut self, source: &mut S) -> Result<Value> {
        match source.peek()? {
            next @ Next::Object => self.map(source, next, &Kind::Any, &Kind::Any),
            next @ Next::List => self.list(source, next, &Kind::Any, &Kind::Any),
            _ => source.value(),
        }
    }

    fn kind<S: Source>(&mut self, source: &mut S, kind: &Kind) -> Result<Value> {
        self.depth += 1;
        if self.depth > TREE_DEPTH {
            return Err(SyntaxError("exceeded max depth".into()));
        }
        let value = self.kind_within(source, kind);
        self.depth -= 1;
        value
    }

    fn kind_within<S: Source>(&mut self, source: &mut S, kind: &Kind) -> Result<Value> {
        let next = source.peek()?;
        if next == Next::Null {
            source.skip()?;
            return Ok(Value::Null);
        }
        match kind {
            Kind::Ref(type_) => self.of_type(source, type_),
            Kind::List(item) => self.list(source, next, kind, item),
            Kind::Map(value) => self.map(source, next, kind, value),
            Kind::String if next == Next::String => source.string().map(Value::String),
            Kind::Bool if next == Next::Bool => source.bool().map(Value::Bool),
            Kind::Int32 if next == Next::Number => {
                self.integer(source, i64::from(i32::MIN), i64::from(i32::MAX), "int32")
            }
            Kind::Int64 if next == Next::Number => self.integer(source, i64::MIN, i64::MAX, "int64"),
            Kind::Float64 if next == Next::Number => self.float(source),
            Kind::Bytes if next == Next::String => {
                let text = source.string()?;
                match scalar::canonical_base64(text) {
                    Ok(text) => Ok(Value::String(text)),
                    Err(at) => {
                        self.save(format!("illegal base64 data at input byte {at}"));
                        Ok(Value::Null)
                    }
                }
            }
            Kind::Any => self.any(source),
            Kind::RawExtension | Kind::FieldsV1 | Kind::Json => source.value(),
            Kind::Quantity => {
                let raw = source.raw()?;
                self.or_fatal(scalar::quantity(&raw))
            }
            Kind::Time | Kind::MicroTime | Kind::Duration => self.text_form(source, next, kind),
            Kind::IntOrString => self.int_or_string(source, next),
            Kind::JsonSchemaPropsOrBool | Kind::JsonSchemaPropsOrArray | Kind::JsonSchemaPropsOrStringArray => {
                self.schema_or(source, next, kind)
            }
            _ => self.mismatch(source, next, kind),
        }
    }

    fn structure<S: Source>(
        &mut self,
        source: &mut S,
        type_: &'static Type,
        fields: &'static [Field],
    ) -> Result<Value> {
        match source.peek()? {
            Next::Object => {}
            Next::Null => {
                source.skip()?;
                return Ok(Value::Null);
            }
            next => return self.mismatch_of(source, next, &scalar::go_type(type_.name)),
        }
        let mut map = Map::with_capacity(fields.len().min(8));
        let mut expected = 0;
        source.members(&mut |source, name| {
            let Some(at) = position(fields, name, expected) else {
                self.unknown(name);
                return source.skip();
            };
            expected = at + 1;
            let field = &fields[at];
            let owner = self.owner.replace(type_);
            self.path.push(Step::Field(field.name));
            let old = map.remove(field.name);
            if old.is_some() {
                self.duplicate();
            }
            let value = self.kind(source, &field.kind)?;
            self.path.pop();
            self.owner = owner;
            map.push(field.name, merged(old, value));
            Ok(())
        })?;
        Ok(Value::Map(map))
    }

    fn map<S: Source>(&mut self, source: &mut S, next: Next, kind: &Kind, value: &Kind) -> Result<Value> {
        if next != Next::Object {
            return self.mismatch(source, next, kind);
        }
        let mut members = Members::default();
        source.members(&mut |source, name| {
            self.path.push(Step::Key(name.to_owned()));
            if members.contains(name) {
                self.duplicate();
            }
            let value = self.kind(source, value)?;
            self.path.pop();
            members.put(name.to_owned(), value);
            Ok(())
        })?;
        Ok(Value::Map(members.into_map()))
    }

    fn list<S: Source>(&mut self, source: &mut S, next: Next, kind: &Kind, item: &Kind) -> Result<Value> {
        if next != Next::List {
            return self.mismatch(source, next, kind);
        }
        let mut items = Vec::new();
        source.items(&mut |source, n| {
            self.path.push(Step::Index(n));
            items.push(self.kind(source, item)?);
            self.path.pop();
            Ok(())
        })?;
        Ok(Value::List(items))
    }

    fn integer<S: Source>(&mut self, source: &mut S, min: i64, max: i64, name: &str) -> Result<Value> {
        let token = source.number()?;
        match token.parse::<i64>() {
            Ok(n) if (min..=max).contains(&n) => Ok(Value::Int(n)),
            _ => {
                let value = format!("number {token}");
                drop(token);
                self.save_mismatch(&value, name);
                Ok(Value::Null)
            }
        }
    }

    fn float<S: Source>(&mut self, source: &mut S) -> Result<Value> {
        let token = source.number()?;
        match token.parse::<f64>() {
            Ok(x) if x.is_finite() => Ok(Value::Float(x)),
            _ => {
                let value = format!("number {token}");
                drop(token);
                self.save_mismatch(&value, "float64");
                Ok(Value::Null)
            }
        }
    }

    /// Times and durations: a string in a form of its own.
    fn text_form<S: Source>(&mut self, source: &mut S, next: Next, kind: &Kind) -> Result<Value> {
        if next != Next::String {
            source.skip()?;
            let why = self.misplaced(describe(next), "string");
            return self.or_fatal(Err(why));
        }
        let text = source.string()?;
        let read = match kind {
            Kind::Time => super::canonical_time(&text),
            Kind::MicroTime => super::canonical_micro_time(&text),
            _ => super::parse_duration(&text).map(super::format_duration),
        };
        self.or_fatal(read.map(Value::String))
    }

    fn int_or_string<S: Source>(&mut self, source: &mut S, next: Next) -> Result<Value> {
        match next {
            Next::String => source.string().map(Value::String),
            Next::Number => {
                let token = source.number()?;
                let read = token.parse::<i32>().map_err(|_| format!("number {token}"));
                drop(token);
                let read = read.map(|n| Value::Int(i64::from(n))).map_err(|what| self.misplaced(&what, "int32"));
                self.or_fatal(read)
            }
            _ => {
                source.skip()?;
                let why = self.misplaced(describe(next), "int32");
                self.or_fatal(Err(why))
            }
        }
    }

    /// A schema, or what else may stand in its place; the schema is the struct whose field this is.
    fn schema_or<S: Source>(&mut self, source: &mut S, next: Next, kind: &Kind) -> Result<Value> {
        let Some(schema) = self.owner else { return source.value() };
        self.silent += 1;
        let value = match (kind, next) {
            (_, Next::Object) => self.of_type(source, schema)?,
            (Kind::JsonSchemaPropsOrBool, Next::Bool) => source.bool().map(Value::Bool)?,
            (Kind::JsonSchemaPropsOrArray, Next::List) => self.list(source, next, kind, &Kind::Ref(schema))?,
            (Kind::JsonSchemaPropsOrStringArray, Next::List) => self.list(source, next, kind, &Kind::String)?,
            (Kind::JsonSchemaPropsOrBool, _) => {
                source.skip()?;
                self.or_fatal(Err("boolean or JSON schema expected".into()))?
            }
            _ => source.skip().map(|()| Value::Null)?,
        };
        self.silent -= 1;
        Ok(value)
    }

    fn mismatch<S: Source>(&mut self, source: &mut S, next: Next, kind: &Kind) -> Result<Value> {
        self.mismatch_of(source, next, &scalar::go_kind(kind))
    }

    fn mismatch_of<S: Source>(&mut self, source: &mut S, next: Next, go: &str) -> Result<Value> {
        if self.restoring {
            let from = match next {
                Next::Number => scalar::go_number(&source.number()?),
                next => describe(next).replace("array", "slice").replace("object", "map"),
            };
            self.save(match go {
                g if g.starts_with("[]") => format!("cannot restore slice from {from}"),
                g if g.starts_with("map[") => format!("cannot restore map from {from}"),
                g if g.contains('.') => format!("cannot restore struct from: {from}"),
                g => format!("cannot convert {from} to {g}"),
            });
            return source.skip().map(|()| Value::Null);
        }
        self.save_mismatch(describe(next), go);
        source.skip().map(|()| Value::Null)
    }

    fn save_mismatch(&mut self, value: &str, go: &str) {
        if self.saved.is_none() {
            self.saved = Some(self.misplaced(value, go));
        }
    }

    /// Go's words for a value of the wrong type at this place.
    fn misplaced(&self, value: &str, go: &str) -> String {
        let place = match self.owner {
            None => format!("Go value of type {go}"),
            Some(owner) => {
                let fields: Vec<&str> = self
                    .path
                    .iter()
                    .filter_map(|s| if let Step::Field(name) = s { Some(*name) } else { None })
                    .collect();
                let owner = owner.name.rsplit('.').next().unwrap_or_default();
                format!("Go struct field {owner}.{} of type {go}", fields.join("."))
            }
        };
        format!("json: cannot unmarshal {value} into {place}")
    }

    fn save(&mut self, text: String) {
        self.saved.get_or_insert(text);
    }

    fn or_fatal(&mut self, read: std::result::Result<Value, String>) -> Result<Value> {
        Ok(read.unwrap_or_else(|text| {
            self.fatal.get_or_insert(text);
            Value::Null
        }))
    }

    fn unknown(&mut self, name: &str) {
        if self.silent == 0 {
            let mut path = self.path_text();
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
            self.report(Problem::Unknown(path));
        }
    }

    fn duplicate(&mut self) {
        if self.silent == 0 {
            self.report(Problem::Duplicate(self.path_text()));
        }
    }

    fn report(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn path_text(&self) -> String {
        let mut out = String::new();
        for step in &self.path {
            match step {
                Step::Index(n) => out.push_str(&format!("[{n}]")),
                Step::Field(name) => push_name(&mut out, name),
                Step::Key(name) => push_name(&mut out, name),
            }
        }
        out
    }
}

fn push_name(out: &mut String, name: &str) {
    if !out.is_empty() {
        out.push('.');
    }
    out.push_str(name);
}

/// Where a field is, looked for from where it is expected.
pub(crate) fn position(fields: &[Field], name: &str, expected: usize) -> Option<usize> {
    let expected = expected.min(fields.len());
    let later = fields[expected..].iter().position(|f| same_name(f.name, name)).map(|n| n + expected);
    later.or_else(|| fields[..expected].iter().position(|f| same_name(f.name, name)))
}

/// Go decodes a repeated object into the same value.
fn merged(old: Option<Value>, new: Value) -> Value {
    match (old, new) {
        (Some(Value::Map(mut old)), Value::Map(new)) => {
            for (name, value) in new.into_members() {
                let before = old.remove(&name);
                old.push(name, merged(before, value));
            }
            Value::Map(old)
        }
        (Some(old), Value::Null) if !matches!(old, Value::Map(_) | Value::List(_)) => old,
        (_, new) => new,
    }
}

fn describe(next: Next) -> &'static str {
    match next {
        Next::Null => "null",
        Next::Bool => "bool",
        Next::Number => "number",
        Next::String => "string",
        Next::List => "array",
        Next::Object => "object",
    }
}
