//! Type tables as apply sees them: scalars, maps and lists that are one value or many. No value is read here except
//! to find the key of a list item.

use super::element::{Element, Scalar};
use crate::schema::{Field, Kind, ListType, Type, Zero};
use crate::value::Name;
use crate::{Map, Value, schema};

/// How a value is owned.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    String,
    Bool,
    Number,
    /// A scalar of any type.
    Scalar,
    /// Anything, owned as a whole.
    Any,
    Struct {
        type_: &'static Type,
        atomic: bool,
    },
    Map {
        item: &'static Kind,
        atomic: bool,
    },
    List {
        item: &'static Kind,
        items: Items,
    },
}

/// What the items of a list are known by.
#[derive(Clone, Copy)]
pub(super) enum Items {
    Atomic,
    Set,
    Keys(&'static [&'static str]),
}

impl Shape {
    pub(super) fn root(type_: &'static Type) -> Self {
        Shape::of_type(type_, None)
    }

    fn of_type(type_: &'static Type, field: Option<&'static Field>) -> Self {
        match &type_.shape {
            schema::Shape::Struct(_) => {
                Shape::Struct { type_, atomic: type_.atomic || field.is_some_and(|f| f.atomic) }
            }
            schema::Shape::Alias(kind) => Shape::of(kind, field),
        }
    }

    pub(super) fn of(kind: &'static Kind, field: Option<&'static Field>) -> Self {
        match kind {
            Kind::String | Kind::Bytes | Kind::Time | Kind::MicroTime | Kind::Duration => Shape::String,
            Kind::Bool => Shape::Bool,
            Kind::Int32 | Kind::Int64 | Kind::Float64 => Shape::Number,
            Kind::Quantity | Kind::IntOrString => Shape::Scalar,
            Kind::Any
            | Kind::RawExtension
            | Kind::FieldsV1
            | Kind::Json
            | Kind::JsonSchemaPropsOrBool
            | Kind::JsonSchemaPropsOrArray
            | Kind::JsonSchemaPropsOrStringArray => Shape::Any,
            Kind::Ref(type_) => Shape::of_type(type_, field),
            Kind::Map(item) => Shape::Map { item, atomic: field.is_some_and(|f| f.atomic) },
            Kind::List(item) => Shape::List { item, items: field.map_or(Items::Atomic, Items::of) },
        }
    }

    /// The member of a struct or map; none when the struct has no such field.
    pub(super) fn member(self, name: &str) -> Option<Shape> {
        match self {
            Shape::Struct { type_, .. } => type_.field(name).map(|f| Shape::of(&f.kind, Some(f))),
            Shape::Map { item, .. } => Some(Shape::of(item, None)),
            _ => None,
        }
    }

    /// Whether a struct does not show this member because it is an empty map.
    pub(super) fn omits(self, name: &str, value: &Value) -> bool {
        let Shape::Struct { type_, .. } = self else { return false };
        let empty = value.as_map().is_some_and(Map::is_empty);
        let omitted = |f: &Field| matches!(f.kind, Kind::Map(_)) && f.omit_empty && !f.pointer;
        empty && type_.field(name).is_some_and(omitted)
    }

    /// A map or list that is owned as a whole.
    pub(super) fn is_atomic(self) -> bool {
        matches!(
            self,
            Shape::Struct { atomic: true, .. }
                | Shape::Map { atomic: true, .. }
                | Shape::List { items: Items::Atomic, .. }
        )
    }

    pub(super) fn item(self) -> Shape {
        match self {
            Shape::List { item, .. } => Shape::of(item, None),
            _ => Shape::Any,
        }
    }
}

impl Items {
    fn of(field: &'static Field) -> Self {
        match field.list {
            ListType::Unset | ListType::Atomic => Items::Atomic,
            ListType::Set => Items::Set,
            ListType::Map => Items::Keys(field.keys),
        }
    }

    /// What an item is known by.
    ///
    /// # Errors
    /// When it cannot be known; with upstream's words.
    pub(super) fn element(self, shape: Shape, item: &Value) -> Result<Element, String> {
        match self {
            Items::Atomic => Err("invalid indexing of non-associative list".into()),
            Items::Set => match item {
                Value::Map(_) => Err("associative list without keys has an element that's a map type".into()),
                Value::List(_) => Err("not supported: associative list with lists as elements".into()),
                Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
                scalar => Ok(Element::Value(Scalar::from(scalar))),
            },
            Items::Keys(keys) => keyed(keys, shape.item(), item),
        }
    }
}

fn keyed(keys: &'static [&'static str], shape: Shape, item: &Value) -> Result<Element, String> {
    match item {
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        Value::Map(_) => {}
        _ => return Err("associative list with keys may not have non-map elements".into()),
    }
    let mut found: Vec<(Name, Scalar)> = Vec::with_capacity(keys.len());
    for &key in keys {
        if let Some(value) = item.get(key) {
            found.push((key.into(), Scalar::from(value)));
        } else if let Some(value) = default_of(shape, key) {
            found.push((key.into(), value));
        }
    }
    if found.is_empty() {
        let names: Vec<String> = keys.iter().map(|k| meta::goquote::quote(k)).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            names.join(" ")
        ));
    }
    found.sort();
    Ok(Element::Key(found))
}

/// The default of a key that is not given: the schema's own, or the zero of a field that is always written.
fn default_of(shape: Shape, key: &str) -> Option<Scalar> {
    let Shape::Struct { type_, .. } = shape else { return None };
    if key == "protocol" {
        return Some(Scalar::String("TCP".into()));
    }
    let field = type_.field(key)?;
    if field.omit_empty || field.pointer {
        return None;
    }
    match (field.zero, field.kind) {
        (Zero::EmptyString, _) | (_, Kind::String) => Some(Scalar::String(String::new())),
        (Zero::Number, _) | (_, Kind::Int32 | Kind::Int64) => Some(Scalar::Int(0)),
        (Zero::False, _) => Some(Scalar::Bool(false)),
        _ => None,
    }
}
