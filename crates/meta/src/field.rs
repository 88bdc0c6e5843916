//! Field errors: where in an object, what is wrong, in upstream's `field.Error` texts.

use std::collections::HashSet;
use std::fmt;

use crate::goquote::quote;
use crate::status::push_json_string;

/// A path into an object: `spec.containers[0].name`, `metadata.labels[key]`. The empty path prints `<nil>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    pub fn root(name: &str) -> Self {
        Path(name.to_owned())
    }

    pub fn nil() -> Self {
        Path(String::new())
    }

    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Path(name.to_owned()) } else { self.with([".", name, ""]) }
    }

    pub fn index(&self, n: usize) -> Self {
        self.key(&n.to_string())
    }

    pub fn key(&self, key: &str) -> Self {
        self.with(["[", key, "]"])
    }

    /// Every rule of every field makes its path, whether or not something is wrong with it: no formatting here.
    fn with(&self, parts: [&str; 3]) -> Self {
        let mut path = String::with_capacity(self.0.len() + parts.iter().map(|p| p.len()).sum::<usize>());
        path.push_str(&self.0);
        parts.iter().for_each(|part| path.push_str(part));
        Path(path)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

impl From<&str> for Path {
    fn from(text: &str) -> Self {
        Path(text.to_owned())
    }
}

/// One entry of `details.causes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

/// The kinds of field error, named as the causes' reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Required,
    Invalid,
    TypeInvalid,
    NotSupported,
    Duplicate,
    NotFound,
    Forbidden,
    TooLong,
    TooShort,
    TooMany,
    TooFew,
    Internal,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Required => "FieldValueRequired",
            Reason::Invalid => "FieldValueInvalid",
            Reason::TypeInvalid => "FieldValueTypeInvalid",
            Reason::NotSupported => "FieldValueNotSupported",
            Reason::Duplicate => "FieldValueDuplicate",
            Reason::NotFound => "FieldValueNotFound",
            Reason::Forbidden => "FieldValueForbidden",
            Reason::TooLong => "FieldValueTooLong",
            Reason::TooShort => "FieldValueTooShort",
            Reason::TooMany => "FieldValueTooMany",
            Reason::TooFew => "FieldValueTooFew",
            Reason::Internal => "InternalError",
        }
    }
}

/// A value as a field error prints it: strings quoted, numbers and booleans plain, the rest as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(pub String);

impl From<&str> for Shown {
    fn from(text: &str) -> Self {
        Shown(quote(text))
    }
}
impl From<&String> for Shown {
    fn from(text: &String) -> Self {
        Shown(quote(text))
    }
}
impl From<i64> for Shown {
    fn from(n: i64) -> Self {
        Shown(n.to_string())
    }
}
impl From<bool> for Shown {
    fn from(b: bool) -> Self {
        Shown(b.to_string())
    }
}

impl Shown {
    /// A pointer, struct, list or map: its JSON, already made.
    pub fn json(text: impl Into<String>) -> Self {
        Shown(text.into())
    }

    pub fn null() -> Self {
        Shown("null".into())
    }

    /// A pointer to a string prints as JSON.
    pub fn json_string(text: &str) -> Self {
        let mut out = String::new();
        push_json_string(&mut out, text);
        Shown(out)
    }
}

/// One field error: `<field>: <body>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub path: Path,
    pub reason: Reason,
    pub body: String,
}

impl Error {
    fn new(path: &Path, reason: Reason, body: String) -> Self {
        Error { path: path.clone(), reason, body }
    }

    pub fn required(path: &Path, detail: &str) -> Self {
        Error::new(path, Reason::Required, with_detail("Required value".into(), detail))
    }

    pub fn invalid(path: &Path, value: impl Into<Shown>, detail: &str) -> Self {
        Error::new(path, Reason::Invalid, with_detail(format!("Invalid value: {}", value.into().0), detail))
    }

    pub fn type_invalid(path: &Path, value: impl Into<Shown>, detail: &str) -> Self {
        Error::new(path, Reason::TypeInvalid, with_detail(format!("Invalid value: {}", value.into().0), detail))
    }

    /// `supported` is printed in the order given.
    pub fn not_supported(path: &Path, value: impl Into<Shown>, supported: &[&str]) -> Self {
        let list: Vec<String> = supported.iter().map(|s| quote(s)).collect();
        let detail = if list.is_empty() { String::new() } else { format!("supported values: {}", list.join(", ")) };
        Error::new(path, Reason::NotSupported, with_detail(format!("Unsupported value: {}", value.into().0), &detail))
    }

    pub fn duplicate(path: &Path, value: impl Into<Shown>) -> Self {
        Error::new(path, Reason::Duplicate, format!("Duplicate value: {}", value.into().0))
    }

    pub fn not_found(path: &Path, value: impl Into<Shown>) -> Self {
        Error::new(path, Reason::NotFound, format!("Not found: {}", value.into().0))
    }

    pub fn forbidden(path: &Path, detail: &str) -> Self {
        Error::new(path, Reason::Forbidden, with_detail("Forbidden".into(), detail))
    }

    pub fn too_long_bytes(path: &Path, max: usize) -> Self {
        Error::new(path, Reason::TooLong, format!("Too long: may not be more than {max} byte{}", plural(max)))
    }

    pub fn too_long_characters(path: &Path, max: usize) -> Self {
        Error::new(path, Reason::TooLong, format!("Too long: may not be more than {max} character{}", plural(max)))
    }

    pub fn too_short(path: &Path, min: usize) -> Self {
        Error::new(path, Reason::TooShort, format!("Too short: must be at least {min} character{}", plural(min)))
    }

    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        Error::new(path, Reason::TooMany, format!("Too many: {actual}: must have at most {max} item{}", plural(max)))
    }

    pub fn too_few(path: &Path, actual: usize, min: usize) -> Self {
        Error::new(path, Reason::TooFew, format!("Too few: {actual}: must have at least {min} item{}", plural(min)))
    }

    pub fn internal(path: &Path, error: &str) -> Self {
        Error::new(path, Reason::Internal, format!("Internal error: {error}"))
    }

    pub fn into_cause(self) -> Cause {
        Cause { reason: self.reason.as_str().into(), message: self.body, field: self.path.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body)
    }
}

/// Many errors in one text: `[a, b]`; one stands alone; a text that occurs twice is printed once.
pub fn aggregate(errors: &[Error]) -> String {
    let mut seen = HashSet::with_capacity(errors.len());
    let mut texts: Vec<String> = errors.iter().map(Error::to_string).collect();
    texts.retain(|text| seen.insert(text.clone()));
    if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) }
}

fn with_detail(body: String, detail: &str) -> String {
    if detail.is_empty() { body } else { format!("{body}: {detail}") }
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}
