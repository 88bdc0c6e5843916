//! ServiceAccount tokens: signature, audience, times, and then what they stand for, looked up in the view at every use.

mod bound;
mod jwt;
mod legacy;

use std::collections::HashMap;
use std::sync::Arc;

use meta::{Time, UserInfo};
use parking_lot::Mutex;
use store::View;

use crate::chain::{Authenticated, Finding, Refusal, ServiceAccountConfig};
use crate::static_tokens::hash;
use jwt::{Claims, Token};

const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// How many signatures one generation of the cache holds; two generations exist.
const GENERATION: usize = 4096;

pub(crate) struct ServiceAccounts {
    config: ServiceAccountConfig,
    audiences: Vec<String>,
    signatures: Mutex<Signatures>,
}

/// Claims of tokens whose signature held, by the token's hash. Says nothing of their life.
#[derive(Default)]
struct Signatures {
    young: HashMap<[u8; 32], Arc<Claims>>,
    old: HashMap<[u8; 32], Arc<Claims>>,
}

impl ServiceAccounts {
    pub(crate) fn new(config: ServiceAccountConfig, audiences: Vec<String>) -> Self {
        ServiceAccounts { config, audiences, signatures: Mutex::default() }
    }

    pub(crate) fn authenticate(&self, token: &str, wanted: &[String], view: &View, now: Time) -> Finding {
        let claims = match self.claims(token) {
            Ok(Some(claims)) => claims,
            Ok(None) => return Finding::NotMine,
            Err(refusal) => return Finding::Refused(refusal),
        };
        match self.examine(token, &claims, wanted, view, now) {
            Ok(found) => Finding::Known(found),
            Err(refusal) => Finding::Refused(refusal),
        }
    }

    /// The claims of a token that one of our keys signed; `None` when it is of another issuer, or no such token.
    fn claims(&self, token: &str) -> Result<Option<Arc<Claims>>, Refusal> {
        let id = hash(token);
        if let Some(claims) = self.signatures.lock().get(&id) {
            return Ok(Some(claims));
        }
        let Some(parsed) = Token::parse(token) else { return Ok(None) };
        let issuer = &parsed.claims.iss;
        if issuer != LEGACY_ISSUER && !self.config.issuers.contains(issuer) {
            return Ok(None);
        }
        if !self.config.keys.knows(&parsed.kid) {
            return Err(Refusal::new("invalid signature, no keys found"));
        }
        if !self.config.keys.verify(&parsed.kid, &parsed.alg, parsed.message, &parsed.signature) {
            return Err(Refusal::new("go-jose/go-jose: error in cryptographic primitive"));
        }
        let claims = Arc::new(parsed.claims);
        self.signatures.lock().insert(id, claims.clone());
        Ok(Some(claims))
    }

    fn examine(
        &self,
        token: &str,
        claims: &Claims,
        wanted: &[String],
        view: &View,
        now: Time,
    ) -> Result<Authenticated, Refusal> {
        let mut annotations = Vec::new();
        let own: &[String] = if claims.aud.is_empty() {
            annotations.push(("authentication.k8s.io/legacy-token", claims.sub.clone()));
            &self.audiences
        } else {
            &claims.aud
        };
        let audiences: Vec<String> = wanted.iter().filter(|a| own.contains(a)).cloned().collect();
        if audiences.is_empty() && !self.audiences.is_empty() {
            let shown = |list: &[String]| list.iter().map(|s| meta::goquote::quote(s)).collect::<Vec<_>>().join(" ");
            let text =
                format!("token audiences [{}] is invalid for the target audiences [{}]", shown(own), shown(wanted));
            return Err(Refusal(text));
        }
        let mut found = if claims.iss == LEGACY_ISSUER {
            legacy::validate(token, claims, view)?
        } else {
            bound::validate(claims, view, now)?
        };
        found.audiences = audiences;
        found.annotations.splice(0..0, annotations);
        Ok(found)
    }
}

impl Signatures {
    fn get(&mut self, id: &[u8; 32]) -> Option<Arc<Claims>> {
        if let Some(claims) = self.young.get(id) {
            return Some(claims.clone());
        }
        let claims = self.old.remove(id)?;
        self.insert(*id, claims.clone());
        Some(claims)
    }

    fn insert(&mut self, id: [u8; 32], claims: Arc<Claims>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, claims);
    }
}

/// The account's identity with what is known of the token.
fn user(namespace: &str, name: &str, uid: &str, extra: &[(&str, &str)]) -> UserInfo {
    let mut user = UserInfo::service_account(namespace, name, uid);
    for (key, value) in extra.iter().filter(|(_, v)| !v.is_empty()) {
        user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![(*value).to_owned()]);
    }
    user
}
