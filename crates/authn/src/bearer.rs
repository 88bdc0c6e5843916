//! Where a bearer token is in a request: the Authorization header, or a websocket subprotocol.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};

use crate::chain::Refusal;

/// What a token that nobody knows is called.
pub const INVALID: &str = "invalid bearer token";

const EXTRA_SPACE: &str =
    "the provided Authorization header contains extra space before the bearer token, and is ignored";
const PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// The token of the first Authorization header. What is no credential gives `None`; a doubled space also a warning.
pub fn from_header<'a>(headers: &'a HeaderMap, warnings: &mut Vec<String>) -> Option<&'a str> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
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
    Some(token)
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
    let kept: Vec<&str> = protocols(headers).filter(|p| !p.starts_with(PROTOCOL)).collect();
    match http::HeaderValue::from_str(&kept.join(", ")) {
        Ok(value) if !kept.is_empty() => {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
        }
        _ => {
            headers.remove(SEC_WEBSOCKET_PROTOCOL);
        }
    }
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .filter(|p| !p.is_empty())
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
