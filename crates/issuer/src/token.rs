//! Signing ServiceAccount tokens: claims exactly as upstream writes them.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meta::status::push_json_string;
use parking_lot::RwLock;

use crate::keys::{KeyError, SigningKey, key_id};

/// Name and uid of an object that a token is bound to; the uid may be empty (a node that did not exist).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reference {
    pub name: String,
    pub uid: String,
}

/// What a token ends with, besides its account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    #[default]
    Nothing,
    /// With the node the pod runs on, when it is known.
    Pod {
        pod: Reference,
        node: Option<Reference>,
    },
    Secret(Reference),
    Node(Reference),
}

/// What a token says. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    pub audiences: Vec<String>,
    pub issued: i64,
    pub expires: i64,
    /// `jti`, a UUID.
    pub id: String,
    pub namespace: String,
    pub account: Reference,
    pub bound: Bound,
    /// Set with the one-year extension only.
    pub warn_after: Option<i64>,
}

/// Signs tokens in the name of one issuer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TokenSigner {
    issuer: Arc<str>,
    current: Arc<RwLock<Arc<Current>>>,
}

/// The key of the moment and the header that names it.
#[derive(Debug)]
struct Current {
    key: SigningKey,
    header: String,
}

impl Current {
    fn new(key: SigningKey) -> Arc<Self> {
        let header = format!(r#"{{"alg":"{}","kid":"{}"}}"#, key.algorithm(), key_id(key.public_der()));
        Arc::new(Current { header: URL_SAFE_NO_PAD.encode(header), key })
    }
}

impl TokenSigner {
    pub fn new(issuer: &str, key: SigningKey) -> Self {
        TokenSigner { issuer: issuer.into(), current: Arc::new(RwLock::new(Current::new(key))) }
    }

    /// Signs with this key from now on, and so do all clones.
    pub fn replace_key(&self, key: SigningKey) {
        *self.current.write() = Current::new(key);
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// SubjectPublicKeyInfo in DER: what `authn` and the key set get.
    pub fn public_der(&self) -> Vec<u8> {
        self.current.read().key.public_der().to_vec()
    }

    /// # Errors
    /// The cryptographic library fails.
    pub fn sign(&self, claims: &Claims) -> Result<String, KeyError> {
        self.finish(&claims.to_json(&self.issuer))
    }

    /// The endless token of a Secret of type `kubernetes.io/service-account-token`.
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub fn sign_legacy(&self, namespace: &str, secret: &str, account: &Reference) -> Result<String, KeyError> {
        let mut json = Json::new();
        json.text("iss", "kubernetes/serviceaccount");
        json.text("kubernetes.io/serviceaccount/namespace", namespace);
        json.text("kubernetes.io/serviceaccount/secret.name", secret);
        json.text("kubernetes.io/serviceaccount/service-account.name", &account.name);
        json.text("kubernetes.io/serviceaccount/service-account.uid", &account.uid);
        json.text("sub", &subject(namespace, &account.name));
        self.finish(&json.finish())
    }

    fn finish(&self, payload: &str) -> Result<String, KeyError> {
        let current = self.current.read().clone();
        let mut token = format!("{}.{}", current.header, URL_SAFE_NO_PAD.encode(payload));
        let signature = current.key.sign(token.as_bytes())?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }
}

fn subject(namespace: &str, account: &str) -> String {
    format!("{}{namespace}:{account}", meta::user::SERVICE_ACCOUNT_PREFIX)
}

impl Claims {
    fn to_json(&self, issuer: &str) -> String {
        let mut json = Json::new();
        json.list("aud", &self.audiences);
        json.number("exp", self.expires);
        json.number("iat", self.issued);
        json.text("iss", issuer);
        json.text("jti", &self.id);
        json.raw("kubernetes.io", &self.kubernetes());
        json.number("nbf", self.issued);
        json.text("sub", &subject(&self.namespace, &self.account.name));
        json.finish()
    }

    fn kubernetes(&self) -> String {
        let mut json = Json::new();
        json.text("namespace", &self.namespace);
        match &self.bound {
            Bound::Nothing => {}
            Bound::Pod { pod, node } => {
                if let Some(node) = node {
                    json.reference("node", node);
                }
                json.reference("pod", pod);
            }
            Bound::Secret(secret) => json.reference("secret", secret),
            Bound::Node(node) => json.reference("node", node),
        }
        json.reference("serviceaccount", &self.account);
        if let Some(after) = self.warn_after {
            json.number("warnafter", after);
        }
        json.finish()
    }
}

/// A JSON object, members in the order they are added (upstream's are sorted).
struct Json(String);

impl Json {
    fn new() -> Self {
        Json("{".into())
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        push_json_string(&mut self.0, name);
        self.0.push(':');
    }

    fn raw(&mut self, name: &str, json: &str) {
        self.name(name);
        self.0.push_str(json);
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        push_json_string(&mut self.0, value);
    }

    fn number(&mut self, name: &str, value: i64) {
        self.raw(name, &value.to_string());
    }

    fn list(&mut self, name: &str, values: &[String]) {
        self.name(name);
        self.0.push('[');
        for (n, value) in values.iter().enumerate() {
            if n > 0 {
                self.0.push(',');
            }
            push_json_string(&mut self.0, value);
        }
        self.0.push(']');
    }

    fn reference(&mut self, name: &str, reference: &Reference) {
        let mut json = Json::new();
        json.text("name", &reference.name);
        if !reference.uid.is_empty() {
            json.text("uid", &reference.uid);
        }
        self.raw(name, &json.finish());
    }

    fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
