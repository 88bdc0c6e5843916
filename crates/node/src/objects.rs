//! Fetching what a pod's files and variables are made of, and tokens bound to the pod, which are kept and asked for
//! anew at 80 % of their life.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use client::{Api, CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS};
use document::{Value, doc};
use meta::{Status, Time};

use crate::{
    pod::{Pod, ServiceAccountToken},
    sources::{ConfigMap, Secret, Sources, Wanted},
};

const LONGEST: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_SECONDS: i64 = 3600;

/// The tokens of one pod. Not `Debug`: it holds credentials.
#[derive(Default)]
pub(crate) struct Tokens(HashMap<ServiceAccountToken, Kept>);

struct Kept {
    token: String,
    expires: SystemTime,
    refresh: SystemTime,
}

impl Tokens {
    /// When the first token wants to be replaced.
    pub(crate) fn refresh_at(&self) -> Option<SystemTime> {
        self.0.values().map(|k| k.refresh).min()
    }

    /// All are replaced when they are asked for next; until that works they stay.
    pub(crate) fn make_stale(&mut self) {
        self.0.values_mut().for_each(|kept| kept.refresh = UNIX_EPOCH);
    }

    /// A token that is fresh enough; the old one while the server does not answer and it has not expired.
    async fn get(&mut self, api: &Api, pod: &Pod, wanted: &ServiceAccountToken) -> Result<String, String> {
        let now = SystemTime::now();
        if let Some(kept) = self.0.get(wanted).filter(|kept| now < kept.refresh) {
            return Ok(kept.token.clone());
        }
        match request(api, pod, wanted).await {
            Ok(kept) => {
                let token = kept.token.clone();
                self.0.insert(wanted.clone(), kept);
                Ok(token)
            }
            Err(error) => match self.0.get_mut(wanted).filter(|kept| now < kept.expires) {
                Some(kept) => {
                    tracing::warn!(pod = pod.full_name(), "failed to refresh a token: {}", error.message);
                    kept.refresh = now + Duration::from_secs(10);
                    Ok(kept.token.clone())
                }
                None => Err(format!("failed to fetch token: {}", error.message)),
            },
        }
    }
}

async fn request(api: &Api, pod: &Pod, wanted: &ServiceAccountToken) -> Result<Kept, Status> {
    let seconds = wanted.expiration_seconds.unwrap_or(DEFAULT_SECONDS);
    let audiences: Vec<Value> = [&wanted.audience].into_iter().filter(|a| !a.is_empty()).map(Value::from).collect();
    let body = doc!({
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {},
        "spec": {
            "audiences": (audiences),
            "expirationSeconds": seconds,
            "boundObjectRef": {
                "kind": "Pod", "apiVersion": "v1", "name": (&pod.metadata.name), "uid": (&pod.metadata.uid)
            }
        }
    });
    let (namespace, account) = (&pod.metadata.namespace, &pod.spec.service_account_name);
    let answer = api.create_subresource(&SERVICE_ACCOUNTS, namespace, account, "token", body).await?;
    let expires = Time::parse(answer["status"]["expirationTimestamp"].str()).map_or(0, |t| t.0);
    let expires = UNIX_EPOCH + Duration::from_secs(u64::try_from(expires).unwrap_or(0));
    let life = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Ok(Kept { token: answer["status"]["token"].str().to_owned(), expires, refresh: refresh_time(expires, life) })
}

/// At 80 % of the life or after a day, up to 10 s earlier, so that pods do not all ask at once.
fn refresh_time(expires: SystemTime, life: Duration) -> SystemTime {
    let issued = expires.checked_sub(life).unwrap_or(UNIX_EPOCH);
    let jitter = Duration::from_millis(u64::from(u16::from_le_bytes(meta::random::bytes())) % 10_000);
    let at = (issued + life * 4 / 5).min(issued + LONGEST);
    at.checked_sub(jitter).unwrap_or(at)
}

/// Fetches everything wanted. Objects that do not exist are left out; any other failure is an error.
pub(crate) async fn fetch(api: &Api, pod: &Pod, wanted: &Wanted, tokens: &mut Tokens) -> Result<Sources, String> {
    let namespace = &pod.metadata.namespace;
    let mut sources = Sources::default();
    for name in &wanted.config_maps {
        if let Some(value) = found(api.get(&CONFIG_MAPS, namespace, name).await)? {
            sources.config_maps.insert(name.clone(), config_map(&value));
        }
    }
    for name in &wanted.secrets {
        if let Some(value) = found(api.get(&SECRETS, namespace, name).await)? {
            sources.secrets.insert(name.clone(), secret(&value));
        }
    }
    for token in &wanted.tokens {
        sources.tokens.insert(token.clone(), tokens.get(api, pod, token).await?);
    }
    Ok(sources)
}

fn found(answer: Result<Value, Status>) -> Result<Option<Value>, String> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.message),
    }
}

fn config_map(value: &Value) -> ConfigMap {
    let data = value["data"].members().map(|(k, v)| (k.to_owned(), v.str().to_owned())).collect();
    ConfigMap { data, binary: decoded(&value["binaryData"]) }
}

fn secret(value: &Value) -> Secret {
    Secret { kind: value["type"].str().to_owned(), data: decoded(&value["data"]) }
}

fn decoded(members: &Value) -> BTreeMap<String, Vec<u8>> {
    members.members().map(|(k, v)| (k.to_owned(), STANDARD.decode(v.str()).unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_replaced_at_four_fifths_of_their_life() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        for (expires, life, latest) in [(10_000, 1_000, 9_800), (1_000_000, 500_000, 586_400)] {
            let refresh = refresh_time(at(expires), Duration::from_secs(life));
            assert!(refresh <= at(latest) && refresh > at(latest - 11), "{expires} {life}");
        }
    }
}
