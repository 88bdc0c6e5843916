//! Acting as somebody else: the `Impersonate-*` headers.

use http::HeaderMap;
use meta::{Attributes, Status};
use store::View;

use crate::Inner;
use crate::caller::Caller;

/// Which mode last succeeded for a requester.
#[derive(Default)]
pub(crate) struct Modes;

/// Whom the headers name.
#[derive(Clone, Debug)]
pub(crate) struct Wanted;

impl Wanted {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        headers.keys().any(|name| name.as_str().starts_with("impersonate-")).then_some(Wanted)
    }
}

pub(crate) fn apply(_: &Inner, caller: Caller, attributes: Attributes, _: &View) -> Result<(Caller, Attributes), Status> {
    match caller.wanted {
        Some(_) => Err(Status::not_implemented("impersonation is not built")),
        None => Ok((caller, attributes)),
    }
}
