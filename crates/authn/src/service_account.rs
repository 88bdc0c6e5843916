//! ServiceAccount tokens: signature, audience, times, and then what they stand for, looked up in the view at every use.

mod bound;
mod jwt;
mod legacy;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use meta::metrics::Counter;
use meta::{Time, UserInfo};
use parking_lot::Mutex;
use store::View;

use crate::chain::{Authenticated, Finding, Refusal, ServiceAccountConfig};
use crate::keys::PublicKeys;
use crate::static_tokens::hash;
use jwt::{Claims, Token};

const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// How many signatures one generation of the cache holds; two generations exist.
const GENERATION: usize = 4096;

pub(crate) struct ServiceAccounts {
    issuers: Vec<String>,
    keys: ArcSwap<PublicKeys>,
    uses: TokenUses,
    audiences: Vec<String>,
    signatures: Mutex<Signatures>,
}

/// How often which tokens were used, by upstream's names.
#[derive(Debug, Default)]
pub struct TokenUses {
    /// Without an audience of their own.
    pub legacy: Counter,
    pub legacy_manual: Counter,
    /// Of a Secret that its account lists.
    pub legacy_auto: Counter,
    /// Of a Secret that is marked invalid.
    pub legacy_invalid: Counter,
    /// Later than the hour after which they should have been refreshed.
    pub stale: Counter,
    pub valid: Counter,
}

/// Claims of tokens whose signature held, by the token's hash. Says nothing of their life.
#[derive(Default)]
struct Signatures {
    young: HashMap<[u8; 32], Arc<Claims>>,
    old: HashMap<[u8; 32], Arc<Claims>>,
}

impl ServiceAccounts {
    pub(crate) fn new(config: ServiceAccountConfig, audiences: Vec<String>) -> Self {
        ServiceAccounts {
            issuers: config.issuers,
            keys: ArcSwap::from_pointee(config.keys),
            uses: TokenUses::default(),
            audiences,
            signatures: Mutex::default(),
        }
    }

    /// What was signed by a key that is gone is forgotten with it.
    pub(crate) fn replace_keys(&self, keys: PublicKeys) {
        let mut signatures = self.signatures.lock();
        self.keys.store(Arc::new(keys));
        *signatures = Signatures::default();
    }

    pub(crate) fn uses(&self) -> &TokenUses {
        &self.uses
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
        if issuer != LEGACY_ISSUER && !self.issuers.contains(issuer) {
            return Ok(None);
        }
        let keys = self.keys.load_full();
        if !keys.knows(&parsed.kid) {
            return Err(Refusal::new("invalid signature, no keys found"));
        }
        if !keys.verify(&parsed.kid, &parsed.alg, parsed.message, &parsed.signature) {
            return Err(Refusal::new("go-jose/go-jose: error in cryptographic primitive"));
        }
        let claims = Arc::new(parsed.claims);
        let mut signatures = self.signatures.lock();
        // not what keys said that have been replaced meanwhile
        if Arc::ptr_eq(&keys, &self.keys.load()) {
            signatures.insert(id, claims.clone());
        }
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
            self.uses.legacy.inc();
            &self.audiences
        } else {
            &claims.aud
        };
        let audiences: Vec<String> = wanted.iter().filter(|a| own.contains(a)).cloned().collect();
        if audiences.is_empty() && !self.audiences.is_empty() {
            let shown = |list: &[String]| list.iter().map(|s| meta::goquote::quote(s)).collect::<Vec<_>>().join(" ");
            let text =
                format!("token audiences [{}] is invalid for the target audiences [{}]", shown(own), shown(wanted));
            return Err(Refusal::new(text));
        }
        let mut found = if claims.iss == LEGACY_ISSUER {
            legacy::validate(token, claims, view, &self.uses)?
        } else {
            bound::validate(claims, view, now, &self.uses)?
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
