//! The wire format: varints, lengths, tags.

use super::ProtoError;

pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const BYTES: u8 = 2;
const START_GROUP: u8 = 3;
const END_GROUP: u8 = 4;
const FIXED32: u8 = 5;

pub(super) fn push_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub(super) fn push_tag(number: u32, wire: u8, out: &mut Vec<u8>) {
    push_varint(u64::from(number) << 3 | u64::from(wire), out);
}

pub(super) fn push_int(number: u32, n: i64, out: &mut Vec<u8>) {
    push_tag(number, VARINT, out);
    push_varint(n as u64, out);
}

pub(super) fn push_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    push_tag(number, BYTES, out);
    push_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A message: written in place, its length put before it afterwards.
pub(super) fn push_message(number: u32, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    push_tag(number, BYTES, out);
    let start = out.len();
    body(out);
    let mut length = Vec::with_capacity(4);
    push_varint((out.len() - start) as u64, &mut length);
    out.splice(start..start, length);
}

/// One field as it stands on the wire.
pub(super) enum Field<'a> {
    Int(u64),
    Double(u64),
    Bytes(&'a [u8]),
}

/// A field's number and wire type.
#[derive(Clone, Copy)]
pub(super) struct Tag {
    pub(super) number: u32,
    pub(super) wire: u8,
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The tag of the next field; `None` at the end. `message` is named when the tag is none.
    pub(super) fn tag(&mut self, message: &'static str) -> Result<Option<Tag>, ProtoError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let wire = (tag & 7) as u8;
        if wire == END_GROUP {
            return Err(ProtoError::EndGroup(message));
        }
        match u32::try_from((tag >> 3) as i32) {
            Ok(number) if number > 0 => Ok(Some(Tag { number, wire })),
            _ => Err(ProtoError::Tag { message, number: (tag >> 3) as i32, wire: tag }),
        }
    }

    /// The value after a tag of one of the wire types that have one here.
    pub(super) fn value(&mut self, wire: u8) -> Result<Field<'a>, ProtoError> {
        match wire {
            VARINT => self.varint().map(Field::Int),
            FIXED64 => {
                let bytes: [u8; 8] = self.take(8)?.try_into().map_err(|_| ProtoError::Truncated)?;
                Ok(Field::Double(u64::from_le_bytes(bytes)))
            }
            BYTES => self.bytes().map(Field::Bytes),
            wire => Err(ProtoError::WireType(wire)),
        }
    }

    /// Bytes after their length.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], ProtoError> {
        let len = i64::try_from(self.varint()?).map_err(|_| ProtoError::NegativeLength)?;
        self.take(usize::try_from(len).map_err(|_| ProtoError::Truncated)?)
    }

    /// Passes over a field that nobody knows, groups with all that is in them.
    pub(super) fn skip(&mut self, wire: u8) -> Result<(), ProtoError> {
        let (mut wire, mut depth) = (wire, 0usize);
        loop {
            match wire {
                VARINT | FIXED64 | BYTES => {
                    self.value(wire)?;
                }
                FIXED32 => {
                    self.take(4)?;
                }
                START_GROUP => depth += 1,
                END_GROUP => depth = depth.checked_sub(1).ok_or(ProtoError::UnexpectedEndGroup)?,
                wire => return Err(ProtoError::WireType(wire)),
            }
            if depth == 0 {
                return Ok(());
            }
            wire = (self.varint()? & 7) as u8;
        }
    }

    pub(super) fn varint(&mut self) -> Result<u64, ProtoError> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let (&b, rest) = self.0.split_first().ok_or(ProtoError::Truncated)?;
            self.0 = rest;
            n |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Ok(n);
            }
        }
        Err(ProtoError::Overflow)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], ProtoError> {
        if self.0.len() < len {
            return Err(ProtoError::Truncated);
        }
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        Ok(taken)
    }
}
