//! Where a bearer token is in a request: the Authorization header, or a websocket subprotocol.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue};

use crate::chain::Refusal;

/// What a token that nobody knows is called.
pub const INVALID: &str = "invalid bearer token";

const EXTRA_SPACE: &str =
    "the provided Authorization header contains extra space before the bearer token, and is ignored";
const PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// The token of the first Authorization header. What is no credential gives `None`; a doubled space also a warning.
pub fn from_header(headers: &HeaderMap, warnings: &mut Vec<String>) -> Option<String> {
    let header = text(headers.get(AUTHORIZATION)?);
    let header = header.trim();
    let mut words = header.splitn(3, ' ');
    let (scheme, token) = (words.next()?, words.next()?);
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    if token.is_empty() {
        if words.next().is_some_and(|rest| !rest.is_empty()) {
            warnings.push(EXTRA_SPACE.to_owned());
        }
        return None;
    }
    Some(token.to_owned())
}

/// A header's text. Bytes that are not UTF-8 stay wrong, they do not make the header disappear.
pub(crate) fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

/// The token among the subprotocols of a websocket upgrade.
///
/// # Errors
/// A token that is not unpadded base64url of text, two of them, or one without another subprotocol beside it.
pub fn from_websocket(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    if !is_upgrade(headers) {
        return Ok(None);
    }
    let (mut token, mut others) = (None, 0);
    for protocol in protocols(headers) {
        let Some(encoded) = protocol.strip_prefix(PROTOCOL) else {
            others += 1;
            continue;
        };
        if token.is_some() {
            return Err(Refusal::new("multiple base64.bearer.authorization tokens specified"));
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| Refusal::new("invalid base64.bearer.authorization token encoding"))?;
        let text = String::from_utf8(bytes).map_err(|_| Refusal::new("invalid base64.bearer.authorization token"))?;
        if text.is_empty() {
            return Err(Refusal::new("missing bearer token"));
        }
        token = Some(text);
    }
    match (token, others) {
        (Some(_), 0) => Err(Refusal::new("missing additional subprotocol")),
        (token, _) => Ok(token),
    }
}

/// Takes the token's subprotocol out, before the upgrade is answered.
pub fn strip_websocket(headers: &mut HeaderMap) {
    let kept: Vec<String> = protocols(headers).into_iter().filter(|p| !p.starts_with(PROTOCOL)).collect();
    match HeaderValue::from_str(&kept.join(", ")) {
        Ok(value) if !kept.is_empty() => {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
        }
        _ => {
            headers.remove(SEC_WEBSOCKET_PROTOCOL);
        }
    }
}

fn protocols(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().map(text);
    lines
        .flat_map(|line| line.split(',').map(|p| p.trim().to_owned()).collect::<Vec<_>>())
        .filter(|p| !p.is_empty())
        .collect()
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    let has = |name, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .any(|v| v.split(',').any(|w| w.trim().eq_ignore_ascii_case(word)))
    };
    has(CONNECTION, "upgrade") && has(UPGRADE, "websocket")
}
