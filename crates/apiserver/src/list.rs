//! Lists on the wire: JSON leaves in pieces of about 64 KB as it is made, so that no list is ever held twice; protobuf, whose
//! envelope says how long it is, is encoded item by item; YAML and indented JSON are made whole.

use std::io::Write as _;

use bytes::Bytes;
use document::{Type, proto};
use flate2::Compression;
use flate2::write::GzEncoder;
use meta::Status;
use meta::status::push_json_string;
use registry::List;

use crate::body::Body;
use crate::negotiate::Encoding;
use crate::respond::{self, Reply};
use crate::shape::Maker;

const PIECE: usize = 64 * 1024;
/// Room for what stands around the items, and for the item that ends a piece.
const HEAD: usize = 4 * 1024;

/// # Errors
/// 406 when the list cannot be made in this form.
pub(crate) fn answer(maker: &Maker, list: List) -> Result<Reply, Status> {
    maker.check_list(true)?;
    let maker = maker.with_row(list.resource);
    let size: usize = list.items.iter().map(|o| maker.size_of(o)).sum();
    let pieces = Pieces { maker, list, next: 0, state: State::Head, left: size + HEAD };
    if maker.form.encoding == Encoding::Protobuf
        && let Some(list_type) = maker.list_type()
    {
        let body = protobuf(&maker, &pieces.list, list_type)?;
        return Ok(respond::bytes(200, maker.form.encoding.content_type(), body, maker.form.gzip));
    }
    let streams = maker.form.encoding == Encoding::Json && !maker.form.pretty;
    if !streams {
        return respond::encoded(200, pieces.flatten().collect(), maker.list_type(), maker.form);
    }
    if size < PIECE {
        return respond::encoded(200, pieces.flatten().collect(), None, maker.form);
    }
    let lines = pieces.chain(std::iter::once(b"\n".to_vec()));
    let content_type = maker.form.encoding.content_type();
    if maker.form.gzip && size >= respond::GZIP_FROM {
        let mut reply = respond::plain(200, content_type, Body::pieces(futures::stream::iter(Deflated::new(lines))));
        respond::mark_compressed(reply.headers_mut());
        return Ok(reply);
    }
    Ok(respond::plain(200, content_type, Body::pieces(futures::stream::iter(lines.map(Bytes::from)))))
}

/// # Errors
/// Those of [`Maker::message`].
fn protobuf(maker: &Maker, list: &List, list_type: &'static Type) -> Result<Vec<u8>, Status> {
    let mut text = Vec::new();
    maker.push_list_head(&list.revision.to_string(), &list_meta(list), &mut text);
    maker.push_list_end(0, &mut text);
    let head = respond::parse(&text)?;
    let mut raw = proto::encode(&head, list_type).map_err(Status::internal)?;
    for item in &list.items {
        proto::push_list_item(&maker.message(item)?, &mut raw);
    }
    Ok(proto::wrap(head["apiVersion"].str(), head["kind"].str(), &raw))
}

/// The list's text, piece by piece.
struct Pieces {
    maker: Maker,
    list: List,
    next: usize,
    state: State,
    /// About how many bytes are still to come.
    left: usize,
}

enum State {
    Head,
    Items,
    Done,
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(self.left.min(PIECE + HEAD));
        match self.state {
            State::Head => {
                self.maker.push_list_head(&self.list.revision.to_string(), &list_meta(&self.list), &mut out);
                self.state = State::Items;
            }
            State::Items => {}
            State::Done => return None,
        }
        while out.len() < PIECE {
            let Some(item) = self.list.items.get(self.next) else {
                self.maker.push_list_end(self.list.items.len(), &mut out);
                self.state = State::Done;
                break;
            };
            if self.next > 0 {
                out.push(b',');
            }
            self.maker.push_item(item, &mut out);
            self.next += 1;
        }
        self.left = self.left.saturating_sub(out.len()).max(HEAD);
        Some(out)
    }
}

/// What follows `resourceVersion` in a list's metadata.
fn list_meta(list: &List) -> String {
    let mut out = String::new();
    if let Some(token) = &list.continue_token {
        out.push_str(",\"continue\":");
        push_json_string(&mut out, token);
    }
    if let Some(remaining) = list.remaining {
        out.push_str(&format!(",\"remainingItemCount\":{remaining}"));
    }
    out
}

/// Pieces, compressed as they come.
struct Deflated<I> {
    pieces: I,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl<I> Deflated<I> {
    fn new(pieces: I) -> Self {
        Deflated { pieces, encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())) }
    }
}

impl<I: Iterator<Item = Vec<u8>>> Iterator for Deflated<I> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        loop {
            let encoder = self.encoder.as_mut()?;
            let Some(piece) = self.pieces.next() else {
                return self.encoder.take().and_then(|e| e.finish().ok()).map(Bytes::from);
            };
            // writing to a Vec cannot fail
            let _ = encoder.write_all(&piece);
            if encoder.get_ref().len() >= PIECE / 4 {
                return Some(Bytes::from(std::mem::take(encoder.get_mut())));
            }
        }
    }
}
