//! The habit before 1.24, for those who ask for it: every ServiceAccount has a token Secret `NAME-token-xxxxx` that it
//! lists. Part of serviceaccount-token-controller; off by default.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::{Api, Informer, SECRETS, SERVICE_ACCOUNTS};
use document::{Value, doc};
use meta::Status;

use super::{ACCOUNT, ACCOUNT_UID, LegacyToken, SignLegacyToken, TYPE};
use crate::command::{Command, is_terminating};
use crate::driver::{Outcome, Work};

/// How often the list is written again after a lost race.
const TRIES: usize = 5;

pub(super) struct AutomaticSecrets {
    pub(super) api: Api,
    pub(super) root_ca: Arc<str>,
    pub(super) sign: SignLegacyToken,
    pub(super) accounts: Informer<()>,
}

impl Work<(String, String)> for AutomaticSecrets {
    const NAME: &'static str = "serviceaccount-token-controller";

    async fn sync(&self, (namespace, name): (String, String)) -> Outcome {
        if self.accounts.get(&namespace, &name).is_none() {
            return Ok(None);
        }
        let account = match self.api.get(&SERVICE_ACCOUNTS, &namespace, &name).await {
            Err(error) if error.is_not_found() => return Ok(None),
            outcome => outcome?,
        };
        if !account["metadata"]["deletionTimestamp"].is_null() || self.has_token(&account).await? {
            return Ok(None);
        }
        let secret = secret_for(&account, meta::random::generate_name(&format!("{name}-token-")), &self.root_ca);
        let Some(secret) = secret.and_then(|s| with_token(s, &self.sign)) else { return Ok(None) };
        let made = match self.api.create(&SECRETS, &namespace, secret).await {
            Err(error) if is_terminating(&error) => return Ok(None),
            outcome => outcome?,
        };
        self.list_or_remove(account, &made).await.map(|()| None)
    }
}

impl AutomaticSecrets {
    async fn has_token(&self, account: &Value) -> Result<bool, Status> {
        for reference in account["secrets"].items() {
            let namespace = account["metadata"]["namespace"].str();
            match self.api.get(&SECRETS, namespace, reference["name"].str()).await {
                Ok(secret) if is_token_of(&secret, account) => return Ok(true),
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(false)
    }

    /// The account as it is now, if it has no token yet. `None`: it has one, or another account has its name.
    async fn still_without(&self, namespace: &str, name: &str, uid: &str) -> Result<Option<Value>, Status> {
        match self.api.get(&SERVICE_ACCOUNTS, namespace, name).await {
            Ok(now) if now["metadata"]["uid"].str() == uid => Ok((!self.has_token(&now).await?).then_some(now)),
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(None),
        }
    }

    /// Adds the Secret to the account's list; when that is not to be, the Secret goes again.
    async fn list_or_remove(&self, mut account: Value, secret: &Value) -> Result<(), Status> {
        let metadata = &secret["metadata"];
        let text = |name: &str| metadata[name].str().to_owned();
        let (namespace, account_name) = (text("namespace"), account["metadata"]["name"].str().to_owned());
        let uid = account["metadata"]["uid"].str().to_owned();
        let mut failure = None;
        for _ in 0..TRIES {
            account.entry("secrets").make_list().push(doc!({"name": (metadata["name"].str())}));
            match self.api.update(&SERVICE_ACCOUNTS, account).await {
                Ok(_) => return Ok(()),
                Err(error) if !error.is_conflict() => {
                    failure = Some(error).filter(|e| !e.is_not_found());
                    break;
                }
                Err(error) => failure = Some(error),
            }
            match self.still_without(&namespace, &account_name, &uid).await {
                Ok(Some(now)) => account = now,
                // an unlisted token must not stay, whatever the reason
                done => {
                    failure = done.err();
                    break;
                }
            }
        }
        let (name, uid) = (text("name"), text("uid"));
        Command::Delete { resource: SECRETS, namespace, name, uid, propagation: "Background" }
            .perform(&self.api)
            .await?;
        failure.map_or(Ok(()), Err)
    }
}

fn is_token_of(secret: &Value, account: &Value) -> bool {
    let (annotations, owner) = (&secret["metadata"]["annotations"], &account["metadata"]);
    let uid = annotations[ACCOUNT_UID].str();
    secret["type"].str() == TYPE
        && annotations[ACCOUNT].str() == owner["name"].str()
        && (uid.is_empty() || uid == owner["uid"].str())
}

/// The Secret but for its token.
fn secret_for(account: &Value, name: String, root_ca: &str) -> Option<Value> {
    let owner = &account["metadata"];
    let namespace = owner["namespace"].str();
    (!namespace.is_empty()).then(|| {
        doc!({
            "kind": "Secret",
            "apiVersion": "v1",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "annotations": {ACCOUNT: (owner["name"].str()), ACCOUNT_UID: (owner["uid"].str())}
            },
            "type": TYPE,
            "data": {"namespace": (STANDARD.encode(namespace)), "ca.crt": (STANDARD.encode(root_ca))}
        })
    })
}

fn with_token(mut secret: Value, sign: &SignLegacyToken) -> Option<Value> {
    let metadata = &secret["metadata"];
    let token = sign(LegacyToken {
        namespace: metadata["namespace"].str().to_owned(),
        account: metadata["annotations"][ACCOUNT].str().to_owned(),
        account_uid: metadata["annotations"][ACCOUNT_UID].str().to_owned(),
        secret: metadata["name"].str().to_owned(),
    })?;
    *secret.at_mut(["data", "token"]) = STANDARD.encode(token).into();
    Some(secret)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use client::{Answer, Call, ListOptions, ListResult, Resource, Scope, Transport, Verb, WatchStream};
    use futures::future::BoxFuture;

    use super::*;

    /// Every update loses its race, and what is then read of the account's list is an error.
    #[derive(Clone, Default)]
    struct Unlucky(Arc<Mutex<Vec<String>>>);

    impl Transport for Unlucky {
        fn call(&self, call: Call) -> Answer {
            let answer = match call.verb {
                Verb::Update => Err(Status::new(409, "Conflict", "conflict", None)),
                Verb::Get if call.resource == SERVICE_ACCOUNTS => Ok(account()),
                Verb::Delete => {
                    self.0.lock().unwrap().push(call.name);
                    Ok(Value::Null)
                }
                _ => Err(Status::internal("no luck")),
            };
            Box::pin(std::future::ready(answer))
        }

        fn list(
            &self,
            _: &Resource,
            _: Option<&str>,
            _: &ListOptions,
        ) -> BoxFuture<'static, Result<ListResult, Status>> {
            Box::pin(std::future::pending())
        }

        fn watch(
            &self,
            _: &Resource,
            _: Option<&str>,
            _: &ListOptions,
            _: meta::Revision,
        ) -> BoxFuture<'static, Result<WatchStream, Status>> {
            Box::pin(std::future::pending())
        }
    }

    fn account() -> Value {
        doc!({"metadata": {"name": "a", "namespace": "n", "uid": "u"}, "secrets": [{"name": "listed"}]})
    }

    #[tokio::test]
    async fn a_secret_that_could_not_be_listed_goes_again_after_an_error_too() {
        let transport = Unlucky::default();
        let api = Api::new(transport.clone());
        let accounts = Informer::start(&api, Scope::all(SERVICE_ACCOUNTS), |_| ());
        let secrets = AutomaticSecrets { api, root_ca: "ca".into(), sign: Arc::new(|_| None), accounts };
        let made = doc!({"metadata": {"name": "a-token-x", "namespace": "n", "uid": "s"}});
        let failure = secrets.list_or_remove(account(), &made).await.unwrap_err();
        assert!(failure.message.contains("no luck"), "{}", failure.message);
        assert_eq!(*transport.0.lock().unwrap(), ["a-token-x"]);
    }

    #[test]
    fn a_secret_is_of_the_account_that_it_names() {
        let account = doc!({"metadata": {"name": "a", "namespace": "n", "uid": "u"}});
        let sign: SignLegacyToken = Arc::new(|token| Some(format!("{}/{}", token.account, token.secret)));
        let secret = with_token(secret_for(&account, "a-token-x".into(), "ca").unwrap(), &sign).unwrap();
        assert_eq!(secret["data"]["token"].str(), STANDARD.encode("a/a-token-x"));
        assert!(is_token_of(&secret, &account));
        let other = doc!({"metadata": {"name": "a", "namespace": "n", "uid": "other"}});
        assert!(!is_token_of(&secret, &other));
        let mut opaque = secret;
        opaque.set("type", "Opaque");
        assert!(!is_token_of(&opaque, &account));
    }
}
