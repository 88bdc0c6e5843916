//! Path elements: what stands between two dots of a managed field. Ordered and printed as upstream does.

use std::fmt;

use crate::Value;
use crate::value::Name;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// `f:name`
    Field(Name),
    /// `k:{"name":"c1"}`: an item of a list with keys; sorted by name.
    Key(Vec<(Name, Scalar)>),
    /// `v:"x"`: an item of a set.
    Value(Scalar),
    /// `i:0`
    Index(i64),
}

/// A value that can be a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scalar {
    Int(i64),
    /// The bits of a float.
    Float(u64),
    String(String),
    Bool(bool),
    /// Anything else, as JSON.
    Other(String),
}

impl From<&Value> for Scalar {
    fn from(value: &Value) -> Self {
        match value {
            Value::Int(n) => Scalar::Int(*n),
            Value::Float(x) => Scalar::Float(x.to_bits()),
            Value::String(s) => Scalar::String(s.clone()),
            Value::Bool(b) => Scalar::Bool(*b),
            other => Scalar::Other(crate::json::to_string(other)),
        }
    }
}

impl Scalar {
    fn value(&self) -> Value {
        match self {
            Scalar::Int(n) => Value::Int(*n),
            Scalar::Float(bits) => Value::Float(f64::from_bits(*bits)),
            Scalar::String(s) => Value::String(s.clone()),
            Scalar::Bool(b) => Value::Bool(*b),
            Scalar::Other(json) => crate::json::parse(json.as_bytes()).unwrap_or_default(),
        }
    }
}

impl Element {
    /// As it stands in FieldsV1.
    pub fn encode(&self) -> String {
        match self {
            Element::Field(name) => ["f:", name].concat(),
            Element::Key(keys) => {
                let keys = Value::of(keys.iter().map(|(name, value)| (name.clone(), value.value())));
                ["k:", &crate::json::to_string(&keys)].concat()
            }
            Element::Value(value) => ["v:", &crate::json::to_string(&value.value())].concat(),
            Element::Index(n) => format!("i:{n}"),
        }
    }

    /// # Errors
    /// When it is none; with upstream's words.
    pub fn decode(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').ok_or_else(|| "missing colon".to_owned())?;
        let json = || crate::json::parse(rest.as_bytes()).map_err(|e| e.0);
        match kind {
            "f" => Ok(Element::Field(rest.to_owned().into())),
            "v" => Ok(Element::Value(Scalar::from(&json()?))),
            "i" => rest.parse().map(Element::Index).map_err(|e| e.to_string()),
            "k" => match json()? {
                Value::Map(map) => {
                    let mut keys: Vec<(Name, Scalar)> =
                        map.iter().map(|(n, v)| (n.to_owned().into(), Scalar::from(v))).collect();
                    keys.sort();
                    Ok(Element::Key(keys))
                }
                _ => Err("a key must be an object".into()),
            },
            _ => Err(format!("unknown path element kind {kind}")),
        }
    }
}

/// As upstream's errors show it: `.name`, `[name="c1"]`, `[="x"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Key(keys) => {
                let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Element::Value(value) => write!(f, "[={value}]"),
            Element::Index(n) => write!(f, "[{n}]"),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::String(s) => f.write_str(&meta::goquote::quote(s)),
            other => f.write_str(&crate::json::to_string(&other.value())),
        }
    }
}
