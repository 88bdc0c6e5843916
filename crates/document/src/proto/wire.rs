//! The wire format: varints, lengths, tags.

use super::ProtoError;

pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const BYTES: u8 = 2;
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

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next field and its number; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, ProtoError> {
        loop {
            if self.0.is_empty() {
                return Ok(None);
            }
            let tag = self.varint()?;
            let number = u32::try_from(tag >> 3).ok().filter(|n| *n > 0).ok_or(ProtoError::Tag(tag >> 3))?;
            match (tag & 7) as u8 {
                VARINT => return Ok(Some((number, Field::Int(self.varint()?)))),
                FIXED64 => {
                    let bytes = self.take(8)?;
                    let bytes: [u8; 8] = bytes.try_into().map_err(|_| ProtoError::Truncated)?;
                    return Ok(Some((number, Field::Double(u64::from_le_bytes(bytes)))));
                }
                BYTES => {
                    let len = usize::try_from(self.varint()?).map_err(|_| ProtoError::Truncated)?;
                    return Ok(Some((number, Field::Bytes(self.take(len)?))));
                }
                // nothing here is of that size
                FIXED32 => {
                    self.take(4)?;
                }
                wire => return Err(ProtoError::WireType(wire)),
            }
        }
    }

    fn varint(&mut self) -> Result<u64, ProtoError> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let (&b, rest) = self.0.split_first().ok_or(ProtoError::Truncated)?;
            self.0 = rest;
            n |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Ok(n);
            }
        }
        Err(ProtoError::Value("proto: integer overflow".into()))
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

impl Field<'_> {
    pub(super) fn wire(&self) -> u8 {
        match self {
            Field::Int(_) => VARINT,
            Field::Double(_) => FIXED64,
            Field::Bytes(_) => BYTES,
        }
    }
}
