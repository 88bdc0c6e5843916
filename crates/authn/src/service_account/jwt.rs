//! The outside of a token: three parts, a header, claims. Nothing here is believed before the signature is checked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer};

/// A token taken apart.
pub(super) struct Token<'a> {
    pub(super) alg: String,
    /// Empty: none given.
    pub(super) kid: String,
    pub(super) claims: Claims,
    /// What is signed.
    pub(super) message: &'a [u8],
    pub(super) signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

/// Claims of bound and of legacy tokens. Times are seconds.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    pub(super) jti: String,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) aud: Vec<String>,
    #[serde(deserialize_with = "seconds")]
    pub(super) exp: Option<i64>,
    #[serde(deserialize_with = "seconds")]
    pub(super) nbf: Option<i64>,
    #[serde(deserialize_with = "seconds")]
    pub(super) iat: Option<i64>,
    #[serde(rename = "kubernetes.io")]
    pub(super) kubernetes: Kubernetes,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub(super) legacy_namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub(super) legacy_secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub(super) legacy_account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub(super) legacy_uid: String,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub(super) struct Kubernetes {
    pub(super) namespace: String,
    pub(super) serviceaccount: Reference,
    pub(super) pod: Option<Reference>,
    pub(super) secret: Option<Reference>,
    pub(super) node: Option<Reference>,
    #[serde(deserialize_with = "seconds")]
    pub(super) warnafter: Option<i64>,
}

#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) uid: String,
}

impl<'a> Token<'a> {
    /// `None` for anything that is no token of this shape.
    pub(super) fn parse(token: &'a str) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        if payload.contains('.') {
            return None;
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        let claims = serde_json::from_slice(&decode(payload)?).ok()?;
        Some(Token {
            alg: header.alg,
            kid: header.kid,
            claims,
            message: message.as_bytes(),
            signature: decode(signature)?,
        })
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Option::<Either>::deserialize(d)? {
        None => Vec::new(),
        Some(Either::One(one)) => vec![one],
        Some(Either::Many(many)) => many,
    })
}

/// A NumericDate may have a fraction, which is cut.
fn seconds<'de, D: Deserializer<'de>>(d: D) -> Result<Option<i64>, D::Error> {
    Ok(Option::<f64>::deserialize(d)?.map(|n| n as i64))
}
