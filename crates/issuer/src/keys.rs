//! Keys that sign tokens: ES256 made by ourselves; RSA and EC keys that are given. Their public halves leave as DER.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use x509_parser::pem::Pem;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("no key in the file")]
    Nothing,
    #[error("the file is not PEM")]
    Pem,
    #[error("a {0:?} block is not a key that can be used (RSA of 2048 bits or more, ECDSA P-256, P-384 or P-521)")]
    Unsupported(String),
    #[error("the key could not be made or used")]
    Failed,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
}

/// A private key and the algorithm it signs with.
pub struct SigningKey {
    pair: Pair,
    algorithm: &'static str,
    public: Vec<u8>,
}

/// Prints the public identity only.
impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({} {})", self.algorithm, key_id(&self.public))
    }
}

/// `kid`: unpadded base64url of the SHA-256 of the DER public key.
pub fn key_id(public_der: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, public_der))
}

impl SigningKey {
    /// A new P-256 key and its PEM.
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub fn generate() -> Result<(Self, String), KeyError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| KeyError::Failed)?;
        let der = pair.to_pkcs8v1().map_err(|_| KeyError::Failed)?;
        let pem = to_pem("PRIVATE KEY", der.as_ref());
        Ok((SigningKey::of_ecdsa(pair, "ES256")?, pem))
    }

    /// The first private key of a PEM file: PKCS#1, SEC 1 or PKCS#8.
    ///
    /// # Errors
    /// No such key.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        for block in blocks(text)? {
            if block.label.ends_with("PRIVATE KEY") {
                return SigningKey::from_der(&block.contents).ok_or(KeyError::Unsupported(block.label));
            }
        }
        Err(KeyError::Nothing)
    }

    fn from_der(der: &[u8]) -> Option<Self> {
        if let Ok(pair) = RsaKeyPair::from_der(der).or_else(|_| RsaKeyPair::from_pkcs8(der)) {
            let public: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
            let public = public.as_ref().to_vec();
            return Some(SigningKey { pair: Pair::Rsa(pair), algorithm: "RS256", public });
        }
        let curves = [
            (&ECDSA_P256_SHA256_FIXED_SIGNING, "ES256"),
            (&ECDSA_P384_SHA384_FIXED_SIGNING, "ES384"),
            (&ECDSA_P521_SHA512_FIXED_SIGNING, "ES512"),
        ];
        curves.into_iter().find_map(|(curve, algorithm)| {
            let pair = EcdsaKeyPair::from_private_key_der(curve, der)
                .or_else(|_| EcdsaKeyPair::from_pkcs8(curve, der))
                .ok()?;
            SigningKey::of_ecdsa(pair, algorithm).ok()
        })
    }

    fn of_ecdsa(pair: EcdsaKeyPair, algorithm: &'static str) -> Result<Self, KeyError> {
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| KeyError::Failed)?;
        let public = public.as_ref().to_vec();
        Ok(SigningKey { pair: Pair::Ecdsa(pair), algorithm, public })
    }

    /// SubjectPublicKeyInfo in DER.
    pub fn public_der(&self) -> &[u8] {
        &self.public
    }

    pub fn public_pem(&self) -> String {
        to_pem("PUBLIC KEY", &self.public)
    }

    pub fn algorithm(&self) -> &'static str {
        self.algorithm
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => Ok(pair.sign(&random, message).map_err(|_| KeyError::Failed)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(|_| KeyError::Failed)?;
                Ok(signature)
            }
        }
    }
}

/// All public keys of a PEM file, those of private keys and certificates included, as `--service-account-key-file` takes
/// them.
///
/// # Errors
/// No key, or one that cannot be used.
pub fn public_keys_from_pem(text: &str) -> Result<Vec<Vec<u8>>, KeyError> {
    let mut keys = Vec::new();
    for block in blocks(text)? {
        match block.label.as_str() {
            "PUBLIC KEY" => keys.push(block.contents),
            "RSA PUBLIC KEY" => keys.push(wrap_rsa(&block.contents)),
            "CERTIFICATE" => {
                let parsed = block.parse_x509().map_err(|_| KeyError::Unsupported(block.label.clone()))?;
                keys.push(parsed.public_key().raw.to_vec());
            }
            label if label.ends_with("PRIVATE KEY") => {
                let key =
                    SigningKey::from_der(&block.contents).ok_or_else(|| KeyError::Unsupported(label.to_owned()))?;
                keys.push(key.public);
            }
            _ => {}
        }
    }
    if keys.is_empty() { Err(KeyError::Nothing) } else { Ok(keys) }
}

/// SubjectPublicKeyInfo around a PKCS#1 public key.
fn wrap_rsa(pkcs1: &[u8]) -> Vec<u8> {
    const ALGORITHM: [u8; 15] =
        [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    let mut bits = vec![0];
    bits.extend_from_slice(pkcs1);
    let mut body = ALGORITHM.to_vec();
    body.extend(tagged(0x03, &bits));
    tagged(0x30, &body)
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        n @ 0..0x80 => out.push(n as u8),
        n => {
            let bytes = n.to_be_bytes();
            let skip = bytes.iter().take_while(|b| **b == 0).count();
            out.push(0x80 | (bytes.len() - skip) as u8);
            out.extend_from_slice(&bytes[skip..]);
        }
    }
    out.extend_from_slice(content);
    out
}

fn blocks(text: &str) -> Result<Vec<Pem>, KeyError> {
    Pem::iter_from_buffer(text.as_bytes()).collect::<Result<_, _>>().map_err(|_| KeyError::Pem)
}

pub(crate) fn to_pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}
