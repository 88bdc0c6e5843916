//! Protobuf along the message tables: what `application/vnd.kubernetes.protobuf` carries. Values are trees in normal
//! form; after decoding, `normalize` (and defaults) are next.

mod decode;
mod encode;
mod envelope;
mod names;
mod wire;

pub use decode::decode;
pub use encode::encode;
pub use envelope::{
    END, Envelope, MAGIC, frame, list_item_size, push_begin, push_list_item, unwrap, watch_event, wrap,
};

/// Why bytes are no message. The texts are those of upstream's generated code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    #[error("empty data")]
    NoData,
    #[error("empty body")]
    NoBody,
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoPrefix,
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: negative length found during unmarshaling")]
    NegativeLength,
    #[error("proto: illegal wireType {0}")]
    WireType(u8),
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WrongWireType { wire: u8, field: String },
    #[error("proto: {message}: illegal tag {number} (wire type {wire})")]
    Tag { message: &'static str, number: i32, wire: u64 },
    #[error("proto: {0}: wiretype end group for non-group")]
    EndGroup(&'static str),
    #[error("proto: unexpected end of group")]
    UnexpectedEndGroup,
    #[error("exceeded max depth")]
    Depth,
    /// A value that its type refuses, such as a quantity.
    #[error("{0}")]
    Value(String),
    #[error("{0} has no protobuf form")]
    NoMessage(&'static str),
}
