//! What others need to verify our tokens: the discovery document and the key set.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meta::status::push_json_string;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::keys::key_id;

/// The two documents, made once at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// `/.well-known/openid-configuration`, `application/json`.
    pub configuration: String,
    /// `/openid/v1/jwks`, `application/jwk-set+json`.
    pub keys: String,
}

/// Both: `Cache-Control`.
pub const CACHE_CONTROL: &str = "public, max-age=3600";

impl Discovery {
    /// `None` when the issuer is no https URL without query and fragment (the paths are then not served), or the key
    /// set's URI is not https. `keys` are all that tokens are accepted from, in DER.
    pub fn new<'a>(issuer: &str, keys_uri: &str, keys: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        if !is_https(issuer) || issuer.contains(['?', '#']) || !is_https(keys_uri) {
            return None;
        }
        let keys: Vec<Jwk> = keys.into_iter().filter_map(Jwk::from_der).collect();
        let algorithms: BTreeSet<&str> = keys.iter().map(|k| k.algorithm).collect();
        Some(Discovery { configuration: configuration(issuer, keys_uri, &algorithms), keys: key_set(&keys) })
    }
}

fn is_https(url: &str) -> bool {
    url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
}

fn configuration(issuer: &str, keys_uri: &str, algorithms: &BTreeSet<&str>) -> String {
    let mut out = String::from("{\"issuer\":");
    push_json_string(&mut out, issuer);
    out.push_str(",\"jwks_uri\":");
    push_json_string(&mut out, keys_uri);
    out.push_str(r#","response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["#);
    let quoted: Vec<String> = algorithms.iter().map(|a| format!("\"{a}\"")).collect();
    out.push_str(&quoted.join(","));
    out.push_str("]}");
    out
}

struct Jwk {
    id: String,
    algorithm: &'static str,
    /// `kty` and what belongs to it, as JSON members.
    kind: &'static str,
    numbers: String,
}

impl Jwk {
    fn from_der(der: &[u8]) -> Option<Self> {
        let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
        let (algorithm, kind, numbers) = match info.parsed().ok()? {
            PublicKey::RSA(rsa) => {
                let number = |bytes: &[u8]| {
                    URL_SAFE_NO_PAD.encode(bytes.iter().copied().skip_while(|b| *b == 0).collect::<Vec<u8>>())
                };
                ("RS256", "RSA", format!(r#""n":"{}","e":"{}""#, number(rsa.modulus), number(rsa.exponent)))
            }
            PublicKey::EC(point) => {
                let (algorithm, curve) = match point.key_size() {
                    256 => ("ES256", "P-256"),
                    384 => ("ES384", "P-384"),
                    _ => ("ES512", "P-521"),
                };
                let (x, y) = point.data().get(1..)?.split_at_checked((point.data().len() - 1) / 2)?;
                let numbers = format!(
                    r#""crv":"{curve}","x":"{}","y":"{}""#,
                    URL_SAFE_NO_PAD.encode(x),
                    URL_SAFE_NO_PAD.encode(y)
                );
                (algorithm, "EC", numbers)
            }
            _ => return None,
        };
        Some(Jwk { id: key_id(der), algorithm, kind, numbers })
    }
}

fn key_set(keys: &[Jwk]) -> String {
    let printed: Vec<String> = keys
        .iter()
        .map(|k| {
            format!(r#"{{"use":"sig","kty":"{}","kid":"{}","alg":"{}",{}}}"#, k.kind, k.id, k.algorithm, k.numbers)
        })
        .collect();
    format!(r#"{{"keys":[{}]}}"#, printed.join(","))
}
