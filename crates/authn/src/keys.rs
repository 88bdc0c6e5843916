//! Public keys of token issuers, and what their signatures are checked with.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

/// One public key.
struct Key {
    id: String,
    /// The one algorithm it is used with: `RS256`, `ES256`, `ES384`, `ES512`.
    algorithm: &'static str,
    parsed: ParsedPublicKey,
}

/// Keys that tokens are accepted from. Cheap to clone.
#[derive(Clone, Default)]
pub struct PublicKeys(Arc<[Key]>);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadKey {
    #[error("public key {0} cannot be read")]
    Unreadable(usize),
    #[error("public key {0} is neither RSA (2048 bits or more) nor ECDSA P-256, P-384 or P-521")]
    Unsupported(usize),
}

impl PublicKeys {
    /// From SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// A key that cannot be read or is of another kind; the number is its place, from 0.
    pub fn from_der<'a>(keys: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, BadKey> {
        keys.into_iter()
            .enumerate()
            .map(|(n, der)| Key::from_der(n, der))
            .collect::<Result<Vec<_>, _>>()
            .map(|k| PublicKeys(k.into()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys with this id, or all when a token names none.
    fn with_id<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Key> {
        self.0.iter().filter(move |k| id.is_empty() || k.id == id)
    }

    /// Whether a key fits at all; with [`PublicKeys::verify`] the two ways a signature can fail.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.with_id(id).next().is_some()
    }

    pub(crate) fn verify(&self, id: &str, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        self.with_id(id).any(|key| key.algorithm == algorithm && key.parsed.verify_sig(message, signature).is_ok())
    }
}

impl std::fmt::Debug for PublicKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|k| &k.id)).finish()
    }
}

impl Key {
    fn from_der(n: usize, der: &[u8]) -> Result<Self, BadKey> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|_| BadKey::Unreadable(n))?;
        let algorithm = match info.parsed() {
            Ok(Parsed::RSA(_)) => "RS256",
            Ok(Parsed::EC(point)) if point.key_size() == 256 => "ES256",
            Ok(Parsed::EC(point)) if point.key_size() == 384 => "ES384",
            Ok(Parsed::EC(_)) => "ES512",
            _ => return Err(BadKey::Unsupported(n)),
        };
        let parsed = parse(algorithm, der).ok_or(BadKey::Unsupported(n))?;
        Ok(Key { id: URL_SAFE_NO_PAD.encode(digest(&SHA256, der)), algorithm, parsed })
    }
}

fn parse(algorithm: &str, der: &[u8]) -> Option<ParsedPublicKey> {
    let parsed = match algorithm {
        "RS256" => ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der),
        "ES256" => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der),
        "ES384" => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, der),
        _ => ParsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, der),
    };
    parsed.ok()
}
