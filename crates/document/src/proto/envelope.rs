//! What stands around a message: the `k8s\0` envelope, and the frames of a watch.

use super::ProtoError;
use super::wire::{BYTES, Reader, Tag, push_bytes, push_message, push_tag, push_varint};

/// Before every object.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// An object's message and what it says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub api_version: String,
    pub kind: String,
    pub raw: &'a [u8],
}

/// What follows the message in `runtime.Unknown`: no encoding and no content type.
pub const END: &[u8] = b"\x1a\0\x22\0";

/// `k8s\0` and `runtime.Unknown` around a message.
pub fn wrap(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + api_version.len() + kind.len() + 24);
    push_begin(api_version, kind, raw.len(), &mut out);
    out.extend_from_slice(raw);
    out.extend_from_slice(END);
    out
}

/// What stands before a message of so many bytes; [`END`] stands behind it.
pub fn push_begin(api_version: &str, kind: &str, length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    push_message(1, out, |out| {
        push_bytes(1, api_version.as_bytes(), out);
        push_bytes(2, kind.as_bytes(), out);
    });
    push_tag(2, BYTES, out);
    push_varint(length as u64, out);
}

pub fn unwrap(bytes: &[u8]) -> Result<Envelope<'_>, ProtoError> {
    if bytes.is_empty() {
        return Err(ProtoError::NoData);
    }
    let body = bytes.strip_prefix(&MAGIC).ok_or(ProtoError::NoPrefix)?;
    if body.is_empty() {
        return Err(ProtoError::NoBody);
    }
    let mut envelope = Envelope { api_version: String::new(), kind: String::new(), raw: &[] };
    each(body, "Unknown", &["TypeMeta", "Raw", "ContentEncoding", "ContentType"], |number, b| {
        match number {
            1 => type_meta(b, &mut envelope)?,
            2 => envelope.raw = b,
            _ => {}
        }
        Ok(())
    })?;
    Ok(envelope)
}

fn type_meta(bytes: &[u8], envelope: &mut Envelope<'_>) -> Result<(), ProtoError> {
    each(bytes, "TypeMeta", &["APIVersion", "Kind"], |number, b| {
        let text = String::from_utf8_lossy(b).into_owned();
        match number {
            1 => envelope.api_version = text,
            _ => envelope.kind = text,
        }
        Ok(())
    })
}

/// The fields of a message that are all bytes and numbered from one.
fn each<'a>(
    bytes: &'a [u8],
    message: &'static str,
    fields: &[&str],
    mut known: impl FnMut(u32, &'a [u8]) -> Result<(), ProtoError>,
) -> Result<(), ProtoError> {
    let mut reader = Reader(bytes);
    while let Some(Tag { number, wire }) = reader.tag(message)? {
        match fields.get(number as usize - 1) {
            Some(_) if wire == BYTES => known(number, reader.bytes()?)?,
            Some(field) => return Err(ProtoError::WrongWireType { wire, field: (*field).to_owned() }),
            None => reader.skip(wire)?,
        }
    }
    Ok(())
}

/// Appends one item to the message of a list that was encoded without items: their field is the last one.
pub fn push_list_item(raw: &[u8], list: &mut Vec<u8>) {
    push_bytes(2, raw, list);
}

/// How many bytes [`push_list_item`] appends for a message of `length` bytes.
pub fn list_item_size(length: usize) -> usize {
    let bits = usize::BITS - (length | 1).leading_zeros();
    1 + bits.div_ceil(7) as usize + length
}

/// The message `WatchEvent` around an object in its envelope.
pub fn watch_event(event: &str, object: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.len() + 24);
    push_bytes(1, event.as_bytes(), &mut out);
    push_message(2, &mut out, |out| push_bytes(1, object, out));
    out
}

/// A frame of a stream: four bytes of length, big end first, and the message.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 4);
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_read_as_it_was_written() {
        let bytes = wrap("apps/v1", "Deployment", b"\x0a\x00");
        assert!(bytes.starts_with(b"k8s\0\x0a\x15\x0a\x07apps/v1\x12\x0aDeployment\x12\x02\x0a\x00\x1a\x00\x22\x00"));
        let envelope = unwrap(&bytes).expect("unwrapped");
        assert_eq!(
            (&*envelope.api_version, &*envelope.kind, envelope.raw),
            ("apps/v1", "Deployment", &b"\x0a\x00"[..])
        );
        assert_eq!(unwrap(b"zz"), Err(ProtoError::NoPrefix));
        assert_eq!(unwrap(b""), Err(ProtoError::NoData));
        assert_eq!(unwrap(&MAGIC), Err(ProtoError::NoBody));
        assert_eq!(unwrap(b"k8s\0\x0a\x15"), Err(ProtoError::Truncated));
    }

    #[test]
    fn a_list_item_takes_as_many_bytes_as_is_said() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            let mut list = Vec::new();
            push_list_item(&vec![0; length], &mut list);
            assert_eq!(list.len(), list_item_size(length), "{length}");
        }
    }
}
