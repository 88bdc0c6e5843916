//! Frames of watches: an event as a JSON line or as length-delimited protobuf. Those of the latest events are kept, so
//! that many watchers of one resource share the bytes. Not here: when a frame is due (`watch`).

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use document::{Object, proto};
use meta::{Revision, Status};
use parking_lot::Mutex;
use store::{Event, EventKind};

use crate::negotiate::{Encoding, Shape};
use crate::respond;
use crate::shape::Maker;

/// Places for frames that are kept; each holds the last one that fell to it.
const PLACES: usize = 64;
/// Frames of larger objects are made anew each time: objects and frames that are held stay below some `PLACES` times this.
const KEPT: usize = 64 * 1024;

/// The frames of the latest events.
pub(crate) struct Recent {
    places: Box<[Mutex<Option<Kept>>]>,
    hasher: RandomState,
}

/// What a frame was made of; the object is held, so that its address stays its own.
struct Kept {
    object: Arc<Object>,
    kind: EventKind,
    maker: Maker,
    frame: Bytes,
}

impl Default for Recent {
    fn default() -> Self {
        Recent { places: (0..PLACES).map(|_| Mutex::new(None)).collect(), hasher: RandomState::new() }
    }
}

impl Recent {
    /// The frame of an event, made once for all who ask for the same soon. `columns`: a Table says its columns.
    pub(crate) fn frame(&self, maker: &Maker, event: &Event, columns: bool) -> Bytes {
        let make = || {
            let mut out = Vec::with_capacity(event.object.bytes.len() + 192);
            push(maker, event.kind, &event.object, columns, &mut out);
            Bytes::from(out)
        };
        // a Table's cells tell the time; a large object is neither held here nor made under a lock
        if matches!(maker.form.shape, Shape::Table { .. }) || event.object.bytes.len() > KEPT {
            return make();
        }
        let whole = maker.form.shape == Shape::Whole;
        let hash = self.hasher.hash_one((event.revision.0, maker.form.encoding as u8, whole, maker.row.version));
        let place = &self.places[hash as usize % PLACES];
        let mut place = place.lock();
        if let Some(kept) = &*place
            && Arc::ptr_eq(&kept.object, &event.object)
            && kept.kind == event.kind
            && kept.maker.is_same(maker)
        {
            return kept.frame.clone();
        }
        let frame = make();
        *place = Some(Kept { object: event.object.clone(), kind: event.kind, maker: *maker, frame: frame.clone() });
        frame
    }
}

/// Appends the frame of one object.
pub(crate) fn push(maker: &Maker, kind: EventKind, object: &Object, columns: bool, out: &mut Vec<u8>) {
    let name = match kind {
        EventKind::Added => "ADDED",
        EventKind::Modified => "MODIFIED",
        EventKind::Deleted => "DELETED",
    };
    match maker.form.encoding {
        // the tables rule out that it cannot be written; a client that reads an error begins anew
        Encoding::Protobuf => match maker.wrapped(object) {
            Ok(message) => push_protobuf(name, &message, out),
            Err(status) => out.extend(error(maker, &status)),
        },
        _ => push_line(name, |out| maker.push_object(object, columns, out), out),
    }
}

/// The frame that says a revision and nothing else, or also that the initial events have ended.
pub(crate) fn bookmark(maker: &Maker, revision: Revision, initial_end: bool) -> Vec<u8> {
    let (mut out, mut body) = (Vec::new(), Vec::new());
    maker.push_bookmark(&revision.to_string(), initial_end, &mut body);
    match maker.form.encoding {
        Encoding::Protobuf => push_protobuf("BOOKMARK", &protobuf(&body, maker.answer_type()), &mut out),
        _ => push_line("BOOKMARK", |out| out.extend_from_slice(&body), &mut out),
    }
    out
}

/// The frame that ends a watch.
pub(crate) fn error(maker: &Maker, status: &Status) -> Vec<u8> {
    let mut out = Vec::new();
    let body = status.to_json().into_bytes();
    match maker.form.encoding {
        Encoding::Protobuf => push_protobuf("ERROR", &protobuf(&body, api::type_of_meta("Status")), &mut out),
        _ => push_line("ERROR", |out| out.extend_from_slice(&body), &mut out),
    }
    out
}

fn push_line(name: &str, object: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    object(out);
    out.extend_from_slice(b"}\n");
}

/// The object with its envelope; empty when it cannot be written, which the tables rule out for what they serve.
fn protobuf(body: &[u8], type_: Option<&'static document::Type>) -> Vec<u8> {
    let encoded = respond::parse(body).ok().zip(type_).and_then(|(value, type_)| respond::protobuf(&value, type_));
    encoded.unwrap_or_default()
}

fn push_protobuf(name: &str, object: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&proto::frame(&proto::watch_event(name, object)));
}
