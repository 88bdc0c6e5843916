//! The algebra of objects, no Kubernetes kind named in it: a `Value` tree in output order, type tables (`schema`),
//! decode, default and normalize along them; JSON, YAML and protobuf; merge, strategic and JSON patch; apply and field
//! management; `Object`, the sealed bytes of one version. Which types there are is said by crate `api`.

pub mod apply;
mod by_value;
pub mod decode;
pub mod default;
pub mod json;
pub mod normalize;
pub mod object;
pub mod patch;
pub mod proto;
pub mod schema;
pub mod value;
pub mod yaml;

pub use by_value::ByValue;
pub use decode::{DecodeError, Decoded, Problem, convert, decode};
pub use normalize::{empty_maps, has_empties, normalize, normalize_given};
pub use object::{Object, Owner};
pub use schema::{Field, Kind, Type};
pub use value::{Map, Value};
