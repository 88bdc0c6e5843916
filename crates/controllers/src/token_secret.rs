//! serviceaccount-token-controller: a Secret of type `kubernetes.io/service-account-token` holds a token of its
//! ServiceAccount, the namespace and the certificate authority, and goes with its ServiceAccount.

mod automatic;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::{Api, Informer, SECRETS, SERVICE_ACCOUNTS, Scope, WorkQueue};
use document::{Object, Value};

use crate::command::Command;
use crate::driver::{Outcome, Tasks, Work};
use crate::{Config, World};

/// What a legacy token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyToken {
    pub namespace: String,
    pub account: String,
    pub account_uid: String,
    pub secret: String,
}

/// Signs a legacy token; only the issuer can.
pub type SignLegacyToken = Arc<dyn Fn(LegacyToken) -> Option<String> + Send + Sync>;

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

struct TokenSecrets {
    api: Api,
    root_ca: Arc<str>,
    sign: Option<SignLegacyToken>,
    accounts: Informer<()>,
    /// The ServiceAccount's name.
    secrets: Informer<String>,
}

pub(crate) fn start(tasks: &mut Tasks, config: &Config, world: &World) {
    let accounts = Informer::start(&world.reader, Scope::all(SERVICE_ACCOUNTS), |_| ());
    let scope = Scope::all(SECRETS).with_fields(format!("type={TYPE}"));
    let account = |o: &Arc<Object>| client::object::item(o)["metadata"]["annotations"][ACCOUNT].str().to_owned();
    let secrets = Informer::start_indexed(&world.reader, scope, account, |known| {
        vec![format!("{}/{}", known.key.namespace, known.facts)]
    });
    let queue = WorkQueue::new();
    let (changed, references) = (queue.clone(), WorkQueue::new());
    let deleted = references.clone();
    secrets.on_change(move |change| {
        let (namespace, name) = (change.key.namespace.to_string(), change.key.name.to_string());
        match (&change.old, &change.new) {
            (Some(old), None) => deleted.add((namespace, old.facts.clone(), name)),
            _ => changed.add((namespace, name)),
        }
    });
    tasks.work(1, &references, &Arc::new(References { api: world.api.clone() }));
    if let Some(sign) = config.sign_legacy_token.clone().filter(|_| config.automatic_token_secrets) {
        let queue = WorkQueue::new();
        let changed = queue.clone();
        accounts.on_change(move |change| {
            if change.new.is_some() {
                changed.add((change.key.namespace.to_string(), change.key.name.to_string()));
            }
        });
        let (api, root_ca, accounts) = (world.api.clone(), config.root_ca.clone(), accounts.clone());
        tasks.work(1, &queue, &Arc::new(automatic::AutomaticSecrets { api, root_ca, sign, accounts }));
    }
    let (gone, of_account) = (queue.clone(), secrets.clone());
    accounts.on_change(move |change| {
        for secret in of_account.by(&format!("{}/{}", change.key.namespace, change.key.name)) {
            gone.add((secret.key.namespace.to_string(), secret.key.name.to_string()));
        }
    });
    let work = TokenSecrets {
        api: world.api.clone(),
        root_ca: config.root_ca.clone(),
        sign: config.sign_legacy_token.clone(),
        accounts,
        secrets,
    };
    tasks.work(1, &queue, &Arc::new(work));
}

/// A Secret that is gone leaves the list of its ServiceAccount: namespace, ServiceAccount, Secret.
struct References {
    api: Api,
}

impl Work<(String, String, String)> for References {
    const NAME: &'static str = "serviceaccount-token-controller";

    async fn sync(&self, (namespace, account, secret): (String, String, String)) -> Outcome {
        let account = match self.api.get(&SERVICE_ACCOUNTS, &namespace, &account).await {
            Err(error) if error.is_not_found() => return Ok(None),
            outcome => outcome?,
        };
        if let Some(command) = without(account, &secret) {
            command.perform(&self.api).await?;
        }
        Ok(None)
    }
}

fn without(mut account: Value, secret: &str) -> Option<Command> {
    let is = |reference: &Value| reference["name"].str() == secret;
    if !account["secrets"].items().iter().any(is) {
        return None;
    }
    account.entry("secrets").make_list().retain(|reference| !is(reference));
    Some(Command::Update { resource: SERVICE_ACCOUNTS, subresource: "", object: account })
}

impl Work<(String, String)> for TokenSecrets {
    const NAME: &'static str = "serviceaccount-token-controller";

    async fn sync(&self, (namespace, name): (String, String)) -> Outcome {
        self.accounts.synced().await;
        if self.secrets.get(&namespace, &name).is_none() {
            return Ok(None);
        }
        let secret = match self.api.get(&SECRETS, &namespace, &name).await {
            Err(error) if error.is_not_found() => return Ok(None),
            outcome => outcome?,
        };
        let account = secret["metadata"]["annotations"][ACCOUNT].str();
        // asked anew: the informer may lag behind the Secret
        let uid = match self.api.get(&SERVICE_ACCOUNTS, &namespace, account).await {
            Err(error) if error.is_not_found() => None,
            outcome => Some(outcome?["metadata"]["uid"].str().to_owned()),
        };
        let sign = |token| self.sign.as_ref().and_then(|sign| sign(token));
        if let Some(command) = plan(secret, uid.as_deref(), &self.root_ca, sign) {
            command.perform(&self.api).await?;
        }
        Ok(None)
    }
}

/// `account_uid`: of the ServiceAccount that the Secret names, when it exists.
fn plan(
    mut secret: Value,
    account_uid: Option<&str>,
    root_ca: &str,
    sign: impl FnOnce(LegacyToken) -> Option<String>,
) -> Option<Command> {
    let metadata = &secret["metadata"];
    let text = |name: &str| metadata[name].str().to_owned();
    let (namespace, name) = (text("namespace"), text("name"));
    let wanted_uid = metadata["annotations"][ACCOUNT_UID].str();
    let account = metadata["annotations"][ACCOUNT].str().to_owned();
    if secret["type"].str() != TYPE || account.is_empty() || !metadata["deletionTimestamp"].is_null() {
        return None;
    }
    let uid = match account_uid {
        Some(uid) if wanted_uid.is_empty() || wanted_uid == uid => uid.to_owned(),
        _ => {
            let uid = text("uid");
            return Some(Command::Delete { resource: SECRETS, namespace, name, uid, propagation: "Background" });
        }
    };
    let before = secret.clone();
    let encode = |bytes: &str| STANDARD.encode(bytes);
    let needs_token = secret["data"]["token"].str().is_empty();
    if needs_token {
        let token = LegacyToken { namespace: namespace.clone(), account, account_uid: uid.clone(), secret: name };
        *secret.at_mut(["data", "token"]) = encode(&sign(token)?).into();
    }
    if secret["data"]["namespace"].str().is_empty() {
        *secret.at_mut(["data", "namespace"]) = encode(&namespace).into();
    }
    *secret.at_mut(["data", "ca.crt"]) = encode(root_ca).into();
    *secret.at_mut(["metadata", "annotations", ACCOUNT_UID]) = uid.into();
    (secret != before).then_some(Command::Update { resource: SECRETS, subresource: "", object: secret })
}

#[cfg(test)]
mod tests {
    use super::*;
    use document::doc;

    fn secret() -> Value {
        doc!({
            "metadata": {"namespace": "n", "name": "s", "uid": "su", "annotations": {ACCOUNT: "a"}},
            "type": TYPE,
            "data": {"extra": "eA=="}
        })
    }

    #[test]
    fn a_secret_is_filled_once() {
        let mut asked = None;
        let plan_it = |secret, asked: &mut Option<LegacyToken>| {
            plan(secret, Some("u"), "ca", |token| {
                *asked = Some(token);
                Some("t".into())
            })
        };
        let Some(Command::Update { object, .. }) = plan_it(secret(), &mut asked) else { panic!("an update is due") };
        let want = doc!({"extra": "eA==", "token": "dA==", "namespace": "bg==", "ca.crt": "Y2E="});
        assert_eq!(object["data"], want);
        assert_eq!(object["metadata"]["annotations"][ACCOUNT_UID].str(), "u");
        assert_eq!(asked.map(|t| (t.account, t.secret)), Some(("a".into(), "s".into())));
        assert_eq!(plan_it(object, &mut None), None);
    }

    #[test]
    fn a_secret_that_is_gone_leaves_its_accounts_list() {
        let account = doc!({"metadata": {"name": "a"}, "secrets": [{"name": "s"}, {"name": "t"}]});
        let Some(Command::Update { object, .. }) = without(account.clone(), "s") else { panic!("an update is due") };
        assert_eq!(object["secrets"], doc!([{"name": "t"}]));
        assert_eq!(without(account, "u"), None);
    }

    #[test]
    fn a_secret_without_its_account_goes_and_one_that_cannot_be_signed_stays() {
        let deleted = |uid| matches!(plan(secret(), uid, "ca", |_| Some("t".into())), Some(Command::Delete { .. }));
        assert!(deleted(None));
        assert!(!deleted(Some("u")));
        assert_eq!(plan(secret(), Some("u"), "ca", |_| None), None);
        let mut other = secret();
        *other.at_mut(["metadata", "annotations", ACCOUNT_UID]) = "old".into();
        assert!(matches!(plan(other, Some("u"), "ca", |_| None), Some(Command::Delete { .. })));
    }
}
