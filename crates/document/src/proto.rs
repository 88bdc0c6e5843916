//! Protobuf along the message tables: what `application/vnd.kubernetes.protobuf` carries. Values are trees in normal
//! form; after decoding, `normalize` (and defaults) are next.

mod decode;
mod encode;
mod envelope;
mod wire;

pub use decode::decode;
pub use encode::encode;
pub use envelope::{
    END, Envelope, MAGIC, frame, list_item_size, push_begin, push_list_item, unwrap, watch_event, wrap,
};

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoPrefix,
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: illegal wireType {0}")]
    WireType(u8),
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WrongWireType { wire: u8, field: &'static str },
    #[error("proto: illegal tag {0}")]
    Tag(u64),
    #[error("exceeded max depth")]
    Depth,
    /// A value that its type refuses, such as a quantity.
    #[error("{0}")]
    Value(String),
    #[error("{0} has no protobuf form")]
    NoMessage(&'static str),
}
