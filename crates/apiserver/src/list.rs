//! Lists on the wire: JSON leaves in pieces of about 64 KB as it is made. Protobuf leaves in pieces too, but its envelope says
//! how long it is: the items' messages, most of them kept with their objects, are made before the first. YAML and indented
//! JSON are made whole.

use std::io::Write as _;

use bytes::Bytes;
use document::{Type, proto};
use flate2::Compression;
use flate2::write::GzEncoder;
use meta::Status;
use meta::status::push_json_string;
use registry::List;

use crate::body::Body;
use crate::negotiate::{Encoding, Form};
use crate::respond::{self, Reply};
use crate::shape::Maker;

const PIECE: usize = 64 * 1024;
/// Room for what stands around the items, and for the item that ends a piece.
const HEAD: usize = 4 * 1024;
/// So many messages are made before others get a turn.
const AT_ONCE: usize = 128;

/// # Errors
/// 406 when the list cannot be made in this form.
pub(crate) async fn answer(maker: &Maker, list: List) -> Result<Reply, Status> {
    maker.check_list(true)?;
    let maker = maker.with_row(list.resource);
    let size: usize = list.items.iter().map(|o| maker.size_of(o)).sum();
    let pieces = Pieces { maker, list, next: 0, state: State::Head, left: size + HEAD };
    if maker.form.encoding == Encoding::Protobuf
        && let Some(list_type) = maker.list_type()
    {
        let messages = Messages::new(&maker, &pieces.list, list_type).await?;
        return Ok(streamed(maker.form, messages.size, messages));
    }
    let streams = maker.form.encoding == Encoding::Json && !maker.form.pretty;
    if !streams {
        return respond::encoded(200, pieces.flatten().collect(), maker.list_type(), maker.form);
    }
    Ok(streamed(maker.form, size, pieces.chain(std::iter::once(b"\n".to_vec()))))
}

/// Pieces of about `size` bytes together, compressed when that is asked for and worth it.
fn streamed(form: Form, size: usize, pieces: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Reply {
    let content_type = form.encoding.content_type();
    if size < PIECE {
        return respond::bytes(200, content_type, pieces.flatten().collect::<Vec<u8>>(), form.gzip);
    }
    if form.gzip && size >= respond::GZIP_FROM {
        let mut reply = respond::plain(200, content_type, Body::pieces(futures::stream::iter(Deflated::new(pieces))));
        respond::mark_compressed(reply.headers_mut());
        return reply;
    }
    respond::plain(200, content_type, Body::pieces(futures::stream::iter(pieces.map(Bytes::from))))
}

/// A list's message in its envelope, which says how long it is: the items' messages are made first.
struct Messages {
    head: Vec<u8>,
    items: std::vec::IntoIter<Bytes>,
    size: usize,
    done: bool,
}

impl Messages {
    /// # Errors
    /// Those of [`Maker::message`].
    async fn new(maker: &Maker, list: &List, list_type: &'static Type) -> Result<Self, Status> {
        let mut text = Vec::new();
        maker.push_list_head(&list.revision.to_string(), &list_meta(list), &mut text);
        maker.push_list_end(0, &mut text);
        let tree = respond::parse(&text)?;
        let meta = proto::encode(&tree, list_type).map_err(Status::internal)?;
        let mut items = Vec::with_capacity(list.items.len());
        for some in list.items.chunks(AT_ONCE) {
            for object in some {
                items.push(maker.message(object)?);
            }
            tokio::task::yield_now().await;
        }
        let size = meta.len() + items.iter().map(|m| proto::list_item_size(m.len())).sum::<usize>();
        let mut head = Vec::with_capacity(meta.len() + 64);
        proto::push_begin(tree["apiVersion"].str(), tree["kind"].str(), size, &mut head);
        head.extend_from_slice(&meta);
        Ok(Messages { head, items: items.into_iter(), size, done: false })
    }
}

impl Iterator for Messages {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.done {
            return None;
        }
        let mut out = std::mem::take(&mut self.head);
        out.reserve(self.size.min(PIECE) + HEAD);
        while out.len() < PIECE {
            let Some(message) = self.items.next() else {
                out.extend_from_slice(proto::END);
                self.done = true;
                break;
            };
            proto::push_list_item(&message, &mut out);
        }
        Some(out)
    }
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
                // what is not stored has no version
                let revision = Some(self.list.revision).filter(|r| r.0 > 0).map(|r| r.to_string()).unwrap_or_default();
                self.maker.push_list_head(&revision, &list_meta(&self.list), &mut out);
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
