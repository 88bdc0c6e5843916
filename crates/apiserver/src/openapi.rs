//! `/openapi/v3` and `/openapi/v2`.

use crate::handler::Head;
use crate::respond::Reply;

pub(crate) fn answer(_head: &Head, _path: &str) -> Option<Reply> {
    None
}
