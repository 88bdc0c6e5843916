//! legacy-serviceaccount-token-cleaner-controller: once a day, automatic token Secrets that nobody has used for long are
//! marked invalid, and removed when nobody has missed them for as long again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use client::{Api, CONFIG_MAPS, ListOptions, PODS, Resource, SECRETS, SERVICE_ACCOUNTS};
use document::{Value, doc};
use meta::{Status, Time};

use crate::command::Command;
use crate::driver::Tasks;
use crate::{Config, World};

const INTERVAL: Duration = Duration::from_secs(24 * 3600);
const DAY: i64 = 86_400;
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

pub(crate) fn start(tasks: &mut Tasks, config: &Config, world: &World) {
    let (reader, api, period) = (world.reader.clone(), world.api.clone(), config.legacy_token_clean_up_period);
    tasks.spawn(async move {
        loop {
            if let Err(error) = clean(&reader, &api, period).await {
                tracing::warn!("legacy tokens were not looked at: {}", error.message);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    });
}

async fn clean(reader: &Api, api: &Api, period: Duration) -> Result<(), Status> {
    let tracking = api.get(&CONFIG_MAPS, "kube-system", TRACKING).await?;
    let since = parse_day(tracking["data"]["since"].str());
    let since = since.ok_or_else(|| Status::internal("the day since which uses are tracked is not known"))?;
    let now = Time::now();
    let period = i64::try_from(period.as_secs()).unwrap_or(i64::MAX);
    // tracked from the day after
    if now.0 < since.saturating_add(DAY).saturating_add(period) {
        return Ok(());
    }
    let secrets = list(reader, &SECRETS, &format!("type={TYPE}")).await?;
    let old: Vec<Value> = secrets.into_iter().filter(|secret| is_unused(secret, now, period)).collect();
    if old.is_empty() {
        return Ok(());
    }
    let accounts = list(reader, &SERVICE_ACCOUNTS, "").await?;
    let mounted = mounted(&list(reader, &PODS, "").await?);
    for command in plan(&old, &accounts, &mounted, now, period) {
        if let Err(error) = command.perform(api).await {
            tracing::warn!("a legacy token was not cleaned up: {}", error.message);
        }
    }
    Ok(())
}

async fn list(api: &Api, resource: &Resource, fields: &str) -> Result<Vec<Value>, Status> {
    let options = ListOptions { fields: fields.to_owned(), ..ListOptions::default() };
    let found = api.list(resource, None, &options).await?;
    Ok(found.items.iter().map(|object| client::object::value(object, resource)).collect())
}

/// Seconds of the day's begin; `None`: no day.
fn parse_day(day: &str) -> Option<i64> {
    (day.len() == 10).then(|| Time::parse(&format!("{day}T00:00:00Z"))).flatten().map(|t| t.0)
}

fn day(at: i64) -> String {
    Time(at).to_string().chars().take(10).collect()
}

/// Old enough, and not used since.
fn is_unused(secret: &Value, now: Time, period: i64) -> bool {
    let metadata = &secret["metadata"];
    let created = Time::parse(metadata["creationTimestamp"].str()).map_or(i64::MAX, |t| t.0);
    let used = metadata["labels"].get(LAST_USED).map(Value::str);
    let fresh = day(now.0 - period);
    secret["type"].str() == TYPE
        && created < now.0 - period
        && metadata["deletionTimestamp"].is_null()
        && used.is_none_or(|used| parse_day(used).is_some() && used < fresh.as_str())
}

/// Names of Secrets that pods use, by namespace.
fn mounted(pods: &[Value]) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for pod in pods {
        let names = all.entry(pod["metadata"]["namespace"].str().to_owned()).or_default();
        visit(&pod["spec"], &mut |name| {
            names.insert(name.to_owned());
        });
    }
    all
}

/// Every place of a pod where a Secret may be named has a member of one of these names.
fn visit(value: &Value, take: &mut impl FnMut(&str)) {
    for item in value.items() {
        visit(item, take);
    }
    for (name, member) in value.members() {
        match name {
            "secretRef" | "secretKeyRef" | "nodePublishSecretRef" => take(member["name"].str()),
            "secretName" => take(member.str()),
            // the one of a projected volume; that of a volume has `secretName`
            "secret" => take(member["name"].str()),
            "imagePullSecrets" => member.items().iter().for_each(|s| take(s["name"].str())),
            _ => {}
        }
        visit(member, take);
    }
}

fn plan(
    secrets: &[Value],
    accounts: &[Value],
    mounted: &BTreeMap<String, BTreeSet<String>>,
    now: Time,
    period: i64,
) -> Vec<Command> {
    let mut commands = Vec::new();
    for secret in secrets {
        let text = |name: &str| secret["metadata"][name].str().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        let is_mounted = mounted.get(&namespace).is_some_and(|names| names.contains(&name));
        if is_mounted || !accounts.iter().any(|account| lists(account, secret)) {
            continue;
        }
        let invalid_since = secret["metadata"]["labels"][INVALID_SINCE].str();
        if parse_day(invalid_since).is_none() {
            let patch = doc!({"metadata": {"uid": (text("uid")), "labels": {INVALID_SINCE: (day(now.0))}}});
            commands.push(Command::MergePatch { resource: SECRETS, namespace, name, patch });
        } else if invalid_since < day(now.0 - period).as_str() {
            let revision = text("resourceVersion");
            commands.push(Command::DeleteUnchanged { resource: SECRETS, namespace, name, revision });
        }
    }
    commands
}

/// Whether the Secret is an automatic one of this account.
fn lists(account: &Value, secret: &Value) -> bool {
    let (owner, own) = (&account["metadata"], &secret["metadata"]);
    let uid = own["annotations"][ACCOUNT_UID].str();
    owner["namespace"].str() == own["namespace"].str()
        && owner["name"].str() == own["annotations"][ACCOUNT].str()
        && (uid.is_empty() || uid == owner["uid"].str())
        && account["secrets"].items().iter().any(|s| s["name"].str() == own["name"].str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: i64 = 10 * DAY;
    const NOW: Time = Time(100 * DAY);

    fn secret(labels: Value) -> Value {
        doc!({
            "metadata": {
                "namespace": "n", "name": "s", "uid": "su", "resourceVersion": "7", "labels": (labels),
                "creationTimestamp": "1970-01-01T00:00:00Z", "annotations": {ACCOUNT: "a", ACCOUNT_UID: "u"}
            },
            "type": TYPE
        })
    }

    fn planned(labels: Value, pod: Value) -> Vec<Command> {
        let secrets: Vec<Value> = [secret(labels)].into_iter().filter(|s| is_unused(s, NOW, PERIOD)).collect();
        let account =
            doc!({"metadata": {"namespace": "n", "name": "a", "uid": "u"}, "secrets": [{"name": "s"}, {"name": "t"}]});
        plan(&secrets, &[account], &mounted(&[pod]), NOW, PERIOD)
    }

    #[test]
    fn what_is_not_used_is_marked_and_then_removed() {
        let none = || doc!({});
        let marks = |commands: Vec<Command>| {
            matches!(commands.as_slice(), [Command::MergePatch { patch, .. }]
            if patch["metadata"]["labels"][INVALID_SINCE].str() == "1970-04-11" && patch["metadata"]["uid"].str() == "su")
        };
        assert!(marks(planned(doc!({}), none())));
        assert!(marks(planned(doc!({LAST_USED: "1970-03-31"}), none())));
        assert!(marks(planned(doc!({INVALID_SINCE: "yesterday"}), none())));
        assert_eq!(planned(doc!({LAST_USED: "1970-04-01"}), none()), [], "used within the period");
        assert_eq!(planned(doc!({LAST_USED: "lately"}), none()), [], "nobody knows");
        assert_eq!(planned(doc!({INVALID_SINCE: "1970-04-01"}), none()), [], "not yet");
        let gone = planned(doc!({INVALID_SINCE: "1970-03-31"}), none());
        assert!(matches!(gone.as_slice(), [Command::DeleteUnchanged { revision, .. }] if revision == "7"));
    }

    #[test]
    fn what_a_pod_uses_stays() {
        for spec in [
            doc!({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}),
            doc!({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}]}),
            doc!({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]}),
            doc!({"initContainers": [{"envFrom": [{"secretRef": {"name": "s"}}]}]}),
            doc!({"imagePullSecrets": [{"name": "s"}]}),
        ] {
            let pod = doc!({"metadata": {"namespace": "n", "name": "p"}, "spec": (spec)});
            assert_eq!(planned(doc!({}), pod.clone()), [], "{pod:?}");
        }
    }
}
