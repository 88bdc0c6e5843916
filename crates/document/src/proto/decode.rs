//! From a message to a tree. Zero values that were written are there; `normalize` drops those that JSON leaves out.

use meta::{MicroTime, Quantity, Time};

use super::wire::{BYTES, FIXED64, Field, Reader, Tag, VARINT};
use super::{ProtoError, names};
use crate::decode::{encode_base64, format_duration};
use crate::json::TREE_DEPTH;
use crate::schema::{Message, ProtoKind};
use crate::value::{Members, Name};
use crate::{Map, Type, Value, json};

type Result<T> = std::result::Result<T, ProtoError>;

/// The tree of a message, without kind and apiVersion.
pub fn decode(bytes: &[u8], type_: &'static Type) -> Result<Value> {
    let message = type_.message.ok_or(ProtoError::NoMessage(type_.name))?;
    let mut map = Map::new();
    fields(bytes, message, type_, &mut map, 0)?;
    Ok(Value::Map(map))
}

fn of_type(bytes: &[u8], type_: &'static Type, depth: usize) -> Result<Value> {
    let mut map = Map::new();
    if let Some(message) = type_.message {
        fields(bytes, message, type_, &mut map, depth + 1)?;
    }
    Ok(Value::Map(map))
}

/// Adds the members of a message to an object.
fn fields(bytes: &[u8], message: &'static Message, owner: &'static Type, map: &mut Map, depth: usize) -> Result<()> {
    if depth > TREE_DEPTH {
        return Err(ProtoError::Depth);
    }
    // entries of the maps among the fields, collected until the end: there may be many
    let mut maps: Vec<(&'static str, Members)> = Vec::new();
    let mut reader = Reader(bytes);
    while let Some(tag) = reader.tag(names::of_message(message))? {
        let Ok(at) = message.fields.binary_search_by_key(&tag.number, |f| f.number) else {
            reader.skip(tag.wire)?;
            continue;
        };
        let field = &message.fields[at];
        let packed = field.repeated && wire_of(field.kind) == VARINT && tag.wire == BYTES;
        if tag.wire != wire_of(field.kind) && !packed {
            return Err(ProtoError::WrongWireType { wire: tag.wire, field: names::of_field(field) });
        }
        let on_wire = reader.value(tag.wire)?;
        match (field.kind, &on_wire) {
            (kind, Field::Bytes(bytes)) if packed => {
                let mut numbers = Reader(bytes);
                while !numbers.0.is_empty() {
                    let number = Field::Int(numbers.varint()?);
                    map.entry(field.json).make_list().push(one(&number, kind, owner, depth)?);
                }
            }
            (ProtoKind::Ref(type_), Field::Bytes(bytes)) if field.inline => {
                let Some(inner) = type_.message else { continue };
                fields(bytes, inner, type_, map, depth + 1)?;
            }
            // a message that comes again adds to what came before
            (ProtoKind::Ref(type_), Field::Bytes(bytes)) if !field.repeated && !field.json.is_empty() => {
                let Some(inner) = type_.message else { continue };
                fields(bytes, inner, type_, map.entry(field.json).make_map(), depth + 1)?;
            }
            (ProtoKind::Map(of), Field::Bytes(bytes)) => {
                let (key, value) = entry(bytes, *of, owner, depth)?;
                let at = maps.iter().position(|(name, _)| *name == field.json).unwrap_or_else(|| {
                    maps.push((field.json, Members::default()));
                    maps.len() - 1
                });
                maps[at].1.put(key, value);
            }
            (kind, on_wire) => {
                let value = one(on_wire, kind, owner, depth)?;
                match (field.json, field.repeated) {
                    ("", _) => {}
                    (name, true) => map.entry(name).make_list().push(value),
                    (name, false) => {
                        map.insert(name, value);
                    }
                }
            }
        }
    }
    for (name, members) in maps {
        map.insert(name, Value::Map(members.into_map()));
    }
    Ok(())
}

/// The wire type that a kind is written with.
fn wire_of(kind: ProtoKind) -> u8 {
    match kind {
        ProtoKind::Bool | ProtoKind::Int32 | ProtoKind::Int64 => VARINT,
        ProtoKind::Double => FIXED64,
        _ => BYTES,
    }
}

fn bytes_of<'a>(on_wire: &Field<'a>) -> &'a [u8] {
    if let Field::Bytes(bytes) = on_wire { bytes } else { &[] }
}

fn int_of(on_wire: &Field<'_>) -> i64 {
    if let Field::Int(n) = on_wire { *n as i64 } else { 0 }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Key and value of a map; upstream reads both without a look at their wire types.
fn entry(bytes: &[u8], of: ProtoKind, owner: &'static Type, depth: usize) -> Result<(Name, Value)> {
    let (mut key, mut value) = (String::new(), absent(of));
    let mut reader = Reader(bytes);
    while !reader.0.is_empty() {
        let tag = reader.varint()?;
        match tag >> 3 {
            1 => key = text(reader.bytes()?),
            2 => {
                let on_wire = reader.value(wire_of(of))?;
                value = one(&on_wire, of, owner, depth)?;
            }
            _ => reader.skip((tag & 7) as u8)?,
        }
    }
    Ok((Name::Owned(key), value))
}

/// The value of an entry that has none.
fn absent(kind: ProtoKind) -> Value {
    match kind {
        ProtoKind::String | ProtoKind::Bytes => "".into(),
        ProtoKind::Bool => false.into(),
        ProtoKind::Int32 | ProtoKind::Int64 => 0i64.into(),
        _ => Value::Null,
    }
}

fn one(on_wire: &Field<'_>, kind: ProtoKind, owner: &'static Type, depth: usize) -> Result<Value> {
    Ok(match kind {
        ProtoKind::String => text(bytes_of(on_wire)).into(),
        ProtoKind::Bytes => encode_base64(bytes_of(on_wire)).into(),
        ProtoKind::Bool => (int_of(on_wire) != 0).into(),
        ProtoKind::Int32 => i64::from(int_of(on_wire) as i32).into(),
        ProtoKind::Int64 => int_of(on_wire).into(),
        ProtoKind::Double => match on_wire {
            Field::Double(bits) => Value::Float(f64::from_bits(*bits)),
            _ => Value::Null,
        },
        ProtoKind::Ref(type_) => of_type(bytes_of(on_wire), type_, depth)?,
        ProtoKind::Map(_) => Value::Null,
        ProtoKind::JsonSchemaPropsOrBool
        | ProtoKind::JsonSchemaPropsOrArray
        | ProtoKind::JsonSchemaPropsOrStringArray => schema_or(bytes_of(on_wire), kind, owner, depth)?,
        special => self::special(bytes_of(on_wire), special)?,
    })
}

/// The fields of a special message, by number.
#[derive(Default)]
struct Parts<'a> {
    ints: [i64; 4],
    any: bool,
    texts: Vec<(u32, &'a [u8])>,
}

fn parts(bytes: &[u8]) -> Result<Parts<'_>> {
    let mut parts = Parts::default();
    let mut reader = Reader(bytes);
    while let Some(Tag { number, wire }) = reader.tag("")? {
        parts.any = true;
        match wire {
            VARINT => {
                let n = reader.varint()? as i64;
                if let Some(slot) = parts.ints.get_mut(number as usize) {
                    *slot = n;
                }
            }
            BYTES => parts.texts.push((number, reader.bytes()?)),
            wire => reader.skip(wire)?,
        }
    }
    Ok(parts)
}

impl<'a> Parts<'a> {
    fn text(&self, number: u32) -> Option<&'a [u8]> {
        self.texts.iter().rev().find(|(n, _)| *n == number).map(|(_, b)| *b)
    }
}

fn special(bytes: &[u8], kind: ProtoKind) -> Result<Value> {
    let parts = parts(bytes)?;
    Ok(match kind {
        ProtoKind::Time if parts.any => Time(parts.ints[1]).to_string().into(),
        ProtoKind::MicroTime if parts.any => {
            let micros = parts.ints[1].saturating_mul(1_000_000).saturating_add(parts.ints[2] / 1000);
            MicroTime(micros).to_string().into()
        }
        ProtoKind::Duration => format_duration(parts.ints[1]).into(),
        ProtoKind::Quantity => {
            let text = text(parts.text(1).unwrap_or(b"0"));
            let text = if text.is_empty() { "0" } else { &text };
            Quantity::printed(text).map_err(|e| ProtoError::Value(e.to_string()))?.into_owned().into()
        }
        ProtoKind::IntOrString if parts.ints[1] == 0 => Value::Int(i64::from(parts.ints[2] as i32)),
        ProtoKind::IntOrString => text(parts.text(3).unwrap_or_default()).into(),
        ProtoKind::RawExtension | ProtoKind::FieldsV1 | ProtoKind::Json => match parts.text(1) {
            Some(raw) if !raw.is_empty() => json::parse(raw).map_err(|e| ProtoError::Value(e.0))?,
            _ => Value::Null,
        },
        ProtoKind::Items => Value::list(parts.texts.iter().map(|(_, b)| text(b))),
        _ => Value::Null,
    })
}

fn schema_or(bytes: &[u8], kind: ProtoKind, owner: &'static Type, depth: usize) -> Result<Value> {
    let parts = parts(bytes)?;
    let schema = |b: &[u8]| of_type(b, owner, depth);
    let number_of_schema = if matches!(kind, ProtoKind::JsonSchemaPropsOrBool) { 2 } else { 1 };
    if let Some(b) = parts.text(number_of_schema) {
        return schema(b);
    }
    match kind {
        ProtoKind::JsonSchemaPropsOrBool => Ok(Value::Bool(parts.ints[1] != 0)),
        ProtoKind::JsonSchemaPropsOrArray => {
            parts.texts.iter().map(|(_, b)| schema(b)).collect::<Result<Vec<_>>>().map(Value::List)
        }
        _ => Ok(Value::list(parts.texts.iter().map(|(_, b)| text(b)))),
    }
}
