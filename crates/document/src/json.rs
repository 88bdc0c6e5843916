//! JSON as upstream reads and writes it: a strict parser with Go's error texts, a writer with Go's escaping and
//! number format, and a filter that indents.

mod number;
mod parse;
mod pretty;
mod write;

pub use number::{push_float, push_int};
pub use parse::{Parser, SyntaxError, TREE_DEPTH, parse};
pub use pretty::pretty;
pub use write::{push_string, to_string, to_vec, write};
